"""The list of a step's files, and what is no longer as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from semples.run import outputs


@pytest.mark.parametrize("name", ["a.png", "a\nb.png", "a\u2028b.png", "a  b.png", "größe\\n.png", "猫\r.png"])
def test_files_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"whole")
    described = outputs.write(tmp_path, leave_out=())
    assert described["files"] == 1
    assert outputs.damaged(tmp_path, described, content=True) == []
    (tmp_path / name).write_bytes(b"Whole")
    assert outputs.damaged(tmp_path, described, content=False) == []
    assert outputs.damaged(tmp_path, described, content=True) == [tmp_path / name]
    (tmp_path / name).unlink()
    assert outputs.damaged(tmp_path, described, content=False) == [tmp_path / name]


def test_a_lost_list_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"whole")
    described = outputs.write(tmp_path, leave_out=())
    (tmp_path / outputs.OUTPUTS).unlink()
    assert outputs.damaged(tmp_path, described, content=True) == []
    (tmp_path / outputs.OUTPUTS).write_text("nonsense", encoding="utf-8")
    (tmp_path / "a").write_bytes(b"other")
    assert outputs.damaged(tmp_path, described, content=True) is None

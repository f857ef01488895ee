"""Where photos' files lie: as their ids say, or in numbered folders of no more than so many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core import places
from semples.core.errors import UserError
from semples.core.places import NUMBERED, ids_in, number, place_of

NAMES = st.text("0123ab", min_size=1, max_size=5)
IDS = st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=20)


def write(folder: Path, id: str) -> Path:
    path = place_of(folder, id, ".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(id, encoding="utf-8")
    return path


@settings(max_examples=60, deadline=None)
@given(IDS, st.integers(1, 4))
def test_every_photo_has_a_place_of_its_own(ids: set[str], most: int) -> None:
    """Whatever photos and their folders are called, `00000` among them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        number(folder, ids, suffix=".png", most=most)
        paths = {id: write(folder, id) for id in ids}
        assert len(set(paths.values())) == len(ids)
        assert set(ids_in(folder, ".png")) == ids
        assert {id: path.read_text(encoding="utf-8") for id, path in paths.items()} == {id: id for id in ids}
        fullest = max(Counter(PurePosixPath(id).parent for id in ids).values(), default=0)
        assert (folder / NUMBERED).exists() == (fullest > most)
        if fullest > most:
            top = Counter(path.relative_to(folder).parts[0] for path in paths.values())
            assert max(top.values()) <= most
            assert [top[f"{place:05d}"] for place in range(len(top))][:-1] == [most] * (len(top) - 1)
        else:
            assert all(path == folder / f"{id}.png" for id, path in paths.items())


def test_the_place_is_that_of_the_whole_set_whatever_is_made_first(tmp_path: Path) -> None:
    ids = [f"p{place}" for place in range(7)]
    for name in ("one", "other"):
        number(tmp_path / name, ids if name == "one" else reversed(ids), suffix=".png", most=3)
    write(tmp_path / "other", "p6")
    number(tmp_path / "other", ids, suffix=".png", most=3)
    for id in ids:
        one, other = (place_of(tmp_path / name, id, ".png").relative_to(tmp_path / name) for name in ("one", "other"))
        assert one == other == Path(f"{int(id[1]) // 3:05d}") / f"{id}.png"


def test_ten_thousand_is_the_limit(tmp_path: Path) -> None:
    ids = [f"{place:06d}" for place in range(10_000)]
    number(tmp_path / "full", ids, suffix=".png")
    assert not (tmp_path / "full").exists()
    number(tmp_path / "more", [*ids, "010000"], suffix=".png")
    assert place_of(tmp_path / "more", "009999", ".png") == tmp_path / "more" / "00000" / "009999.png"
    assert place_of(tmp_path / "more", "010000", ".png") == tmp_path / "more" / "00001" / "010000.png"


def test_a_folder_that_has_files_stays_flat(tmp_path: Path) -> None:
    """As a run of before left it; a file of label maps' own folder of confidences says nothing."""
    ids = [f"p{place}" for place in range(7)]
    write(tmp_path, "p3")
    number(tmp_path, ids, suffix=".png", most=3)
    assert place_of(tmp_path, "p3", ".png").is_file()
    assert not (tmp_path / NUMBERED).exists()
    (tmp_path / "p3.png").rename(tmp_path / ".p3.png.tmp-1")
    (tmp_path / ".p3.png.tmp-1").unlink()
    (tmp_path / "confidence").mkdir()
    (tmp_path / "confidence" / "p0.png").touch()
    number(tmp_path, ids, suffix=".png", most=3, leave_out=("confidence",))
    assert (tmp_path / NUMBERED).is_file()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"first": []}', '{"first": [1]}'])
def test_a_lost_or_damaged_list_is_made_again(tmp_path: Path, content: str | None) -> None:
    ids = [f"p{place}" for place in range(7)]
    number(tmp_path, ids, suffix=".png", most=3)
    before = (tmp_path / NUMBERED).read_bytes()
    path = write(tmp_path, "p4")
    (tmp_path / NUMBERED).unlink()
    if content is not None:
        (tmp_path / NUMBERED).write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"numbered\.json: (damaged|.*JSON)"):
            place_of(tmp_path, "p4", ".png")
    number(tmp_path, ids, suffix=".png", most=3)
    assert (tmp_path / NUMBERED).read_bytes() == before
    assert place_of(tmp_path, "p4", ".png") == path


def test_the_usual_limit_can_be_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 3)
    number(tmp_path, "abcd", suffix=".png")
    assert place_of(tmp_path, "d", ".png") == tmp_path / "00001" / "d.png"

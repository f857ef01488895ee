"""Files are whole or absent."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from semples.core.errors import UserError
from semples.core.files import atomic_path, is_unfinished, read_json, sha256_file, write_bytes, write_json, write_text


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".json"
            assert is_unfinished(temporary)
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_only_temporary_files_are_unfinished(tmp_path: Path) -> None:
    for name in ("file.json", ".hidden", ".lock", "x.tmp", ".npy", "a.tmp.npz"):
        (tmp_path / name).touch()
        assert not is_unfinished(tmp_path / name), name
    for name in ("file.json", "file", "ünï", "x" * 200, "a.b.c", "猫" * 80 + ".npz"):
        with atomic_path(tmp_path / name) as temporary:
            assert is_unfinished(temporary), name
        assert not is_unfinished(tmp_path / name), name


def test_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "ours", "x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "file" / "below", "x")


def test_json(tmp_path: Path) -> None:
    value = {"ü": [1, 2.5, None, True], "nested": {"a": "b"}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == value
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path / "bom.json") == {}
    for content, hint in ((b"{", "line 1, column 2"), (b"\xff\xfe", "UTF-8")):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(UserError, match=hint):
            read_json(tmp_path / "bad.json")
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "none.json")


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_file(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

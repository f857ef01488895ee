"""Files are whole or absent."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from semples.core.errors import UserError
from semples.core.files import (
    SpecialFile,
    append_to,
    atomic_path,
    check_regular,
    is_unfinished,
    open_regular,
    read_file,
    read_json,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            assert temporary.parent == path.parent
            assert temporary.suffix == ".json"
            assert is_unfinished(temporary)
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
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


def test_json_of_any_text_and_size(tmp_path: Path) -> None:
    value = {"photo": "caf\udce9.jpg", "größe": 1}  # the name of a file that is not UTF-8
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    with pytest.raises(UserError, match="not Unicode"):
        write_text(tmp_path / "a.txt", "a\ud800")
    for content in ("[" * 100_000, "9" * 5000):
        (tmp_path / "a.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match="nested too deeply, or a number without end"):
            read_json(tmp_path / "a.json")


SPECIAL = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "kernel": lambda path: path.symlink_to("/proc/kmsg"),
    "memory": lambda path: path.symlink_to("/proc/self/mem"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_special_files_are_never_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.json"
    SPECIAL[kind](path)  # type: ignore[operator]
    for read in (read_json, read_file, sha256_file, open_regular, check_regular):
        with pytest.raises(SpecialFile, match=r"a\.json: "):
            read(path)
    write_json(path, [1])  # takes its place
    assert path.is_file()
    assert not path.is_symlink()
    assert read_json(path) == [1]


def test_honest_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("[1]", encoding="utf-8")
    (tmp_path / "link.json").symlink_to("blob")
    (tmp_path / "second.json").symlink_to(tmp_path / "link.json")
    assert read_json(tmp_path / "second.json") == [1]
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)


def test_appending_follows_no_link(tmp_path: Path) -> None:
    with append_to(tmp_path / "log") as file:
        file.write("a\n")
    with append_to(tmp_path / "log") as file:
        file.write("b\n")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a\nb\n"
    (tmp_path / "precious").write_text("needed", encoding="utf-8")
    (tmp_path / "link").symlink_to("precious")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(UserError, match=name), append_to(tmp_path / name):
            pass
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "needed"


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder: a folder; name a file"):
        write_json(tmp_path / "folder", 1)
    assert os.listdir(tmp_path) == ["folder"]

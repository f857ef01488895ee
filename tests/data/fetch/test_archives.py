from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.data.fetch import archives
from semples.data.fetch.archives import below, place, place_tree, unpack
from tests.data.builders import complaint


def make_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o4777
            tar.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return path


MAKERS = {
    "tar": make_tar,
    "tgz": lambda path, members: make_tar(path, members, "w:gz"),
    "zip": make_zip,
}
FILES = {"top/a.txt": b"a" * 100, "top/deep/b.txt": b"b" * 3_000_000, "other/c.txt": b"c", "top/._a.txt": b"mac"}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(name: str) -> str:
    return name


@pytest.mark.parametrize("kind", MAKERS)
def test_only_what_is_wanted_and_nothing_executable(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "x", FILES)
    assert unpack(archive, tmp_path / "out", want=below("top/"), max_bytes=10**7) == 2
    assert tree(tmp_path / "out") == {name: FILES[name] for name in ("top/a.txt", "top/deep/b.txt")}
    assert not (tmp_path / "out/top/a.txt").stat().st_mode & 0o6111


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:\\evil", "..\\evil", "a/..\\../evil"])
def test_members_that_climb_out(tmp_path: Path, kind: str, name: str) -> None:
    archive = MAKERS[kind](tmp_path / "x", {"good.txt": b"1", name: b"boo"})
    message = complaint(lambda: unpack(archive, tmp_path / "a/b/out", want=everything, max_bytes=10**7))
    assert "outside the folder" in message
    unpacked = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert unpacked <= {"x", "good.txt"}
    if kind == "zip":
        assert unpacked == {"x"}


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        special("bad", tarfile.SYMTYPE, "/etc/passwd"),
        special("bad", tarfile.LNKTYPE, "../secret"),
        special("bad", tarfile.CHRTYPE),
        special("bad", tarfile.BLKTYPE),
        special("bad", tarfile.FIFOTYPE),
    ],
)
def test_links_and_devices(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = make_tar(tmp_path / "x.tar", {"bad": member, "bad/passwd": b"overwritten"})
    assert "a link or a device" in complaint(lambda: unpack(archive, tmp_path / "o", want=everything, max_bytes=10**7))
    assert not (tmp_path / "o").exists()
    unpack(archive, tmp_path / "p", want=below("bad/"), max_bytes=10**7)  # not asked for: never made
    assert tree(tmp_path / "p") == {"bad/passwd": b"overwritten"}
    assert not (tmp_path / "p/bad").is_symlink()


def test_link_in_a_zip(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("bad")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    assert "a link" in complaint(lambda: unpack(tmp_path / "x.zip", tmp_path / "o", want=everything, max_bytes=10**7))
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", MAKERS)
def test_bombs(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "x", {"small": b"1", "bomb": bytes(20_000_000)})
    message = complaint(lambda: unpack(archive, tmp_path / "o", want=everything, max_bytes=1_000_000))
    assert "refused" in message
    assert not (tmp_path / "o/bomb").exists()
    # The bomb is not asked for, but a tar must be read through to its end.
    only_small = {"small": "small"}.get
    if kind == "zip":
        assert unpack(archive, tmp_path / "o", want=only_small, max_bytes=1_000_000) == 1
    else:
        assert "refused" in complaint(lambda: unpack(archive, tmp_path / "o", want=only_small, max_bytes=1_000_000))


def test_zip_that_lies_about_sizes(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "x.zip", {"bomb": bytes(50_000)})
    data = archive.read_bytes().replace((50_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    archive.write_bytes(data)
    message = complaint(lambda: unpack(archive, tmp_path / "o", want=everything, max_bytes=10**7))
    assert "damaged" in message
    assert tree(tmp_path / "o") == {}


def test_member_without_end_is_stopped_at_its_size(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 100, "reads on"
            return b"x" * size

    with pytest.raises(ValueError, match="larger than"):
        archives._write(tmp_path / "a", Endless(), 10)
    with pytest.raises(ValueError, match="cut off"):
        archives._write(tmp_path / "a", io.BytesIO(b"123"), 10)
    assert tree(tmp_path) == {}


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    for kind, maker in MAKERS.items():
        archive = maker(tmp_path / kind, {"a": b"", "b": b"", "c": b""})
        with pytest.raises(UserError, match="2 files"):
            unpack(archive, tmp_path / "o", want=everything, max_bytes=9)


@pytest.mark.parametrize("kind", MAKERS)
def test_taken_up_again(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MAKERS[kind](tmp_path / "x", FILES)
    out = tmp_path / "out"
    real = archives._write
    left = [1]

    def stop(target: Path, source, size: int) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        real(target, source, size)

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            unpack(archive, out, want=everything, max_bytes=10**7)
    assert tree(out) == {"top/a.txt": FILES["top/a.txt"]}
    kept = (out / "top/a.txt").stat().st_ino
    (out / "other").mkdir()
    (out / "other/c.txt").write_bytes(b"")  # cut off by a crash
    unpack(archive, out, want=everything, max_bytes=10**7)
    assert tree(out) == FILES
    assert (out / "top/a.txt").stat().st_ino == kept


@pytest.mark.parametrize("kind", MAKERS)
def test_full_disk(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = MAKERS[kind](tmp_path / "x", FILES)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = complaint(lambda: unpack(archive, tmp_path / "out", want=everything, max_bytes=10**7))
    assert "the disk is full" in message
    assert tree(tmp_path / "out") == {}
    assert unpack(archive, tmp_path / "out", want=everything, max_bytes=10**7) == len(FILES)


def test_several_processes_write_the_same(tmp_path: Path) -> None:
    files = {f"d/{number}.txt": str(number).encode() * 10 for number in range(150)}
    archive = make_zip(tmp_path / "x.zip", files)
    assert unpack(archive, tmp_path / "out", want=everything, max_bytes=10**7, workers=2) == 150
    assert tree(tmp_path / "out") == files


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(list(MAKERS)))
def test_damaged_archives_give_one_line_and_stay_inside(data: st.DataObject, kind: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = MAKERS[kind](folder / "x", {"a/b.txt": b"hello" * 50, "c.txt": b"x" * 700})
        content = bytearray(archive.read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        archive.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        message = complaint(lambda: unpack(archive, folder / "in/out", want=everything, max_bytes=10_000))
        assert "\n" not in message
        outside = [path for path in folder.rglob("*") if path.is_file() and (folder / "in/out") not in path.parents]
        assert outside == [archive]


@given(st.text(max_size=30))
def test_member_paths_stay_below(name: str) -> None:
    try:
        path = archives.member_path(Path("x"), name)
    except UserError:
        return
    base = PurePosixPath("/base")
    assert base in PurePosixPath(os.path.normpath(base / path)).parents


def test_place_links_or_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"12")
    place(source, tmp_path / "x/b")
    assert (tmp_path / "x/b").stat().st_ino == source.stat().st_ino

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    place(source, tmp_path / "x/c")
    assert (tmp_path / "x/c").read_bytes() == b"12"
    assert (tmp_path / "x/c").stat().st_ino != source.stat().st_ino
    (tmp_path / "x/c").write_bytes(b"1")
    assert place_tree(tmp_path, tmp_path / "x", label="x") == 1
    place(source, tmp_path / "x/c")
    assert (tmp_path / "x/c").read_bytes() == b"12"

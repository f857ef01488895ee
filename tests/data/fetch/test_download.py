from __future__ import annotations

import errno
import os
import random
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semples.data.fetch import download
from semples.data.fetch.download import Remote, fetch, is_genuine
from tests.data.builders import complaint
from tests.data.fetch.server import FileServer

BODY = random.Random(3).randbytes(2_500_000)


def get(remote: Remote, folder: Path, **more) -> Path:
    return fetch(remote, folder, wait=lambda seconds: None, **more)


def test_whole_file_in_one_go_and_no_second_time(server: FileServer, tmp_path: Path) -> None:
    remote = server.add("a.bin", BODY)
    assert get(remote, tmp_path / "new").read_bytes() == BODY
    assert get(remote, tmp_path / "new").read_bytes() == BODY
    assert server.asked == [("/a.bin", None)]
    assert sorted(os.listdir(tmp_path / "new")) == ["a.bin", "a.bin.md5.json"]


def test_taken_up_where_the_connection_broke(server: FileServer, tmp_path: Path) -> None:
    remote = server.add("a.bin", BODY)
    server.script = ["cut 1000000", "cut 700000"]
    assert get(remote, tmp_path).read_bytes() == BODY
    assert server.asked == [("/a.bin", None), ("/a.bin", "bytes=1000000-"), ("/a.bin", "bytes=1700000-")]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moods=st.lists(
        st.sampled_from(["cut 0", "cut 1", "cut 999", "cut 4000", "status 503", "ignore range"]), max_size=6
    ),
    start=st.integers(0, 5000),
)
def test_any_mixture_of_trouble(server: FileServer, tmp_path: Path, moods: list[str], start: int) -> None:
    folder = tmp_path / f"{len(server.asked)}-{random.random()}"
    folder.mkdir()
    remote = server.add("a.bin", BODY[:5000])
    (folder / "a.bin.part").write_bytes(BODY[:start])
    server.script = moods
    message = complaint(lambda: get(remote, folder))  # five tries without progress
    assert not message or "what has arrived is kept" in message
    server.script = []
    assert get(remote, folder).read_bytes() == BODY[:5000]


def test_interrupted_by_the_user_and_resumed_by_the_next_call(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = server.add("a.bin", BODY)
    server.script = ["cut 1500000"]

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(remote, tmp_path, wait=stop)
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:1500000]
    assert not (tmp_path / "a.bin").exists()
    assert get(remote, tmp_path).read_bytes() == BODY
    assert server.asked[-1] == ("/a.bin", "bytes=1500000-")


def test_server_without_ranges_starts_over(server: FileServer, tmp_path: Path) -> None:
    remote = server.add("a.bin", BODY)
    (tmp_path / "a.bin.part").write_bytes(b"wrong" * 100)
    server.script = ["ignore range"]
    assert get(remote, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("mood", ["", "ignore range"])
def test_a_page_in_place_of_the_file_does_not_replace_what_has_arrived(
    server: FileServer, tmp_path: Path, mood: str
) -> None:
    remote = server.add("a.bin", BODY)
    server.files["/moved/a.bin"] = b"<html>moved</html>"
    (tmp_path / "a.bin.part").write_bytes(BODY[:2_000_000])
    server.script = [mood]
    assert get(remote, tmp_path, mirrors=[f"{server.url}/moved"]).read_bytes() == BODY
    assert [wanted for _, wanted in server.asked] == ["bytes=2000000-"] * 2


def test_part_that_is_whole_or_too_long(server: FileServer, tmp_path: Path) -> None:
    remote = server.add("a.bin", BODY)
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert get(remote, tmp_path).read_bytes() == BODY
    (tmp_path / "a.bin").unlink()
    (tmp_path / "a.bin.part").write_bytes(BODY + b"more")
    assert get(remote, tmp_path).read_bytes() == BODY


def test_wrong_bytes_are_dropped_and_the_next_address_asked(server: FileServer, tmp_path: Path) -> None:
    right = server.add("good/a.bin", BODY)
    server.add("bad/a.bin", b"y" + BODY[1:])
    remote = replace(right, name="a.bin", urls=(f"{server.url}/bad/a.bin", f"{server.url}/good/a.bin"))
    assert get(remote, tmp_path).read_bytes() == BODY
    assert server.asked == [("/bad/a.bin", None), ("/good/a.bin", None)]


def test_wrong_bytes_everywhere(server: FileServer, tmp_path: Path) -> None:
    remote = replace(server.add("a.bin", BODY), md5="0" * 32)
    message = complaint(lambda: get(remote, tmp_path))
    assert "not 00000000000000000000000000000000" in message
    assert "\n" not in message
    assert os.listdir(tmp_path) == []


def test_mirrors_come_first_and_may_fail(server: FileServer, tmp_path: Path) -> None:
    remote = server.add("a.bin", BODY)
    server.files["/mirror/a.bin"] = BODY
    get(remote, tmp_path / "1", mirrors=[f"{server.url}/mirror/"])
    assert [path for path, _ in server.asked] == ["/mirror/a.bin"]
    get(remote, tmp_path / "2", mirrors=["ftp://127.0.0.1/x", f"{server.url}/none"])
    assert [path for path, _ in server.asked[1:]] == ["/none/a.bin", "/a.bin"]


def test_nobody_answers(tmp_path: Path, server: FileServer) -> None:
    waits: list[float] = []
    remote = Remote("a.bin", "0" * 32, 10, ("http://127.0.0.1:9/a.bin",))
    message = complaint(lambda: fetch(remote, tmp_path, wait=waits.append))
    assert "no connection" in message
    assert "put the file into" in message
    assert waits == [2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("mood", ["other range", "status 404", "endless"])
def test_servers_that_cannot_be_used(server: FileServer, tmp_path: Path, mood: str) -> None:
    remote = server.add("a.bin", BODY[:1000])
    (tmp_path / "a.bin.part").write_bytes(BODY[:100])
    server.script = [mood]
    message = complaint(lambda: get(remote, tmp_path))
    assert {"other range": "another part", "status 404": "404", "endless": "far more"}[mood] in message
    assert (tmp_path / "a.bin.part").stat().st_size < 3_000_000


class FullDisk:
    """A file on a disk that takes `room` more bytes."""

    room = 0

    def __init__(self, file) -> None:
        self.file = file

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        fits = data[: FullDisk.room]
        FullDisk.room -= len(fits)
        self.file.write(fits)
        self.file.flush()
        if len(fits) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(fits)


def test_full_disk_keeps_what_arrived(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = server.add("a.bin", BODY)
    with monkeypatch.context() as patch:
        FullDisk.room = 1_200_000
        patch.setattr(download, "open", lambda *args: FullDisk(open(*args)), raising=False)  # noqa: SIM115
        message = complaint(lambda: get(remote, tmp_path))
    assert "the disk is full" in message
    assert "\n" not in message
    assert (tmp_path / "a.bin.part").read_bytes() == BODY[:1_200_000]
    assert get(remote, tmp_path).read_bytes() == BODY
    assert server.asked[-1] == ("/a.bin", "bytes=1200000-")


def test_too_little_space_is_told_before_the_first_byte(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = replace(server.add("a.bin", BODY), size=5_000_000_000)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, 2_000_000_000))
    assert "needs 5.0 GB more, only 2.0 GB are free" in complaint(lambda: get(remote, tmp_path))
    assert server.asked == []


def test_a_file_already_there_is_checked_once(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = server.add("a.bin", BODY)
    (tmp_path / "a.bin").write_bytes(b"other")
    assert "its MD5 is not" in complaint(lambda: get(remote, tmp_path))
    (tmp_path / "a.bin").write_bytes(BODY)
    assert get(remote, tmp_path) == tmp_path / "a.bin"
    assert server.asked == []
    monkeypatch.setattr(download, "_md5", lambda *_: pytest.fail("read again"))
    assert is_genuine(tmp_path / "a.bin", remote.md5)


def test_changed_since_it_was_checked(tmp_path: Path, server: FileServer) -> None:
    remote = server.add("a.bin", BODY)
    get(remote, tmp_path)
    (tmp_path / "a.bin").write_bytes(BODY[:-1] + b"?")
    assert not is_genuine(tmp_path / "a.bin", remote.md5)


def test_a_file_where_the_folder_should_be(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    assert "a file stands where" in complaint(lambda: get(server.add("a.bin", BODY), tmp_path / "taken"))


def test_a_host_that_refuses_makes_way_for_the_next(server: FileServer, tmp_path: Path) -> None:
    """Two tries, not five, while another address is left; what has arrived is taken along."""
    remote = server.add("a.bin", BODY)
    server.files["/refuses/a.bin"] = BODY
    remote = replace(remote, urls=(f"{server.url}/refuses/a.bin", "http://127.0.0.1:9/a.bin", *remote.urls))
    server.script = ["cut 700000", "status 503", "status 503"]
    waits: list[float] = []
    assert fetch(remote, tmp_path, wait=waits.append).read_bytes() == BODY
    assert server.asked == [
        ("/refuses/a.bin", None),
        *[("/refuses/a.bin", "bytes=700000-")] * 2,
        ("/a.bin", "bytes=700000-"),
    ]
    assert waits == [1.0, 2.0, 2.0]


def test_a_slow_host_makes_way_and_is_asked_again(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = server.add("a.bin", BODY)
    remote = replace(remote, urls=(*remote.urls, f"{server.url}/none/a.bin"))
    monkeypatch.setattr(download, "SLOW_AFTER", 0.0)
    monkeypatch.setattr(download, "SLOW", 10**15)
    assert get(remote, tmp_path).read_bytes() == BODY  # the other has none: with patience it comes from the first
    assert [path for path, _ in server.asked] == ["/a.bin", "/none/a.bin", "/a.bin"]
    assert server.asked[2][1] is not None
    monkeypatch.setattr(download, "SLOW", 1)
    assert get(remote, tmp_path / "again").read_bytes() == BODY
    assert len(server.asked) == 4


def test_why_each_address_failed(server: FileServer, tmp_path: Path) -> None:
    remote = server.add("a.bin", BODY)
    remote = replace(remote, urls=(f"{server.url}/none/a.bin", "http://127.0.0.1:9/a.bin"))
    message = complaint(lambda: get(remote, tmp_path))
    assert f"{server.url}/none/a.bin: the server answers 404" in message
    assert message.count("http://127.0.0.1:9/a.bin: no connection") == 1


def test_two_downloads_into_one_folder(server: FileServer, tmp_path: Path) -> None:
    """The second is told of the first; once that has ended it finds the file there."""
    remote = server.add("a.bin", BODY)
    told: list[str] = []
    server.script = ["cut 1000000"]
    second = lambda seconds: told.append(complaint(lambda: get(remote, tmp_path)))  # noqa: E731
    assert download.fetch(remote, tmp_path, wait=second).read_bytes() == BODY
    assert "another download" in told[0]
    assert "is writing here" in told[0]
    assert get(remote, tmp_path).read_bytes() == BODY
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.bin.md5.json"]


def test_what_grows_is_never_a_link(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"needed")
    (tmp_path / "a.bin.part").symlink_to("precious")
    assert "a link or a pipe" in complaint(lambda: get(server.add("a.bin", BODY), tmp_path))
    assert (tmp_path / "precious").read_bytes() == b"needed"

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest

from tests.data.builders import complaint
from tests.data.fetch.server import FileServer, file_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with file_server() as running:
        yield running


@pytest.fixture
def calls_while_the_disk_fills(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """How many calls of `work` it takes while each may finish seven files before the disk is full; `check` follows
    every call that was cut off."""
    real = os.replace

    def count(work: Callable[[], object], *, check: Callable[[], None]) -> int:
        left = 0

        def full(source: str, target: str) -> None:
            nonlocal left
            if left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left -= 1
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            for calls in range(1, 40):
                left = 7
                message = complaint(work)
                if not message:
                    return calls
                assert "the disk is full" in message
                check()
        raise AssertionError("it is never done")

    return count

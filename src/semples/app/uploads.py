"""What is sent to the page: read whole before anything is written, in all no more than fits, and soon gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

LONGEST_NAME = 200  # bytes of a file's name
AT_ONCE = 8  # photos that are being sent, or wait for their turn, of the largest size
UNASKED_SECONDS = 60  # how long a file lies that nobody asks about
ASKED_SECONDS = 600  # and one that waits for its turn


class Refused(Exception):
    """A request that is turned away: status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


class Uploads:
    """The files that lie in the page's folder because somebody has sent them. most: bytes of the largest photo."""

    def __init__(self, most: int) -> None:
        self._limit = AT_ONCE * most
        self._coming = 0
        self._lying: dict[str, tuple[int, asyncio.TimerHandle]] = {}

    async def whole(self, request: Request, length: int) -> bytes:
        """The body of an upload. Raises Refused, and ClientDisconnect where it breaks off: nothing is written then."""
        if self._coming + length + self._bytes() > self._limit:
            raise Refused(503, "many photos are waiting; try again in a minute")
        self._coming += length
        try:
            body = await request.body()
        finally:
            self._coming -= length
        if len(body) != length:
            raise Refused(400, "the photo did not arrive whole; send it once more")
        return body

    async def check(self, scope: Request, body: bytes) -> None:
        """Raises Refused for a body that is no form with one file of a usable name."""
        request = Request(scope.scope, replay(body, scope.receive))
        try:
            async with request.form(max_files=1, max_fields=0) as form:
                files = form.getlist("files")
                names = [getattr(file, "filename", None) for file in files]
                if len(form) != 1 or len(files) != 1:
                    raise Refused(400, "send one photo at a time")
        except (MultiPartException, HTTPException, AssertionError, ValueError, KeyError, AttributeError):
            raise Refused(400, "not a file that a page has sent") from None
        name = Path(str(names[0] or "").replace("\\", "/")).name
        if not name.strip(" .") or len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME or "\0" in name:
            raise Refused(400, "this file has no usable name; rename it")

    def arrived(self, answer: bytes) -> None:
        """Note the files that an answer names, which go where nobody asks about them."""
        with contextlib.suppress(ValueError):
            told = json.loads(answer)
            for path in told if isinstance(told, list) else ():
                self._keep(str(path), UNASKED_SECONDS)

    def asked(self, paths: Iterable[object]) -> None:
        """Note that these files wait for their turn."""
        for path in paths:
            if isinstance(path, str) and path in self._lying:
                self._keep(path, ASKED_SECONDS)

    def _keep(self, path: str, seconds: float) -> None:
        before = self._lying.pop(path, None)
        if before is not None:
            before[1].cancel()
        with contextlib.suppress(OSError):
            size = Path(path).stat().st_size
            timer = asyncio.get_running_loop().call_later(seconds, self._drop, path)
            self._lying[path] = size, timer

    def _drop(self, path: str) -> None:
        self._lying.pop(path, None)
        with contextlib.suppress(OSError):
            Path(path).unlink(missing_ok=True)

    def _bytes(self) -> int:
        """What lies there; what has been read is deleted by then."""
        for path in [path for path in self._lying if not Path(path).exists()]:
            self._lying.pop(path)[1].cancel()
        return sum(size for size, _ in self._lying.values())


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


__all__ = ["ClientDisconnect", "Refused", "Uploads", "replay"]

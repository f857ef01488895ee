"""The door of `semples app`: what a browser with the page needs passes, and nothing else.

gradio answers many requests that this page never makes: it fetches addresses, forwards to other servers, takes paths of
files. Only those listed here pass. A page of another site is kept out by what browsers say of a request's origin, a
request is read only where its length is known and small enough, and files are named only inside the page's own folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semples.app.answer import MEGABYTE

API = "/gradio_api/"
PAGES = frozenset({"/", "/config", "/theme.css", "/manifest.json", "/favicon.ico"})
FROZEN = ("/assets/", "/static/")  # gradio's own files
GET = tuple(API + name for name in ("heartbeat/", "queue/data", "upload_progress"))
FILE = API + "file="
UPLOAD, JOIN = API + "upload", API + "queue/join"
POST = frozenset({UPLOAD, JOIN})
WRAPPING = 64_000  # bytes of a request beside the photo
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Guard:
    """Middleware. `folder`: where files may be named; `most`: bytes of the largest photo."""

    def __init__(self, app: ASGIApp, *, folder: Path, most: int) -> None:
        self._app, self._folder, self._most = app, folder, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request, path = Request(scope, receive), scope["path"]
        refusal = self._refusal(request)
        if refusal is None and path == JOIN:
            try:
                body = await request.body()
            except ClientDisconnect:
                return
            receive = _replay(body, receive)
            if not self._names_own_files(body):
                refusal = 403, "no such file"
        if refusal is not None:
            await PlainTextResponse(refusal[1], refusal[0], headers=HEADERS)(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if not path.startswith(FROZEN):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, answer)

    def _refusal(self, request: Request) -> tuple[int, str] | None:
        path = request.scope["path"]
        if not _same_site(request):
            return 403, "pages of other sites cannot use this one"
        if request.method in ("GET", "HEAD"):
            if path.startswith(FILE):
                return None if self._has(path.removeprefix(FILE)) else (403, "no such file")
            return None if path in PAGES or path.startswith((*FROZEN, *GET)) else (404, "not found")
        if request.method != "POST" or path not in POST:
            return 404, "not found"
        length = request.headers.get("content-length", "")
        if not length.isdigit() or "transfer-encoding" in request.headers:
            return 411, "a request must say how long it is"
        if int(length) > WRAPPING + (self._most if path == UPLOAD else 0):
            return 413, f"this file is larger than {self._most / MEGABYTE:g} megabytes; make the photo smaller"
        return None

    def _names_own_files(self, body: bytes) -> bool:
        try:
            return all(map(self._has, _named(json.loads(body))))
        except (ValueError, RecursionError):  # not JSON, or nested without end
            return False

    def _has(self, path: object) -> bool:
        return isinstance(path, str) and "\0" not in path and Path(path).resolve().is_relative_to(self._folder)


def _same_site(request: Request) -> bool:
    """Whether no page of another site sent this: browsers tell. A link to the page itself may stand anywhere."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if request.scope["path"] == "/" and request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate":
        return True
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _named(told: Any) -> Iterator[Any]:
    """Every file that a request names."""
    if isinstance(told, dict):
        if told.get("path") is not None:
            yield told["path"]
        for value in told.values():
            yield from _named(value)
    elif isinstance(told, list):
        for value in told:
            yield from _named(value)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again

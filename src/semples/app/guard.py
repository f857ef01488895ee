"""The door of `semples app`: what a browser with the page needs passes, and nothing else.

gradio answers many requests that this page never makes: it fetches addresses, forwards to other servers, takes paths of
files. Only those listed here pass. A page of another site is kept out by what browsers say of a request's origin, a
request is read only where its length is known and small enough, and files are named only inside the page's own folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semples.app.answer import MEGABYTE
from semples.app.uploads import ClientDisconnect, Refused, Uploads, replay

API = "/gradio_api/"
PAGES = frozenset({"/", "/config", "/theme.css", "/manifest.json", "/favicon.ico"})
FROZEN = ("/assets/", "/static/")  # gradio's own files
GET = tuple(API + name for name in ("heartbeat/", "queue/data", "upload_progress"))
FILE = API + "file="
UPLOAD, JOIN = API + "upload", API + "queue/join"
POST = frozenset({UPLOAD, JOIN})
WRAPPING = 64_000  # bytes of a request beside the photo
LONGEST_PATH = 4000
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
NONSENSE = "this request makes no sense here"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; object-src 'none'; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Guard:
    """Middleware. `folder`: where files may be named; `most`: bytes of the largest photo; `events`: the things
    that the page may ask for, each with its `inputs` (gradio's components), by number."""

    def __init__(self, app: ASGIApp, *, folder: Path, most: int, events: Callable[[], Mapping[int, Any]]) -> None:
        self._app, self._folder, self._most, self._events = app, folder, most, events
        self._uploads = Uploads(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request, path = Request(scope, receive), scope["path"]
        try:
            refusal = self._refusal(request)
            if refusal is not None:
                raise Refused(*refusal)
            if path == UPLOAD:
                body = await self._uploads.whole(request, int(request.headers["content-length"]))
                await self._uploads.check(request, body)
                receive = replay(body, receive)
            elif path == JOIN:
                body = await request.body()
                self._check_join(body)
                receive = replay(body, receive)
        except ClientDisconnect:
            return
        except Refused as refused:
            await PlainTextResponse(refused.line, refused.status, headers=HEADERS)(scope, receive, send)
            return
        answer = _Answer(send, path, self._uploads)
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 (gradio's own, on a request that no page sends)
            if not answer.begun:
                await PlainTextResponse(NONSENSE, 400, headers=HEADERS)(scope, receive, send)

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
        if not length.isascii() or not length.isdigit() or len(length) > 15 or "transfer-encoding" in request.headers:
            return 411, "a request must say how long it is"
        if int(length) > WRAPPING + (self._most if path == UPLOAD else 0):
            return 413, f"this file is larger than {self._most / MEGABYTE:g} megabytes; make the photo smaller"
        return None

    def _check_join(self, body: bytes) -> None:
        """Raises Refused for what no page asks, and where it names files of others."""
        try:
            told = json.loads(body)
            named = list(_named(told))
        except (ValueError, RecursionError):  # not JSON, or nested without end
            raise Refused(403, "no such file") from None
        if not all(map(self._has, named)):
            raise Refused(403, "no such file")
        if not isinstance(told, dict) or not isinstance(told.get("data"), list):
            raise Refused(400, NONSENSE)
        number, session = told.get("fn_index"), told.get("session_hash")
        if type(number) is not int or number not in self._events():
            raise Refused(400, NONSENSE)
        inputs = self._events()[number].inputs
        if len(inputs) != len(told["data"]) or not all(map(_may_hold, inputs, told["data"])):
            raise Refused(400, NONSENSE)
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            raise Refused(400, NONSENSE)
        self._uploads.asked(named)

    def _has(self, path: object) -> bool:
        """Whether a path lies in the page's folder."""
        if not isinstance(path, str) or "\0" in path or len(path) > LONGEST_PATH:
            return False
        try:
            return Path(path).resolve().is_relative_to(self._folder)
        except (OSError, RuntimeError, ValueError):  # too long, a ring of links, no text
            return False


def _may_hold(component: Any, value: Any) -> bool:
    """Whether a slider of the page can stand at a value, a choice be made; anything for other parts of the page."""
    kind = type(component).__name__
    if kind == "Slider":
        return type(value) in (int, float) and component.minimum <= value <= component.maximum
    if kind == "Radio":
        return isinstance(value, str) and any(value == choice for _, choice in component.choices)
    return True


def _same_site(request: Request) -> bool:
    """Whether no page of another site sent this: browsers tell. A link to the page itself may stand anywhere."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if request.scope["path"] == "/" and request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate":
        return True
    if site is not None:
        return site in ("same-origin", "none")
    return origin is None or origin.casefold() == f"{request.url.scheme}://{request.headers.get('host', '')}".casefold()


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


class _Answer:
    """A `send` with this page's headers. What a failure of the program behind says of itself stays here."""

    def __init__(self, send: Send, path: str, uploads: Uploads) -> None:
        self._send, self._path, self._uploads = send, path, uploads
        self.begun = False  # whether anything has been sent
        self._dropped = False
        self._kept = bytearray()  # of the answer to an upload: the files' names
        self._good = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if message["status"] == 500:
                self._dropped = True
                message = {"type": "http.response.start", "status": 400, "headers": []}
                headers = MutableHeaders(scope=message)
                headers["Content-Type"] = "text/plain; charset=utf-8"
                headers["Content-Length"] = str(len(NONSENSE))
            headers.update(HEADERS)
            if not self._path.startswith(FROZEN):
                headers["Cache-Control"] = "no-store"
            self._good = message["status"] == 200
        elif message["type"] == "http.response.body" and self._dropped:
            if message.get("more_body"):
                return
            message = {"type": "http.response.body", "body": NONSENSE.encode()}
        elif message["type"] == "http.response.body" and self._path == UPLOAD and self._good:
            self._kept += message.get("body", b"")
            if not message.get("more_body"):
                self._uploads.arrived(bytes(self._kept))
        await self._send(message)

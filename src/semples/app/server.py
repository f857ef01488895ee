"""The server of `semples app`: gradio's page behind a guard, on this machine alone unless told otherwise.

Photos are computed one at a time. Nothing is asked of another server, neither by the page nor by the program, and what
is sent lies in a folder of its own that goes with the program.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from semples.app.answer import Limits
from semples.app.guard import Guard
from semples.app.page import CSS, SCRIPT, build_page
from semples.core.errors import UserError
from semples.core.signals import STOPPING, set_handlers
from semples.core.systems import WINDOWS, open_flags, try_lock
from semples.prediction.model import Model

LOCAL = ("127.0.0.1", "localhost")
# gradio's own copy of a font; of its half-bold ones some letters are missing
FONT = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "sans-serif")
PREFIX, LOCK = "semples-app-", ".lock"
YOUNG_SECONDS = 600  # a folder without a lock of this age is nobody's
PATIENCE = 10  # seconds that a photo being computed has when the program is ended


@contextmanager
def private_folder() -> Iterator[Path]:
    """The folder for what is sent and answered, told to gradio by its environment variable; it goes at the end.

    Folders that programs left which were killed are swept first: a lock tells them from those in use.
    """
    sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as made:
        with open(Path(made) / LOCK, "w", encoding="utf-8") as lock:
            try_lock(lock.fileno(), shared=False)
            folder = Path(made).resolve() / "files"
            folder.mkdir()
            before = os.environ.get("GRADIO_TEMP_DIR")
            os.environ["GRADIO_TEMP_DIR"] = str(folder)
            try:
                yield folder
            finally:
                if before is None:
                    del os.environ["GRADIO_TEMP_DIR"]
                else:
                    os.environ["GRADIO_TEMP_DIR"] = before


def sweep(place: Path) -> None:
    """Remove what killed programs of this user have left in `place`."""
    for folder in place.glob(f"{PREFIX}*"):
        try:
            about = folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != _me():
                continue
            lock = os.open(folder / LOCK, os.O_RDONLY | open_flags("O_NOFOLLOW", "O_NONBLOCK"))
        except FileNotFoundError:  # being made at this moment, or killed then
            if time.time() - about.st_mtime > YOUNG_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        except OSError:
            continue
        try:
            unused = try_lock(lock, shared=False)
            if unused:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
        if unused and WINDOWS:  # it removes no open file
            shutil.rmtree(folder, ignore_errors=True)


def _me() -> int:
    """Number of this user as files bear it; 0, as all of them bear it, on Windows."""
    return os.getuid() if hasattr(os, "getuid") else 0


@dataclass(frozen=True)
class Made:
    """A page, what it looks like (CSS, and a script for its head), and the limits of what is sent to it."""

    build: Callable[[Path], gr.Blocks]
    css: str = CSS
    head: str = SCRIPT
    limits: Limits = field(default_factory=Limits)


def page_of(model: Model, *, name: str, limits: Limits) -> Made:
    """The page of a model."""
    return Made(lambda folder: build_page(model, name=name, limits=limits, folder=folder), limits=limits)


def build_app(made: Made, *, hosts: Sequence[str], folder: Path) -> FastAPI:
    """The web application. `hosts`: names of this server that requests may carry, `*` for any."""
    page, limits = made.build(folder), made.limits
    guards = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
        Middleware(Guard, folder=folder, most=limits.bytes, events=lambda: page.fns),
    ]
    app = FastAPI(middleware=guards, docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=limits.bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(primary_hue="blue", font=FONT, font_mono=FONT),
        css=made.css,
        head=made.head,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for browsers; port 0 takes any free one. Raises UserError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from None


def make_server(made: Made, *, host: str, folder: Path) -> uvicorn.Server:
    """What answers on a socket that listens on `host`."""
    app = build_app(made, hosts=LOCAL if host in LOCAL else ["*"], folder=folder)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=PATIENCE
    )
    return _Server(config, app)


class _Server(uvicorn.Server):
    """A server that ends though pages are open."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._mounted = [route.app for route in app.routes if isinstance(route, Mount)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what gradio keeps open for every page, then as usual."""
        for app in self._mounted:
            if isinstance(app, gr.routes.App):
                app.stop_event.set()
        await super().shutdown(sockets)


def serve(made: Made, sock: socket.socket) -> None:
    """Answer until the program is interrupted."""
    with private_folder() as folder:
        try:
            host = sock.getsockname()[0]
            server = make_server(made, host=host, folder=folder)
            with _ended_by_signals(server):
                server.run(sockets=[sock])
        except KeyboardInterrupt:
            return


@contextmanager
def _ended_by_signals(server: uvicorn.Server) -> Iterator[None]:
    """SIGTERM, and SIGHUP where it is not ignored (`nohup`), end the server in good order, so that its folder goes.

    uvicorn raises a signal once more when it has ended; the handlers of before would then end the program at once.
    """

    def end(*_: object) -> None:
        server.should_exit = True

    before = set_handlers(STOPPING, end)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)

"""The server of `semples app`: gradio's page behind a guard, on this machine alone unless told otherwise.

Photos are computed one at a time. Nothing is asked of another server, neither by the page nor by the program, and what
is sent lies in a folder of its own that goes with the program.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from semples.prediction.model import Model

LOCAL = ("127.0.0.1", "localhost")
# gradio's own copy of a font; of its half-bold ones some letters are missing
FONT = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "sans-serif")
PATIENCE = 10  # seconds that a photo being computed has when the program is ended


@contextmanager
def private_folder() -> Iterator[Path]:
    """The folder for what is sent and answered, told to gradio by its environment variable; it goes at the end."""
    with tempfile.TemporaryDirectory(prefix="semples-app-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        try:
            yield folder
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def build_app(model: Model, *, name: str, limits: Limits, hosts: Sequence[str], folder: Path) -> FastAPI:
    """The web application. `hosts`: names of this server that requests may carry, `*` for any."""
    guards = [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
        Middleware(Guard, folder=folder, most=limits.bytes),
    ]
    app = FastAPI(middleware=guards, docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(
        app,
        build_page(model, name=name, limits=limits, folder=folder),
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
        css=CSS,
        head=SCRIPT,
    )


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for browsers; port 0 takes any free one. Raises UserError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from None


def make_server(model: Model, *, name: str, limits: Limits, host: str, folder: Path) -> uvicorn.Server:
    """What answers on a socket that listens on `host`."""
    app = build_app(model, name=name, limits=limits, hosts=LOCAL if host in LOCAL else ["*"], folder=folder)
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


def serve(model: Model, sock: socket.socket, *, name: str, limits: Limits) -> None:
    """Answer until the program is interrupted."""
    with private_folder() as folder:
        try:
            host = sock.getsockname()[0]
            make_server(model, name=name, limits=limits, host=host, folder=folder).run(sockets=[sock])
        except KeyboardInterrupt:
            return

"""The page of `semples app`: a photo goes in, label map, picture and areas come out; nothing is kept or sent elsewhere.

    GET  /            the page, with its own script and style; it asks no other server for anything
    GET  /about       classes, colours, limits (JSON)
    POST /predict     a photo's bytes -> pictures and areas (JSON), or {"error": one line}

One photo is computed at a time. A page of another site cannot use the server: a photo must carry the header
`X-File-Name`, which browsers let other sites send only where a server allows it, and while it listens on this machine
alone only requests to this machine's own name are answered.
"""

from __future__ import annotations

import base64
import io
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import numpy as np
import uvicorn
from anyio import to_thread
from numpy.typing import NDArray
from PIL import Image
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from semples.data.photos import probe, read_photo
from semples.errors import UserError
from semples.export.gallery import Options, overlay
from semples.palette import label_png, voc_palette
from semples.prediction.job import count_labels
from semples.prediction.model import Model
from semples.segmenter.build import BACKGROUND
from semples.steps.cams import reduced

SHOWN_SIDE = 1400  # longest side of the pictures on the page, pixels
WAITING = 8  # photos that may wait for their turn
LOCAL = ("127.0.0.1", "localhost")
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Limits:
    """The largest photo that is taken: bytes of its file, and megapixels."""

    megabytes: float = 25.0
    megapixels: float = 40.0


class _Refused(Exception):
    """A photo that is not taken: the line to show, and the HTTP status."""

    def __init__(self, line: str, status: int = 422) -> None:
        super().__init__(line)
        self.status = status


def build_app(model: Model, *, name: str, limits: Limits, hosts: Sequence[str]) -> Starlette:
    """The web application. `hosts`: names of this server that requests may carry, `*` for any."""
    turns = anyio.CapacityLimiter(1)

    async def page(request: Request) -> Response:
        file, kind = PAGE[request.url.path]
        text = (resources.files("semples.app") / file).read_text(encoding="utf-8")
        return Response(text, media_type=kind, headers=HEADERS)

    async def about(request: Request) -> Response:
        return JSONResponse(_about(model, name, limits), headers=HEADERS)

    async def predict(request: Request) -> Response:
        try:
            file_name = request.headers.get("x-file-name")
            if file_name is None:
                raise _Refused("the header X-File-Name is missing", 400)
            data = await _body(request, limits)
            words = request.query_params.getlist("tag")
            if turns.statistics().tasks_waiting >= WAITING:
                raise _Refused("too many photos are waiting; try again in a moment", 503)
            answer = await to_thread.run_sync(
                lambda: _predict(model, data, unquote(file_name), words, limits), limiter=turns
            )
        except _Refused as refusal:
            return JSONResponse({"error": str(refusal)}, refusal.status, headers=HEADERS)
        except ClientDisconnect:
            return Response(status_code=400)
        return JSONResponse(answer, headers=HEADERS)

    routes = [Route(path, page) for path in PAGE]
    routes += [Route("/about", about), Route("/predict", predict, methods=["POST"])]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for browsers; port 0 takes any free one. Raises UserError."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port") from None


def make_server(model: Model, *, name: str, limits: Limits, host: str) -> uvicorn.Server:
    """What answers on a socket that listens on `host`."""
    app = build_app(model, name=name, limits=limits, hosts=LOCAL if host in LOCAL else ["*"])
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    return uvicorn.Server(config)


def serve(model: Model, sock: socket.socket, *, name: str, limits: Limits) -> None:
    """Answer until the program is interrupted."""
    try:
        make_server(model, name=name, limits=limits, host=sock.getsockname()[0]).run(sockets=[sock])
    except KeyboardInterrupt:
        return


# ------------------------------------------------------------------------------------------------------------- work


def _about(model: Model, name: str, limits: Limits) -> dict[str, Any]:
    colours = voc_palette()
    return {
        "name": name,
        "classes": [
            {"name": word, "colour": "#" + bytes(colours[label]).hex()} for label, word in enumerate(model.classes, 1)
        ],
        "needs_tags": model.needs_tags,
        "megabytes": limits.megabytes,
        "megapixels": limits.megapixels,
    }


async def _body(request: Request, limits: Limits) -> bytes:
    """The photo's bytes, never more than the limit."""
    most = int(limits.megabytes * 1e6)
    length = request.headers.get("content-length", "")
    found = bytearray()
    if not (length.isdigit() and int(length) > most):
        async for chunk in request.stream():
            found += chunk
            if len(found) > most:
                break
        else:
            return bytes(found)
    raise _Refused(f"this file is larger than {limits.megabytes:g} megabytes; make the photo smaller", 413)


def _predict(model: Model, data: bytes, name: str, words: Sequence[str], limits: Limits) -> dict[str, Any]:
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo"
        path.write_bytes(data)
        try:
            width, height = probe(path, max_megapixels=float("inf"))
            megapixels = width * height / 1e6
            if megapixels > limits.megapixels:
                raise _Refused(
                    f"{width} x {height} pixels are {megapixels:.4g} megapixels; this page takes photos of up to "
                    f"{limits.megapixels:g}: make it smaller, or use semples predict",
                    413,
                )
            photo = read_photo(path, max_megapixels=limits.megapixels)
            labels = model.predict(photo, tags=list(words) or None)
        except UserError as error:
            raise _Refused(str(error).removeprefix(f"{path}: ")) from None
    picture = reduced(photo, max_side=SHOWN_SIDE)
    areas = count_labels(labels, len(model.classes) + 1)
    return {
        "name": Path(name).name[:200],
        "width": labels.shape[1],
        "height": labels.shape[0],
        "seconds": round(time.perf_counter() - begin, 2),
        "classes": [
            {"name": word, "label": label, "pixels": areas[label], "share": areas[label] / labels.size}
            for label, word in enumerate((BACKGROUND, *model.classes))
            if areas[label]
        ],
        "picture": _data_url(_jpeg(picture), "jpeg"),
        "layer": _data_url(_layer(labels, (picture.shape[1], picture.shape[0])), "png"),
        "labels": _data_url(label_png(labels), "png"),
        "overlay": _data_url(_jpeg(overlay(picture, labels, Options(max_side=SHOWN_SIDE))), "jpeg"),
    }


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def _layer(labels: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    """The labels' colours at the size shown, background transparent."""
    image = Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST)
    image.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    return buffer.getvalue()


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"

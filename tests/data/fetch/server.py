"""A file server on 127.0.0.1 that supports ranges and misbehaves on request."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from semples.data.fetch.download import Remote


class FileServer:
    """Serves `files` (path: bytes). `script` holds what happens to the next requests, one entry each, then all is well:
    "cut N" (N bytes, then the connection closes), "status N", "ignore range", "other range", "endless".
    `asked` records (path, Range header)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.script: list[str] = []
        self.asked: list[tuple[str, str | None]] = []

    def add(self, name: str, data: bytes) -> Remote:
        self.files[f"/{name}"] = data
        return Remote(name, hashlib.md5(data).hexdigest(), len(data), (f"{self.url}/{name}",))


@contextmanager
def file_server() -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            mood = server.script.pop(0) if server.script else ""
            data = server.files.get(self.path)
            if mood.startswith("status"):
                return self.send_error(int(mood.split()[1]))
            if data is None:
                return self.send_error(404)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if wanted and mood != "ignore range":
                if start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                told = start + 1 if mood == "other range" else start
                self.send_header("Content-Range", f"bytes {told}-{len(data) - 1}/{len(data)}")
            else:
                start = 0
                self.send_response(200)
            body = data[start:]
            if mood == "endless":
                body = body + b"x" * 3_000_000
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: int(mood.split()[1])] if mood.startswith("cut") else body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = FileServer(f"http://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()

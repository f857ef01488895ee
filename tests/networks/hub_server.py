"""A server that answers as the Hugging Face hub does, for its own client."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hub:
    """Its address, files by repository, and the repositories that answer with an error (status, X-Error-Code)."""

    url: str
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def hub_server() -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            if self.path == "/":
                return self.give(b"hub", body)
            if self.path.startswith("/api/models/"):
                repo = self.path.removeprefix("/api/models/")
                names = [{"rfilename": name} for name in hub.files.get(repo, {})]
                return self.give(json.dumps({"siblings": names}).encode(), body)
            repo, _, rest = self.path[1:].partition("/resolve/")
            name = rest.partition("/")[2]
            if repo in hub.errors:
                return self.refuse(*hub.errors[repo])
            if repo not in hub.files:
                return self.refuse(401, "RepoNotFound")
            if name not in hub.files[repo]:
                return self.refuse(404, "EntryNotFound")
            self.give(hub.files[repo][name], body)

        def give(self, data: bytes, body: bool) -> None:
            self.send_response(200)
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()

"""A page without a browser: it sends what the page in the browser sends."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx

UPLOAD = "/gradio_api/upload"
JOIN = "/gradio_api/queue/join"


@dataclass(frozen=True)
class Said:
    """What the page shows: its line, whether that is an error, the classes with their pixels, and addresses of files.

    layers: addresses of the photo and of a picture of every class found; None where no result is shown.
    """

    line: str
    error: bool
    areas: list[list[str]]
    layers: list[tuple[str, str]] | None
    files: list[str]


class Client:
    """One open page."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=60, trust_env=False)
        self.session = secrets.token_hex(6)
        events = self.http.get("/config").json()["dependencies"]
        self.events = {target[1]: event["id"] for event in events for target in event["targets"]}

    def upload(self, data: bytes, name: str = "p.png") -> httpx.Response:
        """Send a file."""
        return self.http.post(UPLOAD, files={"files": (name, data)})

    def join(self, event: str, *data: Any) -> httpx.Response:
        """Ask for an event, `upload` or `input`."""
        body = {"data": data, "fn_index": self.events[event], "session_hash": self.session}
        return self.http.post(JOIN, json=body)

    def send(self, data: bytes, *tags: str, name: str = "p.png") -> Said:
        """Drop a photo."""
        answer = self.upload(data, name)
        assert answer.status_code == 200, answer.text
        return self.take(answer.json()[0], *tags, name=name)

    def take(self, path: str, *tags: str, name: str = "p.png") -> Said:
        """Ask what is in a file that was sent."""
        return self._said("upload", file_data(path, name), list(tags))

    def choose(self, *tags: str) -> Said:
        """Choose other tags."""
        return self._said("input", list(tags))

    def get(self, url: str) -> bytes:
        """A file of the answer."""
        answer = self.http.get(url)
        assert answer.status_code == 200, (url, answer.text)
        return answer.content

    def _said(self, event: str, *data: Any) -> Said:
        joined = self.join(event, *data)
        assert joined.status_code == 200, joined.text
        status, result, answered, areas, *files = self.output()[-7:]
        line = str(status["value"] if isinstance(status, dict) else status)
        layers = None
        if result.get("visible", True):
            value = result["value"]
            layers = [("", value["image"]["url"])]
            layers += [(layer["label"], layer["image"]["url"]) for layer in value["annotations"]]
        shown = answered.get("visible", True)
        return Said(
            line=unescape(re.sub("<[^>]*>", "", line)),
            error='class="error"' in line,
            areas=areas["data"] if shown else [],
            layers=layers,
            files=[file["url"] for file in files] if shown else [],
        )

    def output(self) -> list[Any]:
        """Wait for what a request came to."""
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                told = json.loads(line.removeprefix("data:")) if line else {}
                if told.get("msg") == "process_completed":
                    assert told["success"], told
                    output: list[Any] = told["output"]["data"]
                    return output
        raise AssertionError("no answer")


def file_data(path: str, name: str = "p.png") -> dict[str, Any]:
    """How a page names a file."""
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

"""A person in front of the review page, without a browser: what the browser sends, honestly and otherwise."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

import httpx

JOIN, DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"
PHOTO = re.compile(r"<b>(.*?)</b>")


class Page:
    """One open page of `semples app RUN --review`."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=60, trust_env=False)
        config = self.http.get("/config").json()
        names = {entry["id"]: entry["props"].get("elem_id") for entry in config["components"]}
        self.events = {
            (names.get(target[0]), target[1]): event["id"]
            for event in config["dependencies"]
            for target in event["targets"]
        }
        self.load = next(number for (_, event), number in self.events.items() if event == "load")
        self.session = secrets.token_hex(6)
        self.classes = next(
            [choice[0] for choice in entry["props"]["choices"]]
            for entry in config["components"]
            if entry["props"].get("elem_id") == "class"
        )

    def ask(self, number: Any, *data: Any, **more: Any) -> str | None:
        """The status line that an event leads to; None where it is refused or fails."""
        body = {"data": list(data), "fn_index": number, "session_hash": self.session, **more}
        if self.http.post(JOIN, content=json.dumps(body), headers={"Content-Type": "application/json"}).is_error:
            return None
        with self.http.stream("GET", DATA, params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                told = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if told.get("msg") == "process_completed" and told["success"]:
                    status = told["output"]["data"][1]
                    return str(status["value"] if isinstance(status, dict) else status)
                if told.get("msg") in ("process_completed", "unexpected_error", "close_stream"):
                    return None
        return None

    def open(self) -> str | None:
        """The status line of the page as it opens."""
        return self.ask(self.load)

    def click(self, word: Any, tool: Any, radius: Any, at: Any) -> str | None:
        """A click into the picture."""
        chosen = {"index": at, "value": None, "selected": True}
        return self.ask(self.events["canvas", "select"], None, word, tool, radius, event_data=chosen)

    def press(self, button: str) -> str | None:
        """One of the buttons."""
        return self.ask(self.events[button, "click"], None)

    def threshold(self, value: Any) -> str | None:
        """The slider, let go."""
        return self.ask(self.events["threshold", "release"], None, value)


def review_all(address: str) -> None:
    """Skip one photo, mend half, accept all. What is done in the end does not depend on where it was begun."""
    page = Page(address)
    status = page.open()
    if "(6 left)" in (status or ""):
        status = page.press("skip")
    for _ in range(50):
        photo = PHOTO.search(status or "")
        if photo is None or 'class="error"' in (status or ""):
            return
        if int(photo[1][-1]) % 2 == 0:
            page.click(page.classes[0], "middle region", 4, [200, 200])
            page.click(page.classes[1], "dot", 6, [400, 600])
            page.press("undo")
            page.threshold(0.5)
        status = page.press("accept")


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    1e308,
    float("nan"),
    10**30,
    "x",
    "\x1b[31m",
    "../../x",
    [],
    {},
    [[]],
    {"x": [1]},
)


def misuse(address: str) -> None:
    """Send what no browser sends; then mend a photo as if nothing had been."""
    page = Page(address)
    page.open()
    first = page.classes[0]
    for odd in ODD:
        page.click(first, "dot", 4, odd)
        page.click(first, "dot", 4, [odd, odd])
        page.click(odd, "large region", 4, [5, 5])
        page.click(first, odd, 4, [5, 5])
        page.click(first, "dot", odd, [5, 5])
        page.threshold(odd)
        page.ask(odd, None)
        page.ask(page.events["skip", "click"], odd)
        page.ask(page.events["skip", "click"], *([odd] * 50))
        page.ask(page.events["undo", "click"], odd, event_data=odd, trigger_id=odd, session_hash=odd)
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    page.ask(page.events["undo", "click"], None, event_data=deep)
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/file=../../../../etc/passwd", "/gradio_api/stream/x",
                 "/gradio_api/info", "/proxy=http://127.0.0.1:1/x", "/gradio_api/component_server"):  # fmt: skip
        answer = page.http.get(path)
        if answer.status_code == 200 and b"root:" in answer.content:
            raise AssertionError(f"{path} gives a file away")
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Content-Type": "text/plain"}):
        answer = page.http.post(JOIN, content=b"{}" * 40_000, headers=headers)
        if answer.status_code < 400:
            raise AssertionError(f"{headers} passes")
    honest = Page(address)
    status = honest.open()
    photo = PHOTO.search(status or "")
    if photo is None:
        raise AssertionError(f"no photo any more: {status}")
    status = honest.click(honest.classes[0], "dot", 6, [400, 400])
    if f"<b>{photo[1]}</b>" not in (status or "") or "step" not in (status or ""):
        raise AssertionError(f"an honest click comes to {status}")

"""The report opened in a real browser, and what its cards show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from semples.cams.store import CamStore
from semples.inspect.report.build import class_colours
from semples.labels.threshold import label_map
from semples.run.context import Context
from tests.inspect.report.material import CLASSES

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
COLOURS = np.array([[0, 0, 0], *([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in class_colours(len(CLASSES)))])

# Pixels of every card's canvas in the order shown, once all are drawn in the present view and setting.
READ_CARDS = """async (wanted) => {
  const cards = [...document.querySelectorAll(".card")];
  for (let turn = 0; turn < 400 && !cards.every((card) => (card.dataset.drawn || "") === wanted); turn++) {
    await new Promise((done) => setTimeout(done, 10));
  }
  const copy = document.createElement("canvas");
  const context = copy.getContext("2d", { willReadFrequently: true });
  return cards.map((card) => {
    const canvas = card.querySelector("canvas");
    Object.assign(copy, { width: canvas.width, height: canvas.height });
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return { id: card.title, drawn: card.dataset.drawn, width: canvas.width, height: canvas.height, data: [...data] };
  });
}"""


@dataclass
class Visit:
    """A page and all that went wrong on it."""

    page: Any
    troubles: list[str] = field(default_factory=list)

    def labels(self, *thresholds: int) -> dict[str, np.ndarray]:
        """The label maps that the cards show, read back from their pixels, once drawn at these thresholds."""
        self.page.keyboard.press("2")
        by_photo = {}
        for card in self.page.evaluate(READ_CARDS, f"labels {','.join(map(str, thresholds))}"):
            assert card["drawn"] == f"labels {','.join(map(str, thresholds))}"
            pixels = np.array(card["data"], np.uint8).reshape(card["height"], card["width"], 4)
            assert (pixels[..., 3] == 255).all()
            same = (pixels[..., None, :3] == COLOURS).all(axis=-1)
            assert same.any(axis=-1).all(), "a colour of no class"
            by_photo[card["id"]] = same.argmax(axis=-1)
        return by_photo

    def ids(self) -> list[str]:
        return self.page.eval_on_selector_all(".card", "cards => cards.map((card) => card.title)")

    def text(self, selector: str) -> str:
        return self.page.text_content(selector)


def opened(browser: Any, file: Path, **options: Any) -> Iterator[Visit]:
    """A visit that ends with the check that nothing went wrong and nothing was asked of the network."""
    context = browser.new_context(offline=True, permissions=["clipboard-read", "clipboard-write"], **options)
    visit = Visit(context.new_page())
    visit.page.on("console", lambda message: visit.troubles.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.troubles.append(str(error)))
    visit.page.on("request", lambda sent: sent.url.startswith(("data:", "file:")) or visit.troubles.append(sent.url))
    visit.page.goto(file.as_uri())
    visit.page.locator("#grid").scroll_into_view_if_needed()  # pictures are drawn once they are near the screen
    visit.page.wait_for_selector(".card[data-drawn]", timeout=10_000)
    yield visit
    assert visit.troubles == []
    context.close()


def expected_labels(context: Context, threshold: float) -> dict[str, np.ndarray]:
    """Label maps of the last stage, as the program makes them."""
    by_photo = {}
    for item in context.dataset.items:
        cams, shape = CamStore(context.folder("cams")).read_with_shape(item.id)
        assert shape is not None
        by_photo[item.id] = label_map(cams, shape, threshold=threshold)
    return by_photo


def assert_equal(shown: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert shown.keys() == expected.keys()
    for id, labels in expected.items():
        np.testing.assert_array_equal(shown[id], labels, err_msg=id)

"""The page in a real browser: a photo is dropped, others are refused, and nothing else is asked of the network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import semples
from tests import tiny
from tests.prediction import material

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
READ = """(id) => {
  const image = document.getElementById(id);
  const size = {width: image.naturalWidth, height: image.naturalHeight};
  const canvas = Object.assign(document.createElement("canvas"), size);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [canvas.width, canvas.height, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, served: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of a model (`segmenter`, or what the test names); ends with the check that nothing went wrong."""
    address = served[getattr(request, "param", "segmenter")]
    context = browser.new_context(viewport={"width": 1100, "height": 800}, accept_downloads=True)
    page, troubles = context.new_page(), []

    def message(found: Any) -> None:
        if "Failed to load resource" not in found.text:  # how the browser notes that a photo was refused
            troubles.append(found.text)

    page.on("console", message)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith((address, "data:", "blob:")) or troubles.append(sent.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    assert troubles == []
    context.close()


def until(page: Any, condition: str, *, seconds: float = 60) -> None:
    """Wait for a condition of the page; its rules forbid Playwright's own way, which compiles text in the page."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def pixels(page: Any, id: str) -> np.ndarray:
    until(page, f"document.getElementById('{id}').naturalWidth > 0")
    width, height, data = page.evaluate(READ, id)
    return np.array(data, np.uint8).reshape(height, width, 4)


def refusal(page: Any, file: Path | dict[str, Any]) -> str:
    page.set_input_files("#file", file)
    page.wait_for_selector("#error:not([hidden])", timeout=60_000)
    assert page.is_hidden("#answer")
    return str(page.text_content("#error"))


def test_a_photo_and_its_downloads(page: Any, photo: Path, tmp_path: Path) -> None:
    page.set_input_files("#file", photo)
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    shape = tiny.pixels(photo).shape
    layer = pixels(page, "layer")
    assert layer.shape[:2] == shape[:2]
    found = {}
    for kind in ("labels", "overlay", "areas"):
        with page.expect_download() as waiting:
            page.click(f"#get-{kind}")
        found[kind] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(found[kind])
    assert [path.name for path in found.values()] == ["p00_labels.png", "p00_overlay.jpg", "p00_areas.csv"]
    labels = tiny.pixels(found["labels"])
    np.testing.assert_array_equal(layer[..., 3] > 0, labels > 0)  # background is transparent
    assert len(np.unique(labels)) > 1
    lines = found["areas"].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "class,label,pixels,share"
    assert sum(int(line.split(",")[2]) for line in lines[1:]) == labels.size
    assert len(lines) - 1 == page.locator("#areas tr").count() == len(np.unique(labels))
    assert tiny.pixels(found["overlay"]).shape == shape
    page.fill("#opacity", "20")
    assert page.evaluate("getComputedStyle(document.getElementById('layer')).opacity") == "0.2"
    assert "<b>model</b>" in page.text_content("#model")


def test_only_chosen_classes_are_looked_for(page: Any, photo: Path) -> None:
    page.set_input_files("#file", photo)
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    page.click("#tags button:nth-child(2)")
    until(page, "document.querySelectorAll('#areas tr').length < 3 && !document.getElementById('answer').hidden")
    assert "disc" not in page.text_content("#areas")
    assert page.get_attribute("#tags button:nth-child(2)", "aria-pressed") == "true"


@pytest.mark.parametrize("page", ["run"], indirect=True)
def test_a_run_asks_what_is_in_the_photo(page: Any, photo: Path) -> None:
    assert "has to be told" in page.text_content("#tags-legend")
    page.set_input_files("#file", photo)
    until(page, "document.getElementById('status').textContent.includes('now choose')")
    page.click("#tags button:nth-child(1)")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert "disc" in page.text_content("#areas")
    assert "square" not in page.text_content("#areas")


def test_a_dropped_photo(page: Any, photo: Path) -> None:
    drop = """async (data) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(data)], "dropped.png", {type: "image/png"}));
      document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
    }"""
    page.evaluate(drop, list(photo.read_bytes()))
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert "dropped.png" in page.text_content("#status")


def test_a_photo_of_100_megapixels_is_refused_kindly(page: Any, photo: Path, tmp_path: Path) -> None:
    Image.new("L", (10000, 10000), 200).save(tmp_path / "huge.jpg", quality=30)
    said = refusal(page, tmp_path / "huge.jpg")
    assert said.startswith("huge.jpg: 10000 x 10000 pixels are 100 megapixels; this page takes photos of up to 40")
    page.set_input_files("#file", photo)  # and the page goes on
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert page.is_hidden("#error")


def test_a_text_file_is_refused_kindly(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("dog\ncat\n" * 100)
    assert refusal(page, tmp_path / "notes.jpg").startswith("notes.jpg: not a photo in JPEG, PNG")
    (tmp_path / "large.txt").write_bytes(b"x" * 3_100_000)
    assert "this page takes up to 3" in refusal(page, tmp_path / "large.txt")  # said before anything is sent
    hostile = {"name": "<img src=x onerror=document.title='x'>.png", "mimeType": "image/png", "buffer": b"no photo"}
    assert refusal(page, hostile).startswith("<img src=x onerror=document.title='x'>.png: not a photo")
    assert page.title() == "semples"


@pytest.mark.parametrize("width", [390, 1100])
def test_it_fits_the_screen(page: Any, photo: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.set_input_files("#file", photo)
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_page_shows_what_the_model_says(page: Any, photo: Path, tmp_path: Path) -> None:
    labels = semples.load(material.package(tmp_path / "model")).predict(photo)
    page.set_input_files("#file", photo)
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    np.testing.assert_array_equal(pixels(page, "layer")[..., 3] > 0, labels > 0)

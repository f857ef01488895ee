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
from tests.app.conftest import Served

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("app"),
]
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HARMLESS = ("Method not implemented.",)  # gradio's own remark whenever it shows how far an upload is
FIELD, RESULT, FAILED = "#photo input[type=file]", "#result .base-image", "#status .error"
READ = """async (selector) => {
  const image = document.querySelector(selector);
  await image.decode();
  const size = {width: image.naturalWidth, height: image.naturalHeight};
  const canvas = Object.assign(document.createElement("canvas"), size);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [canvas.width, canvas.height, [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
}"""
DROP = """async ([data, kind]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(data)], kind + ".png", {type: "image/png"}));
  const event = kind == "drop" ? new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true})
    : new ClipboardEvent(kind, {clipboardData: transfer, bubbles: true});
  (kind == "drop" ? document.querySelector("#photo button") : document.body).dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, served: Served, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of a model (`segmenter`, or what the test names); ends with the check that nothing went wrong."""
    address = getattr(served, getattr(request, "param", "segmenter"))
    context = browser.new_context(viewport={"width": 1100, "height": 800}, accept_downloads=True)
    page, troubles = context.new_page(), []
    page.on("console", lambda message: message.text in HARMLESS or troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith((f"{address}/", "data:", "blob:")) or troubles.append(sent.url))
    page.goto(address)
    page.wait_for_selector(FIELD, state="attached")
    yield page
    assert troubles == []
    context.close()


def until(page: Any, condition: str, *, seconds: float = 60) -> None:
    """Wait for a condition of the page."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def answer(page: Any, photo: Path) -> None:
    """Choose a photo and wait for what is in it."""
    page.set_input_files(FIELD, photo)
    page.wait_for_selector(RESULT, timeout=60_000)


def refusal(page: Any, file: Path | dict[str, Any]) -> str:
    page.set_input_files(FIELD, file)
    name = file["name"] if isinstance(file, dict) else file.name
    sync_api.expect(page.locator(FAILED)).to_contain_text(name, timeout=60_000)
    assert not page.is_visible("#result")
    assert not page.is_visible("#areas")
    return str(page.text_content(FAILED))


def shown_labels(page: Any) -> np.ndarray:
    """The label map that the page shows: the classes' pictures, read back."""
    names = page.locator("#result .legend button").all_text_contents()
    width, height, _ = page.evaluate(READ, RESULT)
    labels = np.zeros((height, width), np.uint8)
    for index, name in enumerate(names):
        wide, high, data = page.evaluate(READ, mask(index))
        assert (wide, high) == (width, height)
        labels[np.array(data, np.uint8).reshape(high, wide, 4)[..., 3] > 0] = ("disc", "square").index(name) + 1
    return labels


def mask(index: int) -> str:
    return f"#result .mask:nth-of-type({index + 2})"  # the first picture is the photo


def test_a_photo_and_its_downloads(page: Any, served: Served, photo: Path, tmp_path: Path) -> None:
    answer(page, photo)
    expected = semples.load(served.models["segmenter"]).predict(photo)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(shown_labels(page), expected)
    got = {}
    for kind in ("labels", "overlay", "areas"):
        with page.expect_download() as waiting:
            page.click(f"#get-{kind}")
        got[kind] = tmp_path / waiting.value.suggested_filename
        waiting.value.save_as(got[kind])
    assert [path.name for path in got.values()] == ["p00_labels.png", "p00_overlay.jpg", "p00_areas.csv"]
    np.testing.assert_array_equal(tiny.pixels(got["labels"]), expected)
    lines = got["areas"].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "class,label,pixels,share"
    assert sum(int(line.split(",")[2]) for line in lines[1:]) == expected.size
    assert tiny.pixels(got["overlay"]).shape == (*expected.shape, 3)
    shown = page.inner_text("#areas").split()
    assert {line.split(",")[0] for line in lines[1:]} <= set(shown)
    assert {f"{count:,}" for count in np.bincount(expected.ravel()).tolist()} <= {*shown, "0"}
    assert "tiny <b>model</b>: 2 classes" in page.text_content("#head")


def test_the_colours_can_be_weaker(page: Any, photo: Path) -> None:
    answer(page, photo)
    page.fill("#opacity input[type=number]", "20")
    until(page, f"getComputedStyle(document.querySelector('{mask(0)}')).opacity == '0.2'")


def test_only_chosen_classes_are_looked_for(page: Any, photo: Path) -> None:
    answer(page, photo)
    assert "disc" in page.inner_text("#areas")
    page.click("#tags label:has-text('square')")
    until(page, "!document.querySelector('#areas').innerText.includes('disc')")
    assert set(np.unique(shown_labels(page)).tolist()) <= {0, 2}


@pytest.mark.parametrize("page", ["run"], indirect=True)
def test_a_run_asks_what_is_in_the_photo(page: Any, photo: Path) -> None:
    assert "has to be told" in page.text_content("#tags")
    answer(page, photo)
    assert "now choose what is in it" in page.text_content("#status")
    assert page.locator("#result .mask").count() == 0
    page.click("#tags label:has-text('disc')")
    page.wait_for_selector("#areas", timeout=60_000)
    until(page, "document.querySelector('#areas').innerText.includes('disc')")
    assert "square" not in page.inner_text("#areas")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_dropped_or_pasted(page: Any, photo: Path, way: str) -> None:
    page.evaluate(DROP, [list(photo.read_bytes()), way])
    page.wait_for_selector(RESULT, timeout=60_000)
    assert f"{way}.png" in page.text_content("#status")


def test_a_photo_of_100_megapixels_is_refused_kindly(page: Any, photo: Path, tmp_path: Path) -> None:
    Image.new("L", (10000, 10000), 200).save(tmp_path / "huge.jpg", quality=30)
    said = refusal(page, tmp_path / "huge.jpg")
    assert said.startswith("huge.jpg: 10000 x 10000 pixels are 100 megapixels; this page takes photos of up to 40")
    answer(page, photo)  # and the page goes on
    assert not page.is_visible(FAILED)


def test_what_is_no_photo_is_refused_kindly(page: Any, photo: Path, tmp_path: Path) -> None:
    answer(page, photo)
    (tmp_path / "notes.txt").write_text("dog\ncat\n" * 100, encoding="utf-8")
    assert refusal(page, tmp_path / "notes.txt").startswith("notes.txt: not a photo in JPEG, PNG")
    Image.fromarray(tiny.pixels(photo)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-300])
    assert "damaged or cut off" in refusal(page, tmp_path / "cut.jpg")
    hostile = {"name": "<img src=x onerror=document.title='x'>.png", "mimeType": "image/png", "buffer": b"no photo"}
    assert refusal(page, hostile).startswith("<img src=x onerror=document.title='x'>.png: not a photo")
    assert page.title() == "semples"


def test_a_large_file_is_not_sent(page: Any, photo: Path, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    (tmp_path / "large.png").write_bytes(b"x" * 3_300_000)
    page.set_input_files(FIELD, tmp_path / "large.png")
    page.wait_for_selector("text=exceed the maximum allowed size of 3", timeout=60_000)
    assert sent == []
    answer(page, photo)


def test_one_user_after_another(browser: Any, page: Any, served: Served, photo: Path, tmp_path: Path) -> None:
    other = tiny.draw_photos(tmp_path, count=1, seed=8) / "p00.png"
    answer(page, photo)
    context = browser.new_context()
    second = context.new_page()
    second.goto(served.segmenter)
    second.wait_for_selector(FIELD, state="attached")
    assert not second.is_visible("#result")  # nothing of the first
    answer(second, other)
    model = semples.load(served.models["segmenter"])
    np.testing.assert_array_equal(shown_labels(second), model.predict(other))
    page.click("#tags label:has-text('disc')")
    until(page, "!document.querySelector('#areas').innerText.includes('square')")
    np.testing.assert_array_equal(shown_labels(page), model.predict(photo, tags=["disc"]))
    context.close()


@pytest.mark.parametrize("width", [390, 1100])
def test_it_fits_the_screen(page: Any, photo: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    answer(page, photo)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = page.locator("#result .base-image").bounding_box()
    assert 200 < box["width"] <= width
    for kind in ("labels", "overlay", "areas"):
        assert page.locator(f"#get-{kind}").bounding_box()["width"] >= 80

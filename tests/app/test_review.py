"""The review page in a real browser, as a person uses it; and what its clicks mean."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.app.desk import Desk, disc, picture, pixel_of
from semples.core.palette import read_label_png
from semples.run.corrections import Corrections
from semples.run.pipeline import open_run
from tests import tiny
from tests.app.conftest import served_page
from tests.chromium import chromium
from tests.prediction import material

pytestmark = pytest.mark.xdist_group("app")
REGIONS = ("labels.method=regions+crf", "regions.proposals=felzenszwalb", "regions.scales=[10,40]")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("review")
    return material.run(place / "run", tiny.draw_photos(place / "photos", count=12), settings=REGIONS)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser: Any, run: Path, tmp_path: Path) -> Iterator[Any]:
    from semples.app.review import CSS, KEYS, build_review
    from semples.app.server import Made, private_folder

    desk, troubles = Desk(open_run(run)), []
    with private_folder() as folder:
        with served_page(Made(lambda _: build_review(desk, name="tiny <b>run</b>"), css=CSS, head=KEYS), folder) as at:
            page = browser.new_page(viewport={"width": 1200, "height": 850})
            page.on(
                "console", lambda message: "Method not implemented" in message.text or troubles.append(message.text)
            )
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on(
                "request", lambda sent: sent.url.startswith((f"{at}/", "data:", "blob:")) or troubles.append(sent.url)
            )
            page.goto(at)
            page.wait_for_selector("#status b")
            page.wait_for_selector("#canvas img")
            yield page
            assert troubles == []
            page.close()


def photo_of(page: Any) -> str:
    return str(page.inner_text("#status b"))


def until(page: Any, condition: str, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        time.sleep(0.02)


def steps(page: Any, count: int) -> None:
    """Wait until the page tells so many steps."""
    told = f"{count} step{'s' if count > 1 else ''} taken" if count else ""
    until(page, f"document.querySelector('#status').innerText.includes({told!r}) && "
          f"({count} > 0 || !document.querySelector('#status').innerText.includes('taken'))")  # fmt: skip


def choose(page: Any, group: str, word: str) -> None:
    page.click(f"#{group} label:has-text('{word}')")


def click(page: Any, x: float, y: float) -> None:
    """Click at a share of the picture."""
    box = page.locator("#canvas img").bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def test_a_person_mends_photos(page: Any, run: Path) -> None:
    """Paint a dot, undo it, move the threshold, accept; skip the next: what was painted is the correction."""
    first = photo_of(page)
    size = read_label_png(run / "labels" / f"{first}.png").shape
    assert "<b>" in page.inner_text("#head")  # names are text
    choose(page, "class", "square")
    choose(page, "tool", "dot")
    click(page, 0.5, 0.5)
    steps(page, 1)
    page.click("#undo")
    steps(page, 0)
    choose(page, "tool", "large region")
    choose(page, "class", "disc")
    click(page, 0.25, 0.25)
    steps(page, 1)
    choose(page, "tool", "dot")
    choose(page, "class", "square")
    click(page, 0.5, 0.5)
    steps(page, 2)
    page.keyboard.press("a")
    until(page, f"document.querySelector('#status b').innerText != {first!r}")
    entry = Corrections.of(run).now[first]
    labels = read_label_png(Corrections.of(run).maps.path(entry.sha256))
    assert labels.shape == size
    assert labels[size[0] // 2, size[1] // 2] == 2
    assert entry.source == "the review page"
    second = photo_of(page)
    page.click("#skip")
    until(page, f"document.querySelector('#status b').innerText != {second!r}")
    assert second not in Corrections.of(run).now
    assert photo_of(page) not in (first, second)


@pytest.mark.slow
def test_ten_photos_in_a_row(page: Any, run: Path) -> None:
    done, slowest = [], 0.0
    for number in range(10):
        done.append(photo_of(page))
        choose(page, "class", "square" if number % 2 else "disc")
        choose(page, "tool", ("small region", "middle region", "large region", "dot")[number % 4])
        begin = time.monotonic()
        click(page, 0.4, 0.6)
        steps(page, 1)
        slowest = max(slowest, time.monotonic() - begin)
        page.click("#accept")
        until(page, f"document.querySelector('#status b').innerText != {done[-1]!r}")
    assert sorted(Corrections.of(run).now) == sorted(done)
    assert len(set(done)) == 10
    print(f"slowest answer: {slowest:.2f} s")


def test_steps_outlive_the_page(run: Path) -> None:
    """What was painted and not accepted is there again; a threshold of its own makes a photo's labels anew."""
    desk = Desk(open_run(run))
    id = desk.next()
    assert id is not None
    before = desk.sheet(id).labels
    painted = desk.paint(id, disc((before.shape[0], before.shape[1]), 5, 5, 3), 255)
    assert (painted.labels == 255).sum() == disc((20, 20), 5, 5, 3).sum()
    again = Desk(open_run(run))
    np.testing.assert_array_equal(again.sheet(id).labels, painted.labels)
    low, high = (again.threshold(id, value).labels for value in (0.02, 0.98))
    assert (low > 0).sum() >= (high > 0).sum()
    assert again.sheet(id).steps == 3
    for _ in range(5):
        again.undo(id)
    np.testing.assert_array_equal(again.sheet(id).labels, before)
    again.skip(id)
    assert again.next() != id
    assert Desk(open_run(run)).next() != id


def test_what_is_accepted_is_in_the_label_maps(run: Path) -> None:
    desk = Desk(open_run(run))
    id = desk.next()
    assert id is not None
    shape = desk.sheet(id).labels.shape
    desk.paint(id, np.ones(shape, np.bool_), 1)
    desk.accept(id)
    assert not desk.has(id)
    assert desk.left == 11
    assert desk.finish(lambda line: None)
    assert (read_label_png(run / "labels" / f"{id}.png") == 1).all()
    listed = tiny.invoke("label", run, "--review", "12", "--json", run / "r.json")
    assert listed.code == 0
    assert id not in [entry["photo"] for entry in json.loads((run / "r.json").read_text(encoding="utf-8"))["photos"]]


def test_a_review_that_was_ended_while_the_label_maps_followed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(open_run(run))
    id = desk.next()
    assert id is not None
    desk.paint(id, np.ones(desk.sheet(id).labels.shape, np.bool_), 1)
    desk.accept(id)

    def end(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("semples.run.steps.labels.write_labels", end)
        with pytest.raises(KeyboardInterrupt):
            desk.finish(lambda line: None)
    assert Desk(open_run(run)).left == 11
    assert (read_label_png(run / "labels" / f"{id}.png") == 1).all()


def test_requests_of_no_browser(run: Path) -> None:
    """What a slider cannot stand at, and no choice can be, does not come in; an honest click afterwards counts."""
    from semples.app.review import CSS, KEYS, build_review
    from semples.app.server import Made, private_folder
    from tests.robust.person import Page

    desk = Desk(open_run(run))
    with private_folder() as folder:
        with served_page(Made(lambda _: build_review(desk, name="run"), css=CSS, head=KEYS), folder) as at:
            page = Page(at)
            page.open()
            for odd in (None, "x", True, -1, 1e308, float("nan"), [], {"x": 1}):
                assert page.threshold(odd) is None
                assert page.click("disc", "dot", odd, [5, 5]) is None
                assert page.click(odd, "dot", 4, [5, 5]) is None
                assert page.click("disc", odd, 4, [5, 5]) is None
            assert page.ask(page.events["undo", "click"]) is None
            assert page.ask(page.events["undo", "click"], None, None) is None
            assert "1 step taken" in (page.click("disc", "dot", 4, [300, 300]) or "")


def test_regions_at_a_click(run: Path) -> None:
    """The small region holds the pixel and lies within what a larger one may hold; no region is most of the photo."""
    desk = Desk(open_run(run))
    id = desk.next()
    assert id is not None
    height, width = desk.sheet(id).labels.shape
    for y, x in ((0, 0), (height // 2, width // 2), (height - 1, width - 1)):
        small, large = (desk.region(id, y, x, size) for size in ("small", "large"))  # type: ignore[arg-type]
        assert small.shape == (height, width)
        assert small[y, x]
        assert small.sum() <= large.sum() <= 0.6 * height * width + 1


def test_a_place_of_the_picture(run: Path) -> None:
    photo, labels = np.zeros((30, 40, 3), np.uint8), np.zeros((30, 40), np.uint8)
    labels[:10] = 1
    shown = picture(photo, labels)
    assert shown.shape == (30 * 22, 40 * 22, 3)
    assert pixel_of([0, 0], shown.shape, labels.shape) == (0, 0)
    assert pixel_of([40 * 22 - 1, 30 * 22 - 1], shown.shape, labels.shape) == (29, 39)
    assert pixel_of([22 * 5 + 3, 22 * 9 + 21], shown.shape, labels.shape) == (9, 5)
    for odd in ([-1, 0], [40 * 22, 0], ["x", 0], [], None):
        assert pixel_of(odd, shown.shape, labels.shape) is None  # type: ignore[arg-type]
    assert shown[22 * 5, 22 * 5].tolist() == [64, 0, 0]
    assert shown[22 * 20, 22 * 5].tolist() == [0, 0, 0]
    wide = picture(np.zeros((600, 2000, 3), np.uint8), np.zeros((600, 2000), np.uint8))
    assert wide.shape == (270, 900, 3)


def test_mistakes_are_one_line(run: Path, tmp_path: Path) -> None:
    assert "leave --mirror" in tiny.refused("app", run, "--review", "--mirror")
    assert "no run here" in tiny.refused("app", tmp_path, "--review")
    shutil.rmtree(run / "labels")
    assert "no label maps to review" in tiny.refused("app", run, "--review")

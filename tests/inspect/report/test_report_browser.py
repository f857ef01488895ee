"""The report in a real browser, opened from disk with the network off."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.core.palette import read_label_png
from semples.inspect.report.build import build_report
from semples.labels.threshold import winner_map
from semples.run import pipeline
from semples.run.context import Context
from semples.run.records import finish, read_manifest
from tests import tiny
from tests.inspect.report.material import CLASSES, HOSTILE, HOSTILE_PHOTO, make_run
from tests.inspect.report.visit import DESKTOP, PHONE, Visit, assert_equal, expected_labels, opened

# -------------------------------------------------------------------------------------------------------- threshold


def test_the_slider_makes_the_labels_that_the_program_makes(visit: Visit, whole_run: Context) -> None:
    seen = []
    for threshold in (45, 12, 80, 0, 100):
        visit.page.fill("#slider", str(threshold))
        shown = visit.labels(threshold, threshold)
        assert_equal(shown, expected_labels(whole_run, threshold / 100))
        seen.append(sum(int((labels > 0).sum()) for labels in shown.values()))
    assert seen[3] > seen[1] > seen[0] > seen[2] > seen[4] == 0


def test_figures_follow_the_slider(visit: Visit, whole_run: Context) -> None:
    curve = json.loads((whole_run.folder("curve") / "curve.json").read_text(encoding="utf-8"))["curve"]
    for threshold in (20, 60):
        visit.page.fill("#slider", str(threshold))
        assert f"{curve[threshold]['miou']:.2f} %" in visit.text("#live")
        shown = visit.page.eval_on_selector_all("#scores tbody td.live", "cells => cells.map((c) => c.textContent)")
        assert shown == [f"{figure:.1f}" for figure in curve[threshold]["iou_per_class"]]
        assert visit.text("#value") == f"{threshold / 100:.2f}"
    at = [visit.page.get_attribute("#miou .cursor", name) for name in ("x1", "data-left", "data-right")]
    left, right = float(at[1]), float(at[2])
    assert float(at[0]) == pytest.approx(left + 0.6 * (right - left))


def test_a_threshold_for_each_class(visit: Visit, whole_run: Context) -> None:
    assert visit.page.is_hidden("#sliders")
    visit.page.check("#each")
    visit.page.locator("#sliders input").nth(1).fill("70")
    expected = {}
    for item in whole_run.dataset.items:
        cams, shape = CamStore(whole_run.folder("cams")).read_with_shape(item.id)
        assert shape is not None
        winner, value = winner_map(cams, shape)
        limit = np.array([2, 0.45, 0.70], np.float32)[winner]
        expected[item.id] = np.where(value > limit, winner, 0)
    assert_equal(visit.labels(45, 70), expected)
    command = shlex.split(visit.text("#command"))
    assert command[3:] == ["--threshold", "0.45", f"--class-threshold={HOSTILE}=0.70"]
    visit.page.uncheck("#each")
    assert_equal(visit.labels(45, 45), expected_labels(whole_run, 0.45))


def test_the_setting_used_and_the_best_are_marked(visit: Visit, whole_run: Context) -> None:
    best = json.loads((whole_run.folder("curve") / "curve.json").read_text(encoding="utf-8"))["best"]["threshold"]
    places = visit.page.eval_on_selector_all(
        "#panel .marks i",
        "marks => marks.map((m) => [m.textContent, Number(m.style.getPropertyValue('--at')), m.title])",
    )
    assert places == [["used", 0.45, "set in the recipe"], ["best", best, "highest mIoU, found with pixel masks"]]


def test_the_choice_for_each_class_is_marked(browser: Any, tmp_path: Path) -> None:
    steps = ("selection", "curve", "labels")
    context = make_run(tmp_path, prompts=False, steps=steps, settings=["labels.select=auto", "selection.photos=2"])
    path = context.folder("selection") / "selection.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    chosen = dict(zip(stored["per_class"], (0.0, 0.61), strict=True))
    manifest = read_manifest(path.parent)
    assert manifest is not None
    path.write_text(json.dumps(stored | {"per_class": chosen}), encoding="utf-8")
    described = {key: value for key, value in manifest.items() if key not in ("outputs", "result", "check")}
    finish(path.parent, described, manifest["result"])
    for visit in opened(browser, build_report(context, tmp_path / "r.html"), **DESKTOP):
        visit.page.check("#each")
        for index, place in enumerate(chosen.values()):
            row = visit.page.locator("#sliders label").nth(index)
            mark, rail = row.locator("i[title]").bounding_box(), row.locator("input").bounding_box()
            assert mark is not None
            assert rail is not None
            left = mark["x"] + mark["width"] / 2
            assert left == pytest.approx(rail["x"] + 8 + place * (rail["width"] - 16), abs=1)
            assert row.locator("i[title]").get_attribute("title") == f"chosen from photos and tags: {place:.2f}"


def test_the_copied_command_makes_what_the_page_shows(browser: Any, tmp_path: Path) -> None:
    context = make_run(tmp_path, prompts=False, steps=("curve", "labels"))
    for visit in opened(browser, build_report(context, tmp_path / "r.html"), **DESKTOP):
        visit.page.fill("#slider", "31")
        shown = visit.labels(31, 31)
        visit.page.click("#copy")
        command = visit.page.evaluate("navigator.clipboard.readText()")
        assert command == visit.text("#command")
        visit.page.wait_for_selector("#toast:not([hidden])")
        visit.page.click("#reset")
        assert visit.text("#value") == "0.45"
    words = shlex.split(command)
    assert words == ["semples", "label", str(context.out), "--threshold", "0.31"]
    pipeline.run(context, steps=["data"])
    tiny.invoke(*words[1:])
    assert_equal(shown, {id: read_label_png(context.folder("labels") / f"{id}.png") for id in shown})


def test_the_copied_command_with_a_threshold_for_each_class(browser: Any, tmp_path: Path) -> None:
    context = make_run(tmp_path, prompts=False, steps=("curve", "labels"))
    for visit in opened(browser, build_report(context, tmp_path / "r.html"), **DESKTOP):
        visit.page.check("#each")
        visit.page.locator("#sliders input").nth(0).fill("31")
        visit.page.locator("#sliders input").nth(1).fill("62")
        shown = visit.labels(31, 62)
        visit.page.click("#copy")
        command = visit.page.evaluate("navigator.clipboard.readText()")
    words = shlex.split(command)
    assert words[0] == "semples"
    pipeline.run(context, steps=["data"])
    tiny.invoke(*words[1:])
    assert_equal(shown, {id: read_label_png(context.folder("labels") / f"{id}.png") for id in shown})


# ------------------------------------------------------------------------------------------- order, filter, tables


def test_orders(visit: Visit, file: Path) -> None:
    photos = visit.page.evaluate("JSON.parse(document.getElementById('data').textContent).photos")
    figures = {photo["id"]: photo for photo in photos}
    for order, key in (("worst", "iou"), ("unsure", "certainty")):
        visit.page.select_option("#order", order)
        shown = [figures[id][key] for id in visit.ids()]
        known = [figure for figure in shown if figure is not None]
        assert known == sorted(known)
        assert shown[: len(known)] == known
        assert len(set(known)) > 3
    visit.page.select_option("#order", "name")
    assert visit.ids() == sorted(figures)


def test_filters(visit: Visit, whole_run: Context) -> None:
    tags = {item.id: item.tags for item in whole_run.dataset.items}
    chips = visit.page.locator("#chips button")
    chips.nth(2).click()
    assert set(visit.ids()) == {id for id, classes in tags.items() if 1 in classes}
    assert HOSTILE in visit.text("#count")
    chips.nth(1).click()
    both = {id for id, classes in tags.items() if classes == (0, 1)}
    assert set(visit.ids()) == both
    chips.last.click()
    assert set(visit.ids()) == {id for id, classes in tags.items() if not classes}
    chips.first.click()
    assert len(visit.ids()) == 12
    visit.page.click("[data-pair]")
    assert set(visit.ids()) == both
    assert chips.nth(1).get_attribute("aria-pressed") == "true"


def test_the_table_sorts_both_ways(visit: Visit) -> None:
    def column(index: int) -> list[str]:
        return visit.page.eval_on_selector_all(
            "#scores tbody tr", f"rows => rows.map((row) => row.children[{index}].dataset.v)"
        )

    heading = visit.page.locator("#scores thead button")
    before = column(2)
    heading.nth(2).click()
    assert column(2) == sorted(before, key=float, reverse=True)
    heading.nth(2).click()
    assert column(2) == sorted(before, key=float)
    assert visit.page.get_attribute("#scores th:nth-child(3)", "aria-sort") == "ascending"
    heading.nth(1).click()
    assert column(1)[-1] == ""  # the background has no number of photos
    heading.nth(0).click()
    assert column(0) == [HOSTILE, "background", "disc"]


# --------------------------------------------------------------------------------------------------------- keyboard


def test_keys(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("]")
    page.keyboard.press("Shift+BracketRight")
    assert visit.text("#value") == "0.51"
    page.keyboard.press("-")
    assert visit.text("#value") == "0.50"
    page.keyboard.press("r")
    assert visit.text("#value") == "0.45"
    page.keyboard.press("6")
    assert page.get_attribute("#views button:nth-child(6)", "aria-pressed") == "true"
    assert "missed" in visit.text("#key")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    assert not page.is_visible("#keys")


def test_from_photo_to_photo_with_the_keyboard(visit: Visit) -> None:
    def focused() -> str:
        return visit.page.evaluate("document.activeElement.title")

    page, ids = visit.page, visit.ids()
    columns = page.evaluate(
        "[...document.querySelectorAll('.card')].filter((c, _, all) => c.offsetTop === all[0].offsetTop).length"
    )
    assert 1 < columns < 12
    page.keyboard.press("g")
    assert focused() == ids[0]
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert focused() == ids[1 + columns]
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert visit.text("#big-name") == ids[1]
    page.wait_for_selector("#big .strip[data-drawn]")
    page.keyboard.press("ArrowRight")
    assert visit.text("#big-name") == ids[2]
    page.keyboard.press("Escape")
    assert not page.is_visible("#big")
    page.wait_for_function("(id) => document.activeElement.title === id", arg=ids[2], timeout=5_000)


def test_the_large_view_has_every_stage(visit: Visit, whole_run: Context) -> None:
    item = next(item for item in whole_run.dataset.items if len(item.tags) == 2)
    visit.page.locator(".card", has_text=item.id).first.click()
    visit.page.wait_for_selector("#big .strip[data-drawn]")
    captions = visit.page.locator("#big figcaption").all_text_contents()
    stages = ["after warm-up", "after (a) matching", "after (c) refinement"]
    assert captions == ["photo, truth", *stages, "labels of the run, errors"]
    pictures = """() => [...document.querySelectorAll("#big canvas")].map((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.join();
    })"""
    before = visit.page.evaluate(pictures)
    assert len(before) == len(set(before)) + (before[7] == before[8])  # the run's labels are the last stage's
    chips = visit.page.locator("#big-classes button")
    assert chips.all_text_contents() == ["all maps", *CLASSES]
    chips.nth(1).click()
    visit.page.wait_for_selector("#big .strip[data-drawn]")
    after = visit.page.evaluate(pictures)
    assert [a != b for a, b in zip(before, after, strict=True)] == [False, False, *[True, False] * 3, False, False]


# -------------------------------------------------------------------------------------------------- safety and looks


def test_hostile_names_are_shown_and_do_nothing(visit: Visit) -> None:
    assert visit.page.evaluate("window.hacked === undefined")
    assert HOSTILE in visit.text("#chips")
    assert HOSTILE in visit.text("#scores")
    assert HOSTILE_PHOTO in visit.page.locator(".card b").all_text_contents()
    assert visit.page.locator("img[onerror], #grid script").count() == 0


@pytest.mark.parametrize("visit", [PHONE, DESKTOP], ids=["phone", "desktop"], indirect=True)
def test_it_fits_the_screen(visit: Visit, tmp_path: Path) -> None:
    assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    visit.page.evaluate("document.querySelector('#grid').scrollIntoView()")
    panel = visit.page.locator("#panel").bounding_box()
    assert panel["height"] < 0.25 * visit.page.viewport_size["height"]
    visit.page.check("#each")
    row = visit.page.locator("#sliders label").first  # name, slider and value on one line
    assert row.bounding_box()["height"] < 2 * row.locator("span").first.bounding_box()["height"]
    visit.page.uncheck("#each")
    table = visit.page.locator("#scores").locator("..").bounding_box()
    figures = visit.page.locator("#scores tbody tr").last.locator("td").first.bounding_box()
    assert figures["x"] + figures["width"] < table["x"] + table["width"]  # however long a class's name is
    picture = tmp_path / "screen.png"
    visit.page.screenshot(path=picture)
    assert len(np.unique(tiny.pixels(picture).reshape(-1, 3), axis=0)) > 500


@pytest.mark.parametrize(
    ("visit", "dark"),
    [({"color_scheme": "light"}, False), ({"color_scheme": "dark"}, True)],
    ids=["light", "dark"],
    indirect=["visit"],
)
def test_light_and_dark(visit: Visit, dark: bool) -> None:
    colours = visit.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    paper, ink = (sum(int(part) for part in colour.strip("rgb()").split(",")) for colour in colours)
    assert (paper < ink) == dark
    assert abs(paper - ink) > 450


@pytest.mark.parametrize("stages", [(), ("warmup",)], ids=["no maps", "one stage"])
def test_parts_of_a_run_open_without_trouble(browser: Any, tmp_path: Path, stages: tuple[str, ...]) -> None:
    context = make_run(tmp_path, stages=stages, masks=bool(stages), prompts=False, steps=())
    for visit in opened(browser, build_report(context, tmp_path / "r.html"), **PHONE):
        assert len(visit.ids()) == 12
        assert visit.page.locator("#slider").count() == bool(stages)
        visit.page.keyboard.press("]")
        visit.page.locator(".card").first.click()
        visit.page.wait_for_selector("#big .strip[data-drawn]")

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from semples.core.errors import UserError
from semples.inspect.report import pictures
from semples.inspect.report.build import build_report, mark_rows
from semples.recipe import ClipSettings, LabelSettings
from semples.run import pipeline
from semples.run.context import Context
from semples.run.records import finish
from tests.inspect.report.material import CLASSES, HOSTILE, HOSTILE_PHOTO, make_run


class Page(HTMLParser):
    """Tags with attributes, text outside scripts, and the content of scripts, as a browser's parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts, self.inside = "", [""], ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[1])

    def attributes(self, *names: str) -> list[str]:
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names and value]


def report(context: Context, folder: Path, **options: Any) -> Page:
    return Page(build_report(context, folder / "report.html", **options).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(whole_run: Context, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return report(whole_run, tmp_path_factory.mktemp("page"))


def picture(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        return np.array(image.convert("RGB"))


# ---------------------------------------------------------------------------------------------------------- the page


def test_hostile_names_stay_text(page: Page) -> None:
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert page.text.count(HOSTILE) >= 3
    assert not page.attributes("onerror", "onclick", "onload")
    assert page.data["classes"] == list(CLASSES)
    assert HOSTILE_PHOTO in [photo["id"] for photo in page.data["photos"]]


def test_nothing_points_outside_and_only_the_own_script_may_run(page: Page) -> None:
    assert all(address.startswith(("#", "data:")) for address in page.attributes("src", "href", "action"))
    assert "http" not in page.scripts[2]
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(page.scripts[2].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_tells_what_was_run_and_when(page: Page, whole_run: Context) -> None:
    assert str(whole_run.source.root) in page.text
    finished = json.loads((whole_run.folder("cams") / "manifest.json").read_text(encoding="utf-8"))["finished"]
    assert finished[:16].replace("T", " ") in page.text
    for step in ("data", "warmup", "cams", "labels", "scores"):
        assert step in page.text
    assert "matching:" in page.text  # the settings
    assert "set in the recipe" in page.text


def test_figures_are_those_of_the_run(page: Page, whole_run: Context) -> None:
    scores = json.loads((whole_run.folder("scores") / "scores.json").read_text(encoding="utf-8"))["labels"]
    assert f"{scores['miou']:.1f} %" in page.text
    for row in scores["classes"]:
        assert f"{row['iou']:.1f}" in page.text
    svgs = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert len(svgs) == 4  # mIoU and three trained stages with events
    assert page.text.count("(40 s, 25% of it waiting for photos)") == 3


def test_counts_of_classes_that_come_together(page: Page, whole_run: Context) -> None:
    items = whole_run.dataset.items
    both = sum(item.tags == (0, 1) for item in items)
    first = sum(0 in item.tags for item in items)
    assert f"{both} photos of {first} with disc also have {HOSTILE}" in page.attributes("title")


def test_prompts_have_words_of_the_models_vocabulary(page: Page) -> None:
    import semples
    from semples.inspect.words import read_words

    known = read_words(Path(semples.__file__).parent / "assets" / "demo_words.txt")
    words = [attrs for tag, attrs in page.tags if tag == "span" and (attrs.get("title") or "").startswith("cosine")]
    assert len(words) == 10
    assert any(word in page.text for word in known)


def test_pictures_hold_the_cams_the_labels_and_the_truth(page: Page, whole_run: Context) -> None:
    from semples.cams.store import CamStore
    from semples.inspect.report.levels import cam_bytes

    items = {item.id: item for item in whole_run.scored_dataset.items}
    for photo in page.data["photos"]:
        item = items[photo["id"]]
        truth = whole_run.scored_dataset.mask(item)
        np.testing.assert_array_equal(picture(photo["truth"])[..., 0], truth)
        assert len(photo["cams"]) == 3
        for cam, folder in zip(photo["cams"], ("cams-warmup", "cams-matching", "cams"), strict=True):
            stored = CamStore(whole_run.folder(folder)).read(item.id)
            assert cam["classes"] == list(stored)
            if stored:
                stacked = picture(cam["picture"])
                apart = abs(stacked.astype(int) - cam_bytes(stored).reshape(-1, stacked.shape[1], 1))
                assert apart.mean() < (8 if folder != "cams" else 1e-9)  # earlier stages are compressed


def test_counts_give_the_scores_of_the_curve(page: Page, whole_run: Context) -> None:
    """The figures that follow the slider are those of the threshold curve, where no picture is made smaller."""
    from semples.evaluation.confusion import scores_from_confusion

    curve = json.loads((whole_run.folder("curve") / "curve.json").read_text(encoding="utf-8"))["curve"]
    assert len(curve) == 101
    for step, point in enumerate(curve):
        confusion = np.zeros((3, 3), np.int64)
        for truth, winner, steps, pixels in page.data["counts"]:
            if truth < 3:
                confusion[truth, winner if steps > step else 0] += pixels
        assert scores_from_confusion(confusion).miou == pytest.approx(point["miou"], abs=1e-9)


def test_the_worst_come_with_figures(page: Page, whole_run: Context) -> None:
    photos = page.data["photos"]
    assert all(0 <= photo["iou"] <= 100 for photo in photos)
    assert [photo["certainty"] is None for photo in photos] == [not photo["tags"] for photo in photos]


def test_certainty_by_hand() -> None:
    alone = np.array([[0.2, 0.36, 0.5, 0.7]], np.float32)
    assert pictures.certainty({0: alone}, 0.45) == pytest.approx(1 / 3)  # of 0.36, 0.5 and 0.7 only 0.7 is sure
    rival = np.array([[0.0, 0.0, 0.0, 0.65]], np.float32)
    assert pictures.certainty({0: alone, 1: rival}, 0.45) == 0
    assert pictures.certainty({0: np.zeros((2, 2), np.float32)}, 0.45) == 1


# -------------------------------------------------------------------------------------------------------------- size


def test_pictures_shrink_to_the_budget(whole_run: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_report(whole_run, tmp_path / "whole.html").stat().st_size
    monkeypatch.setattr(pictures, "BUDGET", 30_000)
    monkeypatch.setattr(pictures, "SIZES", ((448, 224), (40, 32), (24, 16), (8, 8)))
    small = report(whole_run, tmp_path)
    photos = small.data["photos"]
    assert len(photos) == 12
    assert sum(map(pictures._text_bytes, photos)) <= 30_000
    assert max(side for photo in photos for side in photo["grid"]) < 30
    assert (tmp_path / "report.html").stat().st_size < whole
    assert "smaller here than the photos" in small.text


def test_big_photos_stay_within_fifteen_megabytes_for_two_hundred(tmp_path: Path) -> None:
    """Noisy 500 x 375 photos with 20 classes' worth of tags, in proportion."""
    from semples.cams.store import CamStore
    from semples.data.dataset import ClassList, FileDataset, Item

    rng = np.random.default_rng(0)
    stores = {stage: CamStore(tmp_path / stage) for stage in ("warmup", "matching", "refinement")}
    items = []
    for number in range(10):
        name, tags = f"n{number}", tuple(range(number % 4, number % 4 + 3))
        noise = rng.integers(0, 255, (375, 500, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
        items.append(Item(name, tmp_path / f"{name}.png", tags))
        for store in stores.values():
            coarse = [Image.fromarray(rng.random((24, 32), dtype=np.float32)) for _ in tags]
            cams = [np.asarray(grid.resize((500, 375), Image.Resampling.BILINEAR)).clip(0, 1) for grid in coarse]
            store.write(name, dict(zip(tags, cams, strict=True)), (375, 500))
    dataset = FileDataset("noise", tmp_path, ClassList(tuple("abcdefghij")), tuple(items), ())
    sources = pictures.Sources(dataset, stores, None, 0.45)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "BUDGET", pictures.BUDGET * len(items) // 200)
        gallery = pictures.make_gallery(sources, limit=200)
    assert sum(len(json.dumps(photo)) for photo in gallery.photos) * 200 / len(items) < 15_000_000 * 0.97
    assert min(side for photo in gallery.photos for side in photo["grid"]) >= 48


def test_more_photos_than_the_limit_are_a_sample_and_the_page_says_so(whole_run: Context, tmp_path: Path) -> None:
    page = report(whole_run, tmp_path, limit=5)
    photos = page.data["photos"]
    assert len(photos) == 5
    assert "5 of 12 photos: the 2 with the lowest IoU, and 3 taken in turn from every class" in page.text
    everything = report(whole_run, tmp_path).data["photos"]
    worst = sorted(everything, key=lambda photo: photo["iou"])[:2]
    assert {photo["id"] for photo in worst} <= {photo["id"] for photo in photos}
    assert {tag for photo in photos for tag in photo["tags"]} == {0, 1}
    assert [photo["id"] for photo in photos] == [p["id"] for p in everything if p["id"] in {q["id"] for q in photos}]


# ----------------------------------------------------------------------------------------------------- missing parts


def test_only_photos_and_tags(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, stages=(), prompts=False, steps=()), tmp_path)
    assert "No class activation maps yet" in page.text
    assert "not learned yet" in page.text
    assert len(page.data["photos"]) == 12
    assert not [attrs for _, attrs in page.tags if attrs.get("id") == "slider"]
    assert "Not made yet" in page.text


def test_only_the_warm_up(tmp_path: Path) -> None:
    context = make_run(tmp_path, stages=("warmup",), prompts=False, steps=("curve-warmup",))
    page = report(context, tmp_path)
    assert page.data["stages"] == ["after warm-up"]
    assert "threshold to be used" in page.text
    assert "CAMs after warm-up at their best threshold" in page.text
    assert all(photo["labels"] is None for photo in page.data["photos"])


def test_without_masks(tmp_path: Path) -> None:
    page = report(make_run(tmp_path, masks=False), tmp_path)
    assert "There are no scores" in page.text
    assert all(photo["truth"] is None and photo["iou"] is None for photo in page.data["photos"])
    assert {truth for truth, *_ in page.data["counts"]} == {len(CLASSES) + 1}
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 3  # losses


def test_photos_and_cams_that_have_gone(tmp_path: Path) -> None:
    context = make_run(tmp_path)
    (tmp_path / "photos" / "p01.png").unlink()
    (context.folder("cams") / "p02.npz").unlink()
    (context.folder("labels") / "p03.png").unlink()
    page = report(pipeline.open_run(context.out), tmp_path)
    photos = {photo["id"]: photo for photo in page.data["photos"]}
    assert len(photos) == 11
    assert "1 photo could not be read any more and is not shown" in page.text
    assert photos["p02"]["cams"][2] is None
    assert photos["p02"]["cams"][1] is not None
    assert photos["p03"]["labels"] is None


def test_when_the_photo_folder_has_gone(tmp_path: Path) -> None:
    context = make_run(tmp_path, prompts=False)
    shutil.rmtree(tmp_path / "photos")
    page = report(pipeline.open_run(context.out), tmp_path)
    assert page.data["photos"] == []
    assert "No photo can be shown" in page.text


def test_a_clip_that_is_not_at_hand(tmp_path: Path, whole_run: Context) -> None:
    absent = replace(whole_run.recipe, judge=ClipSettings(model="nobody/no-such-clip"))
    page = report(Context(absent, whole_run.source, whole_run.out), tmp_path)
    assert "nobody/no-such-clip is not on this machine" in page.text


def test_prompts_of_another_clip(tmp_path: Path, whole_run: Context) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole_run.out, out)
    reads = {"weights:shipped:demo_clip": "another"}
    described = {"step": "prompting", "version": 1, "fingerprint": "f", "reads": reads, "seconds": 1}
    finish(out / "prompting", described, {})
    page = report(Context(whole_run.recipe, whole_run.source, out), tmp_path)
    assert "not the model any more that the prompts were learned with" in page.text


def test_a_run_that_used_pixel_labels_is_marked(tmp_path: Path) -> None:
    context = make_run(tmp_path, prompts=False, settings=["labels.select=ground-truth"])
    page = report(context, tmp_path)
    assert "was chosen with pixel masks" in page.text


AUTO = ["labels.select=auto", "selection.photos=2"]


def test_the_choice_without_masks_is_marked(tmp_path: Path) -> None:
    steps = ("selection", "curve", "labels")
    context = make_run(tmp_path, prompts=False, steps=steps, settings=[*AUTO, "labels.per_class=true"])
    chosen = json.loads((context.folder("selection") / "selection.json").read_text(encoding="utf-8"))["threshold"]
    automatic = ("chosen from photos and tags", f"--at:{chosen}")
    page = report(context, tmp_path)
    per_class = json.loads((context.folder("selection") / "selection.json").read_text(encoding="utf-8"))["per_class"]
    assert page.data["automatic"] == [per_class[name] for name in context.dataset.classes.names]
    (used, *_) = marks(page)
    assert used[1] == automatic[1]
    assert str(used[0]).startswith("chosen from photos and tags; a class has ")
    fixed = Context(replace(context.recipe, labels=LabelSettings(select="fixed")), context.source, context.out)
    pipeline.run(fixed, steps=["labels"])
    marked = marks(report(fixed, tmp_path))
    assert marked[0] == ("set in the recipe", "--at:0.45")
    assert automatic in marked


def marks(page: Page) -> list[tuple[str | None, str | None]]:
    """What is marked on the threshold slider, and where."""
    styles = ((attrs.get("title"), attrs.get("style") or "") for _, attrs in page.tags)
    return [(title, style.partition(";")[0]) for title, style in styles if "--at:" in style]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=4))
def test_names_of_marks_do_not_overlap(places: list[tuple[float, bool]]) -> None:
    rows = mark_rows(places)
    spans = [(value - 0.17, value) if left else (value, value + 0.17) for value, left in places]
    for (first, (a, b)), (second, (c, d)) in combinations(zip(rows, spans, strict=True), 2):
        assert first != second or b <= c or d <= a
    assert rows[:1] == [0] * len(places[:1])


def test_published_npy_cams(tmp_path: Path, whole_run: Context) -> None:
    from semples.cams.store import CamStore

    context = make_run(tmp_path, stages=(), prompts=False, steps=(), settings=["cams.format=npy"])
    for id in CamStore(whole_run.folder("cams")).ids():
        cams, shape = CamStore(whole_run.folder("cams")).read_with_shape(id)
        assert shape is not None
        CamStore(context.folder("cams"), format="npy").write(id, cams, shape)
    page = report(context, tmp_path)
    assert sum(bool(cam and cam["picture"]) for photo in page.data["photos"] for cam in photo["cams"]) > 5


def test_refusals(whole_run: Context, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder"):
        build_report(whole_run, tmp_path)
    with pytest.raises(UserError, match="at least one photo"):
        build_report(whole_run, tmp_path / "r.html", limit=0)
    with pytest.raises(UserError, match="nothing to report yet"):
        build_report(Context(whole_run.recipe, whole_run.source, tmp_path / "empty"), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()

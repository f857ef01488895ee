"""The plan of a run: what is said before, how it is corrected while running, and how a budget is met."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semples.core.errors import UserError
from semples.core.ranks import ALONE
from semples.data import decoded
from semples.data.dataset import open_dataset
from semples.recipe import DataSettings, Recipe
from semples.run import photos_once as deciding
from semples.run.context import Context
from semples.run.graph import Outcome, StepStatus
from semples.run.photos import Source
from semples.run.photos_once import photos_once
from semples.run.planning import kept as keeping
from semples.run.planning.budget import fitted, remember, remembered, seconds_of
from semples.run.planning.kept import kept_photos, sizes_of
from semples.run.planning.left import Clock, line_of_status, seconds_left
from semples.run.planning.make import check_disk
from semples.run.planning.measure import Sample, bump
from semples.run.planning.models import Opened
from semples.run.planning.plan import Download, KeptPhotos, Plan, StepPlan, amount
from tests import tiny

PLAN = Plan(
    photos=50,
    untagged=2,
    set_aside=1,
    classes=3,
    steps=(
        StepPlan("data", "50 photos", 1.0, 1.0),
        StepPlan("warmup", "40 steps of 16 photos", 90.0, 100.0, disk=3_000_000, memory=2_000_000_000, count=40),
        StepPlan("matching", "60 steps of 16 photos", 260.0, 300.0, disk=3_000_000, memory=3_000_000_000, count=60),
        StepPlan("labels", "50 photos", 9.0, 9.0, disk=1_000_000),
    ),
    device="1 thread of 2 processors",
    start=5.0,
    free=10**9,
    downloads=(Download("openai/some-clip", "judge", ("matching",), 600_000_000),),
)


def test_sums_and_words() -> None:
    assert (PLAN.cpu, PLAN.wall, PLAN.disk, PLAN.memory) == (365.0, 410.0, 7_000_000, 3_000_000_000)
    text = "\n".join(PLAN.lines())
    for words in (
        "plan: 50 photos, 3 classes (2 without a tag, 1 set aside), on 1 thread",
        "download: openai/some-clip, 600.0 MB (judge, for matching)",
        "matching: 60 steps of 16 photos, 5 min (4 min of processor time), 3.0 MB",
        "in all about 7 min, 6 min of processor time, 7.0 MB of disk, 3.0 GB of memory at the peak",
    ):
        assert words in text, text
    unmeasured = replace(PLAN, steps=tuple(replace(step, cpu=None, wall=None) for step in PLAN.steps))
    assert unmeasured.cpu is None
    assert "the time is not known yet" in "\n".join(unmeasured.lines())
    assert json.loads(json.dumps(PLAN.to_dict()))["steps"][1]["count"] == 40
    assert [amount(count) for count in (900, 2.5e6, 7e9)] == ["1 kB", "2.5 MB", "7.0 GB"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90min", 5400), ("1h30min", 5400), ("1.5h", 5400), ("45 s", 45), ("1d", 86400)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["2", "h", "-2h", "2 hours", "0h", "9999999h", ""])
def test_no_time(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        seconds_of(text)


def test_a_budget_shortens_the_stages() -> None:
    assert fitted(PLAN, 1000) is PLAN
    shorter = fitted(PLAN, 210)  # 10 s are not training; half of the 400 s that are
    assert shorter.settings == ("warmup.steps=20", "matching.steps=30")
    assert shorter.wall == pytest.approx(210)
    assert shorter.steps[1].what == "20 steps of 16 photos"
    text = "\n".join(shorter.lines())
    assert "to fit the budget: --set warmup.steps=20 --set matching.steps=30" in text
    assert "50% of the recipe's steps; on one drawn world of 300 photos half the steps cost 5 points" in text
    with pytest.raises(UserError, match="with a quarter of the steps this run still takes about 2 min"):
        fitted(PLAN, 100)


def test_a_second_call_keeps_the_budgets_steps(tmp_path: Path) -> None:
    recipe = Recipe()
    assert remembered(tmp_path, recipe, 210) is None
    remember(tmp_path, recipe, 210, fitted(PLAN, 210))
    assert remembered(tmp_path, recipe, 210) == ["warmup.steps=20", "matching.steps=30"]
    assert remembered(tmp_path, recipe, 220) is None
    assert remembered(tmp_path, replace(recipe, name="other"), 210) is None
    (tmp_path / "budget.json").write_text("[1]", encoding="utf-8")
    assert remembered(tmp_path, recipe, 210) is None


def test_what_is_left_follows_what_was_taken() -> None:
    planned = {"data": 10.0, "warmup": 100.0, "matching": 200.0}
    assert seconds_left(planned, {}, {}) == 310
    assert seconds_left(planned, {"data": 20.0, "warmup": 200.0}, {}) == 400  # twice as slow as planned
    assert seconds_left(planned, {"data": 10.0}, {"warmup": 0.75}) == 225
    assert seconds_left(planned, {"data": 10, "warmup": 100, "matching": 200}, {}) == 0


def test_the_clock_follows_the_plan(tmp_path: Path) -> None:
    told: list[str] = []
    clock = Clock(told.append)
    clock.follow(PLAN, tmp_path)
    clock(Outcome("data", "done", 1.0, {}))
    clock(Outcome("warmup", "done", 200.0, {}))  # twice as long as planned
    assert told == ["about 7 min left", "about 10 min left"]
    done = [StepStatus("data", "", "done", None, 1.0, {}), StepStatus("warmup", "", "done", None, 200.0, {})]
    half = StepStatus("matching", "", "interrupted", 0.5, None, {})
    assert line_of_status(tmp_path, [*done, half]) == "about 5 min left, by its plan and the steps so far"
    (tmp_path / "plan.json").write_text('{"steps": [1]}', encoding="utf-8")
    assert line_of_status(tmp_path, done) is None


def test_drawn_cams_are_hills_side_by_side() -> None:
    first, second = (bump((20, 40), place, 2) for place in (0, 1))
    assert first.max() == second.max() == 1
    assert first[:, :20].sum() > 5 * first[:, 20:].sum()
    np.testing.assert_allclose(first, second[:, ::-1], atol=1e-6)


def test_a_damaged_photo_is_timed_on_no_account(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=5)
    for name in ("p00.png", "p01.png"):  # their headers are whole
        data = (photos / name).read_bytes()
        (photos / name).write_bytes(data[: len(data) // 2])
    dataset = open_dataset(photos)
    sizes = sizes_of(dataset, max_megapixels=50)
    with Sample.of(Recipe(), dataset, Opened(), sizes, device=torch.device("cpu")) as sample:
        whole = [item.id for item in dataset.items if item.tags and item.id not in ("p00", "p01")]
        assert [item.id for item in sample.items] == whole
        assert whole
        assert sample.reading().wall > 0


NEEDED = 4 * (3 * 40 * 30 + 16)  # bytes of four photos of 40x30


@pytest.mark.parametrize(
    ("settings", "free", "line"),
    [
        (DataSettings(), 4 * NEEDED, "all 4 kept in memory while it trains, 14 kB"),
        (DataSettings(), 3 * NEEDED, "not kept, decoded for every view (all would take 14 kB, more than a quarter"),
        (DataSettings(cache_gb=1e-6), 4 * NEEDED, "14 kB, more than data.cache_gb=1e-06; data.cache=memory or disk"),
        (DataSettings(cache="memory"), NEEDED, "2 of 4 kept in memory while it trains, 7 kB"),
        (DataSettings(cache="memory", cache_gb=1), NEEDED, "3 of 4 kept in memory"),  # a quarter of the room is left
        (
            DataSettings(cache="memory", train_side=20),
            NEEDED,
            "all 4 kept in memory at 20 pixels while it trains, 4 kB",
        ),
        (DataSettings(cache="disk"), 5 * NEEDED, "all 4 kept on the disk of the run's folder while it trains, 14 kB"),
        (DataSettings(cache="disk"), NEEDED, "not kept, decoded for every view (no photo has room; 14 kB are free"),
        (DataSettings(cache="no"), 9 * NEEDED, "not kept, decoded for every view (data.cache=no)"),
    ],
)
def test_the_plan_says_where_decoded_photos_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: DataSettings, free: int, line: str
) -> None:
    """And a run in the same room keeps as many, up to the photo with which it sees that room ends."""
    dataset = open_dataset(write(tmp_path / "photos", ["a", "b", "a", "b"], [(40, 30)] * 4))
    monkeypatch.setattr(keeping, "room", lambda folder: free)
    monkeypatch.setattr(deciding, "free_memory", lambda: free)
    monkeypatch.setattr(deciding, "free_disk", lambda folder: free)
    sizes = sizes_of(dataset, max_megapixels=50)
    recipe = replace(Recipe(), data=settings)
    kept = kept_photos(dataset, sizes, recipe, folder=tmp_path)
    assert line in kept.line()
    left = iter([free, *(free - done * kept.bytes // max(1, kept.photos) - 1 for done in range(5))])
    monkeypatch.setattr(decoded, "room", lambda folder: next(left))
    monkeypatch.setattr(decoded, "LOOK", 1)
    once = photos_once(dataset, sizes, settings, folder=tmp_path, ranks=ALONE)
    for item in dataset.items:
        once.photo(item)
    marks = [once.kept is not None and once.kept.read(item.id, _mark(item.photo)) is not None for item in once.items]
    assert 0 <= sum(marks) - kept.photos <= (settings.cache_gb == 1)


def _mark(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def test_kept_photos_count_as_disk_while_it_trains(tmp_path: Path) -> None:
    context = Context(Recipe(), Source(tmp_path), tmp_path / "out")
    kept = KeptPhotos("disk", 500_000_000, 50, 50)
    assert replace(PLAN, kept=kept).most_disk == 506_000_000  # before label maps are written
    assert replace(PLAN, kept=replace(kept, where="memory")).most_disk == PLAN.disk
    assert "all 50 kept on the disk" in "\n".join(replace(PLAN, kept=kept).lines())
    check_disk(context, replace(PLAN, kept=kept, free=506_000_000))
    with pytest.raises(UserError, match=r"needs about 506\.0 MB, but 505\.0 MB are free"):
        check_disk(context, replace(PLAN, kept=kept, free=505_000_000))


# ------------------------------------------------------------------------------------------------------ as commands


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    tiny.write_recipe(folder / "tiny.yaml", tiny.save_clip(folder / "clip"))
    return folder


def test_plan_then_run(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan names every step and writes nothing; the disk it says is near what the run leaves."""
    monkeypatch.setenv("SEMPLES_CACHE", str(tmp_path / "cache"))
    photos, out = tiny.draw_photos(tmp_path / "photos", count=6), tmp_path / "out"
    arguments = [material / "tiny.yaml", "--data", photos, "--out", out]
    said = tiny.invoke("plan", *arguments, "--json", tmp_path / "plan.json").out
    assert not out.exists()
    made = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert "in all about" in said
    assert "decoded photos: all 6 kept in memory while it trains" in said
    uncached = tiny.invoke("plan", *arguments, "--set", "data.cache=no", "--until", "warmup").out
    assert "decoded photos: not kept, decoded for every view (data.cache=no)" in uncached
    assert made["kept"]["where"] == "memory"
    assert "classes with fewer than 20 photos learn little" in said
    first = tiny.invoke("run", *arguments).err
    assert first.startswith("plan: 6 photos, 2 classes (")
    assert "matching: 3 steps" in first  # too little to be timed
    assert "plan:" not in tiny.invoke("run", *arguments, "--quiet").err
    left = {step: sum(file.stat().st_size for file in (out / step).rglob("*") if file.is_file()) for step in (
        "warmup", "refinement", "cams", "labels")}  # fmt: skip
    planned = {step["step"]: step["disk"] for step in made["steps"]}
    for step, count in left.items():
        assert planned[step] / 2 < count < planned[step] * 2 + 20_000, step
    steps = [step["step"] for step in made["steps"]]
    looks = [f"health-{of}" for of in ("data", "warmup", "matching", "prompting", "refinement", "cams")]
    assert [step for step in steps if step.startswith("health-")] == looks
    rest = [step for step in steps if step not in looks]
    assert " ".join(rest) == "data warmup matching prompting refinement cams selection curve labels scores"
    assert "6 looks at what the steps have learned" in said
    assert all(step["cpu"] >= 0 for step in made["steps"])
    assert sum(step["cpu"] for step in made["steps"] if step["step"] in looks) > 0
    assert "by its plan" not in tiny.invoke("status", out).out


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's memory holds no photos that are kept")
def test_kept_photos_count_as_memory_of_the_steps_that_train(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptPhotos("memory", 10**12, 6, 6)
    monkeypatch.setattr("semples.run.planning.make.kept_photos", lambda *given, **more: kept)
    photos, told = tiny.draw_photos(tmp_path / "photos", count=6), tmp_path / "plan.json"
    line = ["plan", material / "tiny.yaml", "--data", photos, "--out", tmp_path / "out", "--until", "warmup"]
    said = tiny.invoke(*line, "--json", told).out
    memory = {step["step"]: step["memory"] for step in json.loads(told.read_text(encoding="utf-8"))["steps"]}
    assert memory["data"] < 10**12 < memory["warmup"]
    assert "of memory at the peak" in said
    assert "decoded photos: all 6 kept in memory while it trains, 1000.0 GB" in said


SHORT = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
SHORT += ["--set=labels.select=fixed"]


def write(folder: Path, tags: list[str], sizes: list[tuple[int, int]]) -> Path:
    """A photo (width, height) of noise for each line of tags, `a;b`."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,tags"]
    for place, (line, (width, height)) in enumerate(zip(tags, sizes, strict=True)):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        small.resize((width, height)).save(folder / f"{place:03d}.jpg", quality=60)
        rows.append(f"{place:03d}.jpg,{line}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("tags", "sizes", "note"),
    [
        (["dog"] * 5 + [""] * 3, [(40, 30)] * 8, "one class only"),
        (["dog"] * 6, [(40, 30)] * 6, "every photo carries the only tag"),
        (["a;b"] + ["b"] * 100, [(24, 24)] * 101, "the commonest class has 101 photos, the rarest 1"),
        ([f"class {place % 60};class {place % 7}" for place in range(60)], [(32, 32)] * 60, "and 55 more"),
    ],
    ids=["one class", "nothing without it", "1 to 100", "60 classes"],
)
def test_odd_folders_run_and_are_remarked_on(
    material: Path, tmp_path: Path, tags: list[str], sizes: list[tuple[int, int]], note: str
) -> None:
    photos = write(tmp_path / "photos", tags, sizes)
    ended = tiny.invoke("run", material / "tiny.yaml", "--data", photos, "--out", tmp_path / "out", *SHORT)
    assert note in ended.err
    assert len(list((tmp_path / "out" / "labels").glob("*.png"))) == len(tags)


@pytest.mark.slow
def test_all_sizes_in_one_folder(material: Path, tmp_path: Path) -> None:
    """96 pixels to 24 megapixels, and panoramas lying and standing."""
    sizes = [(96, 96), (6000, 4000), (4000, 200), (60, 1500), (640, 480)]
    photos = write(tmp_path / "photos", ["a", "b", "a;b", "", "b"], sizes)
    tiny.invoke("run", material / "tiny.yaml", "--data", photos, "--out", tmp_path / "out", *SHORT)
    for place, size in enumerate(sizes):
        with Image.open(tmp_path / "out" / "labels" / f"{place:03d}.png") as labels:
            assert labels.size == size

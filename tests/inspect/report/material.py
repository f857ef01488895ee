"""A run folder with drawn CAMs in place of trained ones: everything a report reads, made in a second or two."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from semples.cams.store import CamStore
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run import records as run_folder
from semples.run.context import Context, Source
from semples.run.names import cams_name
from tests import tiny

HOSTILE = "<script>window.hacked=1</script>"
HOSTILE_PHOTO = "p<img src=x onerror=hacked()>&amp;00"
CLASSES = ("disc", HOSTILE)
STAGES = ("warmup", "matching", "refinement")


def make_run(
    folder: Path,
    *,
    count: int = 12,
    stages: Sequence[str] = STAGES,
    masks: bool = True,
    prompts: bool = True,
    steps: Sequence[str] = ("curve-warmup", "curve", "labels", "scores"),
    settings: Sequence[str] = (),
) -> Context:
    """A run in `folder`/run of photos in `folder`/photos, with CAMs of `stages` and what `steps` make of them."""
    photos = tiny.draw_photos(folder / "photos", count=count, classes=CLASSES)
    rename(photos, "p00", HOSTILE_PHOTO)
    drawn = {path.stem: tiny.pixels(path) for path in (photos / "masks").iterdir()}
    if not masks:
        for path in (photos / "masks").iterdir():
            path.unlink()
    chosen = [
        "clip.model=shipped:demo_clip",
        "generator.start=random",
        "scores.curve_start=0",
        "scores.curve_end=101",
        "data.workers=0",
        "labels.select=fixed",
        "labels.method=threshold",
        *settings,
    ]
    context = Context(load_recipe("folder", chosen), Source(photos), folder / "run")
    pipeline.run(context, steps=["data"])
    for stage in stages:
        draw_cams(context, stage, drawn)
    if prompts:
        save_prompts(context)
    if steps:
        pipeline.run(context, steps=list(steps))
    return context


def rename(photos: Path, old: str, new: str) -> None:
    """Give a photo, its mask and its row another name."""
    for place in (photos, photos / "masks"):
        (place / f"{old}.png").rename(place / f"{new}.png")
    with open(photos / "tags.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    with open(photos / "tags.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[cell.replace(f"{old}.png", f"{new}.png") for cell in row] for row in rows])


def draw_cams(context: Context, stage: str, drawn: dict[str, np.ndarray]) -> None:
    """CAMs that look like the masks, blurred and noisy, some values exactly on a threshold."""
    rng = np.random.default_rng(len(stage))
    store = CamStore(context.folder(cams_name(stage)))
    for item in context.dataset.items:
        truth = drawn[item.id]
        cams = {index: _draw_cam(truth == index + 1, rng) for index in item.tags}
        if len(cams) == 2:  # equal and nearly equal classes, for which the first or the larger has to win
            equal, near = rng.random((2, *truth.shape)) < 0.15
            cams[1][equal] = cams[0][equal]
            cams[1][near] = np.minimum(1, cams[0][near] + np.float32(5e-4))
        store.write(item.id, cams, (truth.shape[0], truth.shape[1]))
    finish(context, cams_name(stage))
    context.folder(stage).mkdir(parents=True, exist_ok=True)
    events = [{"step": n, "epoch": n / 2, "lr": 0.1, "loss": 2 / n, "foreground": 1 / n} for n in range(1, 5)]
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (context.folder(stage) / "events.jsonl").write_text(lines, encoding="utf-8")
    times = "".join(json.dumps({"step": n, "seconds": 10.0, "waited": 2.5}) + "\n" for n in range(1, 5))
    (context.folder(stage) / "times.jsonl").write_text(times, encoding="utf-8")
    finish(context, stage)


def _draw_cam(thing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    picture = Image.fromarray((thing * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.5))
    values = np.asarray(picture) / 255 * 0.8 + rng.random(thing.shape) * 0.3
    values = (values - values.min()) / (values.max() - values.min())
    ties = rng.random(thing.shape) < 0.2
    values[ties] = np.rint(values[ties] * 100) / 100
    return values.astype(np.float32)


def finish(context: Context, step: str) -> None:
    """A manifest, as if the step had been run."""
    described = {"step": step, "version": 1, "fingerprint": f"drawn {step}", "reads": {}, "seconds": 1.5}
    context.folder(step).mkdir(parents=True, exist_ok=True)
    run_folder.finish(context.folder(step), described, {})


def save_prompts(context: Context) -> None:
    """Background prompts as they are before training."""
    from semples.judges.base import build_judge
    from semples.run.models import PROMPTS
    from semples.stages.background_prompts import BackgroundPrompts

    classes = context.dataset.classes
    judge = build_judge(context.recipe.judge, classes=classes)
    prompts = BackgroundPrompts(judge.start_backgrounds(context.recipe.prompts, seed=0))
    context.folder("prompting").mkdir(parents=True, exist_ok=True)
    prompts.save(context.folder("prompting") / PROMPTS, classes=classes.names)
    finish(context, "prompting")

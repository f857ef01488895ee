"""The demo: draw a world, run the whole method on it, and show what each stage changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.files import atomic_path, read_json, write_json
from semples.core.palette import colour, read_label_png
from semples.core.places import place_of
from semples.data.dataset import open_dataset
from semples.data.demo.world import GROUND_KINDS, write_world
from semples.evaluation.cooccurrence import Cooccurrence, CooccurrenceAccumulator
from semples.inspect.words import knows_words, nearest_words
from semples.judges.words import DEMO_CLIP, words_of
from semples.labels.threshold import label_map, winner_map
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.health import verdicts
from semples.run.names import CURVE_FILE, MODEL, SEGMENTER, cams_name, curve_name
from semples.run.steps import labels as label_steps

STAGES = ("warmup", "matching", "refinement")
WORLD, SUMMARY, ROWS, SHEET = "world", "summary.json", "stages.png", "world.png"
CONFUSION = "confusion.png"


@dataclass(frozen=True)
class DemoSettings:
    """What is drawn: number of training photos, strength of co-occurrence p, classes, pixels, seed."""

    photos: int = 300
    p: float = 0.9
    classes: int = 8
    resolution: int = 96
    seed: int = 0


def run_demo(
    out: Path,
    settings: DemoSettings,
    *,
    overrides: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Draw, train, score, and leave `summary.json` and pictures in `out`; returns the summary.

    A second call goes on where the first was cut.
    """
    world = draw_world(out, settings)
    recipe = load_recipe("demo", [f"run.seed={settings.seed}", *overrides])
    context = Context(recipe, Source(world), out / "run")
    steps = [*all_steps(recipe), *pipeline.looked_after(context, ["labels", SEGMENTER])[1:]]
    outcomes = pipeline.run(context, steps=steps, tell=tell)
    summary = summarise(context) | {
        "segmenter": score_segmenter(context, out / CONFUSION),
        "seconds": {outcome.step: outcome.seconds for outcome in outcomes},
        "health": verdicts(outcomes),
        "settings": vars(settings),
    }
    write_json(out / SUMMARY, summary)
    draw_rows(context, out / ROWS)
    draw_sheet(context, out / SHEET)
    return summary


def all_steps(recipe: Recipe | None = None) -> list[str]:
    """A whole run by this recipe, with the CAMs of the earlier stages beside the final ones."""
    names: list[str] = []
    for step in pipeline.run_steps(recipe):
        names.append(step.name)
        if step.name in STAGES[:-1]:
            names += [cams_name(step.name), curve_name(step.name)]
    return names


def draw_world(out: Path, settings: DemoSettings) -> Path:
    """The photos, unless they are there already: the list `train`, and a third as many in `val`, which no stage sees.

    Raises UserError where the folder holds another world.
    """
    folder, wanted = out / WORLD, {"train": settings.photos, "val": max(1, settings.photos // 3)}
    described = {"seed": settings.seed, "p": settings.p, "resolution": settings.resolution, "photos": wanted}
    if (folder / "world.json").is_file():
        stored = read_json(folder / "world.json")
        same = all(stored[key] == value for key, value in described.items())
        if not same or len(stored["classes"]) != settings.classes:
            raise UserError(f"{folder}: holds another world; choose another --out or delete it")
        return folder
    return write_world(
        folder,
        photos=wanted,
        seed=settings.seed,
        p=settings.p,
        class_count=settings.classes,
        resolution=settings.resolution,
    )


def summarise(context: Context) -> dict[str, Any]:
    """Figures of every stage, 0..1, and the learned prompts' nearest words, where the judge knows any."""
    figures: dict[str, dict[str, float]] = {"miou": {}, "fp_own": {}, "auc": {}, "threshold": {}}
    for stage in STAGES:
        best = read_json(context.folder(curve_name(stage)) / CURVE_FILE)["best"]
        mix_up = cooccurrence(context, stage, threshold=best["threshold"])
        figures["miou"][stage] = round(best["miou"] / 100, 6)
        figures["threshold"][stage] = best["threshold"]
        figures["fp_own"][stage] = round(mix_up.mean_fp_own, 6)
        figures["auc"][stage] = round(mix_up.mean_auc, 6)
    words = nearest_words(context, words=words_of(DEMO_CLIP), count=5) if knows_words(context) else {}
    grounds = read_json(context.dataset.root / "world.json")["own_background"]
    labels = read_json(context.folder("scores") / label_steps.SCORES)["labels"]
    method = context.recipe.labels.method
    return figures | {
        "prompt_words": {name: [entry["word"] for entry in entries] for name, entries in words.items()},
        "own_background": grounds,
        "labels": {"miou": round(labels["miou"] / 100, 6), "threshold": labels["threshold"], "method": method},
    }


def score_segmenter(context: Context, picture: Path) -> dict[str, float]:
    """mIoU and boundary IoU, 0..1, of the segmenter on the photos that no stage saw, without tags.

    They are segmented as the recipe's `segmenter.predict` says, as `semples predict` does.
    """
    from semples.prediction import load
    from semples.prediction.evaluate import draw_confusion, evaluate

    model = load(context.folder(SEGMENTER) / MODEL, workers=context.workers)
    evaluation = evaluate(model, open_dataset(context.source.root, split="val"))
    draw_confusion(evaluation.confusion, evaluation.classes, picture)
    return {"miou": round(evaluation.scores.miou / 100, 6), "boundary_iou": round(evaluation.mean_boundary / 100, 6)}


def cooccurrence(context: Context, stage: str, *, threshold: float) -> Cooccurrence:
    """FP-own and AUC of a stage's CAMs, from the demo world's background masks."""
    dataset = context.scored_dataset
    grounds = read_json(dataset.root / "world.json")["own_background"]
    values = [GROUND_KINDS.index(grounds[name]) + 1 for name in dataset.classes.names]
    accumulator = CooccurrenceAccumulator(values)
    store = CamStore(context.folder(cams_name(stage)), format=context.recipe.cams.format)
    for item in dataset.items:
        truth = dataset.mask(item)
        assert truth is not None
        cams = store.read(item.id)
        labels = label_map(cams, (truth.shape[0], truth.shape[1]), threshold=threshold)
        with Image.open(dataset.root / "SegmentationBackground" / f"{item.id}.png") as picture:
            accumulator.add(cams, labels, truth, np.asarray(picture))
    return accumulator.result()


# ---------------------------------------------------------------------------------------------------------- pictures


def draw_rows(context: Context, path: Path, *, count: int = 14) -> None:
    """A picture with a column per photo: photo, CAM after warm-up, after (a), after (c), label map, truth."""
    dataset = context.scored_dataset
    items = [item for item in dataset.items if item.tags][:count]
    stores = [CamStore(context.folder(cams_name(stage)), format=context.recipe.cams.format) for stage in STAGES]
    columns = []
    for item in items:
        photo, truth = dataset.photo(item), dataset.mask(item)
        assert truth is not None
        heats = []
        for store in stores:
            _, value = winner_map(store.read(item.id), photo.shape[:2])
            heats.append(overlay(photo, value))
        labels = read_label_png(place_of(context.folder("labels"), item.id, ".png"))
        columns.append(stack([photo, *heats, colour(labels), colour(truth)], axis=0))
    save_picture(stack(columns, axis=1), path)


def draw_sheet(context: Context, path: Path, *, rows: int = 6, columns: int = 14) -> None:
    """A contact sheet of the photos."""
    dataset = context.scored_dataset
    photos = [dataset.photo(item) for item in dataset.items[: rows * columns]]
    lines = [stack(photos[start : start + columns], axis=1) for start in range(0, len(photos), columns)]
    save_picture(stack([line for line in lines if line.shape == lines[0].shape], axis=0), path)


def overlay(photo: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """The photo (H,W,3) with a CAM (H,W) in 0..1 laid over it, blue (low) over green to red (high)."""
    value = np.clip(cam, 0, 1)[..., None]
    centres = np.array([0.75, 0.5, 0.25])
    heat = np.clip(1.5 - 4 * np.abs(value - centres), 0, 1) * 255
    return (0.45 * photo + 0.55 * heat).astype(np.uint8)


def stack(pictures: Sequence[np.ndarray], *, axis: int, gap: int = 3) -> np.ndarray:
    """Equally large pictures side by side (axis 1) or below each other (axis 0) with white gaps."""
    shape = list(pictures[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, white)][:-1]
    return np.concatenate(parts, axis=axis)


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Write a PNG atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)

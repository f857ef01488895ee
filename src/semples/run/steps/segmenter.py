"""The optional last step: train the final segmenter on label maps."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import read_json, sha256_file, write_json
from semples.core.schema import to_dict
from semples.data.check import verify_photos
from semples.data.dataset import ClassList, FileDataset, Item, TaggedDataset, class_list
from semples.data.photos import PHOTO_SUFFIXES
from semples.data.text import nfc
from semples.networks.weights import source_digest
from semples.run.context import Context, Step
from semples.run.steps.train import STAGES

if TYPE_CHECKING:
    from semples.segmenter.build import Segmenter
    from semples.segmenter.package import Card

NAME = "segmenter"
MODEL = "model"  # folder of the finished segmenter in the step's folder
CLASSES = "classes.txt"
HOW = {"auto": "chosen from photos and tags", "ground-truth": "chosen with pixel masks"}  # the threshold
SET_ASIDE = "set_aside.json"  # photos of given folders that cannot be read


def step() -> Step:
    """Train on the label maps of the run."""

    def run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
        return _train(context, context.dataset, context.folder("labels"), folder, fingerprint)

    return Step(NAME, "the segmenter learns from the label maps", ("data", "labels"), _inputs, run, partial=_partial)


def folder_step(photos: Path, labels: Path, classes: Path | None) -> Step:
    """Train on photos and label maps of any folders."""
    pairs: list[FileDataset] = []  # listed once

    def dataset() -> FileDataset:
        if not pairs:
            pairs.append(paired_dataset(photos, labels, classes))
        return pairs[0]

    def inputs(context: Context) -> dict[str, Any]:
        found = dataset()
        files = [
            [item.id, sha256_file(item.photo), *map(sha256_file, _label_files(labels, item))] for item in found.items
        ]
        content = hashlib.sha256(json.dumps(files).encode()).hexdigest()
        return _inputs(context) | {"classes": found.classes.names, "files": content}

    def run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
        found = readable(dataset(), workers=context.recipe.data.workers)
        if context.is_main:
            problems = [{"where": problem.where, "what": problem.what} for problem in found.problems]
            write_json(folder / SET_ASIDE, problems)
        made = _train(context, found, labels, folder, fingerprint)
        return made | {"set_aside": len(found.problems), "unlabelled": _unlabelled(dataset(), labels)}

    return Step(NAME, "the segmenter learns from the label maps", (), inputs, run, partial=_partial)


def readable(dataset: FileDataset, *, workers: int) -> FileDataset:
    """The dataset without photos that cannot be decoded, which become its problems. Raises UserError if none is left.

    A run's photos have been through this in its step `data`.
    """
    verified = verify_photos(dataset, workers=max(1, workers))
    if not verified.kept:
        raise UserError(f"{dataset.root}: no photo can be read; the first: {verified.problems[0].what}")
    return replace(dataset, items=verified.kept, problems=verified.problems)


def set_aside(folder: Path) -> list[str]:
    """What is wrong with the photos that the training in this step's folder did without, a line each."""
    path = folder / SET_ASIDE
    return [problem["what"] for problem in read_json(path)] if path.is_file() else []


def paired_dataset(photos: Path, labels: Path, classes: Path | None) -> FileDataset:
    """The photos below `photos` that have a label map of the same name (but for the suffix) below `labels`.

    The class list is the file given, or classes.txt in either folder. Raises UserError.
    """
    for folder in (photos, labels):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
    names = [classes] if classes is not None else [folder / CLASSES for folder in (labels, photos)]
    found = next((path for path in names if path.is_file()), None)
    if found is None:
        raise UserError(f"{names[0]}: no such class list; name one with --classes (a class name on each line)")
    items = []
    for path in photo_files(photos):
        name = nfc(path.relative_to(photos).with_suffix("").as_posix())
        if (labels / f"{name}.png").is_file() and (labels / f"{name}.png") != path:
            items.append(Item(name, path, ()))
    if not items:
        raise UserError(f"{labels}: no label map NAME.png for any photo NAME below {photos}")
    listed: ClassList = class_list(found)
    return FileDataset(photos.resolve().name, photos, listed, tuple(items), ())


def photo_files(folder: Path) -> Iterator[Path]:
    """Files below `folder` whose names are those of photos, in order."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.casefold() in PHOTO_SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _unlabelled(dataset: FileDataset, labels: Path) -> int:
    """How many photos have no label map; a PNG among the label maps is none of them."""
    paired = {item.photo for item in dataset.items}
    rest = (path for path in photo_files(dataset.root) if path not in paired)
    return sum(1 for path in rest if not (path.suffix == ".png" and path.is_relative_to(labels)))


def trained_on(folder: Path) -> str:
    """One line on the photos of the finished training in this step's folder."""
    result = read_json(folder / "manifest.json")["result"]
    without = result.get("unlabelled")
    return f"learned from {result['photos']} photos" + (f"; {without} without a label map" if without else "")


def _label_files(labels: Path, item: Item) -> list[Path]:
    from semples.segmenter.views import CONFIDENCE

    paths = (labels / f"{item.id}.png", labels / CONFIDENCE / f"{item.id}.png")
    return [path for path in paths if path.is_file()]


def _inputs(context: Context) -> dict[str, Any]:
    """Every setting that changes the segmenter's numbers."""
    settings, run = context.recipe.segmenter, context.recipe.run
    return {
        "segmenter": to_dict(settings),
        "start": _start_digest(settings.model),
        "run": {"seed": run.seed, "precision": run.precision},
    }


def _start_digest(source: str) -> str:
    """What identifies the start weights; a word before a colon is a family, or `shipped`."""
    kind, colon, rest = source.partition(":")
    if not colon or kind == "shipped":
        return source_digest(source)
    if kind == "scratch" and not Path(rest).exists():
        return source
    return f"{kind}:{source_digest(rest)}"


def _train(context: Context, dataset: TaggedDataset, labels: Path, folder: Path, fingerprint: str) -> dict[str, Any]:
    from semples.segmenter.build import SegmenterConfig, build_segmenter
    from semples.segmenter.package import write_package
    from semples.segmenter.shapes import check_view
    from semples.segmenter.task import Segmentation
    from semples.segmenter.views import LabelFolder, MaskedViews, labelled
    from semples.training.loop import CHECKPOINT, train

    settings, run = context.recipe.segmenter, context.recipe.run
    maps = LabelFolder(labels)
    dataset = labelled(dataset, maps)
    config = SegmenterConfig(
        classes=dataset.classes.names,
        size=settings.photo_size or settings.image_size,
        mean=settings.mean,
        std=settings.std,
    )
    segmenter = build_segmenter(settings.model, config=config, seed=run.seed, view=settings.image_size)
    check_view(segmenter, settings.image_size)
    task = Segmentation(segmenter, settings)
    train(
        task,
        MaskedViews(dataset=dataset, labels=maps, settings=settings, seed=run.seed),
        engine=context.engine,
        settings=settings,
        run=run,
        workers=context.recipe.data.workers,
        folder=folder,
        fingerprint=fingerprint,
        label=NAME,
    )
    if context.is_main:
        finished: Segmenter = task.finish()
        write_package(finished, folder / MODEL, recipe=context.recipe, card=_card(context, dataset, labels))
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return {"photos": len(dataset.items), "iterations": settings.iterations, "network": task.segmenter.family}


def _card(context: Context, dataset: TaggedDataset, labels: Path) -> Card:
    """What the model card says: on what it was trained, and the figures there are of its label maps."""
    from semples.segmenter.package import Card, Figure

    settings, own = context.recipe.segmenter, labels == context.folder("labels")
    tags = Counter(tag for item in dataset.items for tag in item.tags)
    card = Card(
        name=f"{dataset.name}: segmenter",
        data=dataset.name,
        source=settings.model,
        photos=len(dataset.items),
        tagged={name: tags[index] for index, name in enumerate(dataset.classes.names)} if own else None,
        labels=f"label maps of the folder {labels.resolve().name}",
        used_pixel_masks=None,
        notes=(f"{settings.iterations} steps of {settings.batch} photos",),
    )
    if not own:
        return card
    made, scores = _manifest(context, "labels"), _manifest(context, "scores")
    select = made["result"].get("select")
    by_masks = select == "ground-truth" or any(
        _manifest(context, stage)["result"].get("select_epoch") == "ground-truth" for stage in STAGES
    )
    known = scores["needs"].get("labels") == made.get("fingerprint")  # else they are of earlier label maps
    name, miou = "mIoU of the label maps it learned from, %", scores["result"].get("miou") if known else None
    figures = () if miou is None else (Figure(name=name, value=miou, photos=scores["result"]["photos"]),)
    threshold, method = made["result"].get("threshold"), made["result"].get("method")
    how = HOW.get(select, "fixed in the settings")
    return replace(
        card,
        labels=f"class activation maps, background threshold {threshold}, {how}; {method}",
        used_pixel_masks=True if by_masks else False if select == "auto" else None,
        figures=figures,
    )


def _manifest(context: Context, step: str) -> dict[str, Any]:
    """What a finished step says of itself, nothing where it is not finished."""
    path = context.folder(step) / "manifest.json"
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return {"needs": {}, "result": {}} | found


def _partial(context: Context, folder: Path) -> float | None:
    """Which share of the training a checkpoint holds."""
    from semples.training.checkpoint import load_progress
    from semples.training.loop import CHECKPOINT

    progress = load_progress(folder / CHECKPOINT)
    return None if progress is None else progress.done


__all__ = ["MODEL", "NAME", "folder_step", "paired_dataset", "readable", "set_aside", "step"]

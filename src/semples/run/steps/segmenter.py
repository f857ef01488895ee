"""The optional last step: train the final segmenter on label maps."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.files import read_json, write_json
from semples.core.schema import to_dict
from semples.data.dataset import TaggedDataset
from semples.data.photos import probe
from semples.recipe import RunSettings, SegmenterSettings
from semples.run.names import MODEL, SEGMENTER, TRAINED
from semples.run.paired import Folders, readable
from semples.run.photos import photo_sizes
from semples.run.records import read_manifest, result_of
from semples.run.step import Step, checkpoint_share
from semples.run.work import Work
from semples.settings.stages import MANY_CLASSES, automatic_steps

if TYPE_CHECKING:
    from semples.segmenter.build import Segmenter
    from semples.segmenter.package import Card
    from semples.segmenter.views import LabelFolder

LEAST_SIDE, MOST_SIDE, SIDE_STEP = 96, 256, 32  # of training views, where they follow the photos
ANY_MEGAPIXELS = 10_000.0  # photos that are too large have been set aside
HOW = {
    "auto": "chosen from photos and tags",
    "ground-truth": "chosen with pixel masks",
    "corrections": "chosen by corrected photos",
}  # the threshold
SET_ASIDE = "set_aside.json"  # photos of given folders that cannot be read
ABOUT = "the segmenter learns from the label maps"
NOTES = ("setting:segmenter.predict.", "setting:crf.")  # how it is used later: written beside the weights, not learned


def step() -> Step:
    """Train on the label maps of the run."""

    def run(work: Work) -> dict[str, Any]:
        sizes = photo_sizes(work.step("data"))
        return _train(work, work.training_dataset, sizes, work.step("labels"), of_run=True)

    return Step(SEGMENTER, ABOUT, ("data", "labels"), run, partial=checkpoint_share, notes=NOTES)


def folder_step(folders: Folders) -> Step:
    """Train on photos and label maps of any folders."""

    def run(work: Work) -> dict[str, Any]:
        work.fact("files")
        dataset = readable(folders.dataset, workers=work.workers)
        if work.is_main:
            problems = [{"where": problem.where, "what": problem.what} for problem in dataset.problems]
            write_json(work.folder / SET_ASIDE, problems)
        sizes = {item.id: probe(item.photo, max_megapixels=ANY_MEGAPIXELS) for item in dataset.items}
        made = _train(work, dataset, sizes, folders.labels, of_run=False)
        return made | {"set_aside": len(dataset.problems), "unlabelled": folders.unlabelled}

    facts = {"files": lambda context: folders.digest()}
    return Step(SEGMENTER, ABOUT, (), run, partial=checkpoint_share, notes=NOTES, facts=facts)


def set_aside(folder: Path) -> list[str]:
    """What is wrong with the photos that the training in this step's folder did without, a line each."""
    path = folder / SET_ASIDE
    return [problem["what"] for problem in read_json(path)] if path.is_file() else []


def trained_on(folder: Path) -> str:
    """One line on the photos of the finished training in this step's folder."""
    result = result_of(folder)
    without = result.get("unlabelled")
    return f"learned from {result['photos']} photos" + (f"; {without} without a label map" if without else "")


def _train(
    work: Work, dataset: TaggedDataset, sizes: Mapping[str, tuple[int, int]], labels: Path, *, of_run: bool
) -> dict[str, Any]:
    from semples.segmenter.build import Segmenter
    from semples.segmenter.package import is_complete, write_package
    from semples.segmenter.views import LabelFolder, labelled
    from semples.training.loop import CHECKPOINT

    written, run, crf = work.settings("segmenter"), work.settings("run"), work.settings("crf")
    maps = LabelFolder(labels)
    dataset = labelled(work.photos_once(dataset, sizes), maps)
    settings = settled(written, dataset)
    model = work.folder / MODEL
    trained = Segmenter.load(model) if is_complete(model) else _learn(work, dataset, maps, settings, run)
    if work.is_main:
        card = _card(work, dataset, labels, settings, of_run=of_run)
        groups = {"segmenter": to_dict(settings), "crf": to_dict(crf), "run": {"seed": run.seed}}
        write_package(trained, model, recipe=groups, card=card)
        (work.folder / CHECKPOINT).unlink(missing_ok=True)
    return {"photos": len(dataset.items), "iterations": settings.iterations, "network": trained.family}


def settled(settings: SegmenterSettings, dataset: TaggedDataset) -> SegmenterSettings:
    """The settings with numbers in place of what depends on the photos: `iterations: auto`, `image_size: auto`."""
    changes: dict[str, Any] = {}
    if settings.iterations == "auto":
        count = len(dataset.items)
        changes["iterations"] = automatic_steps(settings.auto_iterations, photos=count, classes=MANY_CLASSES)
    if settings.image_size == "auto":
        sizes = [probe(item.photo, max_megapixels=ANY_MEGAPIXELS) for item in dataset.items]
        shorter = statistics.median(min(size) for size in sizes)
        changes["image_size"] = int(min(MOST_SIDE, max(LEAST_SIDE, shorter // SIDE_STEP * SIDE_STEP)))
    return replace(settings, **changes)


def _learn(
    work: Work, dataset: TaggedDataset, maps: LabelFolder, settings: SegmenterSettings, run: RunSettings
) -> Segmenter:
    """The segmenter, trained on the label maps."""
    from semples.segmenter.build import SegmenterConfig, build_segmenter
    from semples.segmenter.shapes import check_view
    from semples.segmenter.task import Segmentation
    from semples.segmenter.views import MaskedViews, view_side
    from semples.training.loop import train

    view = view_side(settings)
    config = SegmenterConfig(
        classes=dataset.classes.names,
        size=settings.photo_size or view,
        mean=settings.mean,
        std=settings.std,
    )
    segmenter = build_segmenter(settings.model, config=config, seed=run.seed, view=view, kind=settings.kind)
    check_view(segmenter, view)
    task = Segmentation(segmenter, settings)
    train(
        task,
        MaskedViews(dataset=dataset, labels=maps, settings=settings, seed=run.seed),
        engine=work.engine,
        settings=settings,
        run=run,
        workers=work.workers,
        folder=work.folder,
        fingerprint=work.fingerprint,
        label=SEGMENTER,
        tracking=work.tracking,
    )
    return task.finish()


def _card(work: Work, dataset: TaggedDataset, labels: Path, settings: Any, *, of_run: bool) -> Card:
    """What the model card says: on what it was trained, and the figures there are of its label maps now.

    Those figures are a note on the model: scores that are made later make no segmenter anew.
    """
    from semples.segmenter.package import Card, Figure

    tags = Counter(tag for item in dataset.items for tag in item.tags)
    card = Card(
        name=f"{dataset.name}: segmenter",
        data=dataset.name,
        source=settings.model,
        photos=len(dataset.items),
        tagged={name: tags[index] for index, name in enumerate(dataset.classes.names)} if of_run else None,
        labels=f"label maps of the folder {labels.resolve().name}",
        used_pixel_masks=None,
        notes=(f"{settings.iterations} steps of {settings.batch} photos",),
    )
    if not of_run:
        return card
    made = result_of(labels)
    select = made.get("select")
    by_masks = select == "ground-truth" or any(
        result_of(work.out / stage).get("select_epoch") == "ground-truth" for stage in TRAINED
    )
    how = HOW.get(str(select), "fixed in the settings")
    miou, photos = _known_score(work.out / "scores", labels)
    name = "mIoU of the label maps it learned from, %"
    return replace(
        card,
        labels=f"class activation maps, background threshold {made.get('threshold')}, {how}; {made.get('method')}",
        used_pixel_masks=True if by_masks else False if select == "auto" else None,
        figures=() if miou is None else (Figure(name=name, value=miou, photos=photos),),
    )


def _known_score(scores: Path, labels: Path) -> tuple[float | None, int]:
    """mIoU of these label maps and how many photos it is of; None where they, as they are now, have not been scored."""
    scored, made = read_manifest(scores), read_manifest(labels)
    if scored is None or made is None or scored["reads"].get("step:labels") != made["fingerprint"]:
        return None, 0
    return scored["result"].get("miou"), int(scored["result"]["photos"])

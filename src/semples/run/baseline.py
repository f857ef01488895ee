"""Label maps of a run's photos by another model: RUN/baselines/NAME, in the form of the run's own, with their scores.

DIR/baseline.json          what the maps were made from; maps made from something else go when it changes
DIR/ID.png                 labels: 0 background, class k as k + 1
DIR/confidence/ID.png      confidences, 255 for 1
DIR/scores.json            scores against masks, where there are any
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from semples.baselines.base import Baseline, make_baseline
from semples.core.errors import UserError
from semples.core.files import is_unfinished, read_json, write_json
from semples.core.palette import write_confidence_png, write_label_png
from semples.core.places import NUMBERED, place_of
from semples.core.progress import track
from semples.core.schema import merge, parse_override, to_dict
from semples.data.dataset import Item, TaggedDataset
from semples.data.pictures import is_whole
from semples.evaluation.confusion import Scores
from semples.networks.weights import source_digest
from semples.run.context import Context
from semples.run.label_maps import CONFIDENCE, attempt, check_names, number_maps
from semples.run.scoring import score_labels
from semples.run.work import weight_sources
from semples.settings.baselines import BaselineSettings
from semples.settings.kinds import BASELINES

DESCRIBED, SCORES = "baseline.json", "scores.json"


def baseline_settings(model: str, overrides: Sequence[str] = ()) -> BaselineSettings:
    """Settings of `NAME` or `NAME=SOURCE`, SOURCE a hub id or folder, with `key=value` changes.

    Names are taken as their authors write them too: CLIPSeg, GroundingDINO+SAM, SAM3.
    Raises UserError for an unknown baseline or setting.
    """
    named, equals, source = model.partition("=")
    kind = _registered(named)
    settings: BaselineSettings = BASELINES.settings_of(kind)(kind=kind)
    if equals:
        settings = merge(settings, {"model": source}, where=f"--model {model}")
    for override in overrides:
        settings = merge(settings, parse_override(override), where=f"--set {override}")
    return settings


def _registered(name: str) -> str:
    """The baseline of this name, in capitals or not; the name itself where none has it."""
    if name in BASELINES:
        return name
    return next((known for known in BASELINES.names() if known.casefold() == name.casefold()), name)


def folder_of(run: Path, settings: BaselineSettings) -> Path:
    """Where a run keeps the label maps of a baseline."""
    return run / "baselines" / re.sub(r"[^\w.-]+", "-", settings.kind).strip("-.")


def baseline_scores(run: Path) -> dict[str, dict[str, Any]]:
    """Scores of all baselines of a run by folder name, as `Scores.as_json` tells them. Raises UserError for a damaged
    file."""
    by_name = {}
    for path in sorted((run / "baselines").glob(f"*/{SCORES}")):
        try:
            stored = read_json(path)["labels"]
            _, *names = [str(entry["class"]) for entry in stored["classes"]]
            by_name[path.parent.name] = Scores.from_json(stored).as_json(tuple(names))
        except (LookupError, TypeError, ValueError):
            raise UserError(f"{path}: damaged; give the command again that made these label maps") from None
    return by_name


def label_run(context: Context, settings: BaselineSettings, folder: Path) -> tuple[list[str], Scores | None]:
    """Label maps of all photos of a run, and their scores where photos have masks (written too).

    Returns a line a photo or mask of no use, and the scores. Maps that are there and were made from the same are kept.
    Raises UserError where `folder` holds something else, or no photo can be labelled.
    """
    dataset = context.scored_dataset
    if context.is_main:
        ours = folder == folder_of(context.out, settings)
        prepare(folder, described(settings, dataset), dataset.items, ours=ours)
    context.wait()
    number_maps(folder, dataset.items)
    todo = missing(folder, dataset.items)[context.rank :: context.processes]
    problems: list[str] = []
    if todo:
        device = context.engine.device
        problems = write_maps(dataset, todo, make_baseline(settings, device=device), folder)
    context.wait()
    if not context.is_main:
        return problems, None
    if not any(place_of(folder, item.id, ".png").is_file() for item in dataset.items):
        raise UserError(f"no photo can be labelled ({len(problems)} failed); the first: {problems[0]}")
    scores = score_labels(dataset, folder, unusable=problems, broken=problems)
    if scores is not None:
        write_json(folder / SCORES, {"labels": scores.as_json(dataset.classes.names)})
    return list(dict.fromkeys(problems)), scores


def write_maps(dataset: TaggedDataset, items: Sequence[Item], baseline: Baseline, folder: Path) -> list[str]:
    """Labels and confidences of `items` into `folder`; labels last: where they are there, both are.

    Returns a line a photo of no use.
    """
    problems: list[str] = []
    for item in track(items, label="baseline"):
        photo = attempt(partial(dataset.photo, item), problems)
        if photo is None:
            continue
        labelled = baseline.labels(photo, dataset.classes.names, item.tags)
        write_confidence_png(place_of(folder / CONFIDENCE, item.id, ".png"), labelled.confidence)
        write_label_png(place_of(folder, item.id, ".png"), labelled.labels)
    return problems


def described(settings: BaselineSettings, dataset: TaggedDataset) -> dict[str, Any]:
    """What label maps of a baseline depend on, as plain data."""
    return {
        "baseline": to_dict(settings),
        "weights": {source: source_digest(source) for source in weight_sources(settings)},
        "classes": list(dataset.classes.names),
        "photos": photos_described(dataset),
    }


def photos_described(dataset: TaggedDataset) -> str:
    """What identifies photos by their names, and their tags."""
    photos = json.dumps([[item.id, list(item.tags)] for item in dataset.items])
    return hashlib.sha256(photos.encode()).hexdigest()


def prepare(
    folder: Path,
    description: dict[str, Any],
    items: Sequence[Item],
    *,
    described_in: str = DESCRIBED,
    ours: bool = False,
) -> None:
    """Make `folder` ready for label maps of `items`; those of another description go, anything else is refused.

    described_in: name of the file that holds the description; one that is damaged is none of these. ours: nobody else
    writes in this folder, so that what lies there without a description is left of this command's.
    """
    check_names(items)
    file = folder / described_in
    if not file.is_file() and not ours:
        left = [path for path in folder.iterdir() if not is_unfinished(path)] if folder.is_dir() else []
        if left or (folder.exists() and not folder.is_dir()):
            raise UserError(f"{folder}: not empty and not made by this command; choose another --out")
    known = _described_as(file)
    if known != description and folder.is_dir():
        write_json(file, {"being": "emptied"})
        for path in sorted(folder.rglob("*.png")):
            path.unlink()
    (folder / SCORES).unlink(missing_ok=True)
    if known != description:
        for place in (folder, folder / CONFIDENCE):
            (place / NUMBERED).unlink(missing_ok=True)
        write_json(file, description)
    number_maps(folder, items)


def _described_as(file: Path) -> Any:
    """What a description says; None where it is missing or damaged."""
    try:
        return read_json(file) if file.is_file() else None
    except UserError:
        return None


def missing(folder: Path, items: Sequence[Item]) -> list[Item]:
    """The items whose label map or confidence in `folder` is not there, from its first byte to its last."""
    return [
        item
        for item in items
        if not all(is_whole(place_of(place, item.id, ".png")) for place in (folder, folder / CONFIDENCE))
    ]

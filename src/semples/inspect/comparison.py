"""Several runs side by side: what differs in recipe and photos, their figures, and the photos labelled most unlike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.core.progress import track
from semples.core.schema import leaves
from semples.data.dataset import Item
from semples.run.baseline import baseline_scores
from semples.run.context import Context
from semples.run.folder import is_run, open_run
from semples.run.names import SELECTION, TRAINED, curve_name
from semples.run.photos import DATASET
from semples.run.pipeline import known_steps
from semples.run.records import read_manifest, read_output
from semples.run.steps.labels import SCORES

SEED = "run.seed"
ABSENT = "-"  # the value of a setting that a run's kinds do not have
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Mean of some values, and half the width of its 95 % interval (Student's t); None for one value."""

    mean: float
    half: float | None
    values: int


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone. runs: places in the comparison. figures: interval by figure. against: the
    same of the differences to the first group, paired by seed; empty where no two seeds are shared."""

    runs: tuple[int, ...]
    figures: Mapping[str, Interval]
    against: Mapping[str, Interval]


@dataclass(frozen=True)
class Unlike:
    """A photo: the share of its pixels (0..1) that the run most unlike the first labels otherwise, and the IoU (0..1,
    mean over background and tags) of every run, where it has a mask."""

    item: Item
    share: float
    iou: tuple[float, ...] | None


@dataclass(frozen=True)
class Comparison:
    """names: of the runs. settings: (key, value of each run) where they differ, the seed last. photos: lines on how
    the photos differ. figures: by name, one a run, None where a run has none. groups: runs of equal recipes. unlike:
    the photos labelled most unlike, first those that differ most; with a note where they cannot be told."""

    contexts: tuple[Context, ...]
    names: tuple[str, ...]
    settings: tuple[tuple[str, tuple[Any, ...]], ...]
    photos: tuple[str, ...]
    figures: Mapping[str, tuple[float | None, ...]]
    groups: tuple[Group, ...]
    unlike: tuple[Unlike, ...]
    note: str

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "runs": [
                {"name": name, "folder": str(one.out)} for name, one in zip(self.names, self.contexts, strict=True)
            ],
            "settings": [{"key": key, "values": list(values)} for key, values in self.settings],
            "photos": list(self.photos),
            "figures": {name: list(values) for name, values in self.figures.items()},
            "groups": [
                {
                    "runs": [self.names[place] for place in group.runs],
                    "figures": {name: one._asdict() for name, one in group.figures.items()},
                    "against the first": {name: one._asdict() for name, one in group.against.items()},
                }
                for group in self.groups
            ],
            "unlike": [{"photo": one.item.id, "share": one.share, "iou": one.iou} for one in self.unlike],
            "note": self.note,
        }


def compare(folders: Sequence[Path], *, photos: int = 12) -> Comparison:
    """Compare finished or unfinished runs. photos: how many of those labelled most unlike are listed.

    Raises UserError for fewer than two runs, a folder that holds none, or one named twice.
    """
    if len(folders) < 2:
        raise UserError("compare needs two runs or more; name their folders")
    contexts = tuple(open_run(_run_in(folder)) for folder in folders)
    places = [context.out.resolve() for context in contexts]
    if len(set(places)) < len(places):
        raise UserError(f"{next(str(p) for p in places if places.count(p) > 1)}: named twice; a run equals itself")
    names = _names([Path(folder) for folder in folders])
    for context in contexts:
        if not (context.folder("data") / DATASET).is_file():
            raise UserError(
                f"{context.out}: nothing to compare yet; its data step comes first: "
                f"`semples run RECIPE --data DIR --out {context.out}`"
            )
    figures = _figures(contexts)
    unlike, note = _unlike(contexts, count=photos)
    return Comparison(
        contexts=contexts,
        names=names,
        settings=_settings(contexts),
        photos=_photos(contexts, names),
        figures=figures,
        groups=_groups(contexts, figures),
        unlike=unlike,
        note=note,
    )


def _run_in(folder: Path) -> Path:
    """The run itself, also where the folder of `semples demo` around it is named."""
    return folder / "run" if not is_run(folder) and is_run(folder / "run") else folder


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The last parts of the folders, as many as tell them apart."""
    whole = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, whole)) + 1):
        short = ["/".join(parts[-length:]) for parts in whole]
        if len(set(short)) == len(short):
            break
    return tuple(short)


def _settings(contexts: Sequence[Context]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Settings that change results and are not the same in all runs; the seed last."""
    recipes = [dict(leaves(context.recipe, neutral=False)) for context in contexts]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    rows = [(key, tuple(recipe.get(key, ABSENT) for recipe in recipes)) for key in keys]
    unequal = [row for row in rows if any(value != row[1][0] for value in row[1])]
    return tuple(sorted(unequal, key=lambda row: row[0] == SEED))


def _photos(contexts: Sequence[Context], names: Sequence[str]) -> tuple[str, ...]:
    """A line on every run whose photos are not those of the first."""
    first = contexts[0]
    tags_of_first = {item.id: item.tags for item in first.dataset.items}
    lines = []
    for name, context in zip(names[1:], contexts[1:], strict=True):
        other = {item.id: item.tags for item in context.dataset.items}
        parts = []
        if context.dataset.classes.names != first.dataset.classes.names:
            parts.append(f"other classes ({len(context.dataset.classes)}, not {len(first.dataset.classes)})")
        more, fewer = len(other.keys() - tags_of_first.keys()), len(tags_of_first.keys() - other.keys())
        parts += [f"{count} {what}" for count, what in ((more, "more photos"), (fewer, "photos fewer")) if count]
        retagged = sum(other[id] != tags_of_first[id] for id in other.keys() & tags_of_first.keys())
        if retagged:
            parts.append(f"{retagged} photos tagged otherwise")
        if not parts and _content(context) != _content(first):
            parts.append("photos of the same names with other content")
        if parts:
            lines.append(f"{name} against {names[0]}: {', '.join(parts)}")
    return tuple(lines)


def _content(context: Context) -> Any:
    """What the data step has noted of the photos' content."""
    manifest = read_manifest(context.folder("data"))
    return None if manifest is None else manifest["reads"].get("fact:photos")


def _figures(contexts: Sequence[Context]) -> dict[str, tuple[float | None, ...]]:
    """Figures by name that at least one run has: percent, but for thresholds and seconds."""
    columns = [_figures_of(context) for context in contexts]
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: tuple(column.get(name) for column in columns) for name in names}


def _figures_of(context: Context) -> dict[str, float]:
    named: dict[str, float | None] = {}
    scores = context.folder("scores") / SCORES
    if scores.is_file():
        labels = read_output(scores.parent, scores.name)["labels"]
        named["labels: mIoU"] = labels["miou"]
        named |= {f"labels: IoU of {entry['class']}": entry["iou"] for entry in labels["classes"]}
    for stage in TRAINED:
        named[f"CAMs after {stage}: best mIoU"] = _result(context, curve_name(stage)).get("best_miou")
    named["label maps' estimated mIoU (no masks)"] = _result(context, SELECTION).get("estimated_miou")
    named["threshold"] = _result(context, "labels").get("threshold")
    named |= {f"baseline {name}: mIoU": scores["miou"] for name, scores in baseline_scores(context.out).items()}
    seconds = [one["seconds"] for one in map(read_manifest, map(context.folder, known_steps())) if one is not None]
    named["seconds of all steps"] = round(sum(seconds), 1)
    return {name: float(value) for name, value in named.items() if value is not None and math.isfinite(value)}


def _result(context: Context, step: str) -> dict[str, Any]:
    manifest = read_manifest(context.folder(step))
    return {} if manifest is None else dict(manifest["result"])


# ------------------------------------------------------------------------------------------------ several seeds


def _groups(contexts: Sequence[Context], figures: Mapping[str, tuple[float | None, ...]]) -> tuple[Group, ...]:
    """Runs of equal settings together, where there are several groups or several runs in one."""
    members: dict[str, list[int]] = {}
    for place, context in enumerate(contexts):
        recipe = {key: value for key, value in leaves(context.recipe, neutral=False) if key != SEED}
        members.setdefault(repr(sorted(recipe.items())), []).append(place)
    if len(members) == len(contexts):
        return ()
    seeds = [context.recipe.run.seed for context in contexts]
    first = next(iter(members.values()))
    return tuple(
        Group(
            tuple(places),
            {name: one for name, values in figures.items() if (one := interval([values[p] for p in places]))},
            {} if places is first else _against(places, first, seeds, figures),
        )
        for places in members.values()
    )


def _against(
    places: Sequence[int], first: Sequence[int], seeds: Sequence[int], figures: Mapping[str, tuple[float | None, ...]]
) -> dict[str, Interval]:
    """Differences to the first group, run by run of the same seed."""
    partner = {seeds[place]: place for place in first}
    pairs = [(place, partner[seeds[place]]) for place in places if seeds[place] in partner]
    differences = {
        name: interval([None if None in (values[a], values[b]) else values[a] - values[b] for a, b in pairs])  # type: ignore[operator]
        for name, values in figures.items()
    }
    return {name: one for name, one in differences.items() if one is not None and one.values > 1}


def interval(values: Sequence[float | None]) -> Interval | None:
    """Mean and half width of the 95 % interval of the known values; None where none is known."""
    from scipy.stats import t

    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) == 1:
        return Interval(known[0], None, 1)
    error = statistics.stdev(known) / math.sqrt(len(known))
    return Interval(statistics.fmean(known), float(t.ppf((1 + CONFIDENCE) / 2, len(known) - 1)) * error, len(known))


# ------------------------------------------------------------------------------------------------ photo by photo


def _unlike(contexts: Sequence[Context], *, count: int) -> tuple[tuple[Unlike, ...], str]:
    """Photos that all runs have label maps of, those first that one of them labels most unlike the first run."""
    classes = {context.dataset.classes.names for context in contexts}
    if len(classes) > 1:
        return (), "the runs have other classes, so their label maps cannot be compared"
    if len({_content(context) for context in contexts}) > 1:
        return (), "the runs have other photos, so no photo is compared"
    shared = [
        item
        for item in contexts[0].dataset.items
        if all(place_of(context.folder("labels"), item.id, ".png").is_file() for context in contexts)
    ]
    if not shared:
        return (), "no photo has a label map of every run"
    masks = {item.id: item for item in _with_masks(contexts[0]) if item.mask is not None}
    compared = []
    for item in track(shared, label="comparing"):
        maps = [read_label_png(place_of(context.folder("labels"), item.id, ".png")) for context in contexts]
        if any(labels.shape != maps[0].shape for labels in maps):
            continue
        share = max(float((labels != maps[0]).mean()) for labels in maps[1:])
        compared.append(Unlike(item, round(share, 6), _ious(contexts[0], masks.get(item.id), maps)))
    compared.sort(key=lambda one: (-one.share, one.item.id))
    return tuple(compared[:count]), ""


def _with_masks(context: Context) -> Sequence[Item]:
    """The photos with the masks that are there now; none where their folder has gone."""
    try:
        return context.scored_dataset.items
    except UserError:
        return ()


def _ious(context: Context, item: Item | None, maps: Sequence[NDArray[np.uint8]]) -> tuple[float, ...] | None:
    if item is None:
        return None
    try:
        truth = context.scored_dataset.mask(item)
    except UserError:
        return None
    if truth is None or truth.shape != maps[0].shape:
        return None
    return tuple(round(photo_iou(labels, truth, item.tags), 4) for labels in maps)


def photo_iou(labels: NDArray[np.uint8], truth: NDArray[np.uint8], tags: Sequence[int]) -> float:
    """Mean IoU (0..1) of background and tags in one photo, over those that either map has; 255 in the mask is left
    out."""
    known = truth != 255
    values = []
    for value in (0, *(tag + 1 for tag in tags)):
        mine, right = (labels == value) & known, truth == value
        if (mine | right).any():
            values.append((mine & right).sum() / (mine | right).sum())
    return float(np.mean(values)) if values else 1.0

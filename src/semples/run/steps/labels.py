"""The steps after the CAMs: threshold curve, label maps, scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from semples.cams.store import CamStore
from semples.core.files import read_json, write_json
from semples.data.dataset import Item, TaggedDataset, with_items
from semples.run.label_maps import has_labels, number_maps, write_corrected, write_labels
from semples.run.labelling import label_inputs, label_method
from semples.run.names import CURVE_FILE, LAST, cams_name, curve_name
from semples.run.photos import photo_sizes
from semples.run.records import result_of
from semples.run.scoring import score_labels, threshold_curve
from semples.run.step import Step
from semples.run.threshold import chosen_threshold
from semples.run.work import Work

SCORES = "scores.json"
CORRECTED = "corrected.json"  # beside the label maps: photos whose maps a person has corrected
CORRECTIONS = "fact:corrections"


def curve_step(stage: str = LAST) -> Step:
    """Scores of the CAMs at every background threshold."""

    def run(work: Work) -> dict[str, Any]:
        dataset, settings, unusable = work.scored_dataset, work.settings("scores"), list[str]()
        folder = work.step(cams_name(stage))
        store = CamStore(folder, format=work.setting("cams.format"))
        curve = threshold_curve(dataset, store, settings, unusable=unusable, ranks=work.ranks)
        if not work.is_main:
            return {}
        if curve is None:
            return _counted(dataset, unusable)
        write_json(work.folder / CURVE_FILE, curve.as_json(dataset.classes.names))
        return _counted(dataset, unusable) | {
            "best_miou": curve.best.scores.miou,
            "best_threshold": curve.best.threshold,
        }

    about = f"scores of the CAMs after {stage} over background thresholds"
    return Step(curve_name(stage), about, ("data", cams_name(stage)), run)


def labels_step() -> Step:
    """Label maps at the background threshold."""
    needs = ("data", "cams", "regions", "selection", "curve", "corrected")
    return Step("labels", "label maps", needs, _run_labels, version=3, notes=(CORRECTIONS,))


def scores_step() -> Step:
    """Scores of the label maps."""
    return Step("scores", "scores of the label maps against masks", ("data", "labels", "curve"), _run_scores)


def _run_labels(work: Work) -> dict[str, Any]:
    chosen = chosen_threshold(work)
    method, dataset = label_method(work), work.dataset
    inputs = label_inputs(work, method.needs)
    sizes = photo_sizes(work.step("data"))
    mine = dataset.items[work.rank :: work.processes]
    given = work.corrected
    number_maps(work.folder, dataset.items)
    before = corrected_in(work.folder)
    work.wait()
    _note_corrected(work, before | set(given))  # cut from here on, what is not corrected any more is made again
    stale = before - set(given)
    write_labels(
        [item for item in mine if item.id not in given and (item.id in stale or not has_labels(work.folder, item))],
        inputs,
        work.folder,
        method=method,
        thresholds=chosen.applied,
        size=partial(_size_in, sizes),
        workers=work.workers,
        resume=True,
    )
    for item in mine:
        if item.id in given:
            write_corrected(work.folder, item, given[item.id])
    work.wait()
    _note_corrected(work, set(given))
    return (
        {
            "photos": len(dataset.items),
            "method": work.setting("labels.method"),
            "threshold": chosen.threshold,
            "select": work.setting("labels.select"),
        }
        | ({} if chosen.per_class is None else {"thresholds": [round(float(x), 2) for x in chosen.per_class]})
        | ({"corrected": len(given)} if given else {})
    )


def _size_in(sizes: Mapping[str, tuple[int, int]], item: Item) -> tuple[int, int]:
    return sizes[item.id]


def corrected_in(folder: Path) -> set[str]:
    """Ids of the photos whose map in the folder of label maps was corrected by a person."""
    path = folder / CORRECTED
    return set(read_json(path)) if path.is_file() else set()


def _note_corrected(work: Work, ids: set[str]) -> None:
    if not work.is_main:
        return
    if ids:
        write_json(work.folder / CORRECTED, sorted(ids))
    else:
        (work.folder / CORRECTED).unlink(missing_ok=True)


def _run_scores(work: Work) -> dict[str, Any]:
    dataset, unusable = work.scored_dataset, list[str]()
    folder = work.step("labels")
    by_hand = corrected_in(folder)
    dataset = with_items(dataset, [item for item in dataset.items if item.id not in by_hand])
    scores = score_labels(dataset, folder, unusable=unusable, ranks=work.ranks)
    if not work.is_main:
        return {}
    if scores is None:
        return _counted(dataset, unusable) | _left_out(by_hand)
    curve = read_json(work.step("curve") / CURVE_FILE)
    made = result_of(folder)
    labels = {"threshold": made["threshold"], "select": made["select"], **scores.as_json(dataset.classes.names)}
    write_json(work.folder / SCORES, {"labels": labels, "cams": curve})
    return _counted(dataset, unusable) | {"miou": scores.miou, "threshold": made["threshold"]} | _left_out(by_hand)


def _left_out(by_hand: set[str]) -> dict[str, Any]:
    """Corrected photos say nothing of the maps that are made, and may have chosen their threshold."""
    return {"corrected_left_out": len(by_hand)} if by_hand else {}


def _counted(dataset: TaggedDataset, unusable: list[str]) -> dict[str, Any]:
    """How many photos were scored, and which masks were of no use."""
    masks = sum(item.mask is not None for item in dataset.items)
    return {"photos": masks - len(unusable)} | ({"unusable_masks": unusable} if unusable else {})

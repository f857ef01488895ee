"""A run: the ordered list of steps, what is up to date, what is resumed, what is made anew."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.progress import duration
from semples.data.photos import probe
from semples.recipe import Recipe
from semples.run import threshold as threshold_steps
from semples.run.context import Context, Step
from semples.run.epochs import check_epochs
from semples.run.folder import MANIFEST, RECIPE, RUN, STARTED, finish, lock, open_run, prepare, read_manifest, write_run
from semples.run.steps import cams as cam_steps
from semples.run.steps import data, train
from semples.run.steps import labels as label_steps
from semples.run.steps import regions as region_steps
from semples.run.steps import segmenter as segmenter_steps
from semples.run.steps import selection as selection_steps

__all__ = [
    "MANIFEST",
    "RECIPE",
    "RUN",
    "STARTED",
    "Figures",
    "Outcome",
    "StepStatus",
    "cams_of_weights",
    "known_steps",
    "labels_of_cams",
    "open_run",
    "run",
    "run_steps",
    "score",
    "segmenter_of_folders",
    "status",
]

Tell = Callable[[str], None]


def run_steps(recipe: Recipe | None = None) -> list[Step]:
    """The steps of a whole run by this recipe, in order; without a recipe those of any."""
    stages = [train.step(stage) for stage in train.STAGES]
    steps = [
        data.step(),
        *stages,
        cam_steps.step(),
        region_steps.step(),
        selection_steps.step(),
        label_steps.curve_step(),
        label_steps.labels_step(),
        label_steps.scores_step(),
    ]
    return [step for step in steps if recipe is None or step.wanted(recipe)]


def known_steps() -> dict[str, Step]:
    """Every step by name: those of a whole run, CAMs and curves of the earlier stages, and the final segmenter."""
    earlier = ("warmup", "matching")
    extra = [make(stage) for stage in earlier for make in (cam_steps.step, label_steps.curve_step)]
    return {step.name: step for step in [*run_steps(), *extra, segmenter_steps.step()]}


@dataclass(frozen=True)
class Outcome:
    """What became of one step: `done` now, or `up to date` before."""

    step: str
    state: str
    seconds: float
    result: dict[str, Any]


def run(
    context: Context,
    *,
    steps: Sequence[str] | None = None,
    start: str | None = None,
    until: str | None = None,
    tell: Tell = lambda line: None,
) -> list[Outcome]:
    """Bring the steps of a run up to date, in order.

    steps: names of the steps to run, default all of a whole run; what they need must be there or among them.
    start: this step and those after it are made anew even where they are up to date. until: the last step.
    """
    order = [step.name for step in run_steps(context.recipe)]
    chosen = _slice(list(steps) if steps is not None else order, start, until)
    if "labels" in chosen:
        threshold_steps.check_selection(context)
        label_steps.check_names(context.listing.items)
    for name in chosen:
        if name in train.STAGES:
            check_epochs(context, name)
    outcomes = []
    with lock(context):
        if context.is_main:
            write_run(context)
        for name in chosen:
            forced = start is not None and name in order and order.index(name) >= order.index(start)
            outcomes.append(_bring_up_to_date(context, known_steps()[name], forced=forced, tell=tell))
    return outcomes


def _slice(names: list[str], start: str | None, until: str | None) -> list[str]:
    for option, name in (("--from", start), ("--until", until)):
        if name is not None and name not in names:
            raise UserError(f"{option} {name}: no such step; the steps are {', '.join(names)}")
    last = names.index(until) if until is not None else len(names) - 1
    if start is not None and names.index(start) > last:
        raise UserError(f"--from {start} comes after --until {until}")
    return names[: last + 1]


def _bring_up_to_date(context: Context, step: Step, *, forced: bool, tell: Tell) -> Outcome:
    folder = context.folder(step.name)
    _check_needs(context, step)
    described = _describe(context, step)
    fingerprint = _fingerprint(described)
    manifest = read_manifest(folder)
    fresh = manifest is not None and manifest["fingerprint"] == fingerprint and not forced
    context.wait()
    if fresh and manifest is not None:
        if context.is_main:
            tell(f"{step.name}: up to date")
        return Outcome(step.name, "up to date", manifest["seconds"], manifest["result"])
    if context.is_main:
        resumed = prepare(folder, fingerprint, keep=not forced)
        tell(f"{step.name}: {'resuming' if resumed else step.about}")
    context.wait()
    begin = time.monotonic()
    context.forget_photos()
    result = step.run(context, folder, fingerprint)
    context.wait()
    seconds = round(time.monotonic() - begin, 3)
    if context.is_main:
        about = {"about": step.about, "fingerprint": fingerprint, "seconds": seconds, "processes": context.processes}
        finish(folder, described | about, result)
        tell(f"{step.name}: done in {duration(seconds)}")
    context.wait()
    return Outcome(step.name, "done", seconds, result)


def _needs(context: Context, step: Step) -> list[str]:
    """The steps that this one reads in a run by this recipe."""
    steps = known_steps()
    return [need for need in step.needs if need not in steps or steps[need].wanted(context.recipe)]


def _check_needs(context: Context, step: Step) -> None:
    for need in _needs(context, step):
        if read_manifest(context.folder(need)) is None:
            raise UserError(
                f"{step.name} needs the step {need}, which is not finished in {context.out}; "
                f"run `semples run` without --from, or `semples status {context.out}` to see what is there"
            )


def _describe(context: Context, step: Step) -> dict[str, Any]:
    """All that the step's result depends on: its settings and inputs, and the steps it reads."""
    needs = {need: (read_manifest(context.folder(need)) or {}).get("fingerprint") for need in _needs(context, step)}
    return {"step": step.name, "version": step.version, "inputs": step.inputs(context), "needs": needs}


def _fingerprint(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StepStatus:
    """state: `done`, `outdated` (settings or inputs changed since), `interrupted` or `not run`; share: how much of an
    interrupted step is there, 0..1, where known."""

    step: str
    about: str
    state: str
    share: float | None
    seconds: float | None
    result: dict[str, Any]


def status(context: Context) -> list[StepStatus]:
    """How far every step of a run is."""
    found = []
    stale: set[str] = set()
    for step in known_steps().values():
        folder = context.folder(step.name)
        manifest = read_manifest(folder)
        if manifest is not None:
            if _is_stale(context, step, manifest, stale):
                stale.add(step.name)
            state = "outdated" if step.name in stale else "done"
            found.append(StepStatus(step.name, step.about, state, None, manifest["seconds"], manifest["result"]))
        elif (folder / STARTED).is_file():
            found.append(StepStatus(step.name, step.about, "interrupted", step.partial(context, folder), None, {}))
        elif step.name in [known.name for known in run_steps(context.recipe)]:
            found.append(StepStatus(step.name, step.about, "not run", None, None, {}))
    return found


def _is_stale(context: Context, step: Step, manifest: dict[str, Any], stale: set[str]) -> bool:
    """Whether the step would be made anew: a setting, an input or a step that it reads has changed."""
    for need in _needs(context, step):
        fingerprint = (read_manifest(context.folder(need)) or {}).get("fingerprint")
        if need in stale or fingerprint != manifest.get("needs", {}).get(need):
            return True
    try:
        described = _describe(context, step)
    except UserError:  # photos or models are not at hand: what is stored has to do
        return False
    return _fingerprint(described) != str(manifest["fingerprint"])


# ---------------------------------------------------------------------------------- single steps on other material


def cams_of_weights(context: Context, weights: Path, *, tell: Tell = lambda line: None) -> None:
    """CAMs of the context's photos with given generator weights, in `context.out`/cams."""
    run(context, steps=["data"], tell=tell)
    step = cam_steps.weights_step(weights)
    with lock(context):
        _bring_up_to_date(context, step, forced=False, tell=tell)


def labels_of_cams(context: Context, folder: Path, *, tell: Tell = lambda line: None) -> list[str]:
    """Label maps in `context.out` from a folder of CAMs of the context's photos.

    Answers with a line a photo or CAM file that cannot be used; the other photos have label maps.
    Raises UserError where no photo can be labelled.
    """
    if context.recipe.labels.select != "fixed":
        raise UserError("labels of CAMs from elsewhere need a set threshold; use --threshold")
    dataset, threshold = data.listed(context), context.recipe.labels.threshold
    broken: list[str] = []
    label_steps.write_labels(
        dataset,
        dataset.items,
        CamStore(folder),
        context.out,
        labeller=label_steps.make_labeller(context.recipe, threshold, num_classes=len(dataset.classes)),
        size=lambda item: probe(item.photo, max_megapixels=context.recipe.data.max_megapixels),
        regions=region_steps.fresh_regions(context, dataset),
        broken=broken,
    )
    done = len(dataset.items) - len(broken)
    if not done:
        raise UserError(f"no photo can be labelled ({len(broken)} failed); the first: {broken[0]}")
    tell(f"{done} label maps at threshold {threshold:g} in {context.out}")
    return broken


def segmenter_of_folders(
    context: Context, photos: Path, labels: Path, classes: Path | None, *, tell: Tell = lambda line: None
) -> None:
    """A segmenter in `context.out`/segmenter from given folders of photos and label maps."""
    step = segmenter_steps.folder_step(photos, labels, classes)
    with lock(context):
        _bring_up_to_date(context, step, forced=False, tell=tell)


@dataclass(frozen=True)
class Figures:
    """What scoring found, each part as plain data or None where there is nothing: the threshold curve of CAMs
    (`Curve.as_json`) and the scores of label maps (`Scores.as_json` with threshold and select); problems: a line a
    photo, mask, CAM file or label map of given folders that cannot be used."""

    classes: tuple[str, ...]
    cams: dict[str, Any] | None
    labels: dict[str, Any] | None
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"cams": self.cams, "labels": self.labels}


def score(
    context: Context, *, cams: Path | None, labels: Path | None, stage: str, tell: Tell = lambda line: None
) -> Figures:
    """Scores of given folders, or of the run's own CAMs and label maps.

    Raises UserError where photos of given folders have masks, but nothing could be scored.
    """
    if cams is not None or labels is not None:
        return _score_folders(context, cams, labels)
    curve = label_steps.curve_name(stage)
    own = stage == "refinement" and read_manifest(context.folder("labels")) is not None
    run(context, steps=["data", curve, *(["scores"] if own else [])], tell=tell)
    names = context.dataset.classes.names
    found = context.folder(curve) / threshold_steps.CURVE_FILE
    stored = context.folder("scores") / label_steps.SCORES
    return Figures(
        names,
        read_json(found) if found.is_file() else None,
        read_json(stored)["labels"] if own and stored.is_file() else None,
        _unusable_masks(context, curve, *(["scores"] if own else [])),
    )


def _unusable_masks(context: Context, *steps: str) -> tuple[str, ...]:
    """What is wrong with masks that these steps could not use, a line each."""
    manifests = (read_manifest(context.folder(step)) for step in steps)
    results = [manifest.get("result") for manifest in manifests if manifest]
    lines = [line for result in results if isinstance(result, dict) for line in result.get("unusable_masks", ())]
    return tuple(dict.fromkeys(map(str, lines)))


def _score_folders(context: Context, cams: Path | None, labels: Path | None) -> Figures:
    dataset, wrong, settings = data.listed(context), list[str](), context.recipe.scores
    curve = scores = None
    if cams is not None:
        curve = label_steps.threshold_curve(dataset, CamStore(cams), settings, unusable=wrong, broken=wrong)
    if labels is not None:
        scores = label_steps.score_labels(dataset, labels, unusable=wrong, broken=wrong)
    problems = tuple(dict.fromkeys(wrong))  # a mask is read for CAMs and for label maps
    if problems and curve is None and scores is None:
        raise UserError(f"no photo can be scored ({len(problems)} failed); the first: {problems[0]}")
    names = dataset.classes.names
    return Figures(
        names,
        None if curve is None else curve.as_json(names),
        None if scores is None else scores.as_json(names),
        problems,
    )

"""A run and what is done with it: the steps it has, bringing them up to date, status, scores, single steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semples.cams.elsewhere import CamsElsewhere
from semples.core.errors import UserError
from semples.core.files import read_json
from semples.data.dataset import FileDataset
from semples.data.photos import probe
from semples.labels.make import make_label_method
from semples.recipe import Recipe
from semples.run import graph
from semples.run.context import Context
from semples.run.corrections import Corrections
from semples.run.epochs import check_epochs
from semples.run.folder import lock, open_run
from semples.run.graph import Outcome, StepStatus, Tell
from semples.run.health import is_look
from semples.run.label_maps import FreshFeatures, FreshRegions, Inputs, check_names, write_labels
from semples.run.names import CURVE_FILE, LAST, RECIPE, RUN, SEGMENTER, TRAINED, curve_name, health_name
from semples.run.paired import Folders
from semples.run.photos import listed
from semples.run.planning.left import Clock
from semples.run.planning.plan import Plan
from semples.run.planning.preflight import preflight
from semples.run.records import MANIFEST, STARTED, read_manifest, result_of
from semples.run.scoring import score_labels, threshold_curve
from semples.run.step import Step
from semples.run.steps import cams as cam_steps
from semples.run.steps import corrected, data, health, judge, regions, segmenter, selection, train
from semples.run.steps import labels as label_steps
from semples.run.summary import write_summary
from semples.run.threshold import check_selection
from semples.training.trackers import tracker_names

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
    "result_of",
    "run",
    "run_steps",
    "score",
    "segmenter_of_folders",
    "status",
]


def run_steps(recipe: Recipe | None = None) -> list[Step]:
    """The steps of a whole run by this recipe, in order; without a recipe those of any."""
    steps = [
        data.step(),
        judge.step(),
        health.step(health.DATA),
        *(make(stage) for stage in TRAINED for make in (train.step, health.step)),
        cam_steps.step(),
        health.step(health.CAMS),
        regions.step(),
        selection.step(),
        label_steps.curve_step(),
        corrected.step(),
        label_steps.labels_step(),
        label_steps.scores_step(),
    ]
    return [step for step in steps if recipe is None or step.wanted(recipe)]


def known_steps() -> dict[str, Step]:
    """Every step by name: those of a whole run, CAMs and curves of the earlier stages, and the final segmenter."""
    earlier = [stage for stage in TRAINED if stage not in ("prompting", LAST)]
    extra = [make(stage) for stage in earlier for make in (cam_steps.step, label_steps.curve_step)]
    return {step.name: step for step in [*run_steps(), *extra, segmenter.step(), health.step(SEGMENTER)]}


def looked_after(context: Context, names: Sequence[str]) -> list[str]:
    """Names of steps, each with the look after it, where the recipe wants that and what it needs is there."""
    known, chosen = known_steps(), list[str]()
    for name in names:
        chosen.append(name)
        look = known.get(health_name(name))
        if look is not None and look.wanted(context.recipe):
            needs = [need for need in look.needs if known[need].wanted(context.recipe)]
            there = [need in chosen or read_manifest(context.folder(need)) is not None for need in needs]
            chosen += [look.name] if all(there) else []
    return chosen


def run(
    context: Context,
    *,
    steps: Sequence[str] | None = None,
    start: str | None = None,
    until: str | None = None,
    update: bool = False,
    tell: Tell = lambda line: None,
    announce: Callable[[Plan], None] | None = None,
) -> list[Outcome]:
    """Bring the steps of a run up to date, in order.

    steps: names of the steps to run, default all of a whole run; what they need must be there or among them.
    start: this step and those after it are made anew even where they are up to date. until: the last step. update:
    stages that have to be made anew go on from the weights that they left before.
    Raises UserError where more work than `run.careful_minutes` would be lost and neither says what to do.
    """
    whole = [step.name for step in run_steps(context.recipe)]
    chosen = _slice(list(steps) if steps is not None else whole, start, until)
    if "cams" in chosen:
        cam_steps.check_stage(context.recipe)
    if "labels" in chosen:
        check_selection(context)
        check_names(context.listing.items)
    if "corrected" in chosen and not Corrections.of(context.out).now:
        raise UserError(corrected.NEEDS)
    for name in chosen:
        if name in TRAINED:
            check_epochs(context, name)
    tracker_names(context.recipe.run.trackers)
    known = known_steps()
    if update and start is not None:
        raise UserError("--update goes on from the weights that are there, --from starts anew; leave one out")
    forced, clock = _forced(chosen, start), Clock(tell)
    asked = () if steps is None else chosen[-1:]

    def before() -> None:
        if announce is None:
            preflight(context, chosen, forced=forced)
            return
        from semples.run.planning.make import check_disk, make_plan

        made = make_plan(context, chosen, forced=forced, always=False, tell=tell)
        check_disk(context, made)
        clock.follow(made, context.out)
        announce(made)

    outcomes = graph.bring_all(
        context,
        [known[name] for name in chosen],
        start=start,
        update=update,
        asked=asked,
        tell=tell,
        before=before,
        after=clock,
    )
    if context.is_main:
        write_summary(context, status(context))
    return outcomes


def plan(
    context: Context, *, start: str | None = None, until: str | None = None, tell: Tell = lambda line: None
) -> Plan:
    """What `run` would cost (`planning.plan.Plan`), from a few real steps on this machine. tell: gets a line for each
    download, before it begins. Raises UserError for what would stop a step."""
    from semples.run.planning.make import make_plan

    tracker_names(context.recipe.run.trackers)
    chosen = _slice([step.name for step in run_steps(context.recipe)], start, until)
    return make_plan(context, chosen, forced=_forced(chosen, start), tell=tell)


def _forced(chosen: Sequence[str], start: str | None) -> Sequence[str]:
    return chosen[chosen.index(start) :] if start is not None else ()


def _slice(names: list[str], start: str | None, until: str | None) -> list[str]:
    """From the first to the last of the steps asked for, with the look after it."""
    for option, name in (("--from", start), ("--until", until)):
        if name is not None and name not in names:
            raise UserError(f"{option} {name}: no such step; the steps are {', '.join(names)}")
    last = names.index(until) if until is not None else len(names) - 1
    if start is not None and names.index(start) > last:
        raise UserError(f"--from {start} comes after --until {until}")
    after = next((place for place in range(last + 1, len(names)) if not is_look(names[place])), len(names))
    return names[:after]


def status(context: Context) -> list[StepStatus]:
    """How far every step of a run is."""
    wanted = [step.name for step in run_steps(context.recipe)]
    return graph.status(context, list(known_steps().values()), wanted)


# ---------------------------------------------------------------------------------- single steps on other material


def cams_of_weights(context: Context, weights: Path, *, tell: Tell = lambda line: None) -> None:
    """CAMs of the context's photos with given generator weights, in `context.out`/cams."""
    graph.bring_all(context, [data.step(), cam_steps.weights_step(weights)], tell=tell)


def labels_of_cams(context: Context, folder: Path, *, tell: Tell = lambda line: None) -> list[str]:
    """Label maps in `context.out` from a folder of CAMs of the context's photos.

    Answers with a line a photo or CAM file that cannot be used; the other photos have label maps.
    Raises UserError where no photo can be labelled.
    """
    recipe, dataset = context.recipe, listed(context.source, context.recipe.data)
    if recipe.labels.select != "fixed":
        raise UserError("labels of CAMs from elsewhere need a set threshold; use --threshold")
    method = make_label_method(recipe.labels, regions=recipe.regions, crf=recipe.crf, num_classes=len(dataset.classes))
    broken: list[str] = []
    write_labels(
        dataset.items,
        Inputs(
            dataset,
            CamsElsewhere(folder, (item.id for item in dataset.items)),
            regions=FreshRegions(dataset, recipe.regions, lambda: context.engine.device),
            features=FreshFeatures(dataset, recipe.features, lambda: context.engine.device),
        ),
        context.out,
        method=method,
        thresholds=recipe.labels.threshold,
        size=lambda item: probe(item.photo, max_megapixels=recipe.data.max_megapixels),
        broken=broken,
    )
    done = len(dataset.items) - len(broken)
    if not done:
        raise UserError(f"no photo can be labelled ({len(broken)} failed); the first: {broken[0]}")
    tell(f"{done} label maps at threshold {recipe.labels.threshold:g} in {context.out}")
    return broken


def segmenter_of_folders(
    context: Context,
    photos: Path | FileDataset,
    labels: Path,
    classes: Path | None = None,
    *,
    tell: Tell = lambda line: None,
) -> None:
    """A segmenter in `context.out`/segmenter from photos and a folder of label maps (`run.paired.Folders`)."""
    tracker_names(context.recipe.run.trackers)
    with lock(context):
        graph.bring(context, segmenter.folder_step(Folders(photos, labels, classes)), tell=tell)


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
    curve = curve_name(stage)
    labelled = stage == LAST and read_manifest(context.folder("labels")) is not None
    run(context, steps=["data", curve, *(["scores"] if labelled else [])], tell=tell)
    curve_file = context.folder(curve) / CURVE_FILE
    stored = context.folder("scores") / label_steps.SCORES
    return Figures(
        context.dataset.classes.names,
        read_json(curve_file) if curve_file.is_file() else None,
        read_json(stored)["labels"] if labelled and stored.is_file() else None,
        _unusable_masks(context, curve, *(["scores"] if labelled else [])),
    )


def _unusable_masks(context: Context, *steps: str) -> tuple[str, ...]:
    """What is wrong with masks that these steps could not use, a line each."""
    lines = [line for step in steps for line in result_of(context.folder(step)).get("unusable_masks", ())]
    return tuple(dict.fromkeys(map(str, lines)))


def _score_folders(context: Context, cams: Path | None, labels: Path | None) -> Figures:
    dataset, wrong, settings = listed(context.source, context.recipe.data), list[str](), context.recipe.scores
    curve = scores = None
    if cams is not None:
        store = CamsElsewhere(cams, (item.id for item in dataset.items))
        curve = threshold_curve(dataset, store, settings, unusable=wrong, broken=wrong)
    if labels is not None:
        scores = score_labels(dataset, labels, unusable=wrong, broken=wrong)
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

"""Commands that make and look at a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from semples.commands.options import Data, Out, RunOptions, Set
from semples.core.errors import Incomplete, UserError

if TYPE_CHECKING:
    from semples import Run

ClassThresholds = Annotated[list[str], Parameter(name="--class-threshold", negative=(), consume_multiple=False)]
Stage = Literal["warmup", "matching", "prompting", "refinement"]
CamStage = Literal["warmup", "matching", "refinement"]


def run(
    recipe: str,
    *,
    data: Data,
    out: Out,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    until: str | None = None,
    update: bool = False,
    tags: Path | None = None,
    classes: Path | None = None,
    budget: str | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train on tagged photos and make CAMs, label maps and, where masks exist, scores.

    The first lines say what it will cost (`semples plan`).
    A second call skips what is up to date and resumes what was cut. Several processes: torchrun -m semples run ...

    Parameters
    ----------
    recipe
        shipped recipe (voc, coco, folder, demo) or a YAML file.
    data
        folder with the photos: VOC layout, or photos with a tags file, or archives; a Parquet file or a folder of
        them; a dataset of the Hugging Face hub (hf://owner/name).
    out
        folder of the run.
    settings
        change a setting, `key=value`, for example matching.epochs=10; may be repeated.
    from_
        make this step and all after it anew.
    until
        stop after this step.
    update
        where something has changed, go on from the weights that every stage left, for a third of its training.
    tags
        tags file (CSV or JSON) in place of the one in the folder.
    classes
        class list, `name` or `name,prompt word` a line.
    budget
        time that the run may take, for example 2h: the stages take fewer steps where they have to.
    quiet
        make no plan.
    """
    from semples import Run, terminal
    from semples.commands.plan import announced, within

    files = {"data": data, "recipe": recipe, "tags": tags, "classes": classes}
    work = Run(out, **files, settings=settings, tell=terminal.tell)  # type: ignore[arg-type]
    if budget is not None:
        shorter = within(work, budget, start=from_, until=until)
        work = Run(out, **files, settings=[*settings, *shorter], tell=terminal.tell)  # type: ignore[arg-type]
    outcomes = work(start=from_, until=until, update=update, announce=None if quiet else announced)
    if work.context.is_main:
        terminal.print_run(work.context, outcomes)
    work.close()


def demo(
    *,
    out: Out,
    photos: int = 300,
    p: float = 0.9,
    classes: int = 8,
    resolution: int = 96,
    seed: int = 0,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
) -> None:
    """Draw a small world of photos and run the whole method on it, offline, in minutes.

    Parameters
    ----------
    out
        folder that gets the photos, the run, summary.json and two pictures.
    photos
        how many photos are drawn.
    p
        chance that a thing stands on its own background; 0.5 is mild, 0.99 hard.
    classes
        how many kinds of things, 2 to 8.
    resolution
        side of a photo in pixels, 96 to 512.
    seed
        another seed, another world.
    settings
        change a setting of the recipe demo, `key=value`; may be repeated.
    """
    from semples import terminal
    from semples.demo import DemoSettings, run_demo

    drawn = DemoSettings(photos=photos, p=p, classes=classes, resolution=resolution, seed=seed)
    summary = run_demo(out, drawn, overrides=settings, tell=terminal.tell)
    terminal.print_demo(out, summary)


def train(
    stage: Stage,
    *,
    out: Out,
    run: RunOptions = RunOptions(),
) -> None:
    """Train one stage of a run; the stages before it must be there.

    Parameters
    ----------
    stage
        which one.
    out
        folder of the run.
    """
    from semples import terminal
    from semples.run import pipeline

    work = _run_in(out, run.data, run.recipe, run.settings)
    work(steps=pipeline.looked_after(work.context, ["data", stage]))
    if work.context.is_main:
        terminal.print_trained(work.context, stage)
    work.close()


def cams(
    out: Path,
    *,
    stage: CamStage = "refinement",
    weights: Path | None = None,
    run: RunOptions = RunOptions(),
    format_: Annotated[Literal["compact", "npy"] | None, Parameter(name="--format")] = None,
    attention: Path | None = None,
) -> None:
    """Make the class activation maps of a run's photos, or with any WeakTr or SemPLeS weights.

    Parameters
    ----------
    out
        folder of the run; with --weights the folder that gets the maps.
    stage
        which stage's generator makes them.
    weights
        weights to use in place of a run's: a file of this program, or a published .pth checkpoint.
    format_
        compact, or npy for the published float32 dictionaries.
    attention
        folder that gets each photo's attention between patches as well: ID.npy, float32 (patches, patches).
    """
    from semples import terminal
    from semples.run import pipeline
    from semples.run.attention import write_attention
    from semples.run.names import cams_name

    more = [] if format_ is None else [f"cams.format={format_}"]
    work = _run_in(out, run.data, run.recipe, [*run.settings, *more])
    if weights is not None:
        pipeline.cams_of_weights(work.context, weights, tell=terminal.tell)
    else:
        work(steps=pipeline.looked_after(work.context, ["data", cams_name(stage)]))
    if work.context.is_main:
        terminal.print_cams(work.context, "cams" if weights is not None else cams_name(stage))
    if attention is not None:
        count = write_attention(work.context, attention, stage=stage, weights=weights)
        terminal.say(f"attention: {attention}, {count} photos")
    work.close()


def label(
    out: Path,
    *,
    threshold: float | None = None,
    class_thresholds: ClassThresholds = [],  # noqa: B006 (cyclopts shows the default)
    select: Literal["auto", "fixed", "ground-truth", "corrections"] | None = None,
    method: str | None = None,
    review: int | None = None,
    cams: Path | None = None,
    data: Annotated[Path | None, Parameter(name="--data")] = None,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
    json: Path | None = None,
) -> None:
    """Turn CAMs into label maps: palette PNGs, 0 background, class k as k + 1; and how sure each pixel is.

    With --cams: ends with status 1 where a photo or its CAMs could not be used; the others are done.

    Parameters
    ----------
    out
        folder of the run; with --cams the folder that gets the label maps.
    threshold
        background threshold, 0 to 1.
    class_thresholds
        another threshold for one class, `name=value`, beside --threshold; may be repeated.
    select
        where the threshold comes from without --threshold: auto (photos and tags), fixed (the recipe), ground-truth
        (pixel masks), corrections (photos that people have corrected).
    method
        threshold alone; crf: then a dense CRF that draws labels to the edges of the photo; regions: scores of region
        proposals; regions+crf: both; another label method, or NAME+crf (`semples methods` lists them).
    review
        list this many photos that are most worth a human look, and for which share the maps can be taken as they are.
    cams
        folder with CAMs from elsewhere (compact or published .npy), with a set threshold; found by a photo's path or,
        where only one fits, by its name. Regions are superpixels unless `--set regions.model=` names a SAM.
    data
        folder with the photos of --cams.
    settings
        change a setting, `key=value`; may be repeated.
    json
        file that gets the photos of --review too.
    """
    from semples import terminal
    from semples.commands import shown
    from semples.core.files import write_json
    from semples.inspect.review import coverage, listed, look
    from semples.run import pipeline
    from semples.run.label_maps import superpixels_unless_named
    from semples.run.threshold import step_before, thresholds_of_classes
    from semples.settings.kinds import label_needs

    if review is not None and (review < 1 or cams is not None):
        raise UserError("--review: give a number of photos from 1, and a run's folder (not --cams)")
    if threshold is not None:
        if select not in (None, "fixed"):
            raise UserError(f"--threshold {threshold:g} sets the threshold; leave --select {select} out")
        others = ["labels.class_thresholds=same", "labels.per_class=false", "labels.select=fixed"]
        settings = [*settings, f"labels.threshold={threshold}", *others]
    elif select is not None:
        settings = [*settings, f"labels.select={select}"]
    elif cams is not None:
        settings = ["labels.select=fixed", *settings]
    if cams is not None and not (out / pipeline.RUN).is_file():
        settings = [*superpixels_unless_named(settings), *settings]
    if method is not None:
        settings = [f"labels.method={method}", *settings]  # first: which settings there are depends on it
    context = _run_in(out, data, None, settings).context
    if class_thresholds:
        if threshold is None or cams is not None:
            raise UserError(
                "--class-threshold: give --threshold for the other classes, and a run's folder (not --cams)"
            )
        limits = thresholds_of_classes(class_thresholds, context.listing.classes.names, other=threshold)
        context = _run_in(out, data, None, [*settings, f"labels.class_thresholds={limits}"]).context
    if cams is not None:
        broken = pipeline.labels_of_cams(context, cams, tell=terminal.tell)
        terminal.print_set_aside(broken)
        if broken:
            raise Incomplete.of(broken, done="the other photos have label maps")
        return
    regions = ["regions"] if "regions" in label_needs(context.recipe.labels.method) else []
    before = step_before(context.recipe)
    ahead = regions if before is None else [*regions, before]
    pipeline.run(context, steps=["data", *ahead, "labels"], tell=terminal.tell)
    if context.is_main:
        terminal.print_labels(context)
    if review is not None:
        looked = look(context)
        entries, sure = listed(looked, count=review), coverage(context, looked)
        if json is not None:
            write_json(json, {"photos": entries, "coverage": sure})
        shown.print_review(context, entries, sure)
    if context.processes > 1:
        context.engine.stop()


def regions(out: Path, *, run: RunOptions = RunOptions()) -> None:
    """Propose the regions of a run's photos (SAM, SAM 2 or superpixels) and keep them for `semples label`.

    `--set regions.proposals=felzenszwalb` needs no weights; `--set regions.model=DIR` takes a SAM or SAM 2 folder of
    transformers.

    Parameters
    ----------
    out
        folder of the run.
    """
    from semples import terminal
    from semples.run import pipeline

    context = _run_in(out, run.data, run.recipe, run.settings).context
    pipeline.run(context, steps=["data", "regions"], tell=terminal.tell)
    if context.is_main:
        terminal.print_regions(context)
    if context.processes > 1:
        context.engine.stop()


def score(
    out: Path,
    *,
    cams: Path | None = None,
    labels: Path | None = None,
    stage: CamStage = "refinement",
    data: Annotated[Path | None, Parameter(name="--data")] = None,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
    json: Path | None = None,
) -> None:
    """Score CAMs over all background thresholds, and label maps, against masks.

    Ends with status 1 where a mask or another file could not be used; the others are scored.

    Parameters
    ----------
    out
        folder of the run.
    cams
        folder with CAMs from elsewhere, in place of the run's.
    labels
        folder with label PNGs from elsewhere, in place of the run's.
    stage
        whose CAMs are scored.
    data
        folder with the photos and masks of --cams or --labels.
    settings
        change a setting, `key=value`; may be repeated.
    json
        file that gets the figures too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.run import pipeline

    context = _run_in(out, data, None, settings).context
    figures = pipeline.score(context, cams=cams, labels=labels, stage=stage, tell=terminal.tell)
    if json is not None:
        write_json(json, figures.as_json())
    terminal.print_scores(figures)
    terminal.print_set_aside(figures.problems)
    if figures.problems:
        raise Incomplete.of(figures.problems, done="the figures are of the others")


def _run_in(out: Path, data: Path | None, recipe: str | None, settings: Sequence[str]) -> Run:
    """The run in `out`, with changes; or a new one where photos are named."""
    from semples import Run, terminal

    return Run(out, data=data, recipe=recipe, settings=settings, tell=terminal.tell)

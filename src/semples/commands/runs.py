"""Commands that make and look at a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from semples.commands.options import Data, Out, RunOptions, Set
from semples.core.errors import Incomplete, UserError

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
    tags: Path | None = None,
    classes: Path | None = None,
) -> None:
    """Train on tagged photos and make CAMs, label maps and, where masks exist, scores.

    A second call skips what is up to date and resumes what was cut. Several processes: torchrun -m semples run ...

    Parameters
    ----------
    recipe
        shipped recipe (voc, coco, folder, demo) or a YAML file.
    data
        folder with the photos: VOC layout, or photos with a tags file.
    out
        folder of the run.
    settings
        change a setting, `key=value`, for example matching.epochs=10; may be repeated.
    from_
        make this step and all after it anew.
    until
        stop after this step.
    tags
        tags file (CSV or JSON) in place of the one in the folder.
    classes
        class list, `name` or `name,prompt word` a line.
    """
    from semples import terminal
    from semples.recipe import load_recipe
    from semples.run import pipeline
    from semples.run.context import Context, Source

    context = Context(load_recipe(recipe, settings), Source(data, tags, classes), out)
    outcomes = pipeline.run(context, start=from_, until=until, tell=terminal.tell)
    if context.is_main:
        terminal.print_run(context, outcomes)
    _leave(context)


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

    context = _context(out, run.data, run.recipe, run.settings)
    pipeline.run(context, steps=["data", stage], tell=terminal.tell)
    if context.is_main:
        terminal.print_trained(context, stage)
    _leave(context)


def cams(
    out: Path,
    *,
    stage: CamStage = "refinement",
    weights: Path | None = None,
    run: RunOptions = RunOptions(),
    format_: Annotated[Literal["compact", "npy"] | None, Parameter(name="--format")] = None,
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
    """
    from semples import terminal
    from semples.run import pipeline
    from semples.run.steps import cams as step

    more = [] if format_ is None else [f"cams.format={format_}"]
    context = _context(out, run.data, run.recipe, [*run.settings, *more])
    if weights is not None:
        pipeline.cams_of_weights(context, weights, tell=terminal.tell)
    else:
        pipeline.run(context, steps=["data", step.name(stage)], tell=terminal.tell)
    if context.is_main:
        terminal.print_cams(context, "cams" if weights is not None else step.name(stage))
    _leave(context)


def label(
    out: Path,
    *,
    threshold: float | None = None,
    class_thresholds: ClassThresholds = [],  # noqa: B006 (cyclopts shows the default)
    select: Literal["auto", "fixed", "ground-truth"] | None = None,
    method: Literal["threshold", "crf", "regions", "regions+crf"] | None = None,
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
        (pixel masks).
    method
        threshold alone; crf: then a dense CRF that draws labels to the edges of the photo; regions: scores of region
        proposals; regions+crf: both.
    review
        list this many photos that are most worth a human look, the least certain first.
    cams
        folder with CAMs from elsewhere (compact or published .npy), with a set threshold.
    data
        folder with the photos of --cams.
    settings
        change a setting, `key=value`; may be repeated.
    json
        file that gets the photos of --review too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.inspect.review import most_worth_a_look
    from semples.run import pipeline
    from semples.run.threshold import step_before, thresholds_of_classes

    if review is not None and (review < 1 or cams is not None):
        raise UserError("--review: give a number of photos from 1, and a run's folder (not --cams)")
    if threshold is not None:
        if select not in (None, "fixed"):
            raise UserError(f"--threshold {threshold:g} sets the threshold; leave --select {select} out")
        fixed = [f"labels.threshold={threshold}", "labels.class_thresholds=same", "labels.select=fixed"]
        settings = [*settings, *fixed]
    elif select is not None:
        settings = [*settings, f"labels.select={select}"]
    elif cams is not None:
        settings = ["labels.select=fixed", *settings]
    if method is not None:
        settings = [*settings, f"labels.method={method}"]
    context = _context(out, data, None, settings)
    if class_thresholds:
        if threshold is None or cams is not None:
            raise UserError(
                "--class-threshold: give --threshold for the other classes, and a run's folder (not --cams)"
            )
        own = thresholds_of_classes(class_thresholds, context.listing.classes.names, other=threshold)
        context = _context(out, data, None, [*settings, f"labels.class_thresholds={own}"])
    if cams is not None:
        broken = pipeline.labels_of_cams(context, cams, tell=terminal.tell)
        terminal.print_set_aside(broken)
        if broken:
            raise Incomplete.of(broken, done="the other photos have label maps")
        return
    regions = ["regions"] if context.recipe.labels.uses_regions else []
    before = step_before(context)
    ahead = regions if before is None else [*regions, before]
    pipeline.run(context, steps=["data", *ahead, "labels"], tell=terminal.tell)
    if context.is_main:
        terminal.print_labels(context)
    if review is not None:
        found = most_worth_a_look(context, count=review)
        if json is not None:
            write_json(json, found)
        terminal.print_review(context, found)
    _leave(context)


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

    context = _context(out, run.data, run.recipe, run.settings)
    pipeline.run(context, steps=["data", "regions"], tell=terminal.tell)
    if context.is_main:
        terminal.print_regions(context)
    _leave(context)


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

    context = _context(out, data, None, settings)
    figures = pipeline.score(context, cams=cams, labels=labels, stage=stage, tell=terminal.tell)
    if json is not None:
        write_json(json, figures.as_json())
    terminal.print_scores(figures)
    terminal.print_set_aside(figures.problems)
    if figures.problems:
        raise Incomplete.of(figures.problems, done="the figures are of the others")


def prompts(out: Path, *, words: Path | None = None, count: int = 5, json: Path | None = None) -> None:
    """Show, for each class, the words nearest to its learned background prompt.

    Parameters
    ----------
    out
        folder of the run.
    words
        text file with one word or phrase a line; default: a shipped list of things and scenes.
    count
        words per class.
    json
        file that gets them too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.inspect.words import nearest_words
    from semples.run import pipeline

    found = nearest_words(pipeline.open_run(out), words=words, count=count)
    if json is not None:
        write_json(json, found)
    terminal.print_words(found)


def status(out: Path) -> None:
    """Show which steps of a run are done, interrupted, outdated or still to come.

    Parameters
    ----------
    out
        folder of the run.
    """
    from semples import terminal
    from semples.run import pipeline

    context = pipeline.open_run(out)
    terminal.print_status(context, pipeline.status(context))


def _context(out: Path, data: Path | None, recipe: str | None, settings: list[str]) -> Any:
    """The run in `out`, with changes; or a new one where photos are named."""
    from semples.core.schema import merge, parse_override
    from semples.recipe import Recipe, load_recipe
    from semples.run import pipeline
    from semples.run.context import Context, Source

    if (out / pipeline.RUN).is_file():
        context = pipeline.open_run(out)
        chosen = context.recipe if recipe is None else load_recipe(recipe)
        source = context.source if data is None else Source(data)
    elif data is None:
        raise UserError(f"{out}: no run here; name the photos with --data (and settings with --recipe)")
    else:
        chosen, source = load_recipe(recipe) if recipe is not None else Recipe(), Source(data)
    for override in settings:
        chosen = merge(chosen, parse_override(override), where=f"--set {override}")
    return Context(chosen, source, out)


def _leave(context: Any) -> None:
    """Close the process group, where one was opened."""
    if context.processes > 1:
        context.engine.stop()

"""Commands of the final segmenter: train it on label maps, score it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from semples.commands.options import PredictOptions, Set
from semples.core.errors import Incomplete, UserError

segment_app = App(name="segment", help="The final segmenter: a network that needs no tags.")

Out = Annotated[Path | None, Parameter(name="--out")]


@segment_app.command
def train(
    run: Path | None = None,
    *,
    photos: Path | None = None,
    labels: Path | None = None,
    classes: Path | None = None,
    out: Out = None,
    recipe: str | None = None,
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
) -> None:
    """Train a segmenter on the label maps of a run, on other label maps of its photos, or on photos and label maps of
    any folders.

    Parameters
    ----------
    run
        folder of a run whose label maps are done; the segmenter goes to its folder segmenter/model. With --labels and
        --out: other label maps of its photos, such as `semples combine` and `semples relabel` make.
    photos
        in place of a run: folder with photos; or a Parquet file, a folder of them, a dataset of the Hugging Face hub
        (hf://owner/name); needs --labels and --out.
    labels
        folder with a palette or grey PNG of each photo's name: 0 background, class k as k + 1, 255 not labelled; a
        folder confidence in it may hold 8-bit confidences. With a run, also a folder in it: combined, relabelled.
    classes
        class list, a name a line; default: classes.txt beside the label maps or the photos.
    out
        folder that gets segmenter/model when --labels is used.
    recipe
        recipe whose group segmenter is used; default: the run's own, or folder.
    settings
        change a setting, `key=value`, for example segmenter.iterations=2000; may be repeated.
    """
    from semples import terminal
    from semples.recipe import load_recipe, override
    from semples.run import pipeline
    from semples.run.combine import source_folder
    from semples.run.context import Context, Source
    from semples.run.names import MODEL, SEGMENTER
    from semples.run.steps.segmenter import set_aside, trained_on

    if (run is None) == (photos is None):
        raise UserError("name either the folder of a run, or --photos with --labels and --out")
    if photos is not None:
        if labels is None or out is None:
            raise UserError("--photos needs --labels (folder with label maps) and --out (folder for the segmenter)")
        context = Context(load_recipe(recipe or "folder", settings), Source(photos), out)
        pipeline.segmenter_of_folders(context, photos, labels, classes, tell=terminal.tell)
    elif run is not None:
        _check_of_run(run, labels=labels, classes=classes, out=out)
        of_run = pipeline.open_run(run)
        chosen = override(of_run.recipe if recipe is None else load_recipe(recipe), settings)
        context = Context(chosen, of_run.source, out or run)
        if labels is not None:
            maps = source_folder(of_run, str(labels))
            pipeline.segmenter_of_folders(context, of_run.dataset, maps, tell=terminal.tell)
        else:
            steps = pipeline.looked_after(context, ["data", SEGMENTER])
            pipeline.run(context, steps=steps, tell=terminal.tell)
    if context.is_main:
        model = context.folder(SEGMENTER) / MODEL
        terminal.say(f"segmenter: {model}, {trained_on(context.folder(SEGMENTER))}")
        terminal.print_set_aside(set_aside(context.folder(SEGMENTER)))
        terminal.say(f"next: semples segment eval {model} --data DIR (photos with masks)")
    if context.processes > 1:
        context.engine.stop()


def _check_of_run(run: Path, *, labels: Path | None, classes: Path | None, out: Path | None) -> None:
    """Raises UserError where options of `segment train` do not go with a run."""
    if classes is not None:
        raise UserError("--classes goes with --photos; a run has its own classes")
    if (labels is None) != (out is None):
        raise UserError(
            f"a segmenter of other label maps of {run} needs both --labels (folder with label maps) and --out (folder "
            "for the segmenter); without either it learns from the run's own and lies in the run"
        )
    if out is not None and out.resolve() == run.resolve():
        raise UserError(f"--out {out}: the run's own segmenter lies there; name another folder")


@segment_app.command(name="eval")
def evaluate_(
    model: Path,
    *,
    data: Annotated[Path, Parameter(name="--data")],
    split: str | None = None,
    classes: Path | None = None,
    how: PredictOptions = PredictOptions(),
    out: Out = None,
    json: Path | None = None,
) -> None:
    """Score a segmenter on photos with masks: IoU and boundary IoU of every class, and what is taken for what.

    The photos are segmented as `semples predict` segments them with the same options. Ends with status 1 where a photo
    or its mask could not be used; the others are scored.

    Parameters
    ----------
    model
        folder of a segmenter, or of a run that has one.
    data
        folder with photos and masks.
    split
        list of photos to score, its name or a file; default: val, else the list of the training photos, or all.
    classes
        class list in place of the data's own.
    out
        folder that gets eval.json, confusion.png and, of a run's segmenter, summary.json with the run's summary.
    json
        file that gets the figures.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.core.ranks import Ranks
    from semples.prediction.evaluate import draw_confusion, evaluate, scored_photos
    from semples.run.summary import SUMMARY, summary_beside, with_evaluation

    ranks = Ranks.join()
    dataset = scored_photos(data, split=split, classes=classes)
    if ranks.is_main:
        terminal.say(f"scored on {dataset.name}: {len(dataset.items)} photos")
    evaluation = evaluate(how.load(model, confidence=True), dataset, ranks=ranks)
    ranks.leave()
    if not ranks.is_main:
        return
    terminal.print_evaluation(evaluation)
    if out is not None:
        write_json(out / "eval.json", evaluation.as_json())
        draw_confusion(evaluation.confusion, evaluation.classes, out / "confusion.png")
        summary = summary_beside(model)
        if summary is not None:
            write_json(out / SUMMARY, with_evaluation(summary, evaluation.as_json(), data=dataset.name))
        terminal.say(f"figures: {out / 'eval.json'}, picture: {out / 'confusion.png'}")
    if json is not None:
        write_json(json, evaluation.as_json())
    if evaluation.unusable:
        raise Incomplete.of(evaluation.unusable, done=f"the figures are of the other {evaluation.photos} photos")

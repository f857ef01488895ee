"""What the commands print."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semples.core.errors import UserError
from semples.core.plain import plain
from semples.core.progress import duration
from semples.core.schema import describe
from semples.data.check import CheckReport
from semples.data.classes import VOC_CLASSES
from semples.evaluation.confusion import Scores
from semples.evaluation.table import scores_table
from semples.recipe import Recipe, load_recipe, recipe_names
from semples.run.advice import go_on
from semples.run.context import Context
from semples.run.corrections import Corrections, corrected
from semples.run.health import is_look, shown
from semples.run.names import HEALTH, LAST, TRAINED, last_stage
from semples.run.pipeline import Figures, Outcome, StepStatus
from semples.run.planning.left import line_of_status
from semples.run.steps.selection import quality
from semples.segmenter.licences import LICENCES

if TYPE_CHECKING:
    from semples.prediction import Predicted
    from semples.prediction.evaluate import Evaluation
    from semples.run.words import WordsReport

SHOWN_PROBLEMS = 10  # of a run, which lists them all in a file
NO_MASKS = "no photo has a mask, so there are no scores"

console = Console(highlight=False)


def tell(line: str) -> None:
    """One line of progress, on standard error."""
    print(plain(line), file=sys.stderr, flush=True)


def say(line: str = "") -> None:
    """One line of plain text; nothing in it is markup."""
    console.print(cell(line), soft_wrap=True)


def cell(text: object) -> Text:
    """Text as it is, without markup and without signs that act on a terminal."""
    return Text(plain(text))


def print_run(context: Context, outcomes: Sequence[Outcome]) -> None:
    """What a run made, what it set aside, and what to do next."""
    table = Table("step", "", "time", "result")
    for outcome in outcomes:
        if not is_look(outcome.step):
            table.add_row(outcome.step, outcome.state, duration(outcome.seconds), cell(_result(outcome.result)))
    console.print(table)
    console.print(shown(outcomes))
    problems = context.dataset.problems
    if problems:
        say(f"{len(problems)} problems, set aside (all of them: {context.folder('data')}/dataset.json):")
        for problem in problems[:SHOWN_PROBLEMS]:
            say(f"  {problem.where}: {problem.what}")
    unusable = {line for outcome in outcomes for line in outcome.result.get("unusable_masks", ())}
    for line in sorted(unusable)[:SHOWN_PROBLEMS]:
        say(f"  not scored: {line}")
    made = {outcome.step for outcome in outcomes}
    say(f"run folder: {context.out}")
    if "labels" in made:
        say(f"label maps: {context.folder('labels')}")
        print_estimate(context, [(outcome.step, outcome.result) for outcome in outcomes])
        say(f"next: semples report {context.out} (a page to look at), semples prompts {context.out}")
        say(f"other label maps: semples label {context.out} --threshold 0.4")
        say(f"a network that needs no tags: semples segment train {context.out}")
    else:
        say(f"next: semples status {context.out}")


def print_why(context: Context, statuses: Sequence[StepStatus]) -> None:
    """Why steps are outdated, and the two ways to go on; nothing where none is."""
    outdated = [entry for entry in statuses if entry.state == "outdated"]
    for entry in outdated:
        if not all(line.endswith(" is outdated") for line in entry.why):
            say(f"{entry.step} is outdated: {'; '.join(entry.why)}")
    work = [entry for entry in outdated if not entry.step.startswith(HEALTH)]  # looks follow in seconds
    later = [entry.step for entry in work if all(line.endswith(" is outdated") for line in entry.why)]
    if later:
        say(f"and with that: {', '.join(later)}")
    if any(entry.step in TRAINED for entry in outdated):
        say(f"run makes them anew; --update goes on from their weights, --from {outdated[0].step} starts anew for sure")


def print_corrections(context: Context) -> None:
    """How many photos a person has corrected, and which corrections are not used; nothing where there are none."""
    stored = Corrections.of(context.out)
    if not stored.now:
        return
    try:
        used = corrected(context)
    except UserError as error:  # the photos are not at hand
        say(f"{len(stored.now)} photos corrected by hand ({error})")
        return
    say(f"{len(used)} photos corrected by hand: their label maps stay, whatever is made anew")
    for line in used.problems[:SHOWN_PROBLEMS]:
        say(f"  {line}")


def print_estimate(context: Context, results: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """How good the label maps may be, without a mask; nothing where there are none or nothing was measured."""
    labels = dict(results).get("labels", {})
    if "threshold" not in labels:
        return
    estimate = quality(context, labels["threshold"])
    if estimate is not None and estimate["miou"] is not None:
        say(
            f"estimated mIoU of the label maps: {estimate['miou']:.0f} ± {estimate['plus_minus']:.0f} at threshold "
            f"{labels['threshold']:.2f} (an estimate from photos and tags; no mask was looked at)"
        )


def print_trained(context: Context, stage: str) -> None:
    """Where a stage's weights are, and the stage after it."""
    say(f"weights: {context.folder(stage)}")
    later = TRAINED[TRAINED.index(stage) + 1 :]
    out = shlex.quote(str(context.out))
    later = later if last_stage(context.recipe) == LAST else ()
    say(f"next: semples train {later[0]} --out {out}" if later else f"next: semples cams {out}")


def print_cams(context: Context, name: str) -> None:
    """Where CAMs are, and what makes label maps of them."""
    out = shlex.quote(str(context.out))
    say(f"CAMs of {len(context.dataset.items)} photos: {context.folder(name)}")
    say(f"next: semples label {out}, or semples score {out} where there are masks")


def print_labels(context: Context) -> None:
    """Where label maps are, and what shows how good they are."""
    out = shlex.quote(str(context.out))
    say(f"label maps of {len(context.dataset.items)} photos: {context.folder('labels')}")
    say(f"next: semples report {out} (a page to look at), or semples score {out} where there are masks")


def print_regions(context: Context) -> None:
    """Where regions are, and what uses them."""
    say(f"regions of {len(context.dataset.items)} photos: {context.folder('regions')}")
    say(f"next: semples label {shlex.quote(str(context.out))} --method regions+crf")


def print_checked(folder: Path, report: CheckReport) -> None:
    """What to do with photos that have been checked."""
    name = shlex.quote(str(folder))
    if report.photos == report.untagged:
        say("next: give the photos tags; without any there is nothing to learn from")
    else:
        is_voc = report.classes == VOC_CLASSES.names and (Path(report.root) / "ImageSets").is_dir()
        recipe = "voc" if is_voc else "folder"
        say_next_run(f"{recipe} --data {name} --out runs/{shlex.quote(folder.resolve().name)}")


def say_next_run(words: str) -> None:
    """Plan before run: the same words do both."""
    say(f"next: semples plan {words} (what it will take, and whether the judge knows the classes)")
    say(f"then: semples run {words}")


def print_demo(out: Path, summary: dict[str, Any]) -> None:
    """What each stage changed, what the prompts learned, and where to look."""
    table = Table("after", "mIoU", "own background taken for the class", "object above own background (AUC)")
    for stage in summary["miou"]:
        figures = (summary[key][stage] for key in ("miou", "fp_own", "auc"))
        table.add_row(stage, *(f"{figure:.3f}" for figure in figures))
    console.print(table)
    words = Table("class", "its background", "nearest words of its learned background prompt")
    for name, nearest in summary["prompt_words"].items():
        words.add_row(cell(name), cell(summary["own_background"][name]), cell(", ".join(nearest)))
    if summary["prompt_words"]:
        console.print(words)
    say(f"label maps: mIoU {summary['labels']['miou']:.3f} at threshold {summary['labels']['threshold']:.2f}")
    scores = summary["segmenter"]
    say(
        f"segmenter on photos it has never seen, without tags: mIoU {scores['miou']:.3f}, "
        f"boundary IoU {scores['boundary_iou']:.3f} (confusion.png: what it takes for what)"
    )
    say(f"took {duration(sum(summary['seconds'].values()))}; figures: {out / 'summary.json'}")
    say(f"pictures: {out / 'stages.png'} (photo, CAMs after each stage, labels, truth), {out / 'world.png'} (photos)")
    say(
        f"try next: semples report {out / 'run'} (a page to look at), semples demo --out {out}-hard --p 0.99; "
        "your own photos: semples data check DIR, then semples run folder --data DIR --out RUN"
    )


def _result(result: dict[str, Any]) -> str:
    shown = {key: len(value) if isinstance(value, list) else value for key, value in result.items()}
    shown = {key: value for key, value in shown.items() if value is not None}
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
    )


def print_status(context: Context, statuses: Sequence[StepStatus]) -> None:
    """One row a step."""
    table = Table("step", "about", "state", "time", "result")
    for entry in (one for one in statuses if not is_look(one.step)):
        state = entry.state if entry.share is None else f"{entry.state} at {entry.share:.0%}"
        time = "" if entry.seconds is None else duration(entry.seconds)
        table.add_row(entry.step, cell(entry.about), state, time, cell(_result(entry.result)))
    console.print(table)
    console.print(shown(statuses))
    print_estimate(context, [(entry.step, entry.result) for entry in statuses])
    print_corrections(context)
    print_why(context, statuses)
    if any(entry.state != "done" for entry in statuses):
        left = line_of_status(context.out, list(statuses))
        say(f"to go on: {go_on(context.out, context.source)}" + (f" ({left})" if left else ""))


def print_scores(figures: Figures) -> None:
    """Per-class tables of label maps and of the CAMs' best threshold, and the two answers of the curve."""
    if figures.cams is None and figures.labels is None:
        say(NO_MASKS)
        return
    if figures.labels is not None:
        chosen = figures.labels.get("select")
        title = "label maps" if chosen is None else f"label maps at threshold {figures.labels['threshold']:.2f}"
        title += {
            "ground-truth": " (chosen with pixel masks)",
            "auto": " (chosen without masks)",
            "corrections": " (chosen by corrected photos)",
        }.get(str(chosen), "")
        console.print(scores_table(Scores.from_json(figures.labels), figures.classes, title=title))
    if figures.cams is not None:
        best, peak = figures.cams["best"], figures.cams["first_peak"]
        title = f"CAMs at their best threshold {best['threshold']:.2f} (found with pixel masks)"
        console.print(scores_table(Scores.from_json(figures.cams["at_best"]), figures.classes, title=title))
        say(f"best mIoU {figure(best['miou'])} at {best['threshold']:.2f}; "
            f"published early stop {figure(peak['miou'])} at {peak['threshold']:.2f}")  # fmt: skip


def figure(value: float | None) -> str:
    """A figure in two decimals; - where there is none."""
    return "-" if value is None else f"{value:.2f}"


def print_predicted(done: Predicted, *, model: Path) -> None:
    """What was found in new photos, what was set aside, how fast it went, and what to do next."""
    if done.photos:
        table = Table("class", "photos", "share of all pixels")
        for name, photos, share in zip(done.classes, done.photos_with, done.share, strict=True):
            table.add_row(cell(name), str(photos), f"{share:.1%}")
        console.print(table)
    made = done.photos - done.before
    earlier = f", {done.before} of them by an earlier call" if done.before else ""
    say(f"{done.photos} photos{earlier}: label maps in {done.out / 'labels'}, pictures in {done.out / 'overlays'}, "
        f"areas in {done.out / 'areas.csv'}")  # fmt: skip
    if made:
        say(f"{made} photos in {duration(done.seconds)}: {done.photos_per_second:.1f} a second, "
            f"{done.network_share:.0%} of the time in the network")  # fmt: skip
    print_set_aside(done.problem_lines)
    say(f"next: look at the pictures; try a photo in the browser: semples app {model}; correct the label maps "
        f"elsewhere: semples export cvat-coco {done.out} --out corrections")  # fmt: skip


def print_set_aside(problems: Sequence[str]) -> None:
    """A line a photo or file that could not be used while the others were."""
    if problems:
        say(f"{len(problems)} set aside:")
        for line in problems:
            say(f"  {line}")


def print_evaluation(evaluation: Evaluation) -> None:
    """A row a class with IoU and boundary IoU, and the means."""
    table = Table("class", title=f"segmenter on {evaluation.photos} photos, without tags")
    for heading in ("IoU", "boundary IoU", "precision", "recall"):
        table.add_column(heading, justify="right")
    scores = evaluation.scores
    columns = (scores.iou, evaluation.boundary, scores.precision, scores.recall)
    for value, name in enumerate(("background", *evaluation.classes)):
        figures = (figure(None if column[value] != column[value] else column[value]) for column in columns)
        table.add_row(cell(name), *figures, end_section=value == len(evaluation.classes))
    means = (scores.miou, evaluation.mean_boundary, scores.mean_precision, scores.mean_recall)
    table.add_row("mean", *map(figure, means))
    console.print(table)
    if evaluation.risk:
        table = Table("confidence at least", title="sure pixels alone (predict --min-confidence)")
        for heading in ("share of pixels", "of them wrong", "their mIoU"):
            table.add_column(heading, justify="right")
        for row in evaluation.risk:
            wrong = "-" if row.risk != row.risk else f"{row.risk:.2%}"
            table.add_row(
                f"{row.least:.1f}", f"{row.coverage:.1%}", wrong, figure(None if row.miou != row.miou else row.miou)
            )
        console.print(table)
    for line in evaluation.unusable[:SHOWN_PROBLEMS]:
        say(f"  not scored: {line}")


def print_words(nearest: dict[str, list[dict[str, Any]]]) -> None:
    """One row a class: its prompt's nearest words with their cosines."""
    table = Table("class", "nearest words of its background prompt")
    for name, words in nearest.items():
        table.add_row(cell(name), cell(", ".join(f"{entry['word']} {entry['cosine']:.3f}" for entry in words)))
    console.print(table)


def print_known_words(report: WordsReport) -> None:
    """One row a class: how well its word is known, what it is taken for, and other words; then a line on what to do."""
    table = Table("class", "word", "photos", "tells from the rest", "several templates", "taken for", "verdict")
    for entry in report.classes:
        figures = [
            "-" if value is None else f"{100 * value:.0f} %" for value in (entry.auc, entry.averaged, entry.error)
        ]
        others = ", ".join(f"{name} {100 * share:.0f} %" for name, share in entry.taken_for)
        shown = figures[0] if entry.auc is None else f"{figures[0]} ± {figures[2]}"
        table.add_row(
            cell(entry.name), cell(entry.word), str(entry.photos), shown, figures[1], cell(others), entry.grade
        )
    console.print(table)
    tried = [(entry, other) for entry in report.classes for other in entry.tried]
    if tried:
        words = Table("class", "word tried", "tells from the rest", "several templates", "")
        best: dict[str, int] = {}
        for entry, other in sorted(tried, key=lambda pair: (pair[0].name, -pair[1].auc)):
            best[entry.name] = best.get(entry.name, 0) + 1
            if best[entry.name] <= SHOWN_PROBLEMS or other.word == entry.better:
                mark = "better, on photos it was not chosen by" if other.word == entry.better else ""
                figures = [f"{100 * value:.0f} %" for value in (other.auc, other.averaged)]
                words.add_row(cell(entry.name), cell(other.word), *figures, mark)
        console.print(words)
    for entry in report.classes:
        if entry.grade in ("weak", "chance") or entry.better is not None:
            say(entry.line(report.judge))
    if report.can_try and not tried and any(entry.grade in ("weak", "chance") for entry in report.classes):
        name = next(entry.name for entry in report.classes if entry.grade in ("weak", "chance"))
        say(f"try describing words: --try {shlex.quote(f'{name}=first word;second word')}; a word for the surroundings "
            "would teach the surroundings")  # fmt: skip


def print_recipes() -> None:
    """Name and purpose of every shipped recipe."""
    table = Table("recipe", "about")
    for name in recipe_names():
        table.add_row(name, cell(load_recipe(name).about))
    console.print(table)


def print_recipe(recipe: Recipe) -> None:
    """Every setting with value, meaning and source."""
    table = Table("setting", "value", "meaning", "source")
    for key, value, meaning, source in describe(recipe):
        table.add_row(key, cell(str(value)), cell(meaning), cell(source))
    console.print(table)
    licences = Table("well-known weights", "licence", "commercial use", "stated in")
    for entry in LICENCES:
        licences.add_row(*map(cell, entry))
    console.print(licences)
    say("as the publishers state it; it may change: read the licence before you use or pass on weights")


def print_findings(findings: Sequence[tuple[str, str, bool]]) -> None:
    """Rows (what, found, fine) of the doctor."""
    table = Table("what", "found", "")
    for what, seen, fine in findings:
        table.add_row(what, cell(seen), "ok" if fine else "look here")
    console.print(table)

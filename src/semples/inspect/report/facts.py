"""The figures of a report: what was run, curves, scores per class, what occurs together, what prompts have learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image

from semples.core.errors import UserError
from semples.core.progress import duration
from semples.core.schema import to_yaml
from semples.inspect.patches import nearest_pictures
from semples.inspect.report.charts import Chart, Series, line_chart
from semples.inspect.report.pictures import data_uri
from semples.inspect.words import nearest_words
from semples.judges.words import words_of
from semples.networks.weights import local_source, source_digest
from semples.run import pipeline
from semples.run.baseline import baseline_scores
from semples.run.context import Context
from semples.run.corrections import corrected
from semples.run.health import TITLES as TITLES_OF_LOOKS
from semples.run.health import is_look, verdicts
from semples.run.models import PROMPTS
from semples.run.names import CURVE_FILE, SELECTION, SELECTION_FILE, TRAINED, curve_name
from semples.run.records import read_manifest, read_output
from semples.run.steps import labels as label_steps
from semples.settings.judges import NO_JUDGE
from semples.settings.kinds import label_method
from semples.training.events import read_lines, times

CAM_STAGES = {"warmup": "after warm-up", "matching": "after (a) matching", "refinement": "after (c) refinement"}
TITLES = {"warmup": "Warm-up", "matching": "(a) Matching", "prompting": "(b) Prompting", "refinement": "(c) Refinement"}
SELECTED = {
    "auto": "chosen from photos and tags",
    "fixed": "set in the recipe",
    "ground-truth": "best by pixel masks: this run has used pixel labels",
    "corrections": "best by photos that people have corrected",
}
WORDS = 5
PATCHES = 6
SHOWN_PROBLEMS = 50


def run_facts(context: Context) -> dict[str, Any]:
    """What was run, when, on what: plain data for the template."""
    statuses = pipeline.status(context)
    manifests = {entry.step: _manifest(context, entry.step) for entry in statuses}
    finished = sorted(str(manifest["finished"]) for manifest in manifests.values() if "finished" in manifest)
    dataset = context.dataset
    statuses = [entry for entry in statuses if not is_look(entry.step)]
    steps = [
        {
            "name": entry.step,
            "about": entry.about,
            "state": entry.state if entry.share is None else f"{entry.state} at {entry.share:.0%}",
            "time": "" if entry.seconds is None else duration(entry.seconds),
            "finished": _moment(manifests[entry.step].get("finished")),
            "result": ", ".join(_figure(key, value) for key, value in entry.result.items() if value is not None),
        }
        for entry in statuses
    ]
    return {
        "folder": str(context.out.resolve()),
        "name": dataset.name,
        "root": str(dataset.root),
        "recipe": context.recipe.name,
        "settings": to_yaml(context.recipe),
        "version": ", ".join(sorted({str(m["semples"]) for m in manifests.values() if "semples" in m})),
        "finished": _moment(finished[-1]) if finished else "",
        "time": duration(sum(entry.seconds or 0.0 for entry in statuses)),
        "steps": steps,
        "states": _unfinished(statuses),
        "photos": len(dataset.items),
        "corrected": len(corrected(context)),
        "untagged": sum(not item.tags for item in dataset.items),
        "problems": [(problem.where, problem.what) for problem in dataset.problems[:SHOWN_PROBLEMS]],
        "problem_count": len(dataset.problems),
    }


def health(context: Context) -> list[dict[str, Any]]:
    """A row a stage that was looked at: title, grade, why, advice, and its figures as (name, text)."""
    rows = verdicts(pipeline.status(context))
    return [{"title": TITLES_OF_LOOKS[of], **row, "figures": [*_told(row["figures"])]} for of, row in rows.items()]


def _told(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and texts of the figures that a verdict rests on; lists of classes and words become one line each."""
    for key, value in figures.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            for inner, text in value.items():
                yield f"{name}: {inner}", ", ".join(map(_text, text.values() if isinstance(text, dict) else text))
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _unfinished(statuses: list[pipeline.StepStatus]) -> list[tuple[str, list[str]]]:
    """Names of the steps in each state other than done."""
    titles = {
        "outdated": "Made with other settings, photos or models than there are now",
        "interrupted": "Interrupted or still running",
        "not run": "Not made yet",
    }
    groups = [(title, [entry.step for entry in statuses if entry.state == state]) for state, title in titles.items()]
    every = [f"all {len(statuses)} steps"]
    return [(title, every if len(names) == len(statuses) else names) for title, names in groups if names]


def _manifest(context: Context, step: str) -> dict[str, Any]:
    return read_manifest(context.folder(step)) or {}


def _moment(stamp: Any) -> str:
    """2026-11-22T14:14:31+0000 as 2026-11-22 14:14."""
    return str(stamp)[:16].replace("T", " ") if stamp else ""


def _figure(key: str, value: Any) -> str:
    return f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"


def used_threshold(context: Context) -> dict[str, Any]:
    """The background threshold of the run's label maps, or of the recipe where there are none, and how it was found."""
    result = _manifest(context, "labels").get("result", {})
    settings = context.recipe.labels
    select = str(result.get("select", settings.select))
    known = chosen_without_masks(context) if select == "auto" else None
    how, of_classes = SELECTED[select], result.get("thresholds")
    if select == "auto" and not result and known is None:
        how = "will be chosen from photos and tags"
    return {
        "value": float(result.get("threshold", settings.threshold if known is None else known)),
        "how": how + (f"; a class has {min(of_classes):.2f} to {max(of_classes):.2f}" if of_classes else ""),
        "pixel_labels": select == "ground-truth",
        "pixel_epochs": [stage for stage in TRAINED if _epoch_by_masks(context, stage)],
        "made": bool(result),
        "after": _after(str(result.get("method", "threshold"))),
    }


def _epoch_by_masks(context: Context, stage: str) -> bool:
    return _manifest(context, stage).get("result", {}).get("select_epoch") == "ground-truth"


def chosen_without_masks(context: Context) -> float | None:
    """The threshold that photos and tags alone give; None where it was not looked for."""
    path = context.folder(SELECTION) / SELECTION_FILE
    return float(read_output(path.parent, path.name)["threshold"]) if path.is_file() else None


def chosen_for_classes(context: Context) -> list[float] | None:
    """Each class's own threshold that photos and tags alone give; None where it was not looked for."""
    path = context.folder(SELECTION) / SELECTION_FILE
    if not path.is_file():
        return None
    chosen = read_output(path.parent, path.name)["per_class"]
    names = context.dataset.classes.names
    return [float(chosen[name]) for name in names] if set(chosen) == set(names) else None


def curves(context: Context) -> dict[str, dict[str, Any]]:
    """The stored threshold curve of every stage that has one."""
    by_stage = {}
    for stage in CAM_STAGES:
        path = context.folder(curve_name(stage)) / CURVE_FILE
        if path.is_file():
            by_stage[stage] = read_output(path.parent, path.name)
    return by_stage


def curve_chart(by_stage: dict[str, dict[str, Any]]) -> Chart | None:
    """mIoU over thresholds, a line a stage; the last stage strong."""
    series = [
        Series(
            CAM_STAGES[stage],
            tuple((point["threshold"], point["miou"]) for point in curve["curve"] if point["miou"] is not None),
            strong=stage == list(by_stage)[-1],
        )
        for stage, curve in by_stage.items()
    ]
    return line_chart("mIoU over background thresholds", series, x_label="background threshold", y_label="mIoU, %")


def loss_charts(context: Context) -> list[Chart]:
    """A chart a trained stage: its loss and the terms of it over epochs."""
    charts = []
    for stage in TRAINED:
        events = read_lines(context.folder(stage) / "events.jsonl")
        names = list(dict.fromkeys(key for event in events for key in event))
        series = [
            Series(name, tuple(_points(events, name)), strong=name == "loss")
            for name in names
            if name not in ("step", "epoch", "lr", "skipped")
        ]
        seconds, waited = times(context.folder(stage))
        took = f" ({duration(seconds)}, {waited / seconds:.0%} of it waiting for photos)" if seconds else ""
        chart = line_chart(TITLES[stage] + took, series, x_label="epochs", y_label="loss")
        if chart is not None:
            charts.append(chart)
    return charts


def _points(events: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    pairs = [(event.get("epoch", event.get("step")), event.get(name)) for event in events]
    return [(float(x), float(y)) for x, y in pairs if isinstance(x, int | float) and isinstance(y, int | float)]


def class_table(context: Context, by_stage: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Scores per class: of the label maps where they were scored, else of the last curve's best threshold."""
    names = context.dataset.classes.names
    path = context.folder("scores") / label_steps.SCORES
    scores, of, title = None, "", "There are no scores, which need masks; the table counts photos."
    if path.is_file():
        scores = read_output(path.parent, path.name)["labels"]
        of = f"label maps at threshold {scores['threshold']:.2f}"
    elif by_stage:
        stage, curve = list(by_stage.items())[-1]
        scores = curve["at_best"]
        of = (
            f"CAMs {CAM_STAGES[stage]} at their best threshold {curve['best']['threshold']:.2f}, found with pixel masks"
        )
    photos = [sum(index in item.tags for item in context.dataset.items) for index in range(len(names))]
    rows = []
    for value, name in enumerate(("background", *names)):
        figures = None if scores is None else scores["classes"][value]
        if value or figures:
            rows.append(
                {"value": value, "name": name, "photos": photos[value - 1] if value else None, "scores": figures}
            )
    title = f"Scores of {of}, percent." if of else title
    return {"title": title, "of": of, "best": not path.is_file(), "rows": rows, "means": scores}


MEANS = ("miou", "precision", "recall", "false_positive", "false_negative")


def beside(context: Context) -> list[dict[str, Any]]:
    """A row a folder of label maps of the same photos: the run's own, then its baselines; none without baselines.

    Each has a name, the means in the order of `MEANS`, the IoU of background and classes, and a note where it was
    scored on other photos or masks than the run's own. None stands for what is not known.
    """
    scored = baseline_scores(context.out)
    path = context.folder("scores") / label_steps.SCORES
    of_run = read_output(path.parent, path.name)["labels"] if path.is_file() else None
    rows = [("label maps of this run", of_run)] if of_run is not None and scored else []
    rows += [(f"baseline {name}", scores) for name, scores in scored.items()]
    return [
        {
            "name": name,
            "means": [scores[key] for key in MEANS],
            "ious": _in_order(scores, ("background", *context.dataset.classes.names)),
            "note": "" if of_run is None or scores["pixels"] == of_run["pixels"] else "scored on other photos or masks",
        }
        for name, scores in rows
    ]


def _in_order(scores: dict[str, Any], names: tuple[str, ...]) -> list[float | None]:
    known = {entry["class"]: entry["iou"] for entry in scores["classes"]}
    return [known.get(name) for name in names]


def together(context: Context) -> list[list[int]]:
    """How many photos carry both classes; on the diagonal those that carry the class."""
    count = len(context.dataset.classes)
    table = [[0] * count for _ in range(count)]
    for item in context.dataset.items:
        for first in item.tags:
            for second in item.tags:
                table[first][second] += 1
    return table


def _after(method: str) -> str:
    """What a label method does behind the threshold, in words."""
    name, refines = label_method(method)
    return " and ".join([*([name] if name != "threshold" else []), *(["dense CRF"] if refines else [])])


def prompt_words(context: Context) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """The learned prompts' nearest words by class, or none and the reason."""
    if context.recipe.judge.kind == NO_JUDGE:
        return {}, ""
    if not (context.folder("prompting") / PROMPTS).is_file():
        return {}, "The background prompts of this run are not learned yet."
    if type(context.recipe.judge).LEARNS:
        return {}, ""  # they have pictures in place of words
    model = getattr(context.recipe.judge, "model", "")
    if not _is_local(model):
        return {}, f"{model} is not on this machine, so the prompts' nearest words are left out."
    learned_with = _manifest(context, "prompting").get("reads", {}).get(f"weights:{model}")
    if learned_with is not None and learned_with != source_digest(model):
        return {}, f"{model} is not the model any more that the prompts were learned with, so their words are left out."
    try:
        return nearest_words(context, words=words_of(model), count=WORDS), ""
    except UserError as error:
        return {}, f"The prompts' nearest words are left out: {error}"


def background_patches(context: Context) -> tuple[dict[str, list[dict[str, str]]], str]:
    """Patches of the photos that are most like each class's learned background, of a judge without text, or none and
    the reason."""
    if not type(context.recipe.judge).LEARNS or not (context.folder("prompting") / PROMPTS).is_file():
        return {}, ""
    try:
        strips = nearest_pictures(context, count=PATCHES)
    except UserError as error:
        return {}, f"The patches nearest to the learned backgrounds are left out: {error}"
    shown = {
        name: [
            {
                "uri": data_uri(Image.fromarray(one.picture), lossless=False),
                "title": f"{one.photo}, cosine {one.cosine:.2f}",
                "photo": one.photo,
            }
            for one in strip
        ]
        for name, strip in strips.items()
    }
    return shown, ""


def _is_local(model: str) -> bool:
    """Whether the model can be read without network."""
    from huggingface_hub import try_to_load_from_cache

    try:
        if local_source(model) is not None:
            return True
    except UserError:
        return False
    return all(isinstance(try_to_load_from_cache(model, name), str) for name in ("config.json", "model.safetensors"))

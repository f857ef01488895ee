"""Put the report together and write it."""

from __future__ import annotations

import base64
import colorsys
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from semples import __version__
from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.files import write_text
from semples.data.dataset import TaggedDataset
from semples.inspect.report import facts
from semples.inspect.report.levels import LEVELS
from semples.inspect.report.page import STYLE, asset, environment, shown
from semples.inspect.report.pictures import Gallery, Sources, make_gallery
from semples.run.advice import go_on
from semples.run.context import Context
from semples.run.corrections import corrected
from semples.run.names import cams_name
from semples.run.photos import DATASET

TEMPLATE = "template.html.j2"
SCRIPTS = ("maps.js", "gallery.js", "page.js")  # one script in the page, in this order
MARK_WIDTH = 0.17  # of a scale of 0..1 that a mark's name takes, on a phone and in a chart
STORY = 4  # photos whose way through the stages is shown at the top


def build_report(context: Context, out: Path, *, limit: int = 200) -> Path:
    """Write the report of a run to the file `out` and return its path.

    The page needs no network and nothing beside it. limit: photos shown; of more, a sample (see `pictures.choose`).
    Parts that a run has not made are left out of the page or named there. Raises UserError where there is nothing to
    report, and for a file of the run that is broken.
    """
    if limit < 1:
        raise UserError(f"--photos {limit}: show at least one photo")
    if out.is_dir():
        raise UserError(f"{out}: a folder; name the report's file, for example {out / 'report.html'}")
    if not (context.folder("data") / DATASET).is_file():
        raise UserError(
            f"{context.out}: nothing to report yet; make the run first: `{go_on(context.out, context.source)}`"
        )
    write_text(out, render(context, limit=limit))
    return out


def render(context: Context, *, limit: int) -> str:
    """The report as one HTML page."""
    threshold = facts.used_threshold(context)
    stores = stages_with_cams(context)
    labels = context.folder("labels") if threshold["made"] else None
    by_hand = corrected(context)
    gallery = make_gallery(Sources(_dataset(context), stores, labels, threshold["value"], by_hand), limit=limit)
    curves = facts.curves(context)
    script = '"use strict";\n{\n' + "\n".join(map(asset, SCRIPTS)) + "}\n"
    words, no_words = facts.prompt_words(context)
    patches, no_patches = facts.background_patches(context)
    names = context.dataset.classes.names
    colours = class_colours(len(names))
    best = curves.get(next(reversed(stores), ""), {}).get("best")
    marks = [{"value": threshold["value"], "name": "used", "how": threshold["how"], "left": False}]
    if best is not None:
        how, left = "highest mIoU, found with pixel masks", best["threshold"] < threshold["value"]
        marks[0]["left"] = not left
        marks.append({"value": best["threshold"], "name": "best", "how": how, "left": left})
    automatic = facts.chosen_without_masks(context)
    if automatic is not None and not threshold["how"].startswith(facts.SELECTED["auto"]):
        marks.append({"value": automatic, "name": "auto", "how": facts.SELECTED["auto"], "left": False})
    rows = mark_rows([(mark["value"], mark["left"]) for mark in marks])
    marks = [mark | {"row": row} for mark, row in zip(marks, rows, strict=True)]
    return environment().get_template(TEMPLATE).render(
        style=Markup(asset(STYLE)),
        script=Markup(script),
        script_hash=_hash(script),
        made_with=__version__,
        run=facts.run_facts(context),
        health=facts.health(context),
        threshold=threshold,
        best=best,
        stages=[facts.CAM_STAGES[stage] for stage in stores],
        gallery=gallery,
        classes=names,
        colours=colours,
        curve=facts.curve_chart(curves),
        losses=facts.loss_charts(context),
        table=facts.class_table(context, curves),
        beside=facts.beside(context),
        together=facts.together(context),
        words=words,
        no_words=no_words or no_patches,
        patches=patches,
        marks=marks,
        data=_all_shown(_page_data(context, gallery, stages=stores, colours=colours, marks=marks))
        | {"after": threshold["after"]},
    )  # fmt: skip


def stages_with_cams(context: Context) -> dict[str, CamStore]:
    """The CAMs of every stage that has left some, in the order of training."""
    stores = {}
    for stage in facts.CAM_STAGES:
        folder = context.folder(cams_name(stage))
        store = CamStore(folder, format=context.recipe.cams.format)
        if folder.is_dir() and store.ids():
            stores[stage] = store
    return stores


def _dataset(context: Context) -> TaggedDataset:
    """The run's photos with the masks that are there now; with those of then where the folder has gone."""
    try:
        return context.scored_dataset
    except UserError:
        return context.dataset


def _page_data(
    context: Context,
    gallery: Gallery,
    *,
    stages: Mapping[str, CamStore],
    colours: list[str],
    marks: list[dict[str, Any]],
) -> dict[str, Any]:
    """What the script works on."""
    counts = sorted(gallery.counts.items())
    return {
        "command": f"semples label {shlex.quote(str(context.out.resolve()))}",
        "classes": context.dataset.classes.names,
        "colours": colours,
        "levels": LEVELS.tolist(),
        "start": min(100, max(0, round(marks[0]["value"] * 100))),
        "automatic": facts.chosen_for_classes(context),
        "stages": [facts.CAM_STAGES[stage] for stage in stages],
        "photos": gallery.photos,
        "story": story_photos(gallery),
        "counts": [[*place, pixels] for place, pixels in counts],
    }


def story_photos(gallery: Gallery) -> list[int]:
    """Places of a few photos with CAMs of different classes, for the top of the page."""
    chosen: list[int] = []
    seen: set[int] = set()
    for place, photo in enumerate(gallery.photos):
        new = set(photo["tags"]) - seen
        if new and any(photo["cams"]) and len(chosen) < STORY:
            chosen.append(place)
            seen |= set(photo["tags"])
    return chosen


def mark_rows(marks: Sequence[tuple[float, bool]]) -> list[int]:
    """The row of each mark's name below a scale of 0..1, such that no two names overlap.

    `marks`: (value, whether the name stands left of it).
    """
    rows: list[int] = []
    spans = [(value - MARK_WIDTH, value) if left else (value, value + MARK_WIDTH) for value, left in marks]
    for place, (start, end) in enumerate(spans):
        taken = {rows[k] for k, (low, high) in enumerate(spans[:place]) if start < high and low < end}
        rows.append(next(row for row in range(len(spans)) if row not in taken))
    return rows


def class_colours(count: int) -> list[str]:
    """A colour (#rrggbb) a class: hues a golden angle apart, three lightnesses in turn."""
    colours = []
    for index in range(count):
        hue, light = (0.02 + index * 0.61803399) % 1, (0.55, 0.68, 0.45)[index % 3]
        channels = colorsys.hls_to_rgb(hue, light, 0.72)
        colours.append("#" + "".join(f"{round(channel * 255):02x}" for channel in channels))
    return colours


def _all_shown(value: Any) -> Any:
    """The same for all text in plain data."""
    if isinstance(value, dict):
        return {shown(key): _all_shown(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_all_shown(entry) for entry in value]
    return shown(value)


def _hash(script: str) -> str:
    """What the page's content policy admits as its only script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

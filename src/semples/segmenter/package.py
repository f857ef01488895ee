"""A trained segmenter as one folder that explains itself and goes anywhere.

config.json, model.safetensors    the network, as transformers' `from_pretrained` reads it
preprocessor_config.json          how a photo is made ready, for transformers' `pipeline("image-segmentation")`
segmenter.json                    classes, size of a photo, normalisation
classes.json                      name, label value and colour of background and every class
recipe.yaml                       the settings it was trained with and is used with
README.md                         model card: on what it was trained, how, with which figures, under which licences
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import sha256_file, write_json, write_text
from semples.core.palette import voc_palette
from semples.core.plain import plain
from semples.core.systems import family_of
from semples.networks.pretrained import NETWORK, WEIGHTS
from semples.recipe import Recipe, load_recipe
from semples.segmenter.build import BACKGROUND, CONFIG, Segmenter
from semples.segmenter.licences import HUB_NAMES, known_licence
from semples.segmenter.network import OWN_MODULES
from semples.segmenter.processor import PROCESSOR, processor_config

CARD = "README.md"
CLASSES = "classes.json"
RECIPE = "recipe.yaml"
PROGRAMS = (".bin", ".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".npy", ".h5", ".msgpack", ".py")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured figure: what it is, its value, on how many photos, and whether it took pixel masks to know it."""

    name: str
    value: float
    photos: int
    used_pixel_masks: bool = True


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the model card says beyond the recipe.

    source: start weights, as the recipe names them. photos: how many it was trained on. tagged: photos per class, None
    where tags are not known. labels: where the label maps came from, one line. used_pixel_masks: whether training or
    any choice of its settings looked at pixel masks, None where that is not known. figures: what was measured. notes:
    further lines.
    """

    name: str
    data: str
    source: str
    photos: int
    tagged: Mapping[str, int] | None
    labels: str
    used_pixel_masks: bool | None
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


def write_package(segmenter: Segmenter, folder: Path, *, recipe: Mapping[str, Any], card: Card) -> None:
    """Write the whole folder; equal input gives equal bytes. segmenter.json comes last: without it nothing loads.

    recipe: the groups of settings that the segmenter depends on or is used with, as plain data (`schema.to_dict`).
    """
    (folder / CONFIG).unlink(missing_ok=True)
    write_json(folder / CLASSES, {"classes": class_table(segmenter.classes)})
    write_json(folder / PROCESSOR, processor_config(segmenter))
    write_text(folder / RECIPE, yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True))
    write_text(folder / CARD, model_card(segmenter, card))
    segmenter.save(folder)


def class_table(classes: tuple[str, ...]) -> list[dict[str, object]]:
    """Name, label value and colour (`#rrggbb`, VOC's) of background and every class."""
    colours = voc_palette()
    return [
        {"label": label, "name": name, "colour": "#" + bytes(colours[label]).hex()}
        for label, name in enumerate((BACKGROUND, *classes))
    ]


@dataclass(frozen=True)
class Package:
    """A loaded folder: the segmenter, the recipe where there is one, and what tells it from another."""

    segmenter: Segmenter
    recipe: Recipe | None
    identity: dict[str, str]


def is_package(folder: Path) -> bool:
    """Whether a segmenter was saved here."""
    return (folder / CONFIG).is_file()


def is_complete(folder: Path) -> bool:
    """Whether all is there that a segmenter is loaded from."""
    return all((folder / name).is_file() for name in (CONFIG, NETWORK, WEIGHTS))


def open_package(folder: Path) -> Package:
    """Load a folder that `write_package` (or `Segmenter.save`) wrote. Only safetensors, JSON and YAML are read.

    Raises UserError, one line, where a file is missing, of another kind, or does not fit the others.
    """
    if not (folder / WEIGHTS).is_file():
        other = sorted(path.name for path in folder.iterdir() if path.suffix in PROGRAMS) if folder.is_dir() else []
        if other:
            raise UserError(
                f"{folder}: {WEIGHTS} is missing, and {other[0]} is not read: such a file may hold a program; "
                "save the weights as safetensors"
            )
        raise UserError(f"{folder}: {WEIGHTS} is missing; copy the whole folder of the segmenter")
    segmenter = Segmenter.load(folder)
    recipe = load_recipe(folder / RECIPE) if (folder / RECIPE).is_file() else None
    return Package(segmenter, recipe, {name: sha256_file(folder / name) for name in (CONFIG, NETWORK, WEIGHTS)})


# -------------------------------------------------------------------------------------------------------- model card


def model_card(segmenter: Segmenter, card: Card) -> str:
    """The README.md of the folder, Markdown with the header that model hubs read."""
    header = {
        "library_name": "transformers",
        "pipeline_tag": "image-segmentation",
        **licence_key(card.source),
        "tags": ["semples", "semantic-segmentation", "weakly-supervised"],
    }
    millions = sum(parameter.numel() for parameter in segmenter.parameters()) / 1e6
    masks = {
        None: "- whether the label maps needed pixel masks is not known to this program",
        True: "- pixel masks were used for training or for choosing its settings",
        False: "- no pixel mask was used, neither for training nor for choosing its settings",
    }[card.used_pixel_masks]
    loader = "AutoModelForUniversalSegmentation" if segmenter.is_mask_classifier else "AutoModelForSemanticSegmentation"
    config = segmenter.config
    normalised = f"{_numbers(config.mean)}, standard deviation {_numbers(config.std)}"
    module = OWN_MODULES.get(segmenter.family)
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---",
        f"# {_text(card.name)}",
        f"A {segmenter.family} of {millions:.1f} million parameters that segments photos into background and "
        f"{len(segmenter.classes)} classes, without tags. Made by semples {__version__}.",
        "## Use",
        "```sh\nsemples predict THIS_FOLDER photos/ --out predictions\n```",
        "```python\nimport semples\nmodel = semples.load(\"THIS_FOLDER\")\n"
        "labels = model.predict(\"photo.jpg\")  # uint8 (H, W): 0 background, k + 1 for model.classes[k]\n```",
        "With transformers, one plain pass"
        + (" (this network's code comes with semples, so import that first)" if module else "")
        + ":",
        "```python\n"
        + (f"import {module}  # makes transformers know this family\n" if module else "")
        + "from transformers import pipeline\n"
        'segments = pipeline("image-segmentation", model="THIS_FOLDER")("photo.jpg", subtask="semantic")\n```',
        f"The network alone: `transformers.{loader}.from_pretrained(\"THIS_FOLDER\")`. "
        f"It takes RGB in 0..1 normalised with mean {normalised}, "
        f"of photos resized so that their shorter side has {config.size} pixels.",
        "## Training",
        f"- photos: {card.photos} of {_text(card.data)}",
        f"- labels: {_text(card.labels)}",
        masks,
        f"- start weights: `{card.source}`",
        f"- every setting: [{RECIPE}]({RECIPE})",
        *(f"- {_text(note)}" for note in card.notes),
        _classes(segmenter.classes, card.tagged),
        "## Figures",
        _figures(card.figures),
        "## Licences",
        f"- start weights: {licence_of(card.source)}",
        "- photos and tags: those of their owners; this folder holds none of them",
        "- the program: Apache-2.0",
        "- these weights: to be decided by whoever trained them, within what the start weights and the photos allow. "
        "The line `license:` on top repeats the start weights' licence; change it before you pass the folder on",
    ]  # fmt: skip
    lines: list[str] = []
    for part in parts:
        tight = part.startswith("- ") and lines[-1].lstrip().startswith("- ") if lines else True
        lines.append(part if tight else f"\n{part}")
    return "\n".join(lines) + "\n"


def _classes(names: tuple[str, ...], tagged: Mapping[str, int] | None) -> str:
    count = ["-"] * len(names) if tagged is None else [str(tagged.get(name, 0)) for name in names]
    rows = [
        f"| {_text(name)} | {label} | {photos} |"
        for label, (name, photos) in enumerate(zip(names, count, strict=True), 1)
    ]
    return "\n".join(["| class | label | photos tagged with it |", "|---|---|---|", *rows])


def _figures(figures: tuple[Figure, ...]) -> str:
    if not figures:
        return "None were measured: no pixel masks were at hand."
    answer = {True: "yes", False: "no"}
    rows = [
        f"| {_text(figure.name)} | {figure.value:.4g} | {figure.photos} | {answer[figure.used_pixel_masks]} |"
        for figure in figures
    ]
    return "\n".join(["| figure | value | photos | needs pixel masks to know |", "|---|---|---|---|", *rows])


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _text(text: str) -> str:
    """Text that is only text in Markdown: one line, no markup."""
    shown = plain(" ".join(text.split()))
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|~!" else sign for sign in shown)


def licence_of(source: str) -> str:
    """The licence of start weights by their source (a hub id, `FAMILY:ID`, `scratch:...`), in one line."""
    kind, colon, rest = family_of(source)
    if colon and kind == "scratch":
        return "none: training began with random weights"
    if kind == "shipped" or rest.startswith("shipped:"):
        return "Apache-2.0, shipped with the program"
    entry = known_licence(rest if colon else source)
    if entry is not None:
        return f"{entry.licence}; commercial use: {entry.commercial}"
    return "not known to this program: look at the page of the weights before you pass this model on"


def licence_key(source: str) -> dict[str, str]:
    """What the card's header says of the licence, in the hub's words: that of the start weights."""
    kind, colon, rest = family_of(source)
    if colon and kind == "scratch":
        return {"license": "other", "license_name": "to-be-decided"}
    if kind == "shipped" or rest.startswith("shipped:"):
        return {"license": "apache-2.0"}
    entry = known_licence(rest if colon else source)
    if entry is None:
        return {"license": "unknown"}
    if entry.licence in HUB_NAMES:
        return {"license": HUB_NAMES[entry.licence]}
    return {"license": "other", "license_name": "-".join(re.findall(r"[a-z0-9.]+", entry.licence.casefold()))}

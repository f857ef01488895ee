"""A recipe: all settings of a run, and the shipped sets of values. What each setting means: `semples.settings`.

A recipe file lists only what differs from the defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import read_file
from semples.core.safeyaml import load_yaml
from semples.core.schema import merge, parse_override, setting
from semples.settings import training
from semples.settings.cams import AffinitySettings, CamSettings
from semples.settings.data import DataSettings
from semples.settings.labels import CrfSettings, LabelSettings, RegionSettings, ScoreSettings, SelectionSettings
from semples.settings.models import ClipSettings, GeneratorSettings, PromptSettings
from semples.settings.segmenter import (
    NoiseSettings,
    SegmentAugmentSettings,
    SegmenterSettings,
    SegmentPredictSettings,
)
from semples.settings.training import AugmentSettings, RunSettings, StageSettings

__all__ = [
    "AffinitySettings",
    "AugmentSettings",
    "CamSettings",
    "ClipSettings",
    "CrfSettings",
    "DataSettings",
    "GeneratorSettings",
    "LabelSettings",
    "NoiseSettings",
    "PromptSettings",
    "Recipe",
    "RegionSettings",
    "RunSettings",
    "ScoreSettings",
    "SegmentAugmentSettings",
    "SegmentPredictSettings",
    "SegmenterSettings",
    "SelectionSettings",
    "StageSettings",
    "load_recipe",
    "recipe_from_dict",
    "recipe_names",
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run."""

    name: str = setting("voc", "what the recipe is called")
    about: str = setting("", "one line on what it is for")
    data: DataSettings = field(default_factory=DataSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    clip: ClipSettings = field(default_factory=ClipSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    warmup: StageSettings = field(default_factory=training.warmup)
    matching: StageSettings = field(default_factory=StageSettings)
    prompting: StageSettings = field(default_factory=training.prompting)
    refinement: StageSettings = field(default_factory=StageSettings)
    cams: CamSettings = field(default_factory=CamSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)
    crf: CrfSettings = field(default_factory=CrfSettings)
    regions: RegionSettings = field(default_factory=RegionSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    run: RunSettings = field(default_factory=RunSettings)


# ---------------------------------------------------------------------------------------------- reading and writing


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    folder = resources.files("semples") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or YAML file and apply `key=value` overrides (`matching.lambda_background=1`).

    Raises UserError for an unknown recipe, an unknown key, a value of the wrong type or out of range.
    """
    text, where = _recipe_text(str(source))
    tree = load_yaml(text, where=where) or {}
    if not isinstance(tree, dict):
        raise UserError(f"{where}: a recipe is a list of `key: value` lines")
    recipe = merge(Recipe(), tree, where=where)
    for override in overrides:
        recipe = merge(recipe, parse_override(override), where=f"--set {override[:80]}")
    return recipe


def recipe_from_dict(tree: dict[str, Any], *, where: str) -> Recipe:
    """The recipe that `to_dict` described; missing keys keep their defaults."""
    return merge(Recipe(), tree, where=where)


def _recipe_text(source: str) -> tuple[str, str]:
    shipped = resources.files("semples") / "recipes" / f"{source}.yaml"
    if source in recipe_names():
        return shipped.read_text(encoding="utf-8"), f"recipe {source}"
    path = Path(source)
    if path.is_file():
        try:
            return read_file(path).decode("utf-8-sig"), source
        except UnicodeDecodeError:
            raise UserError(f"{source}: not a text file in UTF-8") from None
    raise UserError(f"{source}: no such recipe; shipped are {', '.join(recipe_names())}, or give a YAML file")

"""A recipe: all settings of a run, and the shipped sets of values. What each setting means: `semples.settings`.

A recipe file lists only what differs from the defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from semples.core.errors import UserError
from semples.core.files import read_file
from semples.core.idle import keys_of, refuse_idle
from semples.core.plain import short
from semples.core.safeyaml import load_yaml
from semples.core.schema import kinded, leaves, merge, parse_override, setting
from semples.settings.cams import AffinitySettings, CamSettings
from semples.settings.data import DataSettings
from semples.settings.features import FeatureSettings, VisionFeatureSettings
from semples.settings.generators import GeneratorSettings, WeakTrSettings
from semples.settings.health import HealthSettings
from semples.settings.judges import ClipSettings, JudgeSettings, PromptSettings
from semples.settings.kinds import FEATURES, GENERATORS, JUDGES, PROPOSALS, SEGMENTERS, STAGES, label_settings
from semples.settings.labels import (
    CrfSettings,
    LabelSettings,
    RegionSettings,
    SamSettings,
    ScoreSettings,
    SelectionSettings,
)
from semples.settings.run import RunSettings
from semples.settings.segmenter import (
    NoiseSettings,
    SegmentAugmentSettings,
    SegmenterSettings,
    SegmentPredictSettings,
)
from semples.settings.stages import (
    AugmentSettings,
    MatchingSettings,
    PromptingSettings,
    RefinementSettings,
    StageSettings,
    WarmupSettings,
)

__all__ = [
    "AffinitySettings",
    "AugmentSettings",
    "CamSettings",
    "ClipSettings",
    "CrfSettings",
    "DataSettings",
    "FeatureSettings",
    "GeneratorSettings",
    "HealthSettings",
    "JudgeSettings",
    "LabelSettings",
    "MatchingSettings",
    "NoiseSettings",
    "PromptSettings",
    "PromptingSettings",
    "Recipe",
    "RefinementSettings",
    "RegionSettings",
    "RunSettings",
    "ScoreSettings",
    "SegmentAugmentSettings",
    "SegmentPredictSettings",
    "SegmenterSettings",
    "SelectionSettings",
    "StageSettings",
    "WarmupSettings",
    "WeakTrSettings",
    "load_recipe",
    "override",
    "recipe_from_dict",
    "recipe_names",
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run. A group that comes in kinds has the settings of the kind that it names."""

    ALIASES: ClassVar[dict[str, str]] = {"clip": "judge"}  # as recipes before judges came in kinds wrote it

    name: str = setting("voc", "what the recipe is called", neutral=True)
    about: str = setting("", "one line on what it is for", neutral=True)
    base: str = setting(
        "", "shipped recipe that this one changes: its values hold wherever the file says nothing", neutral=True
    )
    data: DataSettings = field(default_factory=DataSettings)
    generator: GeneratorSettings = kinded(WeakTrSettings, classes=GENERATORS.settings_of)
    judge: JudgeSettings = kinded(ClipSettings, classes=JUDGES.settings_of)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    warmup: StageSettings = kinded(WarmupSettings, classes=STAGES.settings_of)
    matching: StageSettings = kinded(MatchingSettings, classes=STAGES.settings_of)
    prompting: StageSettings = kinded(PromptingSettings, classes=STAGES.settings_of)
    refinement: StageSettings = kinded(RefinementSettings, classes=STAGES.settings_of)
    cams: CamSettings = field(default_factory=CamSettings)
    labels: LabelSettings = kinded(LabelSettings, classes=label_settings, key="method")
    crf: CrfSettings = field(default_factory=CrfSettings)
    regions: RegionSettings = kinded(SamSettings, classes=PROPOSALS.settings_of, key="proposals")
    features: FeatureSettings = kinded(VisionFeatureSettings, classes=FEATURES.settings_of)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    scores: ScoreSettings = field(default_factory=ScoreSettings)
    segmenter: SegmenterSettings = kinded(SegmenterSettings, classes=SEGMENTERS.settings_of)
    health: HealthSettings = field(default_factory=HealthSettings)
    run: RunSettings = field(default_factory=RunSettings)


# ---------------------------------------------------------------------------------------------- reading and writing


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    folder = resources.files("semples") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by shipped name or YAML file and apply `key=value` overrides (`matching.lambda_background=1`).

    Raises UserError for an unknown recipe, an unknown key, a value of the wrong type or out of range, or a value that
    counts for nothing beside the others.
    """
    text, where = _recipe_text(str(source))
    tree = load_yaml(text, where=where) or {}
    if not isinstance(tree, dict):
        raise UserError(f"{where}: a recipe is a list of `key: value` lines")
    recipe = merge(_base(tree.get("base", ""), where=where), tree, where=where, stored=True)
    if source not in recipe_names():  # shipped ones say some values for those who change the others
        refuse_idle(recipe, set(keys_of(tree)), where=where, passes=_shipped)
    return override(recipe, overrides)


def _shipped(key: str, value: Any) -> bool:
    """Whether a shipped recipe says this; so does, then, a file with all settings of a run."""
    said = list(value) if isinstance(value, tuple) else value
    return any((key, said) in leaves(load_recipe(name)) for name in recipe_names())


def _base(name: Any, *, where: str) -> Recipe:
    """What a recipe starts from: the shipped recipe that it calls its base, or the defaults."""
    if name == "":
        return Recipe()
    if name not in recipe_names():
        raise UserError(f"{where}: base {short(name)} is no shipped recipe; these are {', '.join(recipe_names())}")
    if name == where.removeprefix("recipe "):
        raise UserError(f"{where}: a recipe cannot be its own base")
    return load_recipe(name)


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with `key=value` changes. Raises UserError as `load_recipe`."""
    said = set[str]()
    for text in overrides:
        tree = parse_override(text)
        changed = merge(recipe, tree, where=f"--set {text[:80]}")
        said |= set(keys_of(tree))
        if changed.base != recipe.base:
            raise UserError(f"--set {text[:80]}: a base stands in a recipe file; choose a recipe with --recipe")
        recipe = changed
    refuse_idle(recipe, said, where="--set")
    return recipe


def recipe_from_dict(tree: dict[str, Any], *, where: str) -> Recipe:
    """The recipe that `to_dict` described; missing keys keep their defaults."""
    return merge(Recipe(), tree, where=where, stored=True)


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

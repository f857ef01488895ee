"""Settings of judges, what all have and what the shipped kinds add, and of the backgrounds learned with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """The frozen judge of what masks keep and leave: what every kind has."""

    kind: str = setting("clip", "name of the judge; `semples methods` lists them, module:Name is any other")


@dataclass(frozen=True, kw_only=True)
class ClipSettings(JudgeSettings):
    """A frozen CLIP."""

    model: str = setting(
        "openai/clip-vit-base-patch32",
        "hub id, folder, or file of open_clip or OpenAI",
        source="SemPLeS",
        weights=True,
    )
    normalisation: Literal["generator", "clip"] = setting(
        "generator",
        "mean and std of what CLIP sees: the generator's (parity with the published figures) or CLIP's own",
        source="published program: generator",
    )
    class_template: str = setting("a photo of {name}.", "text of a class", source="SemPLeS sec. 3.2")
    more_templates: tuple[str, ...] = setting(
        (),
        "further texts of a class; the features of all are averaged into its target",
        most=100,
        source="CLIP sec. 3.1.4; none: SemPLeS",
    )


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """The learned background prompts, one per class."""

    start: str = setting(
        "",
        "prompts learned elsewhere, .pth or prompts.safetensors; with prompting.epochs=0 they are used as they are; "
        "empty: random",
        weights=True,
    )
    length: int = setting(30, "learned vectors M per class", low=1, high=71, source="SemPLeS sec. 4.1")
    context: str = setting("a photo of", "words before the learned vectors", source="SemPLeS")
    full_stop: Literal["in-word", "word"] = setting(
        "in-word",
        "the token that ends a prompt: `.` inside a word (parity with the published figures) or as a word of its own",
        source="published program: in-word",
    )

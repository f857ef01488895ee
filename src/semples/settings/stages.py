"""Settings of the training stages: what all have, and what each adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from semples.core.schema import setting

# With which a setting counts, or does not.
EPOCHS = (("steps", ("epochs",)),)
COSINE = (("schedule", ("cosine",)), *EPOCHS)
LATE_COSINE = (("schedule", ("late-cosine",)), *EPOCHS)

MANY_PHOTOS, MANY_CLASSES = 300, 8
PHOTO_POWER, CLASS_POWER = 0.4, 0.5
FEWEST, MOST = 0.5, 16.0
AUTO_STEPS = (
    f"(photos / {MANY_PHOTOS})^{PHOTO_POWER:g} x (classes / {MANY_CLASSES})^{CLASS_POWER:g}, that factor "
    f"between {FEWEST:g} and {MOST:g}"
)


def automatic_steps(base: int, *, photos: int, classes: int) -> int:
    """Optimizer steps of `auto`: base x (photos / 300)^0.4 x (classes / 8)^0.5, the factor bounded to 0.5 .. 16.

    base: steps with 300 photos of 8 classes. Ten times the photos take 2.5 times the steps: each shows less that is
    new. Four times the classes take twice the steps: a step shows each of them more seldom. Below 50 photos the steps
    do not fall further, or nothing would be learned; the upper bound is reached at about 80,000 photos of 20 classes.
    """
    factor = (photos / MANY_PHOTOS) ** PHOTO_POWER * (classes / MANY_CLASSES) ** CLASS_POWER
    return max(1, round(base * min(MOST, max(FEWEST, factor))))


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Random changes to a training photo, in the order listed."""

    crop_scale: tuple[float, float] = setting(
        (0.08, 1.0), "share of the photo's area a crop keeps", low=0, high=1, source="published program"
    )
    crop_ratio: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "width / height of a crop, log-uniform", low=0.01, high=100, source="published program"
    )
    flip: float = setting(0.5, "probability of a mirror", low=0, high=1, source="published program")
    randaugment_ops: int = setting(
        2, "RandAugment operations per photo; 0: off", low=0, high=100, source="published program"
    )
    randaugment_magnitude: float = setting(
        9.0, "RandAugment strength", low=0, high=10, source="published program", unless=(("randaugment_ops", (0,)),)
    )
    randaugment_std: float = setting(
        0.5, "its standard deviation", low=0, high=100, source="published program", unless=(("randaugment_ops", (0,)),)
    )
    colour_jitter: float = setting(
        0.4,
        "brightness, contrast and saturation factor 1 +- this",
        low=0,
        high=1,
        source="published program: only without RandAugment",
        when=(("randaugment_ops", (0,)),),
    )
    erasing: float = setting(
        0.25, "probability of replacing a box by per-pixel noise", low=0, high=1, source="published program"
    )


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One training stage: what every one has.

    ABOUT: one line on what it is for. NEEDS: the earlier stages whose results it takes up. LEAVES: what it trains, and
    what is therefore saved of it. EITHER: pairs of settings of which one is said; the other has its name for a value.
    """

    ABOUT: ClassVar[str] = "a training stage"
    NEEDS: ClassVar[tuple[str, ...]] = ()
    LEAVES: ClassVar[Literal["generator", "backgrounds"]] = "generator"
    EITHER: ClassVar[tuple[tuple[str, str], ...]] = (("epochs", "steps"), ("base_lr", "lr"))

    kind: str = setting("", "name of the stage; module:Name puts another in its place")
    epochs: int | Literal["steps"] = setting(
        60,
        "passes over the training photos; 0: pass the weights on untrained; steps: as many as `steps` takes",
        low=0,
        high=100_000,
        source="SemPLeS sec. 4.1",
    )
    steps: int | Literal["auto", "epochs"] = setting(
        "epochs",
        f"optimizer steps, in place of epochs; auto: `auto_steps` x {AUTO_STEPS}",
        low=0,
        high=1e9,
        source="own choice: a few photos need many passes, many photos few",
    )
    auto_steps: int = setting(
        100, "steps of `steps: auto` with 300 photos of 8 classes", low=1, high=1e9, when=(("steps", ("auto",)),)
    )
    batch: int = setting(64, "photos per step over all processes", low=1, high=65_536, source="SemPLeS sec. 4.1")
    accumulate: int | Literal["auto"] = setting(
        1,
        "parts a step's batch is cut into, to need less memory; auto: so many that each keeps less than 2 GB for its "
        "gradients",
        low=1,
        high=65_536,
    )
    base_lr: float | Literal["lr"] = setting(
        5.12e-4, "learning rate for 512 photos a step; scaled by batch / 512; lr: as `lr` says", low=0, high=1000
    )
    lr: float | Literal["base_lr"] = setting(
        "base_lr", "learning rate of a step, in place of base_lr, whatever the batch", low=0, high=1000
    )
    lr_width: int = setting(
        0,
        "channels of the generator that the rate is for: one of other width W learns at rate x lr_width / W; 0: any",
        low=0,
        high=16_384,
        source="own choice, docs/learning-rates.md: Adam moves every weight by about the rate, and W of them add up",
    )
    rise: float = setting(
        0.0,
        "share of the steps in which the rate rises linearly, before half a cosine",
        low=0,
        high=1,
        unless=EPOCHS,
    )
    schedule: Literal["late-cosine", "cosine"] = setting(
        "late-cosine",
        "late-cosine: cosine read one epoch late and ending above `final_lr`; cosine: with linear warm-up",
        source="published program",
        when=EPOCHS,
    )
    warmup_epochs: int = setting(0, "epochs of linear rise", low=0, high=100_000, when=COSINE)
    warmup_lr: float = setting(
        1e-6, "learning rate at the start of the rise", low=0, high=1000, source="WeakTr", when=COSINE
    )
    final_lr: float = setting(0.0, "floor of the cosine", low=0, high=1000, unless=LATE_COSINE)
    weight_decay: float = setting(
        0.03,
        "AdamW decay on every trained tensor, biases and prompts included",
        low=0,
        high=100,
        source="published program",
    )
    beta1: float = setting(0.9, "AdamW", low=0, high=0.9999)
    beta2: float = setting(0.999, "AdamW", low=0, high=0.99999)
    adam_epsilon: float = setting(1e-8, "AdamW", low=0, high=1)
    augment: AugmentSettings = field(default_factory=AugmentSettings)


@dataclass(frozen=True, kw_only=True)
class WarmupSettings(StageSettings):
    """The generator learns to classify from tags."""

    ABOUT: ClassVar[str] = "the generator learns to classify from tags"

    kind: str = setting("warmup", "name of the stage; module:Name puts another in its place")
    base_lr: float | Literal["lr"] = setting(
        6e-4,
        "learning rate for 512 photos a step; scaled by batch / 512; lr: as `lr` says",
        low=0,
        high=1000,
        source="WeakTr: 6e-4 VOC, 5e-4 COCO",
    )
    schedule: Literal["late-cosine", "cosine"] = setting(
        "cosine",
        "late-cosine: cosine read one epoch late and ending above `final_lr`; cosine: with linear warm-up",
        source="WeakTr",
        when=EPOCHS,
    )
    warmup_epochs: int = setting(5, "epochs of linear rise", low=0, high=100_000, source="WeakTr", when=COSINE)
    final_lr: float = setting(1e-5, "floor of the cosine", low=0, high=1000, source="WeakTr", unless=LATE_COSINE)


@dataclass(frozen=True, kw_only=True)
class ReproductionSettings(WarmupSettings):
    """A warm-up that also teaches the CAMs of another program."""

    ABOUT: ClassVar[str] = "the generator learns from tags, and to reproduce given CAMs"

    kind: str = setting("reproduction", "name of the stage; module:Name puts another in its place")
    cams: str = setting(
        "", "folder of CAMs as the command `cams` writes them, or of another program (generator `saved`)"
    )
    lambda_reproduction: float = setting(
        1.0,
        "weight of the squared difference between the generator's masks and the given CAMs",
        low=0,
        high=1e6,
        source="own choice",
    )
    augment: AugmentSettings = field(
        default_factory=lambda: AugmentSettings(randaugment_ops=0, erasing=0.0, crop_scale=(0.4, 1.0))
    )


@dataclass(frozen=True, kw_only=True)
class ViewSettings(StageSettings):
    """A stage in which the judge looks at views of photos through masks."""

    cam_epsilon: float | Literal["relative"] = setting(
        0.1,
        "added to max - min when a CAM becomes a mask; `relative`: a tenth of max - min itself, "
        "for generators whose CAM values are small",
        low=0,
        high=1000,
        source="published program: 0.1 in matching and refinement, 1e-4 in prompting",
    )


@dataclass(frozen=True, kw_only=True)
class MatchingSettings(ViewSettings):
    """Stage (a): the judge says what masks keep and leave."""

    ABOUT: ClassVar[str] = "the judge says what masks keep and leave (a)"
    NEEDS: ClassVar[tuple[str, ...]] = ("warmup",)

    kind: str = setting("matching", "name of the stage; module:Name puts another in its place")
    lambda_background: float = setting(
        2.4, "weight of the background-view term (lambda_T)", low=0, high=1e6, source="SemPLeS: 2.4 VOC, 0.75 COCO"
    )
    mask_scales: tuple[float, ...] = setting(
        (1.0,),
        "sizes of a view at which its CAMs are made; their masks are averaged",
        low=0.1,
        high=4,
        most=8,
        source="published program: 1; others: own choice, as CAMs are made at several sizes",
    )
    average: float = setting(
        0.0,
        "what is passed on are running averages of the trained weights: this much of the average stays at every step; "
        "0: the weights themselves",
        low=0,
        high=0.9999,
        source="a teacher of averaged weights, as in ToCo and SeCo; own choice: 0",
    )
    select_epoch: Literal["last", "auto", "ground-truth"] = setting(
        "last",
        "which epoch's weights matching and refinement pass on: the last, the one of the lowest loss on whole photos, "
        "or the best by pixel masks (which weak labels lack)",
        source="own choice; published program: ground-truth",
    )


@dataclass(frozen=True, kw_only=True)
class RefinementSettings(MatchingSettings):
    """Stage (c): matching, and what is kept must not look like the class's learned background."""

    ABOUT: ClassVar[str] = "the generator is trained with both (c)"
    NEEDS: ClassVar[tuple[str, ...]] = ("warmup", "prompting")

    kind: str = setting("refinement", "name of the stage; module:Name puts another in its place")
    lambda_refinement: float = setting(
        0.05, "weight of the background-prompt term (lambda_R)", low=0, high=1e6, source="SemPLeS: 0.05 VOC, 0.2 COCO"
    )
    backgrounds: Literal["learned"] | tuple[str, ...] = setting(
        "learned",
        "what is kept must not look like: the class's learned background; or, for all classes alike, any of these "
        "words (a control, or where backgrounds are known)",
        most=1000,
        source="SemPLeS sec. 3.4; fixed words as in CLIMS and CLIP-ES",
    )


def plain_augmentation() -> AugmentSettings:
    """Crops and mirrors only, as the published program shows photos to stage (b)."""
    return AugmentSettings(randaugment_ops=0, colour_jitter=0.0, erasing=0.0)


@dataclass(frozen=True, kw_only=True)
class PromptingSettings(ViewSettings):
    """Stage (b): every class learns the background that comes with it."""

    ABOUT: ClassVar[str] = "background prompts are learned (b)"
    NEEDS: ClassVar[tuple[str, ...]] = ("matching",)
    LEAVES: ClassVar[Literal["generator", "backgrounds"]] = "backgrounds"

    kind: str = setting("prompting", "name of the stage; module:Name puts another in its place")
    batch: int = setting(128, "photos per step over all processes", low=1, high=65_536, source="SemPLeS sec. 4.1")
    base_lr: float | Literal["lr"] = setting(
        0.1,
        "learning rate for 512 photos a step; scaled by batch / 512; lr: as `lr` says",
        low=0,
        high=1000,
        source="SemPLeS",
    )
    cam_epsilon: float | Literal["relative"] = setting(
        1e-4,
        "added to max - min when a CAM becomes a mask; `relative`: a tenth of max - min itself, "
        "for generators whose CAM values are small",
        low=0,
        high=1000,
        source="published program: 0.1 in matching and refinement, 1e-4 in prompting",
    )
    lambda_prompt: float = setting(
        0.02,
        "weight of the prompt-away-from-class term (lambda_P)",
        low=0,
        high=1e6,
        source="SemPLeS: 0.02 VOC, 0.01 COCO",
    )
    augment: AugmentSettings = field(default_factory=plain_augmentation)

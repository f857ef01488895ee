"""Settings of the class activation maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class AffinitySettings:
    """CAMs spread along an affinity between patches: the generator's own attention, or that times how alike the classes
    are that two patches resemble."""

    power: int = setting(
        0, "how many times the affinity is applied; 0: not at all", low=0, high=64, source="CLIP-ES: 2"
    )
    rounds: int = setting(
        3,
        "rounds of column and row normalisation (Sinkhorn)",
        low=0,
        high=1000,
        source="CLIP-ES sec. 3.3",
        unless=(("power", (0,)),),
    )
    box: float = setting(
        0.4,
        "the result counts only in boxes around parts of the CAM above this share of its range",
        low=0,
        high=1,
        source="CLIP-ES: 0.4",
        unless=(("power", (0,)),),
    )
    kind: Literal["attention", "class-distribution"] = setting(
        "attention",
        "attention: as CLIP-ES, in boxes; class-distribution: times the likeness of what the judge's CLIP says of two "
        "patches over all classes (without boxes; also for generators without attention)",
        source="CLIP-ES; CD-CLIP (CVPR 2026)",
    )
    temperature: float = setting(
        0.1, "tau of `class-distribution`", low=1e-3, high=100, source="own choice; CD-CLIP's is not known here"
    )
    sharpness: float = setting(
        10.0,
        "what scores in 0..1 are multiplied with before the softmax over classes (`class-distribution`)",
        low=0.01,
        high=1000,
        source="own choice",
    )
    prompts: bool = setting(
        False, "the learned background prompts are classes too (`class-distribution`)", source="own idea"
    )
    superpixels: int = setting(
        0,
        "patches without a common superpixel of about this many a photo have no affinity; 0: all may have",
        low=0,
        high=10_000,
        source="SSR (AAAI 2026): 100",
    )


@dataclass(frozen=True, kw_only=True)
class CamSettings:
    """Class activation maps of the training photos."""

    ALIASES: ClassVar[dict[str, str]] = {"from": "stage"}  # a recipe may say `cams: {from: best}`

    stage: Literal["warmup", "matching", "refinement", "best"] = setting(
        "refinement",
        "whose maps become label maps (also written `from`): those after a stage, or of the stage whose masks are best "
        "by the look after it, which sees no mask",
        source="SemPLeS: refinement",
    )
    scales: tuple[float, ...] = setting(
        (1.0, 1.2),
        "photo sizes that are summed",
        low=0.05,
        high=8,
        most=16,
        source="published program: 1.0 1.2 VOC, 1.0 0.8 1.2 COCO",
    )
    mirror: bool = setting(True, "add the mirrored photo at every scale", source="published program")
    batch: int | Literal["auto"] = setting(
        "auto", "photos of equal size computed together; auto: 16 on a GPU, else 1", low=1, high=4096, neutral=True
    )
    max_side: int = setting(
        1024,
        "a photo with a longer side is reduced to this for its CAMs; its labels have the photo's own size",
        unit="pixels",
        low=16,
        high=16_384,
        source="own choice: attention grows with the square of the pixels; VOC and COCO photos are below it",
    )
    format: Literal["compact", "npy"] = setting(
        "compact", "how CAMs are stored: 8-bit images, or the published float32 dictionaries"
    )
    affinity: AffinitySettings = field(default_factory=AffinitySettings)

"""What comes in kinds: one registry for each, names only. A new thing is one file, one line here, and one in
`semples.settings.origins`, which tells where it is from and what it needs.

Other packages bring things by entry points of the groups named here, and `package.module:Name` names any other. Nothing
is imported before it is asked for.
"""

from __future__ import annotations

from typing import Any

from semples.core.registry import Registry
from semples.settings import origins

GENERATORS: Registry[Any] = Registry(
    "mask generator",
    "semples.generators",
    {
        "weaktr": "semples.generators.weaktr:WeakTr",
        "cnn": "semples.generators.cnn:CnnGenerator",
        "vit-cam": "semples.generators.vit_cam:VitCam",
        "mctformer": "semples.generators.mctformer:MctFormer",
        "clip": "semples.generators.clip_patches:ClipPatches",
        "saved": "semples.generators.saved:Saved",
    },
    base="semples.generators.base:Generator",
    settings={
        "weaktr": "semples.settings.generators:WeakTrSettings",
        "cnn": "semples.settings.generators:CnnSettings",
        "vit-cam": "semples.settings.generators:VitCamSettings",
        "mctformer": "semples.settings.generators:MctFormerSettings",
        "clip": "semples.settings.generators:ClipPatchSettings",
        "saved": "semples.settings.generators:SavedSettings",
    },
    facts=origins.GENERATORS,
)

JUDGES: Registry[Any] = Registry(
    "judge",
    "semples.judges",
    {
        "clip": "semples.judges.clip:Clip",
        "siglip": "semples.judges.siglip:Siglip",
        "tags": "semples.judges.tags:TagJudge",
    },
    base="semples.judges.base:Judge",
    settings={
        "clip": "semples.settings.judges:ClipSettings",
        "tags": "semples.settings.judges:TagJudgeSettings",
        "none": "semples.settings.judges:NoJudgeSettings",
    },
    facts=origins.JUDGES,
)

STAGES: Registry[Any] = Registry(
    "stage",
    "semples.stages",
    {
        "warmup": "semples.stages.warmup:Warmup",
        "matching": "semples.stages.matching:Matching",
        "prompting": "semples.stages.prompting:Prompting",
        "refinement": "semples.stages.refinement:Refinement",
        "reproduction": "semples.stages.reproduction:Reproduction",
    },
    base="semples.stages.base:Stage",
    settings={
        "warmup": "semples.settings.stages:WarmupSettings",
        "matching": "semples.settings.stages:MatchingSettings",
        "prompting": "semples.settings.stages:PromptingSettings",
        "refinement": "semples.settings.stages:RefinementSettings",
        "reproduction": "semples.settings.stages:ReproductionSettings",
    },
    facts=origins.STAGES,
)

PROPOSALS: Registry[Any] = Registry(
    "way to propose regions",
    "semples.proposals",
    {
        "sam": "semples.labels.proposals.sam:SamProposer",
        "felzenszwalb": "semples.labels.proposals.superpixels:Felzenszwalb",
        "slic": "semples.labels.proposals.superpixels:Slic",
    },
    base="semples.labels.proposals.base:Proposer",
    settings={
        "sam": "semples.settings.labels:SamSettings",
        "felzenszwalb": "semples.settings.labels:FelzenszwalbSettings",
        "slic": "semples.settings.labels:SlicSettings",
    },
    facts=origins.PROPOSALS,
)

FEATURES: Registry[Any] = Registry(
    "kind of frozen features",
    "semples.features",
    {
        "clip": "semples.features.clip:ClipFeatures",
        "vision": "semples.features.vision:VisionFeatures",
        "cnn": "semples.features.cnn:CnnFeatures",
    },
    base="semples.features.base:Features",
    settings={
        "clip": "semples.settings.features:ClipFeatureSettings",
        "vision": "semples.settings.features:VisionFeatureSettings",
        "cnn": "semples.settings.features:CnnFeatureSettings",
    },
    facts=origins.FEATURES,
)

BASELINES: Registry[Any] = Registry(
    "baseline",
    "semples.baselines",
    {
        "clipseg": "semples.baselines.clipseg:ClipSeg",
        "groundingdino+sam": "semples.baselines.grounded:GroundedSam",
        "sam3": "semples.baselines.sam3:Sam3",
    },
    base="semples.baselines.base:Baseline",
    settings={
        "clipseg": "semples.settings.baselines:ClipSegSettings",
        "groundingdino+sam": "semples.settings.baselines:GroundedSamSettings",
        "sam3": "semples.settings.baselines:Sam3Settings",
    },
    facts=origins.BASELINES,
)

SEGMENTERS: Registry[Any] = Registry(
    "kind of segmenter",
    "semples.segmenters",
    {
        "transformers": "semples.segmenter.shipped:Whole",
        "mask2former": "semples.segmenter.shipped:Mask2Former",
        "upernet": "semples.segmenter.shipped:UperNet",
        "vit": "semples.segmenter.shipped:Vit",
        "light": "semples.segmenter.shipped:Light",
        "scratch": "semples.segmenter.shipped:Scratch",
    },
    base="semples.segmenter.base:SegmenterKind",
    settings=dict.fromkeys(
        ("auto", "transformers", "mask2former", "upernet", "vit", "scratch"),
        "semples.settings.segmenter:SegmenterSettings",
    )
    | {"light": "semples.settings.segmenter:LightSegmenterSettings"},
    facts=origins.SEGMENTERS,
)

LABEL_METHODS: Registry[Any] = Registry(
    "label method",
    "semples.label_methods",
    {
        "threshold": "semples.labels.threshold:Threshold",
        "regions": "semples.labels.scored_regions:ScoredRegions",
        "bank": "semples.labels.bank_method:Bank",
    },
    base="semples.labels.base:LabelMethod",
    settings={
        "threshold": "semples.settings.labels:LabelSettings",
        "regions": "semples.settings.labels:LabelSettings",
        "bank": "semples.settings.bank:BankLabelSettings",
    },
    facts=origins.LABEL_METHODS,
)


REGISTRIES: dict[str, Registry[Any]] = {
    "generator.kind": GENERATORS,
    "judge.kind": JUDGES,
    "STAGE.kind": STAGES,
    "regions.proposals": PROPOSALS,
    "features.kind": FEATURES,
    "labels.method": LABEL_METHODS,
    "segmenter.kind": SEGMENTERS,
    "baseline --model": BASELINES,
}  # by what chooses one: a setting, or a command's option


def label_method(method: str) -> tuple[str, bool]:
    """Name in `LABEL_METHODS` and whether a dense CRF follows, of a setting such as `regions+crf`; `crf` alone refines
    the plain threshold."""
    if method == "crf":
        return "threshold", True
    name, plus, rest = method.rpartition("+")
    return (name, True) if plus and rest == "crf" else (method, False)


def with_crf(method: str) -> str:
    """The method with the dense CRF behind it."""
    name, _ = label_method(method)
    return "crf" if name == "threshold" else f"{name}+crf"


def without_crf(method: str) -> str:
    """The method without the dense CRF."""
    return label_method(method)[0]


def has_crf(method: str) -> bool:
    """Whether the method ends in the dense CRF."""
    return label_method(method)[1]


def uses_crf(labels: Any) -> bool:
    """Whether label maps by these settings come through the dense CRF, at their end or before (`labels.before`)."""
    return has_crf(labels.method) or has_crf(getattr(labels, "before", ""))


def label_needs(method: str) -> frozenset[str]:
    """What a method looks at beside CAMs and photo: of "regions" and "features"."""
    needs: frozenset[str] = LABEL_METHODS.load(label_method(method)[0]).needs
    return needs


def label_settings(method: str, /, *, stored: bool = False) -> type:
    """Class of the settings `labels` of a method."""
    return LABEL_METHODS.settings_of(label_method(method)[0], stored=stored)

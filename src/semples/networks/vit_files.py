"""ViT weights as they are published, under timm's names and with their architecture.

timm and the programs it follows (DeiT, DeiT III, DINO, DINOv2, MAE, CLIP towers), transformers (ViT, DeiT, DINOv2 with
and without registers) and Google's own `.npz` (AugReg). Depth, widths, patch and image size are read off the tensors.
The number of heads cannot be: it comes from a config, from the query kernels of `.npz`, or from the name. Neither can
mean and std of the photos: a config, a preprocessor_config.json or the name tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch

from semples.core.errors import UserError
from semples.networks.hub import FORMS
from semples.networks.vit import VitConfig
from semples.networks.vit_names import from_flax, from_transformers, is_flax, is_transformers
from semples.networks.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

Triple = tuple[float, float, float]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

# Width and heads by the size in a name, as timm and the papers have them.
SIZES = {
    "tiny": {192: 3},
    "xsmall": {256: 4},
    "small": {384: 6},
    "medium": {512: 8},
    "little": {320: 5},
    "betwixt": {640: 10},
    "base": {768: 12},
    "so150m": {896: 14},
    "large": {1024: 16},
    "so400m": {1152: 16},
    "huge": {1280: 16},
    "giant": {1408: 16, 1536: 24},
    "gigantic": {1664: 16},
}
LETTERS = {"t": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant"}
FAMILY = r"(?:vit|deit|deit-?3|dino|dinov2|mae)"
NAMES = (
    re.compile(rf"(?<![a-z]){FAMILY}-?({'|'.join(SIZES)})(?![a-z])"),  # deit_small, vitbase8, deit3_large
    re.compile(r"(?<![a-z])vit-?([tsblhg])-?\d"),  # dinov2_vits14, ViT-B-16
)

# What a plain ViT with class token has no tensor for.
FOREIGN = {
    r"patch_embed\.backbone\.|patch_embed\.stem": "a convolutional stem",
    r".*\.attn\.q_norm\.|.*\.attn\.qkv_norm": "normalised queries and keys",
    r".*\.mlp\.(w12|w1|w3|weights_in|fc1_g)": "a gated MLP (SwiGLU)",
    r".*rel_pos|.*relative_position": "relative positions",
    r"attn_pool\.": "attention pooling",
    r".*rope": "rotary positions",
}
UNUSED = re.compile(
    r"(head|head_dist|fc_norm|pre_logits|classifier|cls_classifier|distillation_classifier|pooler|dino_head|ibot_head|"
    r"decoder\w*)\.|mask_token$|decoder_\w+$|.*\.num_batches_tracked$|.*relative_position_index$"
)


@dataclass(frozen=True)
class VitFile:
    """A ViT with one class token: `config` as it was trained, `state` under this package's names (timm's), positions
    (1,1+N,C), no classifier; `mean` and `std` of the photos it saw, None where nothing tells; `doubts`: what had to be
    assumed, a line each."""

    config: VitConfig
    state: dict[str, Tensor]
    mean: Triple | None = None
    std: Triple | None = None
    doubts: tuple[str, ...] = field(default=())


def read_vit(weights: Weights, *, where: str, width: int, heads: int) -> VitFile:
    """Make a VitFile of published weights.

    `width` and `heads`: what the recipe says; they decide only where neither config nor name tells the heads and the
    width is the recipe's, with a doubt noted.

    Raises:
        UserError: no plain ViT (what it has instead is said), or a number of heads that stands nowhere.
    """
    state, told_heads = _timm_names(weights, where=where)
    state = _without_prefix(state)
    _refuse_foreign(state, where=where)
    C, _, patch, _ = state["patch_embed.proj.weight"].shape
    state, grid = _one_class_token(state, where=where)
    doubts: list[str] = []
    head_count = told_heads or _heads_of_config(weights.config) or _heads_of_name(_names(weights), C)
    if head_count is None:
        if width != C:
            raise UserError(
                f"{where}: a ViT of width {C} whose number of heads stands nowhere; name the file as timm names it "
                f"(deit_tiny_patch16_224.pth), or say both: --set generator.width={C} --set generator.heads=NUMBER"
            )
        head_count = heads
        doubts.append(f"{where}: its number of heads stands nowhere; {heads} are taken, as generator.heads says")
    if C % head_count:
        raise UserError(f"{where}: {head_count} heads do not fit its width {C}; correct generator.heads or the config")
    pre_norm = "norm_pre.weight" in state
    config = VitConfig(
        patch_size=int(patch),
        width=int(C),
        depth=sum(re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", name) is not None for name in state),
        heads=head_count,
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / C,
        act=_activation(weights, where),
        pre_norm=pre_norm,
        eps=float(weights.config.get("layer_norm_eps", weights.config.get("eps", 1e-5 if pre_norm else 1e-6))),
        image_size=grid * int(patch),
        layer_scale="blocks.0.ls1.gamma" in state,
        registers=state["reg_token"].shape[1] if "reg_token" in state else 0,
    )
    mean, std = _normalisation(weights) or (None, None)
    if mean is None and not _is_own(weights.config):
        doubts.append(
            f"{where}: which mean and std its photos had stands nowhere; the recipe's are taken (ImageNet's unless "
            "set); AugReg's weights want --set generator.mean=[0.5,0.5,0.5] --set generator.std=[0.5,0.5,0.5]"
        )
    return VitFile(config, state, mean, std, tuple(doubts))


def for_photos_of(file: VitFile, *, mean: Triple, std: Triple) -> dict[str, Tensor]:
    """The weights of `file` for photos normalised with another mean and std: the same numbers come out of every patch.

    The patch embedding is linear and pads nothing, so the change is taken into its weights exactly:
    (x·s + m − m')/s' with x what is given, m, s the given and m', s' the file's own mean and std.
    """
    if file.mean is None or file.std is None or (file.mean, file.std) == (mean, std):
        return file.state
    given_mean, given_std, file_mean, file_std = (
        torch.tensor(values, dtype=torch.float64) for values in (mean, std, file.mean, file.std)
    )
    weight, bias = (file.state[f"patch_embed.proj.{kind}"].double() for kind in ("weight", "bias"))
    scaled = weight * (given_std / file_std)[:, None, None]
    moved = bias + torch.einsum("ochw,c->o", weight, (given_mean - file_mean) / file_std)
    return file.state | {"patch_embed.proj.weight": scaled.float(), "patch_embed.proj.bias": moved.float()}


# ------------------------------------------------------------------------------------------------------------ names


def _timm_names(weights: Weights, *, where: str) -> tuple[dict[str, Tensor], int | None]:
    """Tensors under timm's names, float32, and the heads where the layout itself tells them."""
    if is_flax(weights.state):
        return from_flax(weights.state, where=where)
    state = {name: value.float() for name, value in weights.state.items()}
    return (from_transformers(state, where=where), None) if is_transformers(state) else (state, None)


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without a prefix that training programs put before the ViT (`backbone.`, `module.`, `encoder.`, ...), without
    heads and buffers, and with DeiT III's and DINOv2's own names for layer scale and registers."""
    marked = [name for name in state if name.endswith("patch_embed.proj.weight")]
    prefix = marked[0].removesuffix("patch_embed.proj.weight") if len(marked) == 1 else ""
    kept = {}
    for name, value in state.items():
        if not name.startswith(prefix):
            continue
        plain = name.removeprefix(prefix)
        plain = re.sub(r"^(blocks\.\d+)\.gamma_([12])$", r"\1.ls\2.gamma", plain)
        plain = "reg_token" if plain == "register_tokens" else plain
        if not UNUSED.match(plain):
            kept[plain] = value
    return kept


def _refuse_foreign(state: dict[str, Tensor], *, where: str) -> None:
    for pattern, what in FOREIGN.items():
        odd = next((name for name in state if re.match(pattern, name)), None)
        if odd is not None:
            raise UserError(f"{where}: a ViT with {what} ({odd}), which is not built here; choose a plain ViT")
    needed = (
        "patch_embed.proj.weight",
        "cls_token",
        "pos_embed",
        "blocks.0.attn.qkv.weight",
        "blocks.0.mlp.fc1.weight",
    )
    missing = next((name for name in needed if name not in state), None)
    if missing is not None:
        raise UserError(f"{where}: not a plain ViT with a class token: missing {missing}")
    for name, dimensions in (("patch_embed.proj.weight", 4), ("pos_embed", 3), ("cls_token", 3)):
        if state[name].ndim != dimensions:
            raise UserError(f"{where}: not a plain ViT: {name} is {tuple(state[name].shape)}")


def _one_class_token(state: dict[str, Tensor], *, where: str) -> tuple[dict[str, Tensor], int]:
    """With positions (1,1+N,C) of class token and patches, without a distillation token; and the side √N.

    Positions may leave the special tokens out (their own then is 0), or hold one for each; a register's is added to it.
    """
    state = dict(state)
    positions, width = state["pos_embed"], state["patch_embed.proj.weight"].shape[0]
    distilled = state.pop("dist_token", None) is not None
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    count = positions.shape[1]
    for special in dict.fromkeys((1 + distilled + registers, 1 + distilled, 0)):
        side = round(max(0, count - special) ** 0.5)
        if side > 0 and side * side == count - special:
            break
    else:
        raise UserError(f"{where}: the {count} positions in pos_embed are no square grid of patches")
    zero = positions.new_zeros(1, 1, positions.shape[2])
    state["pos_embed"] = torch.cat([positions[:, :1] if special else zero, positions[:, special:]], dim=1)
    if registers and special == 1 + distilled + registers:
        state["reg_token"] = state["reg_token"] + positions[:, 1 + distilled : special]
    state.setdefault("patch_embed.proj.bias", positions.new_zeros(width))  # timm's CLIP towers have none
    for name in [name for name in state if name.endswith(".attn.qkv.weight")]:
        state.setdefault(name.removesuffix("weight") + "bias", positions.new_zeros(3 * width))
    return state, side


# ------------------------------------------------------------------------------------ what the tensors do not tell


def _is_own(config: dict[str, Any]) -> bool:
    """Whether the config.json is of this package's own kind (`VitConfig`)."""
    return "width" in config and "heads" in config


def _names(weights: Weights) -> list[str]:
    """All that the weights are called, what says most first, in lower case with `-` for `_`."""
    pretrained = weights.config.get("pretrained_cfg")
    tag = pretrained.get("tag", "") if isinstance(pretrained, dict) else ""
    parts = [f"{weights.config.get('architecture', '')}.{tag}"]
    parts += [weights.name] if "/" not in weights.name or weights.file.name in FORMS else weights.name.split("/")[::-1]
    return [part.lower().replace("_", "-") for part in parts]


def _heads_of_config(config: dict[str, Any]) -> int | None:
    number = config.get("num_attention_heads", config.get("num_heads", config.get("heads")))
    args = config.get("model_args")
    if number is None and isinstance(args, dict):  # timm
        number = args.get("num_heads")
    return number if isinstance(number, int) and number > 0 else None


def _heads_of_name(names: Sequence[str], width: int) -> int | None:
    for match in (match for name in names for pattern in NAMES for match in pattern.finditer(name)):
        heads = SIZES[LETTERS.get(match[1], match[1])].get(width)
        if heads is not None:
            return heads
    return None


def _activation(weights: Weights, where: str) -> Literal["gelu", "quick_gelu"]:
    """By the config; else by the name: OpenAI's, MetaCLIP's and DFN's CLIP towers have QuickGELU."""
    named = weights.config.get("hidden_act", weights.config.get("act"))
    if named is not None:
        if named not in ("gelu", "quick_gelu"):
            raise UserError(f"{where}: its activation {named!r} is not built here; choose a ViT with gelu")
        return "quick_gelu" if named == "quick_gelu" else "gelu"
    for name in _names(weights):
        tuned = re.search(r"\.(openai|metaclip|dfn)[a-z0-9-]*", name)
        if "quickgelu" in name or (tuned is not None and "-ft-" not in tuned[0]):
            return "quick_gelu"
    return "gelu"


def _normalisation(weights: Weights) -> tuple[Triple, Triple] | None:
    """Mean and std by timm's config, transformers' preprocessor, the layout, or the name."""
    pretrained = weights.config.get("pretrained_cfg")
    told = pretrained if isinstance(pretrained, dict) else {}
    for mean, std in (
        (_triple(told.get("mean")), _triple(told.get("std"))),
        (_triple(weights.preprocessing.get("image_mean")), _triple(weights.preprocessing.get("image_std"))),
    ):
        if mean is not None and std is not None:
            return mean, std
    if _is_own(weights.config):
        return None
    if is_flax(weights.state):
        return HALF
    known = (
        (r"clip|openai|laion", CLIP),
        (r"augreg|orig-in21k|sam-in1k|google/vit-", HALF),
        (r"deit|dino|(?<![a-z])mae(?![a-z])", IMAGENET),
    )
    by_name = (values for name in _names(weights) for pattern, values in known if re.search(pattern, name))
    return next(by_name, None)


def _triple(values: Any) -> Triple | None:
    if not isinstance(values, list | tuple) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])

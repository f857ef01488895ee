"""Tensor names and layouts of transformers' and Google's ViTs as timm has them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from semples.core.errors import UserError

HF_MARK = "embeddings.patch_embeddings.projection.weight"
FLAX_MARK = "embedding/kernel"

HF_TOKENS = {
    "cls_token": "cls_token",
    "distillation_token": "dist_token",
    "register_tokens": "reg_token",
    "position_embeddings": "pos_embed",
    "patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "patch_embeddings.projection.bias": "patch_embed.proj.bias",
}
HF_BLOCK = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
FLAX_BLOCK = {"MlpBlock": {"Dense_0": "mlp.fc1", "Dense_1": "mlp.fc2"}}


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of transformers' ViT, DeiT or DINOv2."""
    return any(name.endswith(HF_MARK) for name in state)


def from_transformers(state: Mapping[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Names of transformers' ViT, DeiT and DINOv2 as timm has them; query, key and value are joined."""
    prefix = next(name for name in state if name.endswith(HF_MARK)).removesuffix(HF_MARK)
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        plain = name.removeprefix(prefix)
        block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias|lambda1)", plain)
        if plain.startswith("embeddings."):
            renamed[HF_TOKENS.get(plain.removeprefix("embeddings."), plain.removeprefix("embeddings."))] = value
        elif block is None:
            renamed[re.sub(r"^layernorm\.", "norm.", plain)] = value
        elif (three := re.fullmatch(r"attention\.(?:attention\.)?(query|key|value)", block[2])) is not None:
            parts.setdefault(f"blocks.{block[1]}.attn.qkv.{block[3]}", {})[three[1]] = value
        elif block[3] == "lambda1":
            renamed[f"blocks.{block[1]}.ls{block[2][-1]}.gamma"] = value
        else:
            renamed[f"blocks.{block[1]}.{HF_BLOCK.get(block[2], block[2])}.{block[3]}"] = value
    return renamed | _joined(parts, where=where)


def _joined(parts: Mapping[str, Mapping[str, Tensor]], *, where: str) -> dict[str, Tensor]:
    for name, three in parts.items():
        if set(three) != {"query", "key", "value"}:
            raise UserError(f"{where}: {name}: of query, key and value one is missing; get another copy")
    return {name: torch.cat([three[kind] for kind in ("query", "key", "value")]) for name, three in parts.items()}


def is_flax(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of Google's `.npz` files (AugReg and before, big_vision)."""
    return any(name == FLAX_MARK or name.endswith(f"/{FLAX_MARK}") for name in state)


def from_flax(state: Mapping[str, Tensor], *, where: str) -> tuple[dict[str, Tensor], int]:
    """Names and layouts of Google's `.npz` ViTs as timm has them, float32, and the number of heads.

    There kernels are (in,out), of convolutions (h,w,in,out), of queries (C,H,D) and of the projection (H,D,C).
    """
    prefix = next(name for name in state if name.endswith(FLAX_MARK)).removesuffix(FLAX_MARK)
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    heads = 0
    for name, value in state.items():
        plain, value = name.removeprefix(prefix), value.float()
        block = re.fullmatch(r"Transformer/encoderblock_(\d+)/(\w+?)_(\d+)/(.+)", plain)
        if plain == "cls":
            renamed["cls_token"] = value
        elif plain in ("Transformer/posembed_input/pos_embedding", "pos_embedding"):
            renamed["pos_embed"] = value
        elif plain == "embedding/kernel":
            renamed["patch_embed.proj.weight"] = value.permute(3, 2, 0, 1).contiguous()
        elif plain == "embedding/bias":
            renamed["patch_embed.proj.bias"] = value
        elif plain.startswith("Transformer/encoder_norm/"):
            renamed["norm." + ("weight" if plain.endswith("scale") else "bias")] = value
        elif block is not None:
            start, kind = f"blocks.{block[1]}.", block[4].rpartition("/")[2]
            end = "bias" if kind == "bias" else "weight"
            if block[2] == "LayerNorm":  # numbered 0 and 2, or 0 and 1
                renamed[f"{start}norm{1 if block[3] == '0' else 2}.{end}"] = value
            elif block[2] == "MlpBlock":
                renamed[f"{start}{FLAX_BLOCK['MlpBlock'].get(block[4].split('/')[0], block[4])}.{end}"] = value.t()
            elif block[4].startswith("out/"):
                renamed[f"{start}attn.proj.{end}"] = value.flatten(0, 1).t() if end == "weight" else value
            else:
                three = block[4].split("/")[0]
                heads = value.shape[-2]
                flat = value.flatten(-2)
                parts.setdefault(f"{start}attn.qkv.{end}", {})[three] = flat.t() if end == "weight" else flat
    if heads == 0:
        raise UserError(f"{where}: an .npz without the attention of a ViT; choose one of a plain ViT (no ResNet)")
    whole = renamed | _joined(parts, where=where)
    return {name: value.contiguous() for name, value in whole.items()}, heads

"""Models built from golden weight files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from semples.generators.weaktr import WeakTr
from semples.networks.clip import FrozenClip
from semples.networks.vit import VitConfig
from semples.networks.weights import load_strictly

VOCABULARY = 49408


def golden_clip(path: Path) -> FrozenClip:
    """OpenAI-format weights whose token table is stored as the rows that are looked up."""
    state = load_file(path)
    ids, rows = state.pop("token_embedding.ids"), state.pop("token_embedding.rows")
    table = torch.zeros(VOCABULARY, rows.shape[1])
    table[ids] = rows
    return FrozenClip.from_openai(state | {"token_embedding.weight": table}, where=path.name)


def golden_weaktr(path: Path, *, pooling: str, attention: str = "fused", drop_path: float = 0.0) -> WeakTr:
    """Sizes are read off the tensors; heads and blocks are equal in number in the golden models."""
    state = load_file(path)
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    classes, width = state["cls_token"].shape[1:]
    patch = state["patch_embed.proj.weight"].shape[-1]
    grid = round((state["pos_embed"].shape[1] - classes) ** 0.5)
    hidden, maps = state["adaptive_attention_fusion.attn_head_ffn.0.weight"].shape
    narrow, head_dim = state["adaptive_attention_fusion.attn_feat_ffn.0.weight"].shape
    config = VitConfig(patch_size=patch, width=width, depth=depth, heads=maps // depth, image_size=grid * patch)
    model = WeakTr(
        config,
        num_classes=classes,
        drop_path=drop_path,
        pooling=pooling,
        head_reduction=maps // hidden,
        feature_reduction=head_dim // narrow,
        attention=attention,
    )
    load_strictly(model, state, where=path.name)
    return model.eval()

"""Tiny networks of every family, from their configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from semples.segmenter.build import Segmenter, SegmenterConfig, build_segmenter

SIZE = 64
CLASSES = ("disc", "square")
CONFIG = SegmenterConfig(classes=CLASSES, size=SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
FAMILIES = ("segformer", "upernet", "mask2former", "maskformer", "eomt", "semples_vit", "semples_lite")


def swin() -> Any:
    from transformers import SwinConfig

    return SwinConfig(
        image_size=SIZE, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


def network_config(family: str) -> Any:
    """A configuration with a few thousand parameters."""
    import transformers as t

    from semples.segmenter.vit import VitSegmenterConfig

    if family == "segformer":
        return t.SegformerConfig(
            depths=[1] * 4, hidden_sizes=[8, 16, 16, 16], num_attention_heads=[1] * 4, decoder_hidden_size=16
        )
    if family == "upernet":
        return t.UperNetConfig(backbone_config=swin(), hidden_size=16, use_auxiliary_head=False)
    if family == "upernet_convnext":
        stages = ["stage1", "stage2", "stage3", "stage4"]
        backbone = t.ConvNextConfig(depths=[1] * 4, hidden_sizes=[8, 16, 16, 16], out_features=stages)
        return t.UperNetConfig(backbone_config=backbone, hidden_size=16, use_auxiliary_head=False)
    if family == "mask2former":
        return t.Mask2FormerConfig(
            backbone_config=swin(), feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
            encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=32, num_queries=5,
            train_num_points=64,
        )  # fmt: skip
    if family == "maskformer":
        decoder = t.DetrConfig(
            d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=5,
        )  # fmt: skip
        return t.MaskFormerConfig(
            backbone_config=swin(), fpn_feature_size=32, mask_feature_size=32, decoder_config=decoder
        )
    if family == "eomt":
        return t.EomtConfig(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=SIZE, patch_size=8, num_blocks=2,
            num_queries=5, num_register_tokens=0, train_num_points=64, mlp_ratio=2,
        )  # fmt: skip
    if family == "semples_lite":
        from semples.segmenter.lite import LiteSegmenterConfig

        return LiteSegmenterConfig(head_width=16)
    return VitSegmenterConfig(
        patch_size=14 if family == "vit14" else 16, width=32, depth=2, heads=2, image_size=SIZE, head_width=16
    )


def folder(path: Path, family: str) -> Path:
    """A folder with a config.json and nothing else."""
    network_config(family).save_pretrained(path)
    return path


def tiny(path: Path, family: str = "semples_vit", *, seed: int = 0) -> Segmenter:
    """A segmenter of two classes with random weights."""
    return build_segmenter(f"scratch:{folder(path, family)}", config=CONFIG, seed=seed)


def batch(count: int = 2, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B,3,S,S) and labels (B,S,S) with all values, ignored pixels among them."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    labels[:, 8:40, 8:40] = 1
    labels[:, 44:60, 20:60] = 2
    labels[:, :6] = 255
    return torch.randn(count, 3, SIZE, SIZE, generator=rng), labels


def backbone(folder: Path) -> Path:
    """A tiny Swin in transformers format, for a head to stand on."""
    from transformers import SwinBackbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        SwinBackbone(swin()).save_pretrained(folder)
    return folder

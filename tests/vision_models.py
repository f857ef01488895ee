"""Tiny vision models of transformers with random weights, saved in the published form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def _dinov2(registers: bool) -> Any:
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 42, "patch_size": 14}
    if registers:
        return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**size, num_register_tokens=4))
    return Dinov2Model(Dinov2Config(**size))


def _dinov3() -> Any:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    return DINOv3ViTModel(
        DINOv3ViTConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, patch_size=8,
            image_size=32, num_register_tokens=3,
        )
    )  # fmt: skip


def _dinov3_convnext() -> Any:
    from transformers import DINOv3ConvNextConfig, DINOv3ConvNextModel

    return DINOv3ConvNextModel(DINOv3ConvNextConfig(hidden_sizes=[4, 8, 16, 32], depths=[1, 1, 1, 1]))


def _vit() -> Any:
    from transformers import ViTConfig, ViTModel

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return ViTModel(ViTConfig(**size, image_size=32, patch_size=8))


def _siglip() -> Any:
    from transformers import SiglipVisionConfig, SiglipVisionModel

    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return SiglipVisionModel(SiglipVisionConfig(**size, image_size=32, patch_size=8))


def _convnext() -> Any:
    from transformers import ConvNextConfig, ConvNextModel

    return ConvNextModel(ConvNextConfig(hidden_sizes=[4, 8, 16, 32], depths=[1, 1, 1, 1]))


def _resnet() -> Any:
    from transformers import ResNetConfig, ResNetModel

    return ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1]))


def _swin() -> Any:
    from transformers import SwinConfig, SwinModel

    return SwinModel(SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4))


MODELS: dict[str, Callable[[], Any]] = {
    "dinov2": lambda: _dinov2(False),
    "dinov2 with registers": lambda: _dinov2(True),
    "dinov3": _dinov3,
    "dinov3 convnext": _dinov3_convnext,
    "vit": _vit,
    "siglip": _siglip,
    "convnext": _convnext,
    "resnet": _resnet,
    "swin": _swin,
}


def save(folder: Path, name: str) -> Path:
    """A model of `MODELS` in a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS[name]()
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    return folder


def save_clipseg(folder: Path) -> Path:
    """A CLIPSeg with the published vocabulary and its tokenizer."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    from semples.networks.tokenizer import ClipTokenizer

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPSegConfig(
        text_config={**tower, "eos_token_id": 49407, "pad_token_id": 49407, "bos_token_id": 49406},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=32,
        reduce_dim=16,
        extract_layers=[0, 1, 2],
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = CLIPSegForImageSegmentation(config)
        for weight in model.decoder.parameters():
            if weight.ndim > 1:
                weight.data += 0.3 * torch.randn_like(weight)
        model.clip.text_model.embeddings.token_embedding.weight.data += torch.randn(49408, 32)
    model.save_pretrained(folder)
    ClipTokenizer.published()._backend.save_pretrained(folder)
    return folder

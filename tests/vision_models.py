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


def save_sam(folder: Path) -> Path:
    """A SAM whose masks are neither empty nor full."""
    from transformers import SamConfig, SamModel

    side = 64
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": side, "patch_size": 8}
    vision |= {"mlp_dim": 64, "output_channels": 16, "global_attn_indexes": [1], "window_size": 4, "num_pos_feats": 8}
    prompt = {"hidden_size": 16, "image_size": side, "patch_size": 8, "image_embedding_size": 8}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    parts = {"vision_config": vision, "prompt_encoder_config": prompt | {"mask_input_channels": 4}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = SamModel(SamConfig(**parts, mask_decoder_config=decoder))
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and ("mask_decoder" in name or "prompt" in name):
                weight.data += 0.2 * torch.randn_like(weight)
    model.save_pretrained(folder)
    return folder


def save_grounding_dino(folder: Path) -> Path:
    """A Grounding DINO with a Swin, a small BERT and its tokenizer."""
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    swin = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    text = BertConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=text, num_queries=6, d_model=64, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=2, decoder_attention_heads=2,
        num_feature_levels=4, encoder_n_points=2, decoder_n_points=2, max_text_len=32,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = GroundingDinoForObjectDetection(config)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    save_bert_tokenizer(folder, size=400)
    return folder


def save_bert_tokenizer(folder: Path, *, size: int) -> None:
    """A word-piece tokenizer that spells every word: special tokens at BERT's places, signs and letters behind."""
    from transformers import BertTokenizer

    signs = [chr(code) for code in range(33, 127)]
    words = [f"[unused{place}]" for place in range(size)]
    words[0], words[100:104] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words[110 : 110 + len(signs)] = signs
    words[210 : 210 + 26] = [f"##{chr(code)}" for code in range(97, 123)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertTokenizer(vocab={word: place for place, word in enumerate(words)}).save_pretrained(folder)


def save_sam3(folder: Path) -> Path:
    """A SAM 3 with the published vocabulary and its tokenizer."""
    from transformers import Sam3Config, Sam3Model

    from semples.networks.tokenizer import ClipTokenizer

    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 56, "patch_size": 14, "window_size": 2, "global_attn_indexes": [1],
        "pretrain_image_size": 56,
    }  # fmt: skip
    vision = {
        "backbone_config": backbone, "fpn_hidden_size": 16, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "scale_factors": [4.0, 2.0, 1.0, 0.5],
    }  # fmt: skip
    text = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "projection_dim": 16, "max_position_embeddings": 32, "vocab_size": 49408, "eos_token_id": 49407,
        "bos_token_id": 49406, "pad_token_id": 49407,
    }  # fmt: skip
    part = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_layers": 1}
    config = Sam3Config(
        vision_config=vision,
        text_config=text,
        geometry_encoder_config=part,
        detr_encoder_config=part,
        detr_decoder_config=part | {"num_queries": 5},
        mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = Sam3Model(config)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data += 0.15 * torch.randn_like(weight)
    model.save_pretrained(folder)
    ClipTokenizer.published(context=32)._backend.save_pretrained(folder)
    return folder

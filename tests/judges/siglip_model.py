"""A tiny SigLIP of the published form with random weights and a tokenizer of its own, saved into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

T, B = 117.33, -12.93  # what google/siglip-base-patch16-224 has learned
WORDS = (
    "a",
    "photo",
    "of",
    "disc",
    "square",
    "cat",
    "dog",
    "tv",
    "person",
    "dining",
    "table",
    "boat",
    "forest",
    "lake",
)


def save_siglip(folder: Path, *, image_size: int = 32, width: int = 32, **text: Any) -> Path:
    """SigLIP with two layers a tower."""
    from transformers import SiglipConfig, SiglipModel

    tower = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = SiglipConfig(
        vision_config={**tower, "image_size": image_size, "patch_size": 8},
        text_config={**tower, "vocab_size": 300, **text},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SiglipModel(config)
        model.logit_scale.data.fill_(T).log_()
        model.logit_bias.data.fill_(B)
        for norm in (model.vision_model.post_layernorm, model.text_model.final_layer_norm):
            norm.weight.data += 0.3 * torch.randn(width)
            norm.bias.data += 0.3 * torch.randn(width)
        model.text_model.head.bias.data += 0.3 * torch.randn_like(model.text_model.head.bias)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path, *, pad: str = "</s>") -> None:
    """Pieces of words in tokenizer.json, as SigLIP's repositories have it; there the end token is also the padding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = [(chr(code), -9.0) for code in range(ord("a"), ord("z") + 1)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0), *letters]
    pieces += [(f"▁{word}", -3.0 - index / 10) for index, word in enumerate(WORDS)]
    made = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<pad>", "</s>", "<unk>"])
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made.enable_truncation(8)  # what a file says of lengths counts for nothing
    made.enable_padding(length=16)
    made.save(str(folder / "tokenizer.json"))
    special = {"eos_token": {"content": "</s>"}, "pad_token": pad, "tokenizer_class": "SiglipTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special), encoding="utf-8")

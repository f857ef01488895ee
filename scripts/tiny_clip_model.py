"""The tiny CLIP: its shape, and how photos, texts and prompts of vectors become features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from tiny_clip_captions import PROMPT, WORDS, pad_ids
from tiny_clip_photos import SIZE

PATCH, WIDTH = 8, 128
TEMPERATURE = 30.0


def new_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained model."""
    tower: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": WIDTH // 64}
    tower |= {"hidden_act": "quick_gelu", "projection_dim": 64}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ids |= {"pad_token_id": tokenizer.pad_token_id}
    text = tower | ids | {"vocab_size": len(tokenizer), "num_hidden_layers": 3, "max_position_embeddings": 77}
    vision = tower | {"num_hidden_layers": 4, "image_size": SIZE, "patch_size": PATCH}
    config = CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=64, logit_scale_init_value=math.log(TEMPERATURE)
    )
    config._attn_implementation = "eager"
    model = CLIPModel(config)
    model.logit_scale.requires_grad_(False)
    # Word vectors about as long as the U[0,1) vectors that prompts start from, so that both speak the same language.
    nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=0.3)
    nn.init.normal_(model.text_model.embeddings.position_embedding.weight, std=0.05)
    return model


def image_features(model: CLIPModel, images: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Normalised features (B,P) and patch tokens (B,N,C) of the last layer. keep (B,n): patches to look at, or all."""
    vision = model.vision_model
    tokens = vision.embeddings(images)
    if keep is not None:
        picked = tokens[:, 1:].gather(1, keep[..., None].expand(-1, -1, tokens.shape[-1]))
        tokens = torch.cat([tokens[:, :1], picked], dim=1)
    last = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
    features = model.visual_projection(vision.post_layernorm(last[:, 0]))
    return F.normalize(features.float(), dim=-1), last[:, 1:].float()


def text_features(model: CLIPModel, embedded: Tensor, ends: Tensor) -> Tensor:
    """Normalised features (T,P) of embedded texts (T,L,C) whose EOT stands at `ends` (T,)."""
    text = model.text_model
    hidden = text.embeddings(inputs_embeds=embedded)
    length = embedded.shape[1]
    causal = torch.full((length, length), -torch.inf, device=hidden.device).triu(1)[None, None]
    hidden = text.encoder(inputs_embeds=hidden, attention_mask=causal.expand(len(hidden), 1, -1, -1)).last_hidden_state
    at_end = hidden[torch.arange(len(hidden), device=hidden.device), ends]
    return F.normalize(model.text_projection(text.final_layer_norm(at_end)).float(), dim=-1)


def embed_texts(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token embeddings (T,L,C) of texts, padded, and the position (T,) of each EOT."""
    rows = tokenizer(texts, truncation=True, max_length=77)["input_ids"]
    device = model.device
    ids = torch.from_numpy(pad_ids(rows, tokenizer.pad_token_id)).to(device)
    ends = torch.tensor([len(row) - 1 for row in rows], device=device)
    return model.text_model.embeddings.token_embedding(ids), ends


def word_features(model: CLIPModel, tokenizer: CLIPTokenizer) -> Tensor:
    """Features of "a photo of {word}." for every word: (words, P)."""
    return text_features(model, *embed_texts(model, tokenizer, [f"{PROMPT} {word}." for word in WORDS]))


class VectorPrompts:
    """Prompts "a photo of" + vectors + "." as SemPLeS learns them: random vectors, here and there a word's."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.head = tokenizer(PROMPT)["input_ids"][:-1]
        self.stop = {tokenizer.convert_tokens_to_ids(token) for token in (".", ".</w>")}
        self.eot = tokenizer.eos_token_id
        self.word_ids = [tokenizer(word)["input_ids"][1:-1] for word in WORDS]

    def draw(self, model: CLIPModel, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[list[int]]]:
        """Embedded prompts (count, L, C), EOT positions, and the words mixed into each (one, two or none)."""
        length = int(rng.integers(1, 33))
        table = model.text_model.embeddings.token_embedding.weight
        stop = sorted(self.stop)[int(rng.integers(2))]
        frame = table[torch.tensor([*self.head, *[stop] * (length + 1), self.eot], device=table.device)]
        noise = rng.random((count, length, table.shape[1]), dtype=np.float32) * rng.uniform(0, 1, (count, 1, 1))
        vectors = torch.from_numpy(noise.astype(np.float32)).to(table.device)
        meant: list[list[int]] = []
        strength = torch.zeros(count, length, len(WORDS), device=table.device)
        for row in range(count):
            words = rng.choice(len(WORDS) - 1, size=int(rng.choice(3, p=(0.12, 0.68, 0.2))), replace=False).tolist()
            meant.append(words)
            places = rng.permutation(length)[: int(rng.integers(max(len(words), 1), max(length, 2) + 1))]
            for turn, place in enumerate(places.tolist()):
                if words:
                    strength[row, place, words[turn % len(words)]] = float(rng.uniform(0.7, 3.0))
            if len(words) > len(places):
                meant[-1] = words[: len(places)]
        of_words = torch.stack([table[torch.tensor(ids, device=table.device)].mean(dim=0) for ids in self.word_ids])
        vectors = vectors + strength @ of_words
        start, end = len(self.head), len(self.head) + length
        embedded = torch.cat([frame[:start].expand(count, -1, -1), vectors, frame[end:].expand(count, -1, -1)], dim=1)
        return embedded, torch.full((count,), end + 1, device=table.device), meant

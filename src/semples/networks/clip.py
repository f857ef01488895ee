"""CLIP through transformers, frozen: image features, text features, and those of prompts in token space."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.networks.clip_blocks import FrozenBlock
from semples.networks.clip_files import ClipFile, from_openai, read_clip
from semples.networks.tokenizer import FILES, FULL_VOCABULARY, ClipTokenizer, PiecesTokenizer
from semples.networks.weights import load_strictly

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class FrozenClip(nn.Module):
    """CLIP with no trainable weight, always in eval mode. All features are L2-normalised (SemPLeS sec. 3.1)."""

    def __init__(self, model: Any, tokenizer: ClipTokenizer) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.image_size: int = model.config.vision_config.image_size
        self.text_width: int = model.config.text_config.hidden_size
        self._fixed: dict[tuple[str, str, torch.device], tuple[int, Tensor]] = {}

    def train(self, mode: bool = True) -> FrozenClip:
        """Stays in eval mode whatever the mode of the module around it."""
        return super().train(False)

    # ----------------------------------------------------------------------------------------------------- images

    def encode_images(self, image_B3SS: Tensor) -> Tensor:
        """Features (B,E) of normalised images of the model's own size; differentiable in the images.

        The same numbers as the whole tower gives, with two savings: patches are embedded by a matrix product, whose
        gradient to the image is much cheaper than a strided convolution's, and the last block is computed for the
        class token alone, the only one that is read.
        """
        tower = self.model.vision_model
        hidden_BTC = tower.pre_layrnorm(_embed_patches(tower.embeddings, image_B3SS))
        *first, last = tower.encoder.layers
        for layer in first:
            hidden_BTC = layer(hidden_BTC, None)
        if isinstance(last, FrozenBlock):
            class_BC = last.at_first(hidden_BTC)
        else:
            class_BC = _last_block(last, hidden_BTC, torch.zeros(len(hidden_BTC), dtype=torch.long, device=self.device))
        return _unit(self.model.visual_projection(tower.post_layernorm(class_BC)))

    def encode_patches(self, image_B3SS: Tensor) -> Tensor:
        """Features (B,N,E) of every patch token through the final norm and the projection, not normalised."""
        tower = self.model.vision_model
        tokens = tower(pixel_values=image_B3SS).last_hidden_state[:, 1:]
        features: Tensor = self.model.visual_projection(tower.post_layernorm(tokens))
        return features

    # ------------------------------------------------------------------------------------------------------- text

    def encode_texts(self, texts: Sequence[str], *, batch: int = 256) -> Tensor:
        """Features (n,E) of ordinary texts."""
        parts = []
        for start in range(0, len(texts), batch):
            table = self.model.text_model.embeddings.token_embedding
            ids = self.tokenizer(list(texts[start : start + batch])).to(table.weight.device)
            end = self.tokenizer.ends(ids)
            ids = ids[:, : int(end.max()) + 1]
            parts.append(self._encode_embedded(table(ids), end))
        return torch.cat(parts)

    def encode_words(self, words: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Features (n,E) of words, each put into every template at {name}; the mean of these, L2-normalised again
        (CLIP sec. 3.1.4)."""
        if not words:
            return torch.zeros(0, self.model.config.projection_dim, device=self.device)
        texts = [template.replace("{name}", word) for word in words for template in templates]
        if len(templates) == 1:
            return self.encode_texts(texts)
        return F.normalize(self.encode_texts(texts).unflatten(0, (len(words), len(templates))).mean(dim=1), dim=-1)

    def encode_prompts(self, prompt_nMW: Tensor, *, context: str = "a photo of", full_stop: str = "in-word") -> Tensor:
        """Features (n,E) of learned prompts, differentiable in them: [SOT] context p_1..p_M "." [EOT].

        full_stop: `in-word` looks the stop up as the token that does not end a word (parity with published figures),
        `word` as ordinary texts have it. The text transformer is causal, so nothing behind [EOT] is computed.
        """
        n, length, _ = prompt_nMW.shape
        before, ids = self._around(context, full_stop, prompt_nMW.device)
        end = before + length + 1
        if end >= self.tokenizer.context:
            raise UserError(f"a prompt of {length} vectors does not fit into {self.tokenizer.context} positions")
        table = self.model.text_model.embeddings.token_embedding
        fixed_1SW = table(ids).to(prompt_nMW.dtype).unsqueeze(0).expand(n, -1, -1)
        embedded = torch.cat([fixed_1SW[:, :before], prompt_nMW, fixed_1SW[:, before:]], dim=1)
        return self._encode_embedded(embedded, torch.full((n,), end, device=prompt_nMW.device))

    def _around(self, context: str, full_stop: str, device: torch.device) -> tuple[int, Tensor]:
        """How many tokens stand before a prompt, and all around it; brought to a device once, since that waits."""
        key = (context, full_stop, device)
        if key not in self._fixed:
            before = [self.tokenizer.start, *self.tokenizer.pieces(context)]
            after = [self.tokenizer.stop(in_word=full_stop == "in-word"), self.tokenizer.end]
            self._fixed[key] = len(before), torch.tensor(before + after, device=device)
        return self._fixed[key]

    def _encode_embedded(self, embedded_nSW: Tensor, end_n: Tensor) -> Tensor:
        """Causal transformer over token embeddings without positions, the feature at `end`, projected."""
        tower = self.model.text_model
        length = embedded_nSW.shape[1]
        hidden_nSW = embedded_nSW + tower.embeddings.position_embedding.weight[:length]
        mask_11SS = embedded_nSW.new_full((length, length), float("-inf")).triu(1)[None, None]
        *first, last = tower.encoder.layers
        for layer in first:
            hidden_nSW = layer(hidden_nSW, mask_11SS)
        at_end_nW = _last_block(last, hidden_nSW, end_n, mask_n1S=mask_11SS[0, 0, end_n].unsqueeze(1))
        return _unit(self.model.text_projection(tower.final_layer_norm(at_end_nW)))

    def images_only(self) -> FrozenClip:
        """The same image tower as stages of training want it: without the text tower, for memory, and with blocks of
        fewer operations (`clip_blocks`)."""
        lean, tower, encoder = (
            _shallow(part) for part in (self.model, self.model.vision_model, self.model.vision_model.encoder)
        )
        lean.text_model = lean.text_projection = None
        lean.vision_model, tower.encoder = tower, encoder
        encoder.layers = nn.ModuleList(FrozenBlock.of(layer) for layer in encoder.layers)
        return FrozenClip(lean, self.tokenizer)

    @property
    def device(self) -> torch.device:
        return self.model.visual_projection.weight.device  # type: ignore[no-any-return]

    # -------------------------------------------------------------------------------------------------- construction

    @classmethod
    def load(cls, source: str) -> FrozenClip:
        """CLIP by hub id, folder or file, in the forms of `clip_files.read_clip`."""
        return cls._of_file(read_clip(source))

    @classmethod
    def from_openai(cls, state: dict[str, Tensor], *, where: str = "state dict") -> FrozenClip:
        """From a state dict of OpenAI's models (ViT image towers); sizes are read off the tensors."""
        return cls._of_file(from_openai(state, where=where))

    @classmethod
    def _of_file(cls, file: ClipFile) -> FrozenClip:
        from transformers import CLIPModel

        model = _without_init(CLIPModel, file.config)
        load_strictly(model, file.state, where=file.where)
        if file.in_pieces and file.folder is not None:
            return cls(model, PiecesTokenizer.of(file.folder, file.config.text_config))
        if file.folder is not None and any((file.folder / name).is_file() for name in FILES):
            context = file.config.text_config.max_position_embeddings
            return cls(model, ClipTokenizer.from_folder(file.folder, context=context))
        return cls(model, _published_tokenizer(file.config, where=file.where))


def _shallow(module: Any) -> Any:
    """A module that shares its parts with another, each of which can be put in another's place."""
    shallow = copy.copy(module)
    shallow._modules = dict(module._modules)
    return shallow


def _unit(features: Tensor) -> Tensor:
    """L2-normalised, at least in float32: a cosine in half precision has too few digits for the losses."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def _embed_patches(embeddings: Any, image_B3SS: Tensor) -> Tensor:
    """Class token, patches and positions (B,T,C), as CLIPVisionEmbeddings computes them."""
    weight = embeddings.patch_embedding.weight
    side = weight.shape[-1]
    B, channels, height, width = image_B3SS.shape
    if (height, width) != (embeddings.image_size, embeddings.image_size):
        raise ValueError(f"CLIP takes images of {embeddings.image_size} pixels, not {height} x {width}")
    patches = image_B3SS.reshape(B, channels, height // side, side, width // side, side)
    patches_BNX = patches.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, channels * side * side)
    embedded_BNC = F.linear(patches_BNX, weight.flatten(1))
    class_B1C = embeddings.class_embedding.expand(B, 1, -1).to(embedded_BNC.dtype)
    return torch.cat([class_B1C, embedded_BNC], dim=1) + embeddings.position_embedding.weight


def _last_block(layer: Any, hidden_BTC: Tensor, at_B: Tensor, *, mask_n1S: Tensor | None = None) -> Tensor:
    """Output (B,C) of a transformer block at one position per row; mask (B,1,T) is added to the attention logits."""
    attention = layer.self_attn
    normed_BTC = layer.layer_norm1(hidden_BTC)
    rows = torch.arange(len(at_B), device=at_B.device)

    def heads(x_BTC: Tensor) -> Tensor:
        return x_BTC.unflatten(2, (-1, attention.head_dim)).transpose(1, 2)

    mixed_BH1D = F.scaled_dot_product_attention(
        heads(attention.q_proj(normed_BTC[rows, at_B].unsqueeze(1))),
        heads(attention.k_proj(normed_BTC)),
        heads(attention.v_proj(normed_BTC)),
        attn_mask=None if mask_n1S is None else mask_n1S.unsqueeze(1),
        scale=attention.scale,
    )
    hidden_BC = hidden_BTC[rows, at_B] + attention.out_proj(mixed_BH1D.flatten(1))
    output: Tensor = hidden_BC + layer.mlp(layer.layer_norm2(hidden_BC))
    return output


def _without_init(model_class: Any, config: Any) -> Any:
    """A model whose random start is skipped where transformers allows it; its weights are loaded right after."""
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        return model_class(config)


def _published_tokenizer(config: Any, *, where: str) -> ClipTokenizer:
    size = config.text_config.vocab_size
    if size != FULL_VOCABULARY:
        raise UserError(f"{where}: a vocabulary of {size} tokens needs its own tokenizer files ({' or '.join(FILES)})")
    return ClipTokenizer.published(context=config.text_config.max_position_embeddings)

"""CLIP through transformers, frozen: image features, text features, and those of prompts in token space."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.safeload import load_state_dict
from semples.networks.tokenizer import FILES, FULL_VOCABULARY, ClipTokenizer
from semples.networks.weights import NAMES, download, load_strictly, local_source, offline_hint

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
            ids = self.tokenizer(list(texts[start : start + batch])).to(self.device)
            end = ids.argmax(dim=-1)
            ids = ids[:, : int(end.max()) + 1]
            parts.append(self._encode_embedded(self.model.text_model.embeddings.token_embedding(ids), end))
        return torch.cat(parts)

    def encode_prompts(self, prompt_nMW: Tensor, *, context: str = "a photo of", full_stop: str = "in-word") -> Tensor:
        """Features (n,E) of learned prompts, differentiable in them: [SOT] context p_1..p_M "." [EOT].

        full_stop: `in-word` looks the stop up as the token that does not end a word (parity with published figures),
        `word` as ordinary texts have it. The text transformer is causal, so nothing behind [EOT] is computed.
        """
        n, length, _ = prompt_nMW.shape
        before = [self.tokenizer.start, *self.tokenizer.pieces(context)]
        after = [self.tokenizer.token("." if full_stop == "in-word" else ".</w>"), self.tokenizer.end]
        end = len(before) + length + 1
        if end >= self.tokenizer.context:
            raise UserError(f"a prompt of {length} vectors does not fit into {self.tokenizer.context} positions")
        table = self.model.text_model.embeddings.token_embedding
        ids = torch.tensor(before + after, device=prompt_nMW.device)
        fixed_1SW = table(ids).to(prompt_nMW.dtype).unsqueeze(0).expand(n, -1, -1)
        embedded = torch.cat([fixed_1SW[:, : len(before)], prompt_nMW, fixed_1SW[:, len(before) :]], dim=1)
        return self._encode_embedded(embedded, torch.full((n,), end, device=prompt_nMW.device))

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
        """The same image tower without the text tower, which the memory of a training stage is better without."""
        tower = copy.copy(self.model)
        tower._modules = dict(self.model._modules)
        tower.text_model = tower.text_projection = None
        return FrozenClip(tower, self.tokenizer)

    @property
    def device(self) -> torch.device:
        return self.model.visual_projection.weight.device  # type: ignore[no-any-return]

    # -------------------------------------------------------------------------------------------------- construction

    @classmethod
    def load(cls, source: str) -> FrozenClip:
        """CLIP by hub id or folder in transformers format, or a file with an OpenAI-format state dict."""
        path = local_source(source)
        if path is not None and path.is_file():
            return cls.from_openai(load_state_dict(path), where=source)
        if path is None:
            path = _snapshot(source)
        return cls._from_folder(path)

    @classmethod
    def _from_folder(cls, folder: Path) -> FrozenClip:
        from transformers import CLIPModel

        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: holds no config.json; give a CLIP folder in transformers format")
        config: Any = _read_config(folder / "config.json")
        weights = next((folder / name for name in NAMES if (folder / name).is_file()), None)
        if weights is None:
            raise UserError(f"{folder}: holds no {' or '.join(NAMES)}")
        model = _without_init(CLIPModel, config)
        state = {name: value.float() for name, value in load_state_dict(weights).items()}
        # Older files carry index buffers that are no weights.
        state = {name: value for name, value in state.items() if not name.endswith("embeddings.position_ids")}
        load_strictly(model, state, where=str(folder))
        context = config.text_config.max_position_embeddings
        if any((folder / name).is_file() for name in FILES):
            return cls(model, ClipTokenizer.from_folder(folder, context=context))
        return cls(model, _published_tokenizer(config, where=str(folder)))

    @classmethod
    def from_openai(cls, state: dict[str, Tensor], *, where: str = "state dict") -> FrozenClip:
        """From a state dict with OpenAI's names (ViT image towers); sizes are read off the tensors."""
        from transformers import CLIPModel

        config = _openai_config(state, where=where)
        model = _without_init(CLIPModel, config)
        load_strictly(model, convert_openai(state), where=where)
        return cls(model, _published_tokenizer(config, where=where))


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


def _read_config(path: Path) -> Any:
    """CLIP's config.json. Raises UserError naming the file where it describes something else."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CLIPConfig

    described = read_json(path)
    if not isinstance(described, dict):
        raise UserError(f"{path}: not the configuration of a CLIP model")
    try:
        return CLIPConfig.from_dict(described)
    except (StrictDataclassError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not the configuration of a CLIP model ({' '.join(str(error).split())[:150]})"
        ) from None


def _published_tokenizer(config: Any, *, where: str) -> ClipTokenizer:
    size = config.text_config.vocab_size
    if size != FULL_VOCABULARY:
        raise UserError(f"{where}: a vocabulary of {size} tokens needs its own tokenizer files ({' or '.join(FILES)})")
    return ClipTokenizer.published(context=config.text_config.max_position_embeddings)


def _snapshot(repo: str) -> Path:
    """Folder with config, weights and, where the repository has them, tokenizer files of a hub id."""
    folder = download(repo, "config.json").parent
    try:
        folder = download(repo, NAMES[0]).parent
    except UserError:
        try:
            folder = download(repo, NAMES[1]).parent
        except UserError:
            raise UserError(offline_hint(repo, f"{NAMES[0]} or {NAMES[1]}")) from None
    return folder


# ------------------------------------------------------------------------------------------------- OpenAI's format


def convert_openai(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensor names and layouts of OpenAI's CLIP as transformers has them, float32.

    Projections are stored as (width, embedding) there and as Linear weights (embedding, width) here; the fused
    query-key-value tensor is cut in three.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in ("input_resolution", "context_length", "vocab_size"):
            continue
        value = value.float()
        if name == "visual.proj":
            renamed["visual_projection.weight"] = value.t().contiguous()
        elif name == "text_projection":
            renamed["text_projection.weight"] = value.t().contiguous()
        elif ".resblocks." in name:
            renamed |= _convert_block(name, value)
        else:
            renamed[OPENAI_NAMES.get(name, name)] = value
    return renamed


OPENAI_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}

BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def _convert_block(name: str, value: Tensor) -> dict[str, Tensor]:
    tower, rest = name.split("resblocks.")
    index, part = rest.split(".", 1)
    prefix = f"{'vision_model' if tower.startswith('visual') else 'text_model'}.encoder.layers.{index}."
    if part.startswith("attn.in_proj_"):
        kind = part.removeprefix("attn.in_proj_")
        thirds = value.chunk(3)
        return {f"{prefix}self_attn.{q}_proj.{kind}": x.clone() for q, x in zip("qkv", thirds, strict=True)}
    layer, kind = part.rsplit(".", 1)
    return {f"{prefix}{BLOCK_NAMES.get(layer, layer)}.{kind}": value}


def _openai_config(state: dict[str, Tensor], *, where: str) -> Any:
    from transformers import CLIPConfig

    def depth(prefix: str) -> int:
        found = {int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix)}
        return len(found)

    needed: tuple[str, ...] = ("visual.conv1.weight", "visual.positional_embedding", "visual.proj", "text_projection")
    needed += ("positional_embedding", "token_embedding.weight", "transformer.resblocks.0.mlp.c_fc.weight")
    missing = [name for name in needed if name not in state]
    if missing:
        raise UserError(f"{where}: not an OpenAI-format CLIP with a ViT image tower: missing {missing[0]}")
    width, _, patch, _ = state["visual.conv1.weight"].shape
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    text_width, embedding = state["text_projection"].shape
    vocabulary = state["token_embedding.weight"].shape[0]
    return CLIPConfig(
        projection_dim=embedding,
        vision_config={
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": depth("visual.transformer.resblocks."),
            "num_attention_heads": max(1, width // 64),
            "image_size": side * patch,
            "patch_size": patch,
            "projection_dim": embedding,
        },
        text_config={
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_hidden_layers": depth("transformer.resblocks."),
            "num_attention_heads": max(1, text_width // 64),
            "vocab_size": vocabulary,
            "max_position_embeddings": state["positional_embedding"].shape[0],
            "projection_dim": embedding,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
    )

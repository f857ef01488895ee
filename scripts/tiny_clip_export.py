"""Figures of the tiny CLIP on unseen textures, and its export as the package's assets."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from semples.core.files import write_bytes
from semples.data.demo.world import CLASSES, DemoWorld
from tiny_clip_captions import WORDS
from tiny_clip_model import PATCH, WIDTH, image_features, word_features
from tiny_clip_photos import SIZE, Album, draw_album, normalise


@torch.no_grad()
def evaluate(model: CLIPModel, tokenizer: CLIPTokenizer, album: Album) -> dict[str, object]:
    """Zero-shot figures on an album of unseen textures, with exact masks.

    objects / backgrounds: share of photos with exactly one class (background kind) whose best word among the 8 classes
    (12 kinds) is the right one. objects_any / backgrounds_any: of all photos that have any, the best word is among
    them. only, whole, removed: mean cosine of a photo's class word with the thing alone, the photo, the photo without.
    """
    words = word_features(model, tokenizer)
    labels = torch.from_numpy(np.array(album.labels)).to(model.device)
    photos = normalise(torch.from_numpy(np.array(album.photos)).to(model.device).permute(0, 3, 1, 2).float())

    def cosines(masked: Tensor) -> Tensor:
        return torch.cat([image_features(model, part)[0] for part in masked.split(100)]) @ words.T

    things, kinds = slice(0, len(CLASSES)), slice(len(CLASSES), len(WORDS) - 1)
    share = F.one_hot(labels.long().flatten(1), len(WORDS)).float().mean(dim=1)
    seen = share > torch.tensor([0.03] * len(CLASSES) + [0.1] * (len(WORDS) - len(CLASSES)), device=model.device)
    whole = cosines(photos)
    figures: dict[str, object] = {}
    for name, part in (("objects", things), ("backgrounds", kinds)):
        has, best = seen[:, part], whole[:, part].argmax(dim=1)
        right = has.gather(1, best[:, None])[:, 0].float()
        figures[name] = round(float(right[has.sum(dim=1) == 1].mean()), 4)
        figures[f"{name}_any"] = round(float(right[has.any(dim=1)].mean()), 4)
    with_thing = seen[:, things].any(dim=1)
    inside = (labels < len(CLASSES))[with_thing, None].float()
    table, ordered = {}, 0
    views = {"only": inside, "whole": torch.ones_like(inside), "removed": 1 - inside}
    scores = {name: cosines(photos[with_thing] * mask) for name, mask in views.items()}
    for index, name in enumerate(CLASSES):
        rows = seen[with_thing, index]
        means = {view: round(float(score[rows, index].mean()), 3) for view, score in scores.items()}
        table[name] = means
        ordered += means["only"] > means["whole"] > means["removed"]
    figures["classes_in_order"] = int(ordered)
    figures["cosine_mean"] = {v: round(sum(row[v] for row in table.values()) / len(table), 3) for v in views}
    figures["cosine_lowest"] = round(float(min(score.min() for score in scores.values())), 3)
    others = ~torch.eye(len(WORDS), dtype=torch.bool, device=words.device)
    figures["word_to_word"] = round(float((words @ words.T)[others].mean()), 3)
    figures["classes"] = table
    return figures


def unseen_album(count: int) -> Album:
    """Photos of textures that training never sees."""
    return draw_album(DemoWorld(seed=1, family="test", distribution="wide"), count)


def vit_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The image tower under the usual ViT names (one qkv layer, patch bias 0)."""
    prefix = "vision_model."
    tower = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    patch = tower["embeddings.patch_embedding.weight"]
    weights = {
        "cls_token": tower["embeddings.class_embedding"].view(1, 1, -1),
        "pos_embed": tower["embeddings.position_embedding.weight"][None],
        "patch_embed.proj.weight": patch,
        "patch_embed.proj.bias": torch.zeros(len(patch), dtype=patch.dtype),
    }
    layers = 1 + max(int(name.split(".")[2]) for name in tower if name.startswith("encoder.layers."))
    for kind in ("weight", "bias"):
        weights[f"norm_pre.{kind}"] = tower[f"pre_layrnorm.{kind}"]
        weights[f"norm.{kind}"] = tower[f"post_layernorm.{kind}"]
        for i in range(layers):
            layer = {name: tower[f"encoder.layers.{i}.{name}.{kind}"] for name in (
                "layer_norm1", "layer_norm2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                "self_attn.out_proj", "mlp.fc1", "mlp.fc2")}  # fmt: skip
            block = f"blocks.{i}"
            weights[f"{block}.norm1.{kind}"] = layer["layer_norm1"]
            weights[f"{block}.attn.qkv.{kind}"] = torch.cat([layer[f"self_attn.{x}_proj"] for x in "qkv"])
            weights[f"{block}.attn.proj.{kind}"] = layer["self_attn.out_proj"]
            weights[f"{block}.norm2.{kind}"] = layer["layer_norm2"]
            weights[f"{block}.mlp.fc1.{kind}"] = layer["mlp.fc1"]
            weights[f"{block}.mlp.fc2.{kind}"] = layer["mlp.fc2"]
    return {name: value.contiguous().clone() for name, value in weights.items()}


def export(model: CLIPModel, tokenizer: CLIPTokenizer, assets: Path) -> None:
    """Write demo_clip/ (transformers' own format) and demo_vit/ (start weights), stored as float16."""
    half = copy.deepcopy(model).cpu().half()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        half.save_pretrained(folder / "demo_clip")
        tokenizer.save_pretrained(folder / "demo_clip")
        tokenizer.backend_tokenizer.model.save(str(folder / "demo_clip"))  # vocab.json and merges.txt
        settings = json.loads((folder / "demo_clip" / "config.json").read_text(encoding="utf-8"))
        for part in (settings, settings["text_config"], settings["vision_config"]):
            part["dtype"] = "float32"  # stored in half precision to be small, computed with in single precision
        (folder / "demo_clip" / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (folder / "demo_vit").mkdir()
        save_file(vit_weights(half.state_dict()), folder / "demo_vit" / "model.safetensors", {"format": "pt"})
        vit: dict[str, Any] = {"patch_size": PATCH, "width": WIDTH, "depth": 4, "heads": WIDTH // 64, "mlp_ratio": 4}
        vit |= {"act": "quick_gelu", "pre_norm": True, "eps": 1e-5, "image_size": SIZE}
        (folder / "demo_vit" / "config.json").write_text(json.dumps(vit, indent=2) + "\n", encoding="utf-8")
        for file in sorted(folder.rglob("*.*")):
            write_bytes(assets / file.relative_to(folder), file.read_bytes())

"""Weights and photos of the project's own golden set: drawn by name, so that nothing large is stored.

`numpy.random.RandomState` gives the same numbers in every NumPy version.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]

K, C, H, L, PATCH, GRID = (
    3,
    12,
    2,
    2,
    4,
    4,
)  # generator: classes, channels, heads, blocks, pixels a patch, patches a side
W, E, CLIP_PATCH, CLIP_SIDE, CONTEXT, PROMPT = 8, 6, 8, 16, 77, 2  # CLIP: width, feature, patch, side, positions, M
START, END = 49406, 49407
TEXTS = {"a photo of dog.": [320, 1125, 539, 1929, 269], "a photo of cat.": [320, 1125, 539, 2368, 269],
         "a photo of car.": [320, 1125, 539, 1615, 269]}  # fmt: skip
STOP_IN_WORD = 13
ROWS = sorted({START, END, STOP_IN_WORD, *(token for ids in TEXTS.values() for token in ids)})
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
TAGS = np.array([[1, 0, 1], [0, 1, 0]])


def drawn(name: str, shape: tuple[int, ...], scale: float = 0.3, shift: float = 0.0) -> NDArray[np.float32]:
    """Normal numbers that depend on the name alone."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return np.asarray(random.standard_normal(shape) * scale + shift, np.float32)


def is_norm(name: str) -> bool:
    """Whether these are the factors of a norm, which lie around 1."""
    return name.endswith(".weight") and ("norm" in name or "ln_" in name)


def photo(name: str, height: int, width: int) -> NDArray[np.uint8]:
    """A photo (H,W,3) with smooth colours, so that resizing keeps something of it."""
    coarse = drawn(name, (3, 3, 3), 60, 128).clip(0, 255)
    y, x = np.linspace(0, 1.99, height), np.linspace(0, 1.99, width)
    return coarse[y.astype(int)][:, x.astype(int)].astype(np.uint8)


def batch() -> NDArray[np.float32]:
    """Two normalised views (2,3,16,16)."""
    views = [((photo(f"view {i}", 16, 16) / 255.0 - MEAN) / STD).transpose(2, 0, 1) for i in range(2)]
    return (np.stack(views) + drawn("grain", (2, 3, 16, 16), 0.2)).astype(np.float32)


def generator_weights() -> Arrays:
    """WeakTr under the published names."""
    shapes = {
        "cls_token": (1, K, C), "pos_embed": (1, K + GRID**2, C), "patch_embed.proj.weight": (C, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (C,), "norm.weight": (C,), "norm.bias": (C,),
        "head.weight": (K, C, 3, 3), "head.bias": (K,),
        "adaptive_attention_fusion.attn_feat_ffn.0.weight": (3, C // H),
        "adaptive_attention_fusion.attn_feat_ffn.0.bias": (3,),
        "adaptive_attention_fusion.attn_feat_ffn.1.weight": (1, 3),
        "adaptive_attention_fusion.attn_feat_ffn.1.bias": (1,),
        "adaptive_attention_fusion.attn_head_ffn.0.weight": (2, H * L),
        "adaptive_attention_fusion.attn_head_ffn.2.weight": (H * L, 2),
    }  # fmt: skip
    for index in range(L):
        for part, shape in {
            "norm1.weight": (C,), "norm1.bias": (C,), "attn.qkv.weight": (3 * C, C), "attn.qkv.bias": (3 * C,),
            "attn.proj.weight": (C, C), "attn.proj.bias": (C,), "norm2.weight": (C,), "norm2.bias": (C,),
            "mlp.fc1.weight": (4 * C, C), "mlp.fc1.bias": (4 * C,), "mlp.fc2.weight": (C, 4 * C), "mlp.fc2.bias": (C,),
        }.items():  # fmt: skip
            shapes[f"blocks.{index}.{part}"] = shape
    # CAMs well above the masks' epsilon, and every unit of the small networks awake.
    scales = {"head.weight": 1.0, "head.bias": 0.5, "blocks.0.attn.qkv.weight": 0.5, "blocks.1.attn.qkv.weight": 0.5}
    return {
        name: drawn(
            name, shape, scales.get(name, 0.35 if "fusion" in name else 0.3), 0.15 * ("fusion" in name) + is_norm(name)
        )
        for name, shape in shapes.items()
    }


def clip_weights() -> Arrays:
    """CLIP under OpenAI's names; `token_embedding.weight` holds the rows `ROWS` only."""
    patches = (CLIP_SIDE // CLIP_PATCH) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (W,), "visual.positional_embedding": (patches + 1, W), "visual.proj": (W, E),
        "visual.conv1.weight": (W, 3, CLIP_PATCH, CLIP_PATCH), "text_projection": (W, E), "logit_scale": (),
        "positional_embedding": (CONTEXT, W), "token_embedding.weight": (len(ROWS), W),
    }  # fmt: skip
    for norm in ("visual.ln_pre", "visual.ln_post", "ln_final"):
        shapes |= {f"{norm}.weight": (W,), f"{norm}.bias": (W,)}
    for tower in ("visual.transformer", "transformer"):
        for index in range(2):
            prefix = f"{tower}.resblocks.{index}"
            for part, shape in {
                "ln_1.weight": (W,), "ln_1.bias": (W,), "attn.in_proj_weight": (3 * W, W),
                "attn.in_proj_bias": (3 * W,),
                "attn.out_proj.weight": (W, W), "attn.out_proj.bias": (W,), "ln_2.weight": (W,), "ln_2.bias": (W,),
                "mlp.c_fc.weight": (4 * W, W), "mlp.c_fc.bias": (4 * W,), "mlp.c_proj.weight": (W, 4 * W),
                "mlp.c_proj.bias": (W,),
            }.items():  # fmt: skip
                shapes[f"{prefix}.{part}"] = shape
    # Attention that tells tokens apart, so that features follow what is seen and read.
    scales = {"in_proj_weight": 0.5, "out_proj.weight": 0.5, "conv1.weight": 0.4, "embedding.weight": 1.0}
    weights = {
        name: drawn(
            name, shape, next((scale for end, scale in scales.items() if name.endswith(end)), 0.3), is_norm(name)
        )
        for name, shape in shapes.items()
    }
    # Cosines of random towers are often negative, where the losses are flat: one shared direction lifts them.
    for name in ("visual.proj", "text_projection"):
        weights[name][:, 0] += 0.6
    for name in ("visual.ln_post.bias", "ln_final.bias"):
        weights[name] += 0.8
    return weights


def prompts() -> NDArray[np.float32]:
    """Background prompts (K, M, width)."""
    return drawn("prompts", (K, PROMPT, W), 0.3, 0.5)


def scored() -> tuple[list[NDArray[np.uint8]], list[dict[int, NDArray[np.float32]]]]:
    """True labels with ignored pixels, and CAMs in hundredths, of three photos; the third has no tag."""
    truths, cams = [], []
    for index, present in enumerate(((0, 2), (1,), ())):
        noise = drawn(f"truth {index}", (9, 7), 1.0)
        truth = np.zeros((9, 7), np.uint8)
        for label in present:
            truth[drawn(f"where {index} {label}", (9, 7), 1.0) > 0.4] = label + 1
        truth[noise > 1.6] = 255
        truths.append(truth)
        maps = {label: drawn(f"cam {index} {label}", (9, 7), 0.25, 0.45).clip(0, 1).round(2) for label in present}
        cams.append({label: maps[label] * (0.7 + 0.3 * (truth == label + 1)).astype(np.float32) for label in present})
    return truths, cams

"""Makes tests/golden_own/golden.npz: the method's numbers in plain float64 NumPy, independent of this package.

Nothing here is imported from `semples`; gradients are central differences. Sources: SemPLeS (arXiv 2401.11791), WeakTr
(arXiv 2304.01184), CLIP (arXiv 2103.00020) and the published programs' settings. Run: python scripts/make_own_golden.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.golden_own import material as m  # noqa: E402

Array = np.ndarray
Weights = dict[str, Array]
STEP = 1e-5
erf = np.vectorize(math.erf)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * weight + bias


# ------------------------------------------------------------------------------------------------------- resizing


def resize(grid: Array, size: tuple[int, int], kernel: str, scale: tuple[float, float] | None = None) -> Array:
    """The last two axes to `size`: `aligned` and `bilinear` (corners aligned or not), `bicubic` (a = -0.75)."""
    for axis, target in ((-2, size[0]), (-1, size[1])):
        source = grid.shape[axis]
        matrix = np.zeros((target, source))
        for i in range(target):
            if kernel == "aligned":
                at = i * (source - 1) / max(1, target - 1)
            else:
                at = (i + 0.5) / (scale[axis] if scale else target / source) - 0.5
            if kernel == "bilinear":
                at = max(at, 0.0)
            low = math.floor(at)
            for tap in range(low - 1, low + 3):
                d = abs(at - tap)
                if kernel != "bicubic":
                    weight = max(0.0, 1 - d)
                elif d <= 1:
                    weight = 1.25 * d**3 - 2.25 * d**2 + 1
                else:
                    weight = -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0.0
                matrix[i, min(max(tap, 0), source - 1)] += weight
        grid = np.moveaxis(np.tensordot(matrix, np.moveaxis(grid, axis, 0), 1), 0, axis)
    return grid


# ------------------------------------------------------------------------------------------------------ generator


def patches_of(image: Array, side: int) -> Array:
    """(3,H,W) -> (h, w, 3*side*side), the remainder dropped."""
    h, w = image.shape[1] // side, image.shape[2] // side
    cut = image[:, : h * side, : w * side].reshape(3, h, side, w, side)
    return cut.transpose(1, 3, 0, 2, 4).reshape(h, w, -1)


def backbone(p: Weights, image: Array) -> tuple[Array, list[Array], list[Array], tuple[int, int]]:
    """Last tokens (T,C), attention (H,T,T) and attention branches (T,C) of every block, patch grid."""
    patches = patches_of(image, m.PATCH)
    h, w = patches.shape[:2]
    x = patches.reshape(h * w, -1) @ p["patch_embed.proj.weight"].reshape(m.C, -1).T + p["patch_embed.proj.bias"]
    classes, grid = p["pos_embed"][0, : m.K], p["pos_embed"][0, m.K :]
    if not (h * w == m.GRID**2 and image.shape[1] == image.shape[2]):
        scale = (h + 0.1) / m.GRID, (w + 0.1) / m.GRID
        grid = resize(grid.T.reshape(m.C, m.GRID, m.GRID), (h, w), "bicubic", scale).reshape(m.C, -1).T
    x = np.concatenate([p["cls_token"][0] + classes, x + grid])
    maps, branches = [], []
    for index in range(m.L):
        b = {
            name.removeprefix(f"blocks.{index}."): value
            for name, value in p.items()
            if name.startswith(f"blocks.{index}.")
        }
        qkv = layer_norm(x, b["norm1.weight"], b["norm1.bias"], 1e-6) @ b["attn.qkv.weight"].T + b["attn.qkv.bias"]
        q, k, v = qkv.reshape(len(x), 3, m.H, m.C // m.H).transpose(1, 2, 0, 3)
        attention = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(m.C // m.H))
        branch = (attention @ v).transpose(1, 0, 2).reshape(len(x), m.C) @ b["attn.proj.weight"].T + b["attn.proj.bias"]
        maps.append(attention)
        branches.append(branch)
        x = x + branch
        hidden = layer_norm(x, b["norm2.weight"], b["norm2.bias"], 1e-6) @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        x = x + (hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))) @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
    return x, maps, branches, (h, w)


def fused_attention(p: Weights, maps: list[Array], branches: list[Array], pooling: str) -> Array:
    """(1/HL) sum of w_c A_c (T,T); c = head * L + block, and channel i * H + head of a feature belongs to `head`."""
    pre = "adaptive_attention_fusion."
    scores = np.zeros(m.H * m.L)
    for block, branch in enumerate(branches):
        pooled = branch.max(0) if pooling == "max" else branch.mean(0)
        for head in range(m.H):
            narrow = p[f"{pre}attn_feat_ffn.0.weight"] @ pooled[head :: m.H] + p[f"{pre}attn_feat_ffn.0.bias"]
            score = p[f"{pre}attn_feat_ffn.1.weight"] @ narrow + p[f"{pre}attn_feat_ffn.1.bias"]
            scores[head * m.L + block] = score[0]
    hidden = np.maximum(p[f"{pre}attn_head_ffn.0.weight"] @ scores, 0)
    weights = sigmoid(p[f"{pre}attn_head_ffn.2.weight"] @ hidden)
    every = [weights[head * m.L + block] * maps[block][head] for block in range(m.L) for head in range(m.H)]
    return sum(every) / (m.H * m.L)


def coarse(p: Weights, last: Array, grid: tuple[int, int]) -> Array:
    """Logits (K,h,w) of the 3x3 convolution over patch tokens."""
    h, w = grid
    padded = np.pad(last[m.K :].T.reshape(m.C, h, w), ((0, 0), (1, 1), (1, 1)))
    taps = [(i, j, padded[:, i : i + h, j : j + w]) for i in range(3) for j in range(3)]
    return sum(np.tensordot(p["head.weight"][:, :, i, j], x, 1) for i, j, x in taps) + p["head.bias"][:, None, None]


def fine(fused: Array, logits: Array) -> Array:
    """Fine CAMs (K,h,w): patch-to-patch attention applied to class-to-patch attention times relu(Z)."""
    cam = fused[: m.K, m.K :] * np.maximum(logits, 0).reshape(m.K, -1)
    return (cam @ fused[m.K :, m.K :].T).reshape(logits.shape)


def fine_cams(p: Weights, image: Array, pooling: str = "max") -> Array:
    last, maps, branches, grid = backbone(p, image)
    return fine(fused_attention(p, maps, branches, pooling), coarse(p, last, grid))


def warmup_losses(p: Weights, frozen: Weights, images: Array) -> Array:
    """Three soft-margin losses summed, per photo. Attention, its features and the coarse CAM inside the fine one are
    constants: taken from `frozen`."""
    losses = []
    for image, tags in zip(images, m.TAGS, strict=True):
        last, _, _, grid = backbone(p, image)
        constant, maps, branches, _ = backbone(frozen, image)
        logits = coarse(p, last, grid)
        refined = fine(fused_attention(p, maps, branches, "max"), coarse(frozen, constant, grid))
        loss = 0.0
        for x in (last[: m.K].mean(1), logits.mean((1, 2)), refined.mean((1, 2))):
            loss -= (tags * np.log(sigmoid(x)) + (1 - tags) * np.log(sigmoid(-x))).mean()
        losses.append(loss)
    return np.array(losses)


# ----------------------------------------------------------------------------------------------------------- CLIP


def tower(p: Weights, prefix: str, x: Array, mask: Array) -> Array:
    for index in range(2):
        start = f"{prefix}.resblocks.{index}."
        b = {name.removeprefix(start): value for name, value in p.items() if name.startswith(start)}
        qkv = (
            layer_norm(x, b["ln_1.weight"], b["ln_1.bias"], 1e-5) @ b["attn.in_proj_weight"].T + b["attn.in_proj_bias"]
        )
        q, k, v = np.split(qkv, 3, axis=-1)
        mixed = softmax(q @ k.T / math.sqrt(m.W) + mask) @ v
        x = x + mixed @ b["attn.out_proj.weight"].T + b["attn.out_proj.bias"]
        hidden = layer_norm(x, b["ln_2.weight"], b["ln_2.bias"], 1e-5) @ b["mlp.c_fc.weight"].T + b["mlp.c_fc.bias"]
        x = x + (hidden * sigmoid(1.702 * hidden)) @ b["mlp.c_proj.weight"].T + b["mlp.c_proj.bias"]
    return x


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x)


def image_feature(p: Weights, image: Array) -> Array:
    patches = patches_of(image, m.CLIP_PATCH)
    x = patches.reshape(-1, patches.shape[-1]) @ p["visual.conv1.weight"].reshape(m.W, -1).T
    x = np.concatenate([p["visual.class_embedding"][None], x]) + p["visual.positional_embedding"]
    x = layer_norm(x, p["visual.ln_pre.weight"], p["visual.ln_pre.bias"], 1e-5)
    x = tower(p, "visual.transformer", x, np.zeros((len(x), len(x))))
    return unit(layer_norm(x[0], p["visual.ln_post.weight"], p["visual.ln_post.bias"], 1e-5) @ p["visual.proj"])


def text_feature(p: Weights, embedded: Array) -> Array:
    """Of token embeddings, start and end tokens included; padded to the whole context, causal."""
    end = len(embedded) - 1
    x = np.concatenate([embedded, np.zeros((m.CONTEXT - len(embedded), m.W))]) + p["positional_embedding"]
    x = tower(p, "transformer", x, np.triu(np.full((m.CONTEXT, m.CONTEXT), -1e30), 1))
    return unit(layer_norm(x[end], p["ln_final.weight"], p["ln_final.bias"], 1e-5) @ p["text_projection"])


def tokens(p: Weights, ids: list[int]) -> Array:
    return p["token_embedding.weight"][[m.ROWS.index(token) for token in ids]]


def class_features(p: Weights) -> list[Array]:
    return [text_feature(p, tokens(p, [m.START, *ids, m.END])) for ids in m.TEXTS.values()]


def prompt_feature(p: Weights, vectors: Array) -> Array:
    before = tokens(p, [m.START, *next(iter(m.TEXTS.values()))[:3]])
    return text_feature(p, np.concatenate([before, vectors, tokens(p, [m.STOP_IN_WORD, m.END])]))


# --------------------------------------------------------------------------------------------------------- stages


def clamp(cosine: float) -> float:
    return min(max(cosine, 1e-4), 0.9999)


def views(cam: Array, image: Array, epsilon: float) -> tuple[Array, Array]:
    mask = resize(cam, (m.CLIP_SIDE, m.CLIP_SIDE), "aligned")
    mask = (mask - mask.min()) / (mask.max() - mask.min() + epsilon)
    return mask * image, (1 - mask) * image


def stage_losses(g: Weights, c: Weights, prompts: Array, images: Array) -> tuple[float, float, float]:
    """Losses of (a), (b) and (c) with the published VOC weights."""
    texts = class_features(c)
    a, b, e = [], [], []
    for image, tags in zip(images, m.TAGS, strict=True):
        cams = fine_cams(g, image)
        for k in np.flatnonzero(tags):
            backgrounds = prompt_feature(c, prompts[k])
            kept, left = views(cams[k], image, 0.1)
            seen = image_feature(c, kept)
            loss = -math.log(clamp(seen @ texts[k])) - 2.4 * math.log(1 - clamp(image_feature(c, left) @ texts[k]))
            a.append(loss)
            e.append(loss - 0.05 * math.log(1 - clamp(seen @ backgrounds)))
            _, left = views(cams[k], image, 1e-4)
            attract = -math.log(clamp(image_feature(c, left) @ backgrounds))
            b.append(attract + 0.02 * math.log(clamp(backgrounds @ texts[k])))
    return float(np.mean(a)), float(np.mean(b)), float(np.mean(e))


def differences(loss: Callable[[], float | Array], value: Array) -> Array:
    """Gradient of `loss` in every entry of `value`, by central differences in place."""
    gradient, flat = np.zeros(value.size), value.reshape(-1)
    for i in range(value.size):
        start = flat[i]
        flat[i] = start + STEP
        above = np.sum(loss())
        flat[i] = start - STEP
        gradient[i] = (above - np.sum(loss())) / (2 * STEP)
        flat[i] = start
    return gradient.reshape(value.shape)


# ------------------------------------------------------------------------------------------ CAMs, scores, schedules


def photo_cams(g: Weights, photo: Array, labels: list[int]) -> Array:
    """Scales 1.0 and 1.2, mirrored, summed, each class to 0..1."""
    height, width = photo.shape[:2]
    total = np.zeros((m.K, height, width))
    for scale in (1.0, 1.2):
        size = round(width * scale), round(height * scale)
        resized = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))
        view = ((resized / 255 - m.MEAN) / m.STD).transpose(2, 0, 1)
        total += resize(fine_cams(g, view), (height, width), "bilinear")
        total += resize(fine_cams(g, view[:, :, ::-1]), (height, width), "bilinear")[:, :, ::-1]
    low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
    return ((total - low) / (high - low + 1e-8))[labels]


def curve() -> Array:
    """Rows (threshold in %, mIoU, IoU of background and classes), in %, counted pixel by pixel."""
    rows = []
    for percent in range(20, 80):
        confusion = np.zeros((m.K + 1, m.K + 1))
        for truth, cams in zip(*m.scored(), strict=True):
            for y, x in np.argwhere(truth < 255):
                best, label = np.float32(percent / 100), 0
                for k, cam in cams.items():
                    if cam[y, x] > best:
                        best, label = cam[y, x], k + 1
                confusion[truth[y, x], label] += 1
        hit = np.diag(confusion)
        union = confusion.sum(0) + confusion.sum(1) - hit
        iou = np.where(union > 0, 100 * hit / np.maximum(union, 1), np.nan)
        rows.append([percent, np.nanmean(iou), *iou])
    return np.array(rows)


def schedules() -> dict[str, Array]:
    def late(base: float, batch: int) -> list[float]:
        return [base * batch / 512 * 0.5 * (1 + math.cos(math.pi * max(0, e - 1) / 60)) for e in range(60)]

    full = 6e-4 * 64 / 512
    rise = [1e-6 + (full - 1e-6) * e / 5 for e in range(5)]
    fall = [1e-5 + (full - 1e-5) * 0.5 * (1 + math.cos(math.pi * e / 60)) for e in range(5, 60)]
    return {
        "voc/warmup": np.array(rise + fall),
        "voc/matching": np.array(late(5.12e-4, 64)),
        "voc/prompting": np.array(late(0.1, 128)),
        "voc/refinement": np.array(late(5.12e-4, 64)),
        "coco/matching": np.array(late(5.12e-6, 32)),
        "coco/prompting": np.array(late(0.01, 128)),
        "coco/refinement": np.array(late(5.12e-6, 24)),
    }


def main() -> None:
    g = {name: value.astype(np.float64) for name, value in m.generator_weights().items()}
    c = {name: value.astype(np.float64) for name, value in m.clip_weights().items()}
    prompts, images = m.prompts().astype(np.float64), m.batch().astype(np.float64)
    frozen = {name: value.copy() for name, value in g.items()}
    out: dict[str, Array] = {}
    wide = np.concatenate([images[0], images[1]], axis=2)[:, :, :29]
    for pooling in ("max", "avg"):
        out[f"cams/{pooling}/square"] = np.stack([fine_cams(g, image, pooling) for image in images])
        out[f"cams/{pooling}/wide"] = fine_cams(g, wide, pooling)
    out["features/images"] = np.stack([image_feature(c, image) for image in images])
    out["features/texts"] = np.stack(class_features(c))
    out["features/prompts"] = np.stack([prompt_feature(c, vectors) for vectors in prompts])
    a, b, e = stage_losses(g, c, prompts, images)
    out |= {"loss/matching": np.array(a), "loss/prompting": np.array(b), "loss/refinement": np.array(e)}
    out["loss/warmup"] = warmup_losses(g, frozen, images)
    trained = [name for name in g if name.startswith(("head.", "adaptive_attention_fusion."))]

    def part(index: int) -> Callable[[], float | Array]:
        return lambda: stage_losses(g, c, prompts, images)[index]

    for index, stage in ((0, "matching"), (2, "refinement")):
        for name in trained:
            out[f"grad/{stage}/{name}"] = differences(part(index), g[name])
    out["grad/prompting/vectors"] = differences(lambda: stage_losses(g, c, prompts, images)[1], prompts)
    for name in g:
        out[f"grad/warmup/{name}"] = differences(lambda: warmup_losses(g, frozen, images).mean(), g[name])
    out["photo_cams"] = photo_cams(g, m.photo("photo", 19, 23), [0, 2])
    out["curve"] = curve()
    out |= {f"schedule/{name}": rates for name, rates in schedules().items()}
    path = ROOT / "tests" / "golden_own" / "golden.npz"
    arrays: dict[str, Any] = {
        name: value.astype(np.float64 if value.size < 100 else np.float32) for name, value in out.items()
    }
    np.savez_compressed(path, **arrays)
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()

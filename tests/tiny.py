"""Tiny models of the true formats with random weights, and small drawn photo folders, for tests that run commands."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]

RECIPE = """\
name: tiny
generator: {{start: random, image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2, drop_path: 0.2, feature_reduction: 4}}
clip: {{model: {clip}}}
prompts: {{length: 4}}
warmup: {{epochs: 3, batch: 4, base_lr: 0.05}}
matching: {{epochs: 3, batch: 4, base_lr: 0.05, cam_epsilon: relative}}
prompting: {{epochs: 3, batch: 4, cam_epsilon: relative}}
refinement: {{epochs: 3, batch: 4, base_lr: 0.05, cam_epsilon: relative}}
scores: {{curve_start: 5, curve_end: 96}}
data: {{workers: 0}}
run: {{checkpoint_seconds: 0, log_every: 2}}
"""


def save_clip(folder: Path, *, image_size: int = 32, patch_size: int = 16, width: int = 64) -> Path:
    """CLIP in transformers format with random weights, two layers a tower, and the published vocabulary."""
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = CLIPConfig(
        projection_dim=32,
        vision_config={**tower, "image_size": image_size, "patch_size": patch_size, "projection_dim": 32},
        text_config={**tower, "projection_dim": 32},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(config)
        # Raw cosines of random towers are often negative, where the losses are flat: one shared direction lifts them.
        for layer in (model.visual_projection, model.text_projection):
            layer.weight.data[0] += 0.3
        for norm in (model.vision_model.post_layernorm, model.text_model.final_layer_norm):
            norm.bias.data += 0.3
    model.save_pretrained(folder)
    return folder


def write_recipe(path: Path, clip: Path) -> Path:
    """A recipe with a tiny random generator and the given CLIP."""
    path.write_text(RECIPE.format(clip=clip), encoding="utf-8")
    return path


def draw_photos(folder: Path, *, count: int = 10, classes: tuple[str, ...] = ("disc", "square"), seed: int = 0) -> Path:
    """Photos of coloured discs and squares with masks and a tags.csv; the last photo has no tag."""
    rng = np.random.default_rng(seed)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    with open(folder / "tags.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        for index in range(count):
            height, width = (int(x) for x in rng.integers(30, 60, 2))
            photo = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
            mask = np.zeros((height, width), np.uint8)
            tags = []
            y, x = np.mgrid[:height, :width]
            for label, name in enumerate(classes):
                if index == count - 1 or rng.random() < 0.4:
                    continue
                cy, cx, radius = rng.integers(8, height - 8), rng.integers(8, width - 8), rng.integers(5, 9)
                inside = np.maximum(abs(y - cy), abs(x - cx)) < radius if label % 2 else (y - cy) ** 2 + (x - cx) ** 2 < radius**2
                photo[inside] = (220, 80, 60) if label % 2 else (60, 200, 90)
                mask[inside] = label + 1
                tags.append(name)
            Image.fromarray(photo).save(folder / f"p{index:02d}.png")
            Image.fromarray(mask).save(folder / "masks" / f"p{index:02d}.png")
            writer.writerow([f"p{index:02d}.png", ";".join(tags)])
    (folder / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    return folder


def semples(*arguments: str | Path, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process."""
    command = [sys.executable, "-m", "semples", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
    return result


def environment() -> dict[str, str]:
    """The environment of child processes: one thread, no network, wide output."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

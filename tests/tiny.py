"""Tiny models of the true formats with random weights, and small drawn photo folders, for tests that run commands."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]

RECIPE = """\
name: tiny
generator:
  {{start: random, image_size: 32, patch_size: 8, width: 32, depth: 2, heads: 2, drop_path: 0.2, feature_reduction: 4}}
judge: {{model: {clip}}}
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
                inside = (
                    np.maximum(abs(y - cy), abs(x - cx)) < radius
                    if label % 2
                    else (y - cy) ** 2 + (x - cx) ** 2 < radius**2
                )
                photo[inside] = (220, 80, 60) if label % 2 else (60, 200, 90)
                mask[inside] = label + 1
                tags.append(name)
            Image.fromarray(photo).save(folder / f"p{index:02d}.png")
            Image.fromarray(mask).save(folder / "masks" / f"p{index:02d}.png")
            writer.writerow([f"p{index:02d}.png", ";".join(tags)])
    (folder / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    return folder


def to_voc(photos: Path, folder: Path) -> Path:
    """The photos of `draw_photos` in the VOC layout: JPEG photos, XML annotations, masks and a list `train.txt`."""
    with open(photos / "tags.csv", encoding="utf-8", newline="") as file:
        rows = [
            (Path(row["image"]).stem, [tag for tag in row["tags"].split(";") if tag]) for row in csv.DictReader(file)
        ]
    for part in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name, tags in rows:
        with Image.open(photos / f"{name}.png") as photo:
            photo.save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        shutil.copy(photos / "masks" / f"{name}.png", folder / "SegmentationClass")
        objects = "".join(f"<object><name>{tag}</name></object>" for tag in tags)
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")
    listed = "".join(f"{name}\n" for name, _ in rows)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text(listed, encoding="utf-8")
    shutil.copy(photos / "classes.txt", folder)
    return folder


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


def invoke(*arguments: str | Path, check: bool = True) -> Result:
    """Run the command line in this process: much faster than `semples`, for all that needs no process of its own."""
    from semples.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    line = ["semples", *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch.object(sys, "argv", line):
        with mock.patch.dict(os.environ, environment()), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # cyclopts suspects a mistake when tests call a program
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    if check and code != 0:
        raise AssertionError(f"{' '.join(line)} ended with {code}:\n{out.getvalue()}\n{err.getvalue()}")
    return Result(code, out.getvalue(), err.getvalue())


def refused(*arguments: str | Path) -> str:
    """The one line that a command with a user's mistake ends with; anything else is a failed test."""
    result = invoke(*arguments, check=False)
    lines = [line for line in result.err.splitlines() if line.startswith("semples: ")]
    assert result.code == 2, f"{arguments}: status {result.code}\n{result.err}"
    assert len(lines) == 1, result.err
    assert result.err.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.err + result.out
    return lines[0]


def semples(*arguments: str | Path, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process."""
    command = [sys.executable, "-m", "semples", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(), check=False)
    if check and result.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}")
    return result


def environment() -> dict[str, str]:
    """The environment of child processes: one thread, no network, wide output."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "TERM": "dumb"}


UNSTABLE = ("seconds", "cpu_seconds", "finished", "processes", "numerics", "check")


PASSING = ("seen.json", ".lock", "times.jsonl", "summary.json")


def results_of(run: Path) -> dict[str, object]:
    """Everything a run leaves that must be equal bit by bit: tensors, events, CAMs, labels, scores, manifests."""
    by_name: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if not path.is_file() or "tensorboard" in path.parts or path.name in PASSING:
            continue
        if path.name == "started.json":  # in the end a copy of the manifest
            by_name[name] = json.loads(path.read_text(encoding="utf-8"))["reads"]
        elif path.name == "manifest.json":
            manifest = json.loads(path.read_text(encoding="utf-8"))
            by_name[name] = {key: value for key, value in manifest.items() if key not in UNSTABLE}
        else:
            by_name[name] = path.read_bytes()
    return by_name


def pixels(path: Path) -> np.ndarray:
    """The values of an image file, of a label map its labels."""
    with Image.open(path) as image:
        return np.array(image)


def save(path: Path, values: np.ndarray) -> Path:
    """An image file of these values."""
    Image.fromarray(values).save(path)
    return path

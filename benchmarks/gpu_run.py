"""The cells of `gpu.py` that start the program as a user does: a run of the recipe voc on drawn photos, and predict.

Weights are random and of the published sizes (DeiT-S, CLIP ViT-B/32), photos are drawn at 500x375: seconds are those of
real ones, figures of quality mean nothing and are not given.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpu_parts import STAGES, TINY, Sizes, clip_config
from semples.core.errors import UserError
from semples.core.files import read_json
from semples.networks.tokenizer import FULL_VOCABULARY
from semples.recipe import load_recipe
from semples.training.events import TIMES, read_lines

EPOCHS = 8  # of every stage: enough steps for several lines of the log
FILE_STEPS = ("data", "cams", "selection", "labels")
LONGEST = 170.0  # seconds of a run: a longer one is cut, and told as far as it came
GRAIN = 6.0  # of drawn photos, so that a JPEG has as many bytes as a camera's of that size


def draw_photos(folder: Path, count: int, sizes: Sizes) -> None:
    """JPEGs with one tag or two each, and tags.csv."""
    folder.mkdir(parents=True)
    draw, rows = np.random.default_rng(0), ["image,tags"]
    height, width = sizes.photo
    for number in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), np.uint8))
        whole = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        grainy = whole + draw.normal(0, GRAIN, (height, width, 1)).astype(np.float32)
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(path, quality=90)
        tags = sorted({number % sizes.classes, number * 7 % sizes.classes if number % 2 else number % sizes.classes})
        rows.append(f"{path.name},{';'.join(f'thing{tag}' for tag in tags)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_clip(folder: Path, sizes: Sizes) -> None:
    """A CLIP with random weights in transformers' form, with the published vocabulary."""
    from transformers import CLIPModel

    torch.manual_seed(0)
    config = clip_config(sizes)
    config.text_config.vocab_size = FULL_VOCABULARY
    CLIPModel(config).save_pretrained(folder)


def semples(*arguments: str | Path) -> float | None:
    """Run the program; its seconds, None where it was cut. Raises UserError with its last lines where it fails."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "semples", *map(str, arguments)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return None
    if ended.returncode:
        raise UserError(" / ".join(ended.stderr.strip().splitlines()[-6:]))
    return time.perf_counter() - begin


def steady(folder: Path, *, batch: int) -> dict[str, float]:
    """Photos a second of a stage between the first and the last line of its log, and the share of that time that it
    waited for photos: without what starting costs."""
    lines = read_lines(folder / TIMES, numbers=("step", "seconds", "waited"))
    if len(lines) < 2:
        return {}
    seconds = max(sum(line["seconds"] for line in lines[1:]), 1e-9)
    photos = (lines[-1]["step"] - lines[0]["step"]) * batch
    return {"photos": photos / seconds, "waited": sum(line["waited"] for line in lines[1:]) / seconds}


def run_voc(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """The recipe voc from photos to label maps: photos a second of every stage and step, and seconds of the whole (null
    where it was cut; the steps that it had finished are there)."""
    settings = [
        "generator.start=random", f"generator.image_size={sizes.side}", f"generator.patch_size={sizes.patch}",
        f"generator.width={sizes.width}", f"generator.depth={sizes.depth}", f"generator.heads={sizes.heads}",
        "run.log_every=20",
    ]  # fmt: skip
    batches = {name: getattr(load_recipe("voc"), name).batch for name in STAGES}
    epochs = EPOCHS
    if sizes is TINY:
        epochs, batches = 2, dict.fromkeys(STAGES, 4)
        settings += [f"{name}.batch=4" for name in STAGES] + ["run.log_every=1"]
    settings += [f"{name}.epochs={epochs}" for name in STAGES] + ["warmup.warmup_epochs=0"]
    with tempfile.TemporaryDirectory() as place:
        folder, count = Path(place), sizes.photos
        draw_photos(folder / "photos", count, sizes)
        write_clip(folder / "clip", sizes)
        sets = [part for setting in (*settings, f"judge.model={folder / 'clip'}") for part in ("--set", setting)]
        out = folder / "run"
        seconds = semples("run", "voc", "--data", folder / "photos", "--out", out, *sets)
        made: dict[str, Any] = {name: steady(out / name, batch=batches[name]) for name in STAGES}
        taken = {path.parent.name: read_json(path)["seconds"] for path in sorted(out.glob("*/manifest.json"))}
        trained = out / "matching" / "manifest.json"
        numerics = read_json(trained).get("numerics") if trained.is_file() else None
    made |= {name: {"photos": count / max(taken[name], 1e-3)} for name in FILE_STEPS if name in taken}
    return {"rows": made, "photos": count, "epochs": epochs, "run": seconds, "steps": taken, "numerics": numerics}


def predict(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """`semples predict` of whole photos by a segmenter with random weights, by precision and threads."""
    from semples.prediction import predict as predicted
    from semples.prediction.model import SegmenterModel
    from semples.prediction.settings import predict_settings
    from semples.recipe import CrfSettings
    from semples.segmenter.build import SegmenterConfig, build_segmenter

    names = tuple(f"thing{index}" for index in range(sizes.classes))
    side = 64 if sizes is TINY else 512
    config = SegmenterConfig(classes=names, size=side, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draw_photos(folder / "photos", min(sizes.photos, 400), sizes)
        segmenter = build_segmenter("scratch:segformer", config=config, seed=0).eval()
        cases = [("no", 0)] if sizes is TINY else [("no", 2), ("no", 2), ("no", 12), ("bf16", 12)]  # the first warms up
        for number, (precision, workers) in enumerate(cases):
            settings = predict_settings(batch=16, workers=workers, precision=precision)
            model = SegmenterModel(segmenter, settings=settings, identity={}, crf=CrfSettings())
            done = predicted(model, folder / "photos", folder / f"out{number}")
            rows[f"{precision}, {workers} threads"] = {
                "photos": done.photos_per_second,
                "network": done.network_share,
            }
    return {"rows": rows}

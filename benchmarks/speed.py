"""Seconds per step and peak memory at real sizes: DeiT-S, CLIP ViT-B/32 (random weights), 224 px, batch 4 with 7 pairs.

Times are in units of one plain no-grad CLIP image-encoder forward of 7 views, measured in the same process between the
repetitions, so that they compare across machines; medians. *Counted* is what the products of the case (matrices,
convolutions, attention) are to those of the unit: no way of computing the same is faster on a machine that does all
products at one rate and the rest for nothing. Memory is the peak of a process of its own that runs the
case alone (resident set on a CPU, allocated memory on a GPU).

    OMP_NUM_THREADS=1 python benchmarks/speed.py [--repeats 7] [--device cuda] [--out benchmarks/results/speed.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from semples.cams.make import photo_cams
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.generators.weaktr import WeakTr
from semples.judges.clip import Clip
from semples.labels.threshold import winner_map
from semples.networks.clip import FrozenClip
from semples.networks.tokenizer import ClipTokenizer
from semples.networks.vit import VitConfig
from semples.networks.vit_start import initialise
from semples.recipe import load_recipe
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.training.task import TaggedBatch, Total

PUBLISHED = {"a": (12.7, 4.1), "b": (13.0, 3.7), "c": (24.0, 6.1), "cams": (9.1, 2.2), "curve": (19.5, None)}
LIMIT = {"a": (5.5, 2.0), "b": (3.2, 1.8), "c": (5.8, 2.0), "cams": (5.0, 0.9), "curve": (1.0, None)}
NAMES = {
    "a": "stage (a), matching",
    "b": "stage (b), prompting",
    "c": "stage (c), refinement",
    "cams": "CAMs of a 500x375 photo, scales 1.0 1.2, mirrored",
    "curve": "20 thresholds on 50 label maps 375x500",
}
RECIPE = load_recipe("voc")
CLASSES = 20
PAIRS = ((0, 3), (0, 14), (1, 6), (2, 14), (2, 11), (3, 3), (3, 18))  # (photo, class): 4 photos, 7 pairs


def build_clip(device: str) -> FrozenClip:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    config = CLIPConfig()
    config._attn_implementation = "sdpa"
    return FrozenClip(CLIPModel(config), ClipTokenizer.published()).to(device)


def build_generator(device: str) -> WeakTr:
    torch.manual_seed(1)
    model = WeakTr(VitConfig(), num_classes=CLASSES)
    initialise(model)
    return model.to(device)


def build_batch(device: str) -> TaggedBatch:
    rng = torch.Generator().manual_seed(2)
    tags = torch.zeros(4, CLASSES, dtype=torch.bool)
    for photo, label in PAIRS:
        tags[photo, label] = True
    image = torch.randn(4, 3, 224, 224, generator=rng)
    batch = TaggedBatch(image=image, tags=tags, noise=torch.rand(4, 24, generator=rng))
    return batch.to(torch.device(device))


def stage(name: str, device: str) -> Callable[[], None]:
    """One optimizer step of a stage."""
    clip, generator, batch = build_clip(device), build_generator(device), build_batch(device)
    with torch.no_grad():
        texts = clip.encode_texts([f"a photo of thing {index}." for index in range(CLASSES)])
    judge = Clip(clip, texts, template="a photo of {name}.")
    task: Stage
    if name == "a":
        task = Matching(generator, judge)
    elif name == "c":
        with torch.no_grad():
            start = judge.start_backgrounds(RECIPE.prompts, seed=0).to(device)
            backgrounds = judge.encode_backgrounds(start, RECIPE.prompts)
        task = Refinement(generator, judge, backgrounds)
    else:
        task = Prompting(generator, judge, prompts=RECIPE.prompts).to(torch.device(device))
    if name != "b":
        del clip, judge  # the stage keeps the image tower alone
    task.train().requires_grad_(False)
    trained = list(task.trained())
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    total = Total(photos=4, pairs=len(PAIRS))

    def step() -> None:
        task(batch, total)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def cams(device: str) -> Callable[[], None]:
    model = build_generator(device).eval()
    photo = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    place = torch.device(device)

    def once() -> None:
        photo_cams(model, [photo], [(3, 14)], settings=RECIPE.cams, device=place)

    return once


def curve(device: str) -> Callable[[], None]:
    """From the CAMs of 50 photos, 1 to 3 classes each, to all figures of 20 thresholds."""
    photos = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        present = rng.choice(CLASSES, size=1 + seed % 3, replace=False)
        cams = {int(index): rng.random((375, 500), dtype=np.float32) for index in present}
        values = np.array([0, *(present + 1), 255], np.uint8)
        photos.append((values[rng.integers(len(values), size=(375, 500))], cams))

    def once() -> None:
        accumulator = CurveAccumulator(CLASSES, threshold_range(40, 60))
        for truth, cams in photos:
            accumulator.add(truth, *winner_map(cams, (375, 500)))
        accumulator.result()

    return once


def prepare(name: str, device: str) -> Callable[[], None]:
    if name == "cams":
        return cams(device)
    return curve(device) if name == "curve" else stage(name, device)


def timed(work: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def build_unit(device: str) -> Callable[[], None]:
    """One plain no-grad forward of CLIP's image encoder on 7 views."""
    clip = build_clip(device).model
    views = torch.randn(7, 3, 224, 224, device=device)

    @torch.no_grad()
    def unit() -> None:
        clip.visual_projection(clip.vision_model(pixel_values=views).pooler_output)

    return unit


def of_attention(query: list[int], key: list[int], value: list[int], *_: Any, **__: Any) -> int:
    """Operations of the processor's attention kernel, which PyTorch's counter does not know."""
    counted: int = sdpa_flop_count(query, key, value)
    return counted


def count(name: str, device: str) -> dict[str, float]:
    """Operations of the case's products over those of the unit's."""
    counted = []
    for work in (prepare(name, device), build_unit(device)):
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        with FlopCounterMode(display=False, custom_mapping={kernel: of_attention}) as counter:
            work()
        counted.append(counter.get_total_flops())
    return {"counted_units": counted[0] / counted[1]}


def measure_time(name: str, device: str, repeats: int) -> dict[str, float]:
    """Median seconds of the case and of the unit, taken in turns."""
    unit, work = build_unit(device), prepare(name, device)
    pairs = [(timed(unit, device), timed(work, device)) for _ in range(repeats + 1)][1:]
    ratios = [seconds / base for base, seconds in pairs]
    return {
        "seconds": statistics.median(seconds for _, seconds in pairs),
        "unit_seconds": statistics.median(base for base, _ in pairs),
        "units": statistics.median(ratios),
    }


def measure_memory(name: str, device: str) -> dict[str, float]:
    """Peak gigabytes (10^9 bytes) of this process after three runs of the case."""
    work = prepare(name, device)
    for _ in range(3):
        work()
    if device == "cuda":
        return {"peak_gb": torch.cuda.max_memory_allocated() / 1e9}
    return {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def child(kind: str, name: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, name, "--device", arguments.device]
    command += ["--repeats", str(arguments.repeats)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def table(figures: dict[str, dict[str, float]]) -> str:
    rows = ["| | published program | must | measured | counted | seconds |", "|---|---|---|---|---|---|"]
    for name, row in figures.items():
        cells = [_pair(*PUBLISHED[name]), "≤ " + _pair(*LIMIT[name])]
        cells += [_pair(row["units"], row["peak_gb"]), f"{row['counted_units']:.2f}", f"{row['seconds']:.2f}"]
        rows.append(f"| {NAMES[name]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _pair(units: float, gigabytes: float | None) -> str:
    return f"{units:.2g} units" + ("" if gigabytes is None else f", {gigabytes:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=list(NAMES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    if arguments.child:
        kind, name = arguments.child
        kinds: dict[str, Callable[[str, str], dict[str, float]]] = {
            "memory": measure_memory,
            "count": count,
            "time": partial(measure_time, repeats=arguments.repeats),
        }
        print(json.dumps(kinds[kind](name, arguments.device)))
        return
    figures: dict[str, dict[str, float]] = {}
    for name in arguments.only:
        figures[name] = {}
        for kind in ("time", "memory", "count"):
            figures[name] |= child(kind, name, arguments)
    print(table(figures))
    if arguments.out is not None:
        about = {
            "torch": torch.__version__,
            "machine": platform.processor() or platform.machine(),
            "device": arguments.device,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({"about": about, "figures": figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

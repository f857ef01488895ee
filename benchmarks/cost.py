"""What a photo costs: operations of every network step, counted on tensors without values, and bytes of its files.

Published sizes: DeiT-S, CLIP ViT-B/32, 224 px, the recipe voc, 1.5 classes a photo. Nothing is timed here. GPU hours
follow from how many operations a card really does in a second: an assumption, which stands beside the figures. Seconds
of the file steps are those measured on one core before.

    python benchmarks/cost.py [--half 150] [--single 20] [--out benchmarks/results/cost.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from semples.cams.store import CamStore
from semples.core.palette import write_confidence_png, write_label_png
from semples.generators.weaktr import WeakTr
from semples.judges.clip import Clip
from semples.networks.clip import FrozenClip
from semples.networks.pairs import Pairs
from semples.networks.tokenizer import ClipTokenizer
from semples.networks.vit import VitConfig
from semples.recipe import load_recipe
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.warmup import Warmup
from semples.training.task import TaggedBatch, Task, Total

RECIPE, CLASSES = load_recipe("voc"), 20
TAGS = (2, 1)  # classes of the two photos that are counted together
FILE_SECONDS = {"decode": 1 / 115, "CAM file": 0.025 + 0.014, "label map": 0.049}  # a photo on one core
SIZES, CARDS = (10_000, 1_000_000, 10_000_000), (1, 8, 64)
CORES = 16  # beside each card
MASKS = "masks in float32, part of (a), (b), (c)"


def on_fakes(module: nn.Module, work: Callable[[], Any], *, trained: set[int]) -> int:
    """Operations of `work` with the module's tensors replaced by some without values; a product and a sum are two."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    names: dict[str, torch.Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    state: dict[str, torch.Tensor] = {name: mode.from_tensor(value.detach()) for name, value in names.items()}
    for name, value in module.named_parameters():
        state[name].requires_grad_(id(value) in trained)
    with torch.nn.utils.stateless._reparametrize_module(module, state), mode, FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def batch(noise_size: int) -> TaggedBatch:
    """Two photos at 224 px."""
    photo = torch.tensor([place for place, count in enumerate(TAGS) for _ in range(count)])
    label = torch.tensor([index for count in TAGS for index in range(count)])
    return TaggedBatch(
        image=torch.zeros(len(TAGS), 3, 224, 224),
        tags=torch.zeros(len(TAGS), CLASSES, dtype=torch.bool),
        noise=torch.zeros(len(TAGS), noise_size),
        present=Pairs(photo, label, None, (torch.arange(max(TAGS)), label)),
    )


def stages() -> dict[str, Task[TaggedBatch]]:
    """The four stages with random weights."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(vision_config={"patch_size": 32, "image_size": 224})
    config._attn_implementation = "sdpa"
    judge = Clip(FrozenClip(CLIPModel(config), ClipTokenizer.published()), torch.zeros(CLASSES, 512), template="{name}")
    generator = WeakTr(VitConfig(), num_classes=CLASSES)
    return {
        "warm-up": Warmup(generator),
        "(a) matching": Matching(generator, judge),
        "(b) prompting": Prompting(generator, judge, prompts=RECIPE.prompts),
        "(c) refinement": Refinement(generator, judge, torch.zeros(CLASSES, 512)),
    }


def fusion(model: Any) -> Any:
    """The part of a WeakTr that weighs its attention heads."""
    return model.adaptive_attention_fusion


def operations() -> dict[str, float]:
    """Operations a photo of a training step of every stage, and of the CAMs of a photo of 500x375."""
    counts = {}
    for name, task in stages().items():
        given = batch(24)

        def step(task: Task[TaggedBatch] = task, given: TaggedBatch = given) -> None:
            task(given, Total(len(TAGS), sum(TAGS)))["loss"].backward()

        counts[name] = on_fakes(task.train(), step, trained={id(value) for value in task.trained()}) / len(TAGS)
    model = WeakTr(VitConfig(), num_classes=CLASSES).eval()
    counts[MASKS] = on_fakes(model, lambda: masks_of(model), trained=set()) / len(TAGS)
    images = 2 if RECIPE.cams.mirror else 1
    pairs = Pairs(torch.arange(images).repeat_interleave(2)[: 2 * images], torch.tensor([0, 1] * images))

    def cams() -> None:
        with torch.no_grad():
            for scale in RECIPE.cams.scales:
                size = round(375 * scale), round(500 * scale)
                tokens = model._tokens(torch.zeros(images, 3, *size), None, keep_maps=True)
                weights = fusion(model)(tokens.pooled)
                patch = model._patch_logits(tokens).flatten(2)[pairs.photo, pairs.label]
                model._fine_from_maps(tokens, weights, patch, pairs)

    counts["CAMs"] = float(on_fakes(model, cams, trained=set()))
    return counts


def masks_of(model: WeakTr) -> None:
    """The CAMs of a batch, which stages (a), (b), (c) make in float32 whatever the precision."""
    given = batch(24)
    with torch.no_grad():
        tokens = model._tokens(given.image, None, keep_maps=True)
        patch = model._patch_logits(tokens).flatten(2)[given.pairs.photo, given.pairs.label]
        model._fine_from_maps(tokens, fusion(model)(tokens.pooled), patch, given.pairs)


def file_bytes() -> dict[str, int]:
    """Bytes of what is kept of a photo of 500x375 with 1.5 classes: smooth maps, the sizes of a real run's."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:375, :500]
    with tempfile.TemporaryDirectory() as folder:
        sizes = []
        for count in TAGS:
            maps = {}
            for index in range(count):
                y, x = draw.uniform(80, 300), draw.uniform(80, 420)
                near = (
                    np.exp(-(((rows - y) / 70) ** 2) - ((columns - x) / 90) ** 2)
                    + 0.05 * draw.random((24, 32)).repeat(16, 0).repeat(16, 1)[:375, :500]
                )
                maps[index] = (near / near.max()).astype(np.float32)
            CamStore(Path(folder)).write(f"cam{count}", maps, (375, 500))
            labels = np.where(maps[0] > 0.4, 1, 0).astype(np.uint8)
            write_label_png(Path(folder) / f"label{count}.png", labels)
            write_confidence_png(Path(folder) / f"sure{count}.png", np.abs(maps[0] - 0.4))
        for start in ("cam", "label", "sure"):
            sizes.append(sum(path.stat().st_size for path in Path(folder).glob(f"{start}*")) // len(TAGS))
    return dict(zip(("CAM file", "label map", "confidence"), sizes, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=float, default=150, help="10^12 operations a second that a card does in bf16")
    parser.add_argument("--single", type=float, default=20, help="the same in float32")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    counts, sizes = operations(), file_bytes()
    epochs = {"warm-up": RECIPE.warmup.epochs, "(a) matching": RECIPE.matching.epochs}
    epochs |= {"(b) prompting": RECIPE.prompting.epochs, "(c) refinement": RECIPE.refinement.epochs, "CAMs": 1}
    epochs[MASKS] = 0
    passes = {name: float(count) if isinstance(count, int) else 1.0 for name, count in epochs.items()}
    print("| step | 10^9 operations a photo | passes |\n|---|---|---|")
    for name, count in counts.items():
        print(f"| {name} | {count / 1e9:.1f} | {passes[name]:g} |")
    trained = sum(count * passes[name] for name, count in counts.items() if name != "CAMs")
    single = counts[MASKS] * sum(passes[name] for name in passes if name.startswith("("))
    card_seconds = (trained - single) / (options.half * 1e12) + (single + counts["CAMs"]) / (options.single * 1e12)
    decoded = sum(passes[name] for name in counts)
    core_seconds = decoded * FILE_SECONDS["decode"] + FILE_SECONDS["CAM file"] + FILE_SECONDS["label map"]
    kept = sum(sizes.values())
    print(f"bytes a photo: {sizes}; seconds of a card {card_seconds:.4f}, of a core {core_seconds:.3f}")
    print("| photos | GPU hours | core hours | CAMs and label maps | 1 GPU | 8 GPUs | 64 GPUs |")
    print("|---|---|---|---|---|---|---|")
    for photos in SIZES:
        walls = [max(card_seconds, core_seconds / CORES) * photos / cards / 3600 for cards in CARDS]
        wall = " | ".join(f"{hours:.1f} h" if hours >= 0.1 else f"{60 * hours:.1f} min" for hours in walls)
        print(
            f"| {photos:,} | {card_seconds * photos / 3600:,.1f} | {core_seconds * photos / 3600:,.1f} "
            f"| {kept * photos / 1e9:,.1f} GB | {wall} |"
        )
    if options.out is not None:
        described = {
            "operations_a_photo": counts,
            "passes": passes,
            "bytes_a_photo": sizes,
            "assumed_operations_a_second": {"half": options.half * 1e12, "single": options.single * 1e12},
            "seconds_of_a_core": FILE_SECONDS,
            "cores_beside_a_card": CORES,
        }
        options.out.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What `gpu.py` measures with: sizes, networks, steps, and how often something can be done in a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from semples.data.classes import ClassList
from semples.generators.base import build_generator
from semples.judges.clip import Clip
from semples.networks.clip import FrozenClip
from semples.networks.precision import at_precision, use_tf32
from semples.networks.tokenizer import ClipTokenizer
from semples.recipe import WeakTrSettings, load_recipe
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.warmup import Warmup
from semples.training.task import TaggedBatch, Total

ROOT = Path(__file__).parents[1]
RECIPE = load_recipe("voc")
STAGES = ("warmup", "matching", "prompting", "refinement")
TOLERANCE = {"no": 2e-5, "tf32": 1e-2, "bf16": 6e-2, "fp16": 1e-2}  # of a loss, relative to the golden one
VOC, COCO = 10_582, 82_081  # training photos


@dataclass(frozen=True)
class Sizes:
    """What is measured with. side: of views; batches: photos a step; photo: height and width of whole photos."""

    side: int
    classes: int
    width: int
    depth: int
    heads: int
    patch: int
    clip: dict[str, Any]
    batches: tuple[int, ...]
    photo: tuple[int, int]
    photos: int
    seconds: float


REAL = Sizes(224, 20, 384, 12, 6, 16, {}, (64, 256), (375, 500), 1_000, 1.0)
TINY = Sizes(
    32, 3, 32, 2, 2, 8, {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1}, (4,), (40, 60), 12, 0.05
)


# ----------------------------------------------------------------------------------------------------------- networks


def make_generator(sizes: Sizes) -> Any:
    settings = WeakTrSettings(
        start="random", image_size=sizes.side, patch_size=sizes.patch, width=sizes.width, depth=sizes.depth,
        heads=sizes.heads,
    )  # fmt: skip
    return build_generator(settings, classes=ClassList(tuple(f"thing{k}" for k in range(sizes.classes))), seed=0)


def clip_config(sizes: Sizes) -> Any:
    """Of the recipe's CLIP, ViT-B/32, unless `sizes` say otherwise."""
    from transformers import CLIPConfig

    vision = {"patch_size": 32, "image_size": sizes.side, **sizes.clip}
    return CLIPConfig(vision_config=vision, text_config=dict(sizes.clip))


def make_judge(sizes: Sizes, device: torch.device) -> Clip:
    from transformers import CLIPModel

    torch.manual_seed(0)
    config = clip_config(sizes)
    config._attn_implementation = "sdpa"
    clip = FrozenClip(CLIPModel(config), ClipTokenizer.published()).to(device)
    with torch.no_grad():
        texts = clip.encode_texts([f"a photo of thing {k}." for k in range(sizes.classes)])
    return Clip(clip, texts, template="a photo of {name}.")


def make_stage(name: str, sizes: Sizes, device: torch.device) -> Stage:
    generator = make_generator(sizes)
    if name == "warmup":
        return Warmup(generator)
    judge = make_judge(sizes, device)
    if name == "matching":
        return Matching(generator, judge)
    if name == "prompting":
        return Prompting(generator, judge, prompts=RECIPE.prompts)
    with torch.no_grad():
        start = judge.start_backgrounds(RECIPE.prompts, seed=0).to(device)
        return Refinement(generator, judge, judge.encode_backgrounds(start, RECIPE.prompts))


def make_batch(sizes: Sizes, stage: Stage, count: int) -> TaggedBatch:
    draw = torch.Generator().manual_seed(0)
    tags = torch.zeros(count, sizes.classes, dtype=torch.bool)
    for photo in range(count):
        tags[photo, [photo % sizes.classes, *([0] if photo % 2 else [])]] = True
    image = torch.randn(count, 3, sizes.side, sizes.side, generator=draw)
    return TaggedBatch(image=image, tags=tags, noise=torch.rand(count, stage.generator.noise_size, generator=draw))


def optimizer_step(stage: Stage, batch: TaggedBatch, device: torch.device, precision: str) -> Callable[[], None]:
    """Forward, backward and AdamW of one batch, as the loop does it. Precisions: those of `TOLERANCE`."""
    stage.to(device).train().requires_grad_(False)
    trained = list(stage.trained())
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=device.type == "cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    total = Total(len(batch.tags), int(batch.tags.sum()))
    shown = batch.to(device)

    def step() -> None:
        with at_precision(device, "no" if precision == "tf32" else precision):
            loss = stage(shown, total)["loss"]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return step


def a_second(work: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """How often `work` can be done in a second, once it is warm."""

    def ready() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    work()
    ready()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        work()
        count += 1
        if count % 8 == 0:
            ready()
    ready()
    return count / (time.perf_counter() - begin)


@contextmanager
def tf32(precision: str) -> Iterator[None]:
    use_tf32(precision == "tf32")
    try:
        yield
    finally:
        use_tf32(False)


def precisions(device: torch.device) -> tuple[str, ...]:
    return ("no", "bf16") if device.type == "cpu" else ("no", "tf32", "bf16", "fp16")

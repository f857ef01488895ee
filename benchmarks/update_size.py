"""How far training moves the weights: the recipe `folder` against the published setting, at real and at tiny sizes.

    OMP_NUM_THREADS=1 python benchmarks/update_size.py --json benchmarks/results/update_size.json [--steps 24]

Networks of true form: DeiT-S with CLIP ViT-B/32 (random weights), and the two shipped tiny models. For every stage and
both settings a few dozen real steps are taken on random photos, and of the trained weights is measured, by tensor and
averaged over the weights:

- `rms`: root mean square of the weights before;
- `step`: root mean square of one step's change, over the rate and over `rms`: Adam moves a weight by about the rate;
- `coherent`: length of the way after all these steps over the sum of single steps: 1 where all go one way, about
  1 / sqrt(steps) where each goes its own.

From these and the schedule follow, on paper, the changes of a whole stage relative to `rms`: of one step at the full
rate, of all steps together where each goes its own way (sqrt of the sum of squared rates), and where all go one way
(the sum of rates). A layer of W inputs adds up W such changes, so that the change of its outputs grows with W: the
columns on outputs are thousandths, the change of a weight times W / 384 (times 1 for prompts, which are inputs).
`gradient`: its root mean square, to be far above AdamW's epsilon of 1e-8.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semples.core.files import read_json, write_json
from semples.data.classes import ClassList
from semples.generators.base import Generator
from semples.generators.base import build_generator as shipped_generator
from semples.judges.base import Judge, build_judge
from semples.judges.clip import Clip
from semples.recipe import StageSettings, load_recipe
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.warmup import Warmup
from semples.training.schedule import Course, settled
from semples.training.task import TaggedBatch, Total
from speed import build_batch, build_clip, build_generator

STAGES = ("warmup", "matching", "prompting", "refinement")
SIZES = {"real": (224, 384), "tiny": (96, 128)}  # side of a view, channels
PUBLISHED = (10_582, 20)  # photos and classes of VOC, for which the published setting is
FOLDER = (300, 8)
CLASSES = 20


def networks(size: str) -> tuple[Generator, Judge]:
    """A generator and a judge for 20 classes."""
    if size == "real":
        clip = build_clip("cpu")
        # Raw cosines of random towers are often negative, where the losses are flat: one shared direction lifts them.
        with torch.no_grad():
            for layer in (clip.model.visual_projection, clip.model.text_projection):
                layer.weight[0] += 0.3
            for norm in (clip.model.vision_model.post_layernorm, clip.model.text_model.final_layer_norm):
                norm.bias += 0.3
            texts = clip.encode_texts([f"a photo of thing {index}." for index in range(CLASSES)])
        return build_generator("cpu"), Clip(clip, texts, template="a photo of {name}.")
    recipe = load_recipe("demo")
    names = ClassList(tuple(f"thing{index}" for index in range(CLASSES)))
    return shipped_generator(recipe.generator, classes=names, seed=0), build_judge(recipe.judge, classes=names)


def stage(name: str, size: str, settings: Any) -> Stage:
    """A stage before its first step."""
    generator, judge = networks(size)
    prompts = load_recipe("voc").prompts
    if name == "warmup":
        return Warmup(generator)
    epsilon = "relative"  # with random weights an absolute one would leave every mask empty
    if name == "prompting":
        return Prompting(generator, judge, prompts=prompts, lambda_prompt=settings.lambda_prompt, cam_epsilon=epsilon)
    weight = settings.lambda_background
    if name == "matching":
        return Matching(generator, judge, lambda_background=weight, cam_epsilon=epsilon)
    with torch.no_grad():
        learned_KE = judge.encode_backgrounds(judge.start_backgrounds(prompts, seed=0), prompts)
    return Refinement(generator, judge, learned_KE, lambda_background=weight, cam_epsilon=epsilon)


def measure(name: str, size: str, setting: str, *, steps: int) -> dict[str, float]:
    """A row of the table."""
    side, width = SIZES[size]
    photos, classes = PUBLISHED if setting == "published" else FOLDER
    recipe = load_recipe("voc" if setting == "published" else "folder")
    chosen: StageSettings = settled(getattr(recipe, name), photos=photos, classes=classes, width=width)
    torch.manual_seed(0)
    task = stage(name, size, chosen).train()
    task.requires_grad_(False)
    trained = [parameter.requires_grad_(True) for parameter in task.trained()]
    rates = list(_rates(chosen, photos))
    moved = _moved(task, trained, chosen, rate=max(rates), side=side, steps=steps)
    rms, adam = moved["rms"], moved["step"]
    return moved | {
        "rate": max(rates),
        "steps": len(rates),
        "one": adam * max(rates) / rms,
        "apart": adam * math.sqrt(sum(rate**2 for rate in rates)) / rms,
        "together": adam * sum(rates) / rms,
    }


def _rates(settings: StageSettings, photos: int) -> Iterator[float]:
    course = Course.of(settings, photos=photos)
    each = photos // course.batch
    steps = course.epochs * each if course.length is None else course.length
    yield from (course.rate(step, steps=steps, steps_per_epoch=each) for step in range(steps))


def _moved(
    task: Stage, trained: list[Tensor], settings: StageSettings, *, rate: float, side: int, steps: int
) -> dict[str, float]:
    """Steps at one rate on ever new random photos, as the loop takes them."""
    optimizer = torch.optim.AdamW(
        trained, lr=rate, betas=(settings.beta1, settings.beta2), eps=settings.adam_epsilon, weight_decay=0.0
    )
    begin = [value.detach().clone() for value in trained]
    single, gradient, before = 0.0, 0.0, begin
    for step in range(steps):
        batch = _batch(side, seed=step, depth=task.generator.noise_size)
        total = Total(photos=len(batch.image), pairs=int(batch.tags.sum()))
        task(batch, total)["loss"].backward()
        gradient += _rms([value.grad for value in trained if value.grad is not None])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        now = [value.detach().clone() for value in trained]
        single += _rms([new - old for new, old in zip(now, before, strict=True)])
        before = now
    whole = _rms([new - old for new, old in zip(before, begin, strict=True)])
    return {
        "rms": _rms(begin),
        "step": single / steps / rate,
        "coherent": whole / single,
        "gradient": gradient / steps,
    }


def _batch(side: int, *, seed: int, depth: int) -> TaggedBatch:
    """Four photos with seven pairs, smooth noise."""
    batch = build_batch("cpu")
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(len(batch.image), 3, 8, 8, generator=rng)
    batch.image = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    batch.noise = torch.rand(len(batch.image), depth, generator=rng)
    return batch


def _rms(values: list[Tensor]) -> float:
    count = sum(value.numel() for value in values)
    return math.sqrt(sum(float(value.detach().double().square().sum()) for value in values) / count)


def show(rows: dict[str, Any]) -> str:
    lines = [
        "| stage | networks | setting | steps | rate | weights | one step | all, each its own way | all one way | "
        "outputs, each its own way | outputs, one way | gradient |",
        "|" + "---|" * 12,
    ]
    for key, row in rows.items():
        name, size, setting = key.split("/")
        inputs = 1.0 if name == "prompting" else SIZES[size][1] / SIZES["real"][1]
        cells = [name, size, setting, f"{row['steps']:,}", f"{row['rate']:.2g}", f"{row['rms']:.3f}"]
        cells += [f"{100 * row['one']:.2f} %", f"{row['apart']:.3f}", f"{row['together']:.2f}"]
        cells += [f"{1000 * inputs * row['rms'] * row[way]:.2g}" for way in ("apart", "together")]
        cells += [f"{row['gradient']:.1e}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="figures; rows that are there are not made again")
    parser.add_argument("--steps", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Any] = read_json(given.json) if given.json.is_file() else {}
    for size in SIZES:
        for name in STAGES:
            for setting in ("published", "folder"):
                key = f"{name}/{size}/{setting}"
                if key not in rows:
                    rows[key] = measure(name, size, setting, steps=given.steps)
                    write_json(given.json, rows)
    print(show(rows))


if __name__ == "__main__":
    main()

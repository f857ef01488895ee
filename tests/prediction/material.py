"""Tiny trained-looking models in their folders: a segmenter's package, and a run with its mask generator."""

from __future__ import annotations

from pathlib import Path

import torch

from semples.core.schema import to_dict
from semples.generators.base import build_generator, save_generator
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.models import GENERATOR
from semples.run.records import finish
from semples.segmenter.build import Segmenter
from semples.segmenter.package import Card, Figure, write_package
from semples.settings.kinds import label_needs
from tests.segmenter import material as segmenters

CLASSES = segmenters.CLASSES
CARD = Card(
    name="tiny",
    data="drawn photos",
    source="scratch:semples_vit",
    photos=10,
    tagged={"disc": 4, "square": 5},
    labels="CAMs of tags, threshold 0.45",
    used_pixel_masks=False,
    figures=(Figure(name="mIoU on unseen photos, %", value=61.25, photos=4, used_pixel_masks=True),),
)


def segmenter(path: Path, family: str = "semples_vit") -> Segmenter:
    """A segmenter with random weights whose answers differ from pixel to pixel and use all labels."""
    made = segmenters.tiny(path, family).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for name, value in made.named_parameters():
            if value.ndim > 1 and ("classif" in name or "stem" in name or "class_predictor" in name):
                torch.nn.init.normal_(value, std=2.0)
        if not made.is_mask_classifier:  # no class is ahead of the others everywhere
            logits = made.network(pixel_values=segmenters.batch(4)[0]).logits
            made.network.get_parameter(
                "decode_head.classif" + ("y" if family in ("semples_vit", "vit14", "semples_lite") else "ier") + ".bias"
            ).sub_(logits.mean((0, 2, 3)))
    return made


def package(folder: Path, family: str = "semples_vit") -> Path:
    """The package of such a segmenter."""
    made = segmenter(folder.with_name(f"{folder.name}-config"), family)
    write_package(made, folder, recipe=to_dict(Recipe()), card=CARD)
    return folder


def run(folder: Path, photos: Path, *, settings: tuple[str, ...] = ()) -> Path:
    """A run of tagged photos whose generator has random weights, and its CAMs and label maps."""
    small = ("start=random", "width=16", "depth=1", "heads=2", "patch_size=8", "image_size=16")
    chosen = [*(f"generator.{entry}" for entry in small), "data.workers=0", "cams.format=npy", "labels.select=fixed"]
    context = Context(load_recipe("folder", [*chosen, *settings]), Source(photos), folder)
    pipeline.run(context, steps=["data"])
    refinement = context.folder("refinement")
    refinement.mkdir()
    generator = build_generator(context.recipe.generator, classes=context.dataset.classes, seed=0)
    save_generator(generator, refinement / GENERATOR)
    finish(refinement, {"fingerprint": "made", "reads": {}, "seconds": 1}, {})
    regions = ["regions"] if "regions" in label_needs(context.recipe.labels.method) else []
    pipeline.run(context, steps=["cams", *regions, "labels"])
    return folder

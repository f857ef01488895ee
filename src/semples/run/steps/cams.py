"""The CAM step: class activation maps of every photo, stored one file a photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.progress import counter
from semples.core.schema import to_dict
from semples.data.dataset import Item, TaggedDataset
from semples.data.photos import reduced as reduced  # other steps take it from here
from semples.networks.weights import source_digest
from semples.run.context import Context, Step

if TYPE_CHECKING:
    from semples.generators.base import MaskGenerator

LAST = "refinement"


def name(stage: str = LAST) -> str:
    """Name of the step (and folder) with the CAMs of a stage's generator."""
    return "cams" if stage == LAST else f"cams-{stage}"


def step(stage: str = LAST) -> Step:
    """CAMs of the generator as `stage` left it."""

    def run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
        from semples.run.steps.train import trained_generator

        model: Any = trained_generator(context, stage).to(context.engine.device)
        return write_cams(context, model, CamStore(folder, format=context.recipe.cams.format))

    return Step(name(stage), f"class activation maps after {stage}", ("data", stage), _inputs, run, partial=_partial)


def weights_step(weights: Path) -> Step:
    """CAMs of given weights: a generator saved by this program, or a published checkpoint and the recipe's sizes."""

    def inputs(context: Context) -> dict[str, Any]:
        generator = to_dict(context.recipe.generator)
        return _inputs(context) | {"weights": source_digest(str(weights)), "generator": generator}

    def run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
        model: Any = _generator_of(context, weights).to(context.engine.device)
        return write_cams(context, model, CamStore(folder, format=context.recipe.cams.format))

    return Step("cams", f"class activation maps of {weights.name}", ("data",), inputs, run, partial=_partial)


def _generator_of(context: Context, weights: Path) -> Any:
    from semples.generators.base import build_generator, is_saved_generator, load_generator

    names = context.dataset.classes.names
    if not is_saved_generator(weights):
        settings = replace(context.recipe.generator, start=str(weights))
        return build_generator(settings, num_classes=len(names), seed=context.recipe.run.seed)
    model, classes = load_generator(weights)
    if classes != names:
        raise UserError(f"{weights}: trained for other classes ({', '.join(classes[:5])} ...) than the photos have")
    return model


def _inputs(context: Context) -> dict[str, Any]:
    generator = context.recipe.generator
    settings = to_dict(context.recipe.cams)
    del settings["batch"]  # changes the speed, not the maps
    return {"cams": settings, "mean": generator.mean, "std": generator.std}


def _partial(context: Context, folder: Path) -> float | None:
    done = len(CamStore(folder, format=context.recipe.cams.format).ids())
    return done / max(1, len(context.dataset.items)) if done else None


def write_cams(context: Context, model: MaskGenerator, store: CamStore) -> dict[str, Any]:
    """CAMs of all photos of the run that have none yet; processes share the photos."""
    from semples.cams.make import photo_cams

    model.eval()  # type: ignore[attr-defined]
    recipe, dataset = context.recipe, context.dataset
    mine = dataset.items[context.rank :: context.processes]
    todo = [item for item in mine if not store.has(item.id)]
    with counter(label="cams", total=len(mine), done=len(mine) - len(todo)) as advance:
        for items, photos in _batches(dataset, todo, size=recipe.cams.batch, max_side=recipe.cams.max_side):
            found = photo_cams(
                model,
                photos,
                [item.tags for item in items],
                settings=recipe.cams,
                generator=recipe.generator,
                device=context.engine.device,
            )
            for item, photo, cams in zip(items, photos, found, strict=True):
                store.write(item.id, cams, photo.shape[:2])
                advance("")
    return {"photos": len(dataset.items)}


def _batches(
    dataset: TaggedDataset, items: Sequence[Item], *, size: int, max_side: int
) -> Iterator[tuple[list[Item], list[np.ndarray]]]:
    """Neighbouring photos of equal size, at most `size` together; the next ones are decoded meanwhile."""

    def decode(item: Item) -> np.ndarray:
        return reduced(dataset.photo(item), max_side=max_side)

    batch: list[Item] = []
    photos: list[np.ndarray] = []
    for item, photo in zip(items, _ahead(decode, items), strict=True):
        if batch and (len(batch) == size or photo.shape != photos[0].shape):
            yield batch, photos
            batch, photos = [], []
        batch.append(item)
        photos.append(photo)
    if batch:
        yield batch, photos


def _ahead(decode: Any, items: Sequence[Item], *, count: int = 2) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(1) as pool:
        rest = iter(items)
        waiting = [pool.submit(decode, item) for item in islice(rest, count)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(decode, item) for item in islice(rest, 1)]

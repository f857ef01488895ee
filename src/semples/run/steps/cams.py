"""The CAM steps: class activation maps of every photo, stored one file a photo."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semples.cams.store import Cams, CamStore
from semples.core.cores import cores
from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.progress import counter
from semples.data.dataset import Item, TaggedDataset
from semples.data.photos import reduced
from semples.labels.scored import bilinear
from semples.recipe import Recipe
from semples.run.context import Context
from semples.run.models import RunParts
from semples.run.names import CAM_STAGES, FIRST, LAST, LEARNED, RECORD, cams_name, health_name, last_stage
from semples.run.photos import photo_sizes
from semples.run.step import Step, photos_there
from semples.run.work import Work

if TYPE_CHECKING:
    from semples.cams.make import PatchScores
    from semples.generators.base import Generator

ON_GPU = 16  # photos of equal size together, by measurement (benchmarks/README.md)
BEST = "best"  # of all stages, by the look after the last
THREADS = 2, 16  # at least and at most, by the cores there are: write CAM files while the network goes on


def step(stage: str = LAST) -> Step:
    """CAMs of the generator as `stage` left it; of one that is not trained, as it is."""

    def run(work: Work) -> dict[str, Any]:
        parts = RunParts(work)
        generator = work.settings("generator")
        if type(generator).STORED:
            work.content(generator.start)
        if not type(generator).TRAINABLE:
            return write_cams(work, parts.new_generator())
        work.setting("judge.kind")  # on it depends which stage is the last
        chosen, told = work.setting("cams.stage") if stage == LAST else stage, {}
        if chosen == BEST:
            chosen = best_stage(work)
            told = {"stage": chosen}
        elif chosen == LAST:
            chosen = last_stage(work.context.recipe)
        return write_cams(work, parts.generator_after(chosen)) | told

    needs = (*CAM_STAGES, health_name(LAST)) if stage == LAST else (FIRST, stage)
    needs = tuple(dict.fromkeys((*needs, LEARNED)))  # prompts may be classes of an affinity
    about = f"class activation maps after {stage}"
    return Step(cams_name(stage), about, ("data", *needs), run, partial=_partial, said=said)


def best_stage(work: Work) -> str:
    """The stage whose masks are best by what the look after the last one tells."""
    return str(read_json(work.step(health_name(LAST)) / RECORD)["figures"]["best"])


def check_stage(recipe: Recipe) -> None:
    """Raises UserError where the maps of a stage are asked for that the run does not have, or the best of stages that
    nothing looks after."""
    if last_stage(recipe) == FIRST and recipe.cams.stage not in (FIRST, LAST):
        raise UserError(f"cams.from {recipe.cams.stage}: without a judge there is only the warm-up; leave it out")
    if recipe.cams.stage == BEST and not recipe.health.photos:
        raise UserError("cams.from best compares masks on photos, and health.photos is 0; name a stage or raise it")


def said(result: dict[str, Any]) -> str:
    """Which stage's maps are handed on, where that was chosen."""
    return f"maps after {result['stage']} are handed on, the best of all stages" if "stage" in result else ""


def weights_step(weights: Path) -> Step:
    """CAMs of given weights: a generator saved by this program, or a published checkpoint and the recipe's sizes."""

    def run(work: Work) -> dict[str, Any]:
        work.weights(str(weights))
        return write_cams(work, generator_of(work, weights))

    return Step("cams", f"class activation maps of {weights.name}", ("data",), run, partial=_partial)


def generator_of(work: Work, weights: Path) -> Generator:
    """The generator in a file of this program, or of a published checkpoint under the recipe's settings."""
    from semples.generators.base import build_generator, is_saved_generator, load_generator

    classes = work.dataset.classes
    if not is_saved_generator(weights):
        settings = replace(work.settings("generator"), start=str(weights))
        return build_generator(settings, classes=classes, seed=work.setting("run.seed"))
    model = load_generator(weights)
    if model.classes != classes.names:
        raise UserError(
            f"{weights}: trained for other classes ({', '.join(model.classes[:5])} ...) than the photos have"
        )
    return model


def _partial(context: Context, folder: Path) -> float | None:
    return photos_there(context, lambda: len(CamStore(folder, format=context.recipe.cams.format).ids()))


def write_cams(work: Work, model: Generator) -> dict[str, Any]:
    """CAMs of all photos of the run that have none yet; processes share the photos."""
    from semples.cams.make import photo_cams
    from semples.networks.precision import at_precision

    settings, dataset = work.settings("cams", leave_out=("stage",)), work.dataset
    store = CamStore(work.folder, format=settings.format)
    store.number(item.id for item in dataset.items)
    model = model.to(work.device).eval()
    scores = patch_scores(work, model)
    mine = dataset.items[work.rank :: work.processes]
    todo = [item for item in mine if not store.has(item.id)]
    wanted, precision = work.speed("cams.batch"), work.setting("run.inference")
    size = (ON_GPU if work.device.type == "cuda" else 1) if wanted == "auto" else wanted
    if size > 1:  # equal sizes side by side, so that batches fill
        sizes = photo_sizes(work.context.folder("data"))
        todo.sort(key=lambda item: sizes[item.id])
    with counter(label="cams", total=len(mine), done=len(mine) - len(todo)) as advance, _writing(store) as write:
        for items, photos in _batches(dataset, todo, size=size, max_side=settings.max_side):
            stored = [model.stored_cams(item.id) for item in items]
            tags = [item.possible if known is None else () for item, known in zip(items, stored, strict=True)]
            with at_precision(work.device, precision):
                made = photo_cams(model, photos, tags, settings=settings, device=work.device, scores=scores)
            for item, photo, cams, known in zip(items, photos, made, stored, strict=True):
                shape = (photo.shape[0], photo.shape[1])
                write(item.id, cams if known is None else tagged(known, item, shape), shape)
                advance("")
    return {"photos": len(dataset.items)}


def patch_scores(work: Work, model: Generator) -> PatchScores | None:
    """What the affinity by class distribution compares: the judge's CLIP on patches, with the class texts and, where
    asked for, the learned background prompts. None where that affinity is not wanted."""
    affinity = work.setting("cams.affinity.power"), work.setting("cams.affinity.kind")
    if not affinity[0] or affinity[1] != "class-distribution":
        return None
    import torch

    from semples.generators.clip_patches import TextScores
    from semples.judges.clip import Clip

    parts = RunParts(work)
    judge = parts.judge()
    if not isinstance(judge, Clip):
        raise UserError("cams.affinity.kind class-distribution needs a CLIP as the judge; set judge.kind=clip")
    text_JE = judge.targets
    if work.setting("cams.affinity.prompts"):
        if not type(work.settings("generator")).TRAINABLE:
            raise UserError("cams.affinity.prompts: this generator is not trained, so that no prompt is learned")
        with torch.no_grad():
            vectors_KMW = parts.backgrounds_after("prompting").to(judge.device)
            text_JE = torch.cat([text_JE, judge.encode_backgrounds(vectors_KMW, parts.prompts)])
    return TextScores(judge.clip, text_JE, mean=model.mean, std=model.std)


def tagged(cams: Cams, item: Item, shape: tuple[int, int]) -> Cams:
    """The CAMs of a photo's tags, in their order, bilinear at (H,W). Raises UserError where one of them is missing."""
    absent = [tag for tag in item.tags if tag not in cams]
    if absent:
        raise UserError(
            f"CAMs of {item.id}: none of class {absent[0]} (from 0), which the photo is tagged with; classes count in "
            "the order of the class list"
        )
    return {tag: bilinear(cams[tag], shape) for tag in item.tags}


@contextmanager
def _writing(store: CamStore) -> Iterator[Callable[[str, Cams, tuple[int, int]], None]]:
    """`store.write` in the background, a few photos behind; most of it is compression, which lets other threads run."""
    waiting: deque[Future[None]] = deque()
    writers = min(max(cores(), THREADS[0]), THREADS[1])

    def write(id: str, cams: Cams, shape: tuple[int, int]) -> None:
        waiting.append(pool.submit(store.write, id, cams, shape))
        while len(waiting) > 2 * writers or (waiting and waiting[0].done()):
            waiting.popleft().result()

    with ThreadPoolExecutor(writers) as pool:
        yield write
        for future in waiting:
            future.result()


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


def _ahead(decode: Callable[[Item], np.ndarray], items: Sequence[Item]) -> Iterator[np.ndarray]:
    """What `decode` makes of each, in order, by threads a few ahead: one where there are few cores, else a quarter."""
    threads = max(1, min(cores(), THREADS[1]) // 4)
    with ThreadPoolExecutor(threads) as pool:
        rest = iter(items)
        waiting = deque(pool.submit(decode, item) for item in islice(rest, 2 * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting += [pool.submit(decode, item) for item in islice(rest, 1)]

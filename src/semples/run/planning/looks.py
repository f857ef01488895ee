"""What the looks at the stages cost, and the segmenter that may follow a run: timed on the photos of the sample."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from semples.cams.store import CamStore
from semples.core.palette import write_confidence_png, write_label_png
from semples.data.dataset import with_items
from semples.run.label_maps import CONFIDENCE
from semples.run.names import HEALTH, SEGMENTER
from semples.run.planning.models import new_segmenter
from semples.run.planning.plan import StepPlan
from semples.training.feed import tag_matrix
from semples.training.timing import Cost, measured, time_steps

if TYPE_CHECKING:
    from semples.run.planning.measure import Sample

DATA, CAMS, WARMUP = "data", "cams", "warmup"


def look_cost(sample: Sample, step: str) -> Cost:
    """Of the look with this step's name. Nothing where the models that look are not opened."""
    of, health = step.removeprefix(f"{HEALTH}-"), sample.recipe.health
    tagged = sum(bool(item.tags) for item in sample.dataset.items)
    if of == CAMS:
        return _reading_cams(sample).times(min(health.photos, tagged))
    if sample.opened.judge is None and of != WARMUP:
        return Cost()
    if of == DATA:
        return _judging(sample).times(min(health.tagged_photos, len(sample.dataset.items)))
    if sample.opened.generator is None:
        return Cost()
    return _glancing(sample).times(min(health.photos, tagged))


def _glancing(sample: Sample) -> Cost:
    """Of a glance at one photo's masks, timed once for all stages."""
    if sample.glanced is None:
        from semples.stages.glance import glance, photo_tensor

        generator, judge = sample.opened.generator, sample.opened.judge
        assert generator is not None
        subset = with_items(sample.dataset, sample.items)
        side = generator.view_side(sample.recipe.generator.image_size)
        with measured(sample.device) as cost:
            images = photo_tensor([subset.photo(item) for item in subset.items], generator, side=side)
            tags = torch.from_numpy(np.asarray(tag_matrix(subset), bool))
            seer = None if judge is None else judge.lean()
            glance(generator.to(sample.device), seer, images.to(sample.device), tags.to(sample.device))
        sample.glanced = cost.times(1 / len(subset.items))
    return sample.glanced


def _judging(sample: Sample) -> Cost:
    """Of the judge's features of one whole photo."""
    from semples.data.transforms import image_to_tensor, resize_photo

    recipe, judge = sample.recipe, sample.opened.judge
    assert judge is not None
    side = judge.image_size
    with measured(sample.device) as cost, torch.no_grad():
        photos = [resize_photo(sample.dataset.photo(item), side, side) for item in sample.items]
        views = [image_to_tensor(photo, recipe.generator.mean, recipe.generator.std) for photo in photos]
        judge.lean().encode(torch.stack(views).to(judge.device))
    return cost.times(1 / len(sample.items))


def _reading_cams(sample: Sample) -> Cost:
    """Of reading one photo's CAMs, where some were made for timing."""
    store = CamStore(sample.folder / "cams", format=sample.recipe.cams.format)
    made = [item for item in sample.items if store.has(item.id)]
    if not made:
        return Cost()
    with measured(sample.device) as cost:
        for item in made:
            store.read(item.id)
    return cost.times(1 / len(made))


def segmenter_plan(sample: Sample) -> StepPlan:
    """What `semples segment train` takes after the run: on drawn label maps, since there are none yet. Raises UserError
    where its network cannot be built."""
    from semples.run.steps.segmenter import settled
    from semples.segmenter.task import Segmentation
    from semples.segmenter.views import LabelFolder, MaskedViews

    recipe, folder = sample.recipe, sample.folder / "drawn"
    settings = settled(recipe.segmenter, sample.dataset)
    for item in sample.items:
        shape = sample.dataset.photo(item).shape[:2]
        labels = np.zeros(shape, np.uint8)
        for place, tag in enumerate(item.tags):
            labels[place :: len(item.tags) + 1] = tag + 1
        write_label_png(folder / f"{item.id}.png", labels)
        write_confidence_png(folder / CONFIDENCE / f"{item.id}.png", np.ones(shape, np.float32))
    made = new_segmenter(replace(recipe, segmenter=settings), sample.dataset.classes)
    views = MaskedViews(
        dataset=with_items(sample.dataset, sample.items), labels=LabelFolder(folder), settings=settings, seed=0
    )
    line = time_steps(Segmentation(made, settings), views, range(len(sample.items)), device=sample.device)
    steps, batch = int(settings.iterations), min(settings.batch, len(sample.dataset.items))
    cost = line.of(batch).times(steps)
    bytes_left = sum(parameter.nbytes for parameter in made.parameters())
    what = f"`semples segment train`, {steps} steps of {batch} photos"
    return StepPlan(SEGMENTER, what, round(cost.cpu, 2), round(cost.wall, 2), bytes_left, line.memory(batch), steps)

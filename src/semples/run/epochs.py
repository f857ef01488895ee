"""Which epoch of a stage is kept: the last, the best without masks, or the published program's choice by masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semples.core.errors import UserError
from semples.core.files import atomic_path, read_json, write_json
from semples.run.context import Context
from semples.run.steps.selection import drawn

if TYPE_CHECKING:
    import torch

    from semples.training.task import Task

EPOCHS = "epochs"  # folder with the trained tensors of every epoch
SCORES = "epochs.json"
JUDGED = ("matching", "refinement")  # stages whose epochs can be told apart by masks or CLIP
BATCH = 16


def check_epochs(context: Context, stage: str) -> None:
    """Refuse before training what cannot be answered after it."""
    select = getattr(context.recipe, stage).select_epoch
    if select != "last" and stage not in JUDGED:
        raise UserError(f"{stage}.select_epoch {select}: only {' and '.join(JUDGED)} choose an epoch; use last")
    if select == "ground-truth" and not any(item.mask for item in context.listing.items):
        raise UserError(f"{stage}.select_epoch ground-truth needs masks, and no photo has one; use last or auto")


class Epochs:
    """The trained tensors after every epoch, a small safetensors file each, in the stage's folder.

    `keep` is called after each epoch (every process calls it, one writes); `choose` puts the best ones back.
    """

    def __init__(self, context: Context, stage: str, folder: Path, generator: torch.nn.Module) -> None:
        self.context, self.stage, self.folder, self.generator = context, stage, folder, generator
        settings = getattr(context.recipe, stage)
        self.select: str = settings.select_epoch
        self.count: int = settings.epochs

    @property
    def hook(self) -> Callable[[int], None] | None:
        """What training calls after each epoch; None where only the last is wanted."""
        return None if self.select == "last" else self.keep

    @property
    def complete(self) -> bool:
        """Whether training has ended: every epoch is there, so none has to be trained again."""
        return self.select != "last" and all(self._path(epoch).is_file() for epoch in range(1, self.count + 1))

    def keep(self, epoch: int) -> None:
        """Write the trained tensors after `epoch` (from 1)."""
        from safetensors.torch import save_file

        if not self.context.is_main:
            return
        tensors = {
            name: value.detach().to("cpu").contiguous()
            for name, value in self.generator.named_parameters()
            if value.requires_grad
        }
        with atomic_path(self._path(epoch)) as temporary:
            save_file(tensors, temporary)

    def choose(self, task: Task) -> dict[str, Any]:
        """Score every epoch on some photos and put the best one's tensors into the generator; figures of it."""
        if self.select == "last" or self.count == 0:
            return {}
        if not self.context.is_main:  # the main process saves the generator
            return {}
        task = task.to(self.context.engine.device).eval()
        score = self._agreement(task) if self.select == "auto" else self._miou()
        path = self.folder / SCORES
        found: dict[str, float] = read_json(path)["scores"] if path.is_file() else {}
        for epoch in range(1, self.count + 1):
            if str(epoch) not in found:
                self._load(epoch)
                found[str(epoch)] = score()
                write_json(path, {"select": self.select, "scores": found})
        best = max(range(1, self.count + 1), key=lambda epoch: (found[str(epoch)], epoch))
        self._load(best)
        return {"select_epoch": self.select, "kept_epoch": best}

    def _agreement(self, task: Task) -> Callable[[], float]:
        """Minus the stage's own loss on whole photos, without augmentation or stochastic depth: what CLIP makes of the
        generator's masks."""
        import torch

        from semples.data.photos import resize_photo
        from semples.data.transforms import image_to_tensor
        from semples.training.task import Batch, Total

        recipe, dataset = self.context.recipe, self.context.dataset
        items = drawn(dataset, count=recipe.selection.photos, seed=recipe.run.seed)
        generator: Any = self.generator
        side, size = recipe.generator.image_size, generator.noise_size
        batches = []
        for start in range(0, len(items), BATCH):
            part = items[start : start + BATCH]
            views = [
                image_to_tensor(
                    resize_photo(dataset.photo(item), side, side), recipe.generator.mean, recipe.generator.std
                )
                for item in part
            ]
            tags = torch.zeros(len(part), len(dataset.classes), dtype=torch.bool)
            for row, item in zip(tags, part, strict=True):
                row[list(item.tags)] = True
            noise = torch.zeros(len(part), size)  # not read in eval mode
            batches.append(Batch(torch.stack(views), tags, noise))
        total = Total(len(items), sum(len(item.tags) for item in items))

        @torch.no_grad()
        def score() -> float:
            losses = [float(task(batch.to(self.context.engine.device), total)["loss"]) for batch in batches]
            return -sum(losses)

        return score

    def _miou(self) -> Callable[[], float]:
        """Best mIoU (percent) over thresholds of the CAMs of some photos: the published program's way, by masks."""
        from semples.cams.make import photo_cams
        from semples.data.dataset import with_items
        from semples.evaluation.curve import CurveAccumulator, threshold_range
        from semples.labels.scored import nearest
        from semples.labels.threshold import winner_map
        from semples.run.steps.cams import reduced

        recipe, dataset = self.context.recipe, self.context.scored_dataset
        known = with_items(dataset, [item for item in dataset.items if item.mask is not None])
        items = drawn(known, count=recipe.selection.photos, seed=recipe.run.seed)
        model: Any = self.generator
        thresholds = threshold_range(recipe.scores.curve_start, recipe.scores.curve_end)

        def score() -> float:
            curve = CurveAccumulator(len(dataset.classes), thresholds)
            for item in items:
                photo = reduced(dataset.photo(item), max_side=recipe.cams.max_side)
                (maps,) = photo_cams(
                    model,
                    [photo],
                    [item.tags],
                    settings=recipe.cams,
                    generator=recipe.generator,
                    device=self.context.engine.device,
                )
                truth = dataset.mask(item)
                assert truth is not None
                winner, value = winner_map(maps, (photo.shape[0], photo.shape[1]))
                curve.add(truth, nearest(winner, truth.shape), nearest(value, truth.shape), where=str(item.mask))
            miou = curve.result().best.scores.miou if curve.pixels else float("nan")
            return -1.0 if np.isnan(miou) else miou

        return score

    def _load(self, epoch: int) -> None:
        import torch
        from safetensors.torch import load_file

        own = dict(self.generator.named_parameters())
        with torch.no_grad():
            for name, value in load_file(self._path(epoch)).items():
                own[name].copy_(value)

    def _path(self, epoch: int) -> Path:
        return self.folder / EPOCHS / f"epoch-{epoch:04d}.safetensors"

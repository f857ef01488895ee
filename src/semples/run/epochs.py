"""Which epoch of a stage is kept: the last, the best without masks, or the published program's choice by masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semples.core.errors import UserError
from semples.core.files import read_object, write_json
from semples.core.tensorfile import write_tensors
from semples.data.dataset import Item, TaggedDataset, drawn, with_items
from semples.data.photos import reduced, resize_photo
from semples.recipe import AffinitySettings, StageSettings
from semples.run.context import Context
from semples.run.work import Work

if TYPE_CHECKING:
    from semples.generators.base import Generator
    from semples.stages.base import Stage

EPOCHS = "epochs"  # folder with the trained tensors of every epoch
SCORES = "epochs.json"
BATCH = 16
TIE = 1e-4  # share of the best score within which processes of other numbers may order epochs otherwise


def check_epochs(context: Context, stage: str) -> None:
    """Refuse before training what cannot be answered after it."""
    select = getattr(getattr(context.recipe, stage), "select_epoch", "last")
    if select == "ground-truth" and not any(item.mask for item in context.listing.items):
        raise UserError(f"{stage}.select_epoch ground-truth needs masks, and no photo has one; use last or auto")


def best_epoch(scores: Sequence[float]) -> int:
    """The epoch (from 1) of the highest score; of several that differ in rounding only (`TIE`), the last."""
    best = max(scores)
    return max(epoch for epoch, score in enumerate(scores, start=1) if score >= best - TIE * abs(best))


class Epochs:
    """The trained tensors after every epoch, a small safetensors file each, in the stage's folder.

    `keep` is called after each epoch (every process calls it, one writes); `choose` puts the best ones back.
    count: epochs there will be, a last one that is cut short included.
    """

    def __init__(self, work: Work, settings: StageSettings, generator: Generator, *, count: int) -> None:
        self.work, self.generator, self.count = work, generator, count
        self.select: str = getattr(settings, "select_epoch", "last")

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
        if not self.work.is_main:
            return
        tensors = {
            name: value.detach().to("cpu").contiguous()
            for name, value in self.generator.named_parameters()
            if value.requires_grad
        }
        write_tensors(self._path(epoch), tensors)

    def choose(self, task: Stage) -> dict[str, Any]:
        """Score every epoch on some photos and put the best one's tensors into the generator; figures of it."""
        if self.select == "last" or self.count == 0:
            return {}
        from semples.networks.precision import at_precision

        task = task.to(self.work.device).eval()
        precision = self.work.setting("run.inference")
        score = self._agreement(task) if self.select == "auto" else self._miou()
        path, ranks = self.work.folder / SCORES, self.work.ranks
        known: dict[str, float] = ranks.of_main(lambda: _scores_in(path))
        for epoch in range(1, self.count + 1):
            if str(epoch) not in known:
                self._load(epoch)
                with at_precision(self.work.device, precision):
                    known[str(epoch)] = score()
                if self.work.is_main:
                    write_json(path, {"select": self.select, "scores": known})
        best = best_epoch([known[str(epoch)] for epoch in range(1, self.count + 1)])
        self._load(best)
        return {"select_epoch": self.select, "kept_epoch": best}

    def _drawn(self, dataset: TaggedDataset) -> list[Item]:
        return drawn(dataset, count=self.work.setting("selection.photos"), seed=self.work.setting("run.seed"))

    def _agreement(self, task: Stage) -> Callable[[], float]:
        """Minus the stage's own loss on whole photos, without augmentation or stochastic depth: what the judge makes
        of the generator's masks. Processes share the batches; the sum is taken in their order, so that it has the bits
        of one process."""
        import torch

        from semples.training.task import Total

        items = self._drawn(self.work.dataset)
        ranks = self.work.ranks
        starts = ranks.share(range(0, len(items), BATCH))
        batches = [self._whole_photos(items[start : start + BATCH]) for start in starts]
        total = Total(len(items), sum(len(item.tags) for item in items))

        @torch.no_grad()
        def score() -> float:
            losses = [float(task(batch.to(self.work.device), total)["loss"]) for batch in batches]
            return -sum(ranks.together(losses))

        return score

    def _whole_photos(self, items: Sequence[Item]) -> Any:
        import torch

        from semples.data.transforms import image_to_tensor
        from semples.training.task import TaggedBatch

        dataset, generator = self.work.dataset, self.generator
        side = generator.view_side(self.work.setting("generator.image_size"))
        views = [
            image_to_tensor(resize_photo(dataset.photo(item), side, side), generator.mean, generator.std)
            for item in items
        ]
        tags = torch.zeros(len(items), len(dataset.classes), dtype=torch.bool)
        unsure = torch.zeros_like(tags)
        for row, item in zip(tags, items, strict=True):
            row[list(item.tags)] = True
        for row, item in zip(unsure, items, strict=True):
            row[list(item.open)] = True
        noise = torch.zeros(len(items), generator.noise_size)  # not read in eval mode
        return TaggedBatch(image=torch.stack(views), tags=tags, noise=noise, open=unsure if unsure.any() else None)

    def _miou(self) -> Callable[[], float]:
        """Best mIoU (percent) over thresholds of the CAMs of some photos: the published program's way, by masks."""
        from semples.cams.make import photo_cams
        from semples.evaluation.curve import CurveAccumulator, threshold_range
        from semples.labels.scored import nearest
        from semples.labels.threshold import winner_map

        dataset = self.work.scored_dataset
        items = self._drawn(with_items(dataset, [item for item in dataset.items if item.mask is not None]))
        settings, scores = self.work.settings("cams"), self.work.settings("scores")
        thresholds = threshold_range(scores.curve_start, scores.curve_end)

        plain = settings if settings.affinity.kind == "attention" else replace(settings, affinity=AffinitySettings())

        def score() -> float:
            curve = CurveAccumulator(len(dataset.classes), thresholds)
            for item in self.work.ranks.share(items):
                photo = reduced(dataset.photo(item), max_side=settings.max_side)
                # As the generator alone makes them: no prompt may have been learned yet that an affinity compares.
                (maps,) = photo_cams(self.generator, [photo], [item.tags], settings=plain, device=self.work.device)
                truth = dataset.mask(item)
                assert truth is not None
                winner, value = winner_map(maps, (photo.shape[0], photo.shape[1]))
                curve.add(truth, nearest(winner, truth.shape), nearest(value, truth.shape), where=str(item.mask))
            curve.counts = self.work.ranks.added(curve.counts)
            miou = curve.result().best.scores.miou if curve.pixels else float("nan")
            return -1.0 if np.isnan(miou) else miou

        return score

    def _load(self, epoch: int) -> None:
        import torch
        from safetensors.torch import load_file

        parameters = dict(self.generator.named_parameters())
        with torch.no_grad():
            for name, value in load_file(self._path(epoch)).items():
                parameters[name].copy_(value)

    def _path(self, epoch: int) -> Path:
        return self.work.folder / EPOCHS / f"epoch-{epoch:04d}.safetensors"


def _scores_in(path: Path) -> dict[str, float]:
    stored = read_object(path).get("scores")
    return stored if isinstance(stored, dict) else {}

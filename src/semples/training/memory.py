"""How many photos of a step are computed together, by the memory that one of them takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semples.training.task import Task, Total

if TYPE_CHECKING:
    from semples.training.feed import TrainingViews

PART_BYTES = 2_000_000_000  # of activations that a part of a step may keep for its gradients


def parts_of_step(task: Task[Any], views: TrainingViews, *, batch: int, processes: int) -> int:
    """Into how many parts a step of `batch` photos is cut, so that what each part keeps for its gradients stays below
    `PART_BYTES`, as far as one photo a part and process allows.

    Measured on the photo with the most classes, by one forward pass whose kept tensors are counted: the same on every
    machine, so that a run has the same bits wherever it goes on.
    """
    photo = int(views.pairs.argmax())
    kept = kept_bytes(task, views, photo)
    together = max(1, PART_BYTES // max(1, kept))
    return min(math.ceil(batch / (together * processes)), max(1, batch // processes))


def kept_bytes(task: Task[Any], views: TrainingViews, photo: int) -> int:
    """Bytes that a forward pass of one photo keeps for its gradients, parameters not counted."""
    batch = views.collate([views[(0, photo)]])
    given = {parameter.untyped_storage().data_ptr() for parameter in task.parameters()}
    kept: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    task.train()
    device = next((parameter.device for parameter in task.parameters()), torch.device("cpu"))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        held = task(batch.to(device), Total(photos=1, pairs=max(1, int(views.pairs[photo]))))
    del held
    return sum(kept.values())

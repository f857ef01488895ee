"""Training a stage from a script: any stage, any dataset in memory or on disk, resumable."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.schema import merge, to_dict
from semples.core.tensorfile import write_tensors
from semples.data.dataset import TaggedDataset
from semples.recipe import RunSettings, StageSettings
from semples.stages.base import Stage
from semples.training.engine import Engine
from semples.training.feed import Views, open_matrix, tag_matrix
from semples.training.loop import CHECKPOINT, train
from semples.training.schedule import settled

S = TypeVar("S", bound=Stage)

TRAINED, FINISHED = "trained.safetensors", "finished.json"


class Trainer:
    """Trains stages one after another; each call has a folder of its own below `folder`.

    The same script started again goes on where it was cut, and takes up what is finished: a call is known by its place
    in the script, its stage's class and settings, the photos and their tags, and the weights it starts from. On a CPU a
    resumed script ends with the same bits as an unbroken one. Works on a GPU where there is one, and on several
    processes (torchrun).

    seed: of order, augmentation and stochastic depth. precision: "auto", "no", "bf16", or "fp16" (GPU). workers:
    processes that decode and augment photos.
    """

    def __init__(
        self, folder: Path | str, *, seed: int = 0, precision: str = "auto", workers: int = 0, log_every: int = 20
    ) -> None:
        self.folder = Path(folder)
        given = {"seed": seed, "precision": precision, "log_every": log_every}
        self.run: RunSettings = merge(RunSettings(), given, where="Trainer")
        self.workers = workers
        self.engine = Engine.start(self.run)
        self._calls = 0

    def __call__(self, stage: S, data: TaggedDataset, *, image_size: int | None = None, **course: Any) -> S:
        """Train the stage on the dataset's photos and return it, trained.

        image_size: side of the training views; default: the generator's start size where it has one, else 224. course:
        settings of the stage's course: epochs or steps, batch, base_lr or lr, weight_decay, augment={...}, ...
        Raises UserError for an unknown setting, Stopped after a signal.
        """
        self._calls += 1
        settings = settled(
            _course(stage, course),
            photos=len(data.items),
            classes=stage.generator.num_classes,
            width=stage.generator.width,
        )
        side = image_size or stage.generator.image_size
        folder = self.folder / f"{self._calls}-{type(stage).__name__.lower()}"
        fingerprint = self._fingerprint(stage, data, settings, side)
        if (folder / FINISHED).is_file() and read_json(folder / FINISHED).get("fingerprint") == fingerprint:
            _take_up(stage, folder / TRAINED)
            return stage
        generator = stage.generator
        views = Views(
            dataset=data,
            tags=tag_matrix(data),
            open=open_matrix(data),
            augment=settings.augment,
            size=side,
            mean=generator.mean,
            std=generator.std,
            seed=self.run.seed,
            noise_size=generator.noise_size,
        )
        folder.mkdir(parents=True, exist_ok=True)
        train(
            stage,
            views,
            engine=self.engine,
            settings=settings,
            run=self.run,
            workers=self.workers,
            folder=folder,
            fingerprint=fingerprint,
            label=folder.name,
        )
        if self.engine.is_main:
            tensors = {name: value.detach().to("cpu").contiguous() for name, value in _trained(stage).items()}
            write_tensors(folder / TRAINED, tensors)
            write_json(folder / FINISHED, {"fingerprint": fingerprint, "settings": to_dict(settings)})
            (folder / CHECKPOINT).unlink(missing_ok=True)
        self.engine.wait()
        return stage

    def _fingerprint(self, stage: Stage, data: TaggedDataset, settings: StageSettings, side: int) -> str:
        """What identifies the call: what is trained on what, from which weights, and how."""
        weights = hashlib.sha256()
        for name, value in stage.state_dict().items():
            weights.update(name.encode())
            weights.update(value.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        options = {
            key: value
            for key, value in vars(stage).items()
            if not key.startswith("_") and isinstance(value, int | float | str | bool)
        }
        described = {
            "stage": f"{type(stage).__module__}.{type(stage).__qualname__}",
            "options": {key: value for key, value in options.items() if key != "training"},
            "settings": to_dict(settings),
            "run": {"seed": self.run.seed, "precision": self.run.precision, "size": side},
            "photos": [[item.id, item.tags, *([item.open] if item.open else [])] for item in data.items],
            "classes": data.classes.names,
            "weights": weights.hexdigest(),
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _course(stage: Stage, course: dict[str, Any]) -> StageSettings:
    settings = type(stage).Settings()
    stage_only = {name for name in course if not hasattr(StageSettings(), name)}
    if stage_only:
        name = sorted(stage_only)[0]
        raise UserError(f"{type(stage).__name__}: {name} is no setting of its course; give it to the stage itself")
    merged: StageSettings = merge(settings, course, where=type(stage).__name__)
    return merged


def _trained(stage: Stage) -> dict[str, torch.Tensor]:
    chosen = {id(parameter) for parameter in stage.trained()}
    return {name: value for name, value in stage.named_parameters() if id(value) in chosen}


def _take_up(stage: Stage, path: Path) -> None:
    """Put the tensors of a finished call back."""
    known = _trained(stage)
    with torch.no_grad():
        for name, value in load_file(path).items():
            known[name].copy_(value)

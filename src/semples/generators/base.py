"""What a mask generator is: a network that turns tagged photos into class activation maps.

A new one is a file in this package with a class that derives from `Generator`, and a line in
`settings.kinds.GENERATORS`; another package brings one by an entry point. The contract tests pick it up by name.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from semples.cams.make import photo_cams
from semples.core.errors import UserError
from semples.core.files import check_regular
from semples.core.tensorfile import write_tensors
from semples.data.classes import ClassList
from semples.data.transforms import RGB
from semples.networks.pairs import Pairs
from semples.networks.weights import load_strictly
from semples.recipe import CamSettings, GeneratorSettings
from semples.settings.kinds import GENERATORS

CONFIG_KEY = "generator"


class Generator(nn.Module, ABC):
    """A mask generator.

    Settings: its settings, a frozen dataclass that derives from `GeneratorSettings` and says whether warm-up, matching
    and refinement have anything to train (its TRAINABLE). num_classes, patch_size: K, and the pixels of a side that one
    element of a CAM stands for. width: channels that its classifier reads, 0 where a stage's `lr_width` is not for it.
    image_size: side of the photos that it is made for. noise_size: how many uniform random numbers per photo its train
    mode consumes; 0 for none. kind, classes, mean, std are set by `build_generator` and saved with it: its name in the
    registry, the names of the classes, and what a photo in 0..1 is normalised with.
    """

    Settings: ClassVar[type[GeneratorSettings]]

    num_classes: int
    patch_size: int
    width: int = 0
    image_size: int = 224
    noise_size: int = 0
    kind: str = ""
    classes: tuple[str, ...] = ()
    mean: RGB = (0.485, 0.456, 0.406)
    std: RGB = (0.229, 0.224, 0.225)

    @classmethod
    @abstractmethod
    def build(cls, settings: Any, *, classes: ClassList, seed: int) -> Self:
        """One with the start weights of the settings; what has none is drawn from `seed` without touching the global
        random state. `classes` brings names and the words that stand for them in texts. Raises UserError."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        """The network that `config_dict` described, with any weights. Raises KeyError, TypeError or ValueError."""

    @abstractmethod
    def config_dict(self) -> dict[str, Any]:
        """Plain data from which `from_config` builds an equal network."""

    @abstractmethod
    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Class activation maps (P,h,w) >= 0 of the present pairs only, differentiable in `train_parameters`.

        image: normalised float, height and width at least one patch. noise: uniform in [0,1), None: no randomness.
        """

    def classification_loss(
        self,
        image_B3HW: Tensor,
        tags_BK: Tensor,
        *,
        noise_BZ: Tensor | None = None,
        open_BK: Tensor | None = None,
    ) -> Tensor:
        """Multi-label classification loss per photo (B,), differentiable in `warmup_parameters`.

        open: bool, True where it is not known whether a class is present: that adds nothing to the loss.
        """
        raise ValueError(f"{type(self).__name__} is not trained")

    def stored_cams(self, id: str) -> dict[int, NDArray[np.float32]] | None:
        """CAMs of a whole photo that the generator knows by its id, {class index: float32 (H,W) in 0..1}, the photo's
        shape or another; None: it makes them from the photo. Raises UserError where it knows others but not this."""
        return None

    def warmup_parameters(self) -> Iterable[nn.Parameter]:
        """What the warm-up trains: everything that `classification_loss` depends on."""
        return ()

    def train_parameters(self) -> Iterable[nn.Parameter]:
        """What matching and refinement train. Everything else gets no gradient from `cams`."""
        return ()

    def normalisation(self, settings: GeneratorSettings) -> tuple[RGB, RGB]:
        """Mean and standard deviation that photos are normalised with, at first: those of the settings."""
        return settings.mean, settings.std

    def view_side(self, image_size: int | str) -> int:
        """Side of its training views by the setting `generator.image_size`."""
        return self.image_size if isinstance(image_size, str) else image_size

    def saved_state(self) -> dict[str, Tensor]:
        """Tensors that a file needs beside `config_dict`; one that builds on published weights leaves those out."""
        return self.state_dict()

    def load_saved(self, state: dict[str, Tensor], *, where: str) -> None:
        """Put the tensors of `saved_state` back. Raises UserError where they do not fit."""
        load_strictly(self, state, where=where)

    def cams_of(
        self,
        photo: NDArray[np.uint8],
        tags: Sequence[str],
        *,
        scales: Sequence[float] = (1.0,),
        mirror: bool = True,
    ) -> dict[str, NDArray[np.float32]]:
        """CAMs of one photo, uint8 (H,W,3), by class name: float32 (H,W) in 0..1 (METHOD sec. 4).

        tags: names of present classes. scales: photo sizes that are summed; mirror: with the mirrored photo.
        Raises UserError for a tag that is none of the generator's classes.
        """
        places = {name: index for index, name in enumerate(self.classes)}
        unknown = [name for name in tags if name not in places]
        if unknown:
            raise UserError(f"the tag {unknown[0]!r} is none of the generator's classes, {', '.join(self.classes)}")
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        settings = CamSettings(scales=tuple(scales), mirror=mirror)
        training = self.training
        try:
            present = tuple(sorted(places[name] for name in tags))
            (maps,) = photo_cams(self.eval(), [photo], [present], settings=settings, device=device)
        finally:
            self.train(training)
        return {self.classes[index]: values for index, values in maps.items()}


def build_generator(settings: GeneratorSettings, *, classes: ClassList, seed: int) -> Generator:
    """The mask generator that the settings name, with its start weights. Raises UserError."""
    made: Generator = GENERATORS.load(settings.kind).build(settings, classes=classes, seed=seed)
    return _named(made, settings.kind, classes.names, *made.normalisation(settings))


def soft_margin_loss(logits_BK: Tensor, tags_BK: Tensor, open_BK: Tensor | None = None) -> Tensor:
    """Multi-label soft-margin loss per photo (B,): the mean over classes of their cross-entropies, where those that
    are left open count 0."""
    target_BK = tags_BK.to(logits_BK.dtype)
    if open_BK is None:
        return F.multilabel_soft_margin_loss(logits_BK, target_BK, reduction="none")
    losses_BK = F.binary_cross_entropy_with_logits(logits_BK, target_BK, reduction="none")
    return losses_BK.masked_fill(open_BK, 0.0).mean(dim=-1)


def save_generator(model: Generator, path: Path) -> None:
    """Weights in one safetensors file whose metadata say how to build the network, what its classes are and how
    photos are normalised for it."""
    config = {"kind": model.kind, "mean": model.mean, "std": model.std, **model.config_dict()}
    described = json.dumps({"config": config, "classes": list(model.classes)})
    tensors = {name: value.detach().to("cpu").contiguous() for name, value in model.saved_state().items()}
    write_tensors(path, tensors, about={CONFIG_KEY: described})


def is_saved_generator(path: Path) -> bool:
    """Whether the file was written by `save_generator`."""
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            return CONFIG_KEY in (file.metadata() or {})
    except (SafetensorError, OSError, UserError):
        return False


def load_generator(path: Path) -> Generator:
    """A saved generator with its classes and normalisation. Raises UserError for a file of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            stored = json.loads((file.metadata() or {})[CONFIG_KEY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        config, classes = stored["config"], tuple(stored["classes"])
        kind, mean, std = config.pop("kind"), _rgb(config.pop("mean")), _rgb(config.pop("std"))
        model = GENERATORS.load(kind, stored=True).from_config(config, num_classes=len(classes))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{path}: not a mask generator saved by this program") from None
    model.load_saved(state, where=str(path))
    return _named(model, kind, classes, mean, std)


def _named(model: Generator, kind: str, classes: tuple[str, ...], mean: RGB, std: RGB) -> Generator:
    model.kind, model.classes, model.mean, model.std = kind, classes, mean, std
    return model


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = map(float, values)
    return red, green, blue

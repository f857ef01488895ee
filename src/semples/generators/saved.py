"""CAMs that another program made, as they are: label maps, bank and segmenter start from them.

For a start of matching, prompting and refinement from such CAMs: the stage `reproduction` in place of the warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import Generator
from semples.networks.pairs import Pairs
from semples.settings.generators import SavedSettings


class Saved(Generator):
    """CAMs that another program made, by the names of the photos; no network, nothing is trained."""

    Settings = SavedSettings
    patch_size = 1

    def __init__(self, folder: Path, *, num_classes: int, rescale: bool = True) -> None:
        super().__init__()
        self.folder, self.num_classes, self.rescale = folder, num_classes, rescale

    @classmethod
    def build(cls, settings: SavedSettings, *, classes: ClassList, seed: int) -> Self:
        """Raises UserError where there is no such folder, or no CAM in it; `seed` changes nothing."""
        del seed
        folder = Path(settings.start).expanduser()
        if not settings.start or not folder.is_dir():
            raise UserError(
                f"generator.start {settings.start!r}: no such folder of CAMs; name one with --set generator.start=DIR"
            )
        if not CamStore(folder).ids():
            raise UserError(f"{folder}: holds no CAMs (ID.npz or ID.npy)")
        return cls(folder, num_classes=len(classes), rescale=settings.rescale)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        return cls(Path(config["folder"]), num_classes=num_classes, rescale=bool(config["rescale"]))

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`: the folder stays where it is."""
        return {"folder": str(self.folder), "rescale": self.rescale}

    def saved_state(self) -> dict[str, Tensor]:
        """One tensor without a meaning: a file of tensors needs one."""
        return {"none": torch.zeros(1)}

    def load_saved(self, state: dict[str, Tensor], *, where: str) -> None:
        """There is nothing to put back."""
        if set(state) != {"none"}:
            raise UserError(f"{where}: weights do not fit the model: surplus {min(set(state) - {'none'})}")

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Nothing can be said of a photo without a name. Raises UserError unless no class is asked for."""
        if len(pairs) == 0:
            return image_B3HW.new_zeros(0, *image_B3HW.shape[-2:])
        raise UserError("the generator `saved` knows photos by their names only; run it on the photos' own folder")

    def stored_cams(self, id: str) -> dict[int, NDArray[np.float32]]:
        """CAMs of a photo, {class index: float32 (H,W) in 0..1}. Raises UserError naming what is missing or odd."""
        maps = CamStore(self.folder).read(id)
        return {
            index: self._in_range(values, where=f"{self.folder}/{id}, class {index}") for index, values in maps.items()
        }

    def _in_range(self, values: NDArray[np.float32], *, where: str) -> NDArray[np.float32]:
        if not self.rescale:
            if values.min() < 0 or values.max() > 1:
                raise UserError(f"{where}: has values outside 0..1; set generator.rescale=true")
            return values
        return rescaled(values)


def rescaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """A CAM brought to 0..1 by its smallest and largest value; 0 where it has one value only."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros_like(values)
    return ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)

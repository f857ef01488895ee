"""A region bank with all that it needs to label photos: the network of its features, regions and the CRF.

It labels the photos that it was made of (tags respected, own regions left out) and, without any training, segments
photos without tags. One safetensors file holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.core.files import atomic_path
from semples.core.schema import merge, to_dict
from semples.data.transforms import image_to_tensor
from semples.labels.bank import BankSettings, Entries, Features, RegionBank, entries_of
from semples.labels.crf.dense import DenseCrf
from semples.labels.proposals.base import make_proposer
from semples.labels.refined import refined
from semples.labels.scored import Labelled
from semples.networks.cnn import Cnn, from_config
from semples.networks.weights import load_strictly
from semples.recipe import CrfSettings, RegionSettings
from semples.settings.kinds import PROPOSALS
from semples.settings.labels import SlicSettings

CONFIG_KEY, NETWORK = "bank", "network."
SUPERPIXELS = SlicSettings(scales=(200.0,))
"""Regions of a bank where nothing else is said: about 200 a photo."""
STRIDE = 8
"""Pixels of a cell of a bank's features."""


@torch.no_grad()
def cnn_features(network: Cnn, photo: NDArray[np.uint8], *, stride: int = STRIDE) -> Features:
    """Features of three depths of a network for a bank; photo uint8 (H,W,3)."""
    device = next(network.parameters()).device
    image_13HW = image_to_tensor(photo, network.mean, network.std)[None].to(device)
    depths = network.depths(image_13HW, stride=stride)
    values = torch.cat(depths, dim=1)[0].float().cpu().numpy()
    return Features(values, (float(stride), float(stride)), network.depth_channels)


@dataclass(frozen=True)
class BankSegmenter:
    """Labels photos by a bank. classes: names of the K classes. crf: None for labels that end at the regions."""

    bank: RegionBank
    network: Cnn
    classes: tuple[str, ...]
    regions: RegionSettings
    crf: CrfSettings | None

    def label(
        self, photo: NDArray[np.uint8], *, tags: Sequence[int] | None = None, without: int | None = None
    ) -> Labelled:
        """Labels and confidences of a photo, uint8 (H,W,3).

        tags: class indices that may be given; None: any. without: the photo's number in the bank, whose own regions do
        not vote.
        """
        scored = self.bank.label(
            cnn_features(self.network, photo), make_proposer(self.regions)(photo), tags=tags, without=without
        )
        if self.crf is None:
            return scored.labelled
        allowed = tuple(int(value) - 1 for value in np.unique(scored.labels) if value) if tags is None else tuple(tags)
        return refined(DenseCrf(self.crf), scored, photo=photo, tags=allowed)

    def save(self, path: Path) -> None:
        """One file with entries, network and settings. Vectors are kept in half precision."""
        config = {
            "classes": list(self.classes),
            "network": self.network.config_dict(),
            "bank": to_dict(self.bank.settings),
            "regions": to_dict(self.regions),
            "crf": None if self.crf is None else to_dict(self.crf),
        }
        tensors = {
            "vectors": torch.from_numpy(self.bank.vectors).half(),
            "values": torch.from_numpy(self.bank.values),
            "photos": torch.from_numpy(self.bank.photos),
        }
        for name, value in self.network.state_dict().items():
            tensors[NETWORK + name] = value.detach().cpu().contiguous()
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={CONFIG_KEY: json.dumps(config)})


def make_bank(
    photos: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    network: Cnn,
    classes: Sequence[str],
    *,
    settings: BankSettings,
    regions: RegionSettings = SUPERPIXELS,
    crf: CrfSettings | None = None,
    seed: int = 0,
) -> BankSegmenter:
    """A bank of photos, uint8 (H,W,3), and their label maps, uint8 (H,W); the numbers of photos are their places."""

    propose = make_proposer(regions)

    def entries() -> Iterable[Entries]:
        for photo, labels in photos:
            yield entries_of(cnn_features(network, photo), propose(photo), labels, settings)

    bank = RegionBank.fit(entries(), settings, seed=seed)
    return BankSegmenter(bank, network, tuple(classes), regions, crf)


def load_bank(path: Path) -> BankSegmenter:
    """A saved bank. Raises UserError for a file of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {})[CONFIG_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        bank = RegionBank(
            tensors.pop("vectors").float().numpy(),
            tensors.pop("values").numpy(),
            tensors.pop("photos").numpy(),
            merge(BankSettings(), config["bank"], where=str(path)),
        )
        check_entries(bank, num_classes=len(config["classes"]))
        network = from_config(config["network"])
        kind = PROPOSALS.settings_of(config["regions"]["proposals"], stored=True)
        regions = merge(kind(), config["regions"], where=str(path))
        crf = None if config["crf"] is None else merge(CrfSettings(), config["crf"], where=str(path))
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a region bank saved by this program") from None
    state = {name.removeprefix(NETWORK): value for name, value in tensors.items()}
    load_strictly(network, state, where=str(path))
    return BankSegmenter(bank, network, tuple(config["classes"]), regions, crf)


def check_entries(bank: RegionBank, *, num_classes: int) -> None:
    """Raise ValueError where the parts of a bank do not belong together."""
    count = len(bank.values)
    if bank.vectors.ndim != 2 or bank.vectors.shape[0] != count or bank.photos.shape != (count,) or not count:
        raise ValueError("entries of different numbers")
    if bank.values.dtype != np.uint8 or bank.values.max() > num_classes or bank.photos.dtype != np.int64:
        raise ValueError("entries of classes that do not exist")

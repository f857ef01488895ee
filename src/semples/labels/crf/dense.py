"""Dense CRF: label maps drawn to the edges of the photo (Krähenbühl & Koltun 2011, arXiv 1210.5644).

Mean field with two Gaussian kernels, one over position and one over position and colour, both on the permutohedral
lattice, normalised symmetrically, with Potts compatibility:

    start: Q = softmax(-unary);   step: Q = softmax(-unary + sum_k w_k diag(s_k) K_k diag(s_k) Q)
    with s_k = 1 / sqrt(K_k 1 + 1e-20)

Three interchangeable backends give the same labels: "torch" (CPU and GPU), "numba" (CPU, faster; extra `crf`) and
"pydensecrf" (if the package `pydensecrf2` is installed; CPU, float32).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from semples.core.errors import UserError
from semples.labels.crf.lattice_torch import TorchMeanField
from semples.recipe import CrfSettings

Backend = Literal["auto", "torch", "numba", "pydensecrf"]

PACKAGES = {"numba": "semples[crf]", "pydensecrf": "pydensecrf2"}
IGNORE = 255
KEPT = 8  # backends for photos of different sizes that are kept
FLOOR = 1e-5  # the least score that unary energies are made of


PRESETS = {
    "voc": CrfSettings(),
    "coco": CrfSettings(sxy_gaussian=3.0, sxy_bilateral=50.0, weight_bilateral=10.0),
}


def unary_from_labels(labels: Tensor, *, count: int, confidence: float) -> Tensor:
    """Unary energies of a label map: -log(confidence) for its label, -log((1-confidence)/(n-1)) for each other.

    `labels`: integers (H,W) in 0..n-1, or 255 where nothing is known (every label gets log n). `count`: n >= 1 labels.
    Returns float32 (n,H,W) on the same device.
    """
    if count == 1:
        return torch.zeros(1, *labels.shape, device=labels.device)
    known = labels != IGNORE
    if labels.numel() and int(torch.where(known, labels, 0).max()) >= count:
        raise ValueError(f"a label is not below {count}")
    others = -math.log((1 - confidence) / (count - 1))
    unary = torch.full((count, *labels.shape), others, device=labels.device)
    chosen = torch.arange(count, device=labels.device)[:, None, None] == labels
    unary[chosen] = -math.log(confidence)
    unary[:, ~known] = math.log(count)
    return unary


def unary_from_scores(scores: Tensor, *, floor: float = FLOOR) -> Tensor:
    """Unary energies -log p of scores (n,H,W) that sum to 1 over n (or nearly); lower scores count as `floor`."""
    return -scores.float().clamp(min=floor, max=1).log()


def margin(marginals: Tensor) -> Tensor:
    """How sure each pixel is: its largest probability minus the second largest, (H,W) in 0..1; 1 where n is 1."""
    if len(marginals) == 1:
        return torch.ones_like(marginals[0])
    best, index = marginals.max(0)
    return best - marginals.scatter(0, index[None], 0).amax(0)


@dataclass(frozen=True)
class Refined:
    """One photo's answer: label values, uint8 (H,W), and the probabilities they come from, float32 (n,H,W)."""

    labels: Tensor
    marginals: Tensor


class MeanField(Protocol):
    """What a backend does: probabilities (n,H,W) float32 of each photo from its unary energies."""

    def marginals(self, photos: Sequence[Tensor], unaries: Sequence[Tensor]) -> list[Tensor]:
        """Photos uint8 (H,W,3), unaries float32 (n,H,W) with n >= 2, all on one device."""


class DenseCrf:
    """A CRF with fixed settings, for photos of any size.

    `backend` "auto" takes numba where it is installed, the photos are on the CPU and `dtype` is float32; else torch.
    What depends on a photo's size alone is kept for the next photos of that size. Threads may share one object.
    """

    def __init__(self, settings: CrfSettings, *, backend: Backend = "auto", dtype: torch.dtype = torch.float32) -> None:
        _check(settings)
        if backend not in get_args(Backend):
            raise UserError(f"CRF backend {backend!r}: choose one of {', '.join(get_args(Backend))}")
        if dtype not in (torch.float32, torch.float16):
            raise UserError(f"CRF precision {dtype}: choose float32 or float16")
        if backend in PACKAGES and not _installed(backend):
            raise UserError(f"CRF backend {backend!r} is missing: pip install '{PACKAGES[backend]}', or choose 'torch'")
        if backend in PACKAGES and dtype != torch.float32:
            raise UserError(f"CRF backend {backend!r} computes in float32 only; choose 'torch' for float16")
        self.settings = settings
        self._dtype = dtype
        self._any_device = "torch" if backend == "auto" else backend
        faster = backend == "auto" and dtype == torch.float32 and _installed("numba")
        self._on_cpu = "numba" if faster else self._any_device
        self._made: dict[tuple[str, CrfSettings], MeanField] = {}

    def marginals(self, photos: Sequence[Tensor], unaries: Sequence[Tensor]) -> list[Tensor]:
        """Label probabilities of a batch of photos.

        `photos`: uint8 (H,W,3) RGB; `unaries`: float32 (n,H,W) energies. Sizes and n may differ within the batch; all
        are on one device. Returns float32 (n,H,W) for each. Unaries of one photo cost less one after another, with the
        same tensor for the photo: its lattice is built once.
        """
        for photo, unary in zip(photos, unaries, strict=True):
            if photo.dtype != torch.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.numel():
                raise ValueError(f"a photo must be uint8 (H,W,3), not {photo.dtype} {tuple(photo.shape)}")
            if unary.dtype != torch.float32 or unary.ndim != 3 or unary.shape[1:] != photo.shape[:2]:
                raise ValueError(f"unary {tuple(unary.shape)} does not fit a photo of shape {tuple(photo.shape)}")
        # Right where there is only one label.
        answers = [torch.ones_like(unary) if len(unary) == 1 else unary for unary in unaries]
        open_photos = [i for i, unary in enumerate(unaries) if len(unary) > 1]
        for settings, places in self._by_settings(photos, open_photos).items():
            field = self._field(self._on_cpu if photos[0].device.type == "cpu" else self._any_device, settings)
            computed = field.marginals([photos[i] for i in places], [unaries[i] for i in places])
            for i, answer in zip(places, computed, strict=True):
                answers[i] = answer
        return answers

    def _by_settings(self, photos: Sequence[Tensor], places: Sequence[int]) -> dict[CrfSettings, list[int]]:
        """The places of photos that are computed with the same settings."""
        groups: dict[CrfSettings, list[int]] = {}
        for place in places:
            groups.setdefault(for_side(self.settings, max(photos[place].shape[:2])), []).append(place)
        return groups

    def _field(self, backend: str, settings: CrfSettings) -> MeanField:
        """A backend with settings that are ready; the last few are kept."""
        known = self._made.get((backend, settings))
        if known is None:
            known = _make_backend(backend, settings, self._dtype)
            kept = dict(list(self._made.items())[1 - KEPT :])
            self._made = kept | {(backend, settings): known}
        return known

    def refine(
        self, photos: Sequence[Tensor], labels: Sequence[Tensor], classes: Sequence[Sequence[int]]
    ) -> list[Refined]:
        """Refined label maps of a batch of photos.

        `photos`: uint8 (H,W,3) RGB; `labels`: uint8 (H,W) with 0 background, k+1 for class k, 255 unknown; `classes`:
        each photo's tags (0-based), all of them candidates everywhere. A photo without tags becomes background. Raises
        ValueError where a label is not among the photo's classes.
        """
        values = [torch.tensor([0, *(k + 1 for k in tags)], dtype=torch.uint8) for tags in classes]
        unaries = [
            unary_from_labels(_positions(map_, candidates), count=len(candidates), confidence=self.settings.confidence)
            for map_, candidates in zip(labels, values, strict=True)
        ]
        marginals = self.marginals(photos, unaries)
        return [
            Refined(candidates.to(q.device)[q.max(0).indices], q)
            for q, candidates in zip(marginals, values, strict=True)
        ]


def for_side(settings: CrfSettings, side: int) -> CrfSettings:
    """The settings for a photo whose longer side has `side` pixels: deviations in pixels grow with it, where
    `settings.side` says for which side they are."""
    if settings.side in (0, side):
        return settings
    grown = {name: getattr(settings, name) * side / settings.side for name in ("sxy_gaussian", "sxy_bilateral")}
    return replace(settings, **grown, side=0)


def _check(settings: CrfSettings) -> None:
    """Raise UserError for a parameter that has no meaning."""
    for name in ("sxy_gaussian", "sxy_bilateral", "srgb"):
        if not 0 < getattr(settings, name) < math.inf:
            raise UserError(f"crf.{name} is {getattr(settings, name)}: must be above 0")
    for name in ("weight_gaussian", "weight_bilateral", "iterations"):
        if not 0 <= getattr(settings, name) < math.inf:
            raise UserError(f"crf.{name} is {getattr(settings, name)}: must be 0 or more")
    if not 0 < settings.confidence < 1:
        raise UserError(f"crf.confidence is {settings.confidence}: must be between 0 and 1")


def _positions(labels: Tensor, values: Tensor) -> Tensor:
    """Label values (H,W) as positions in `values`; 255 stays."""
    table = torch.full((256,), -1, dtype=torch.int16)
    table[values.long()] = torch.arange(len(values), dtype=torch.int16)
    table[IGNORE] = IGNORE
    positions = table.to(labels.device)[labels.long()]
    if (positions < 0).any():
        raise ValueError(f"label {int(labels[positions < 0].min())} is not among the photo's classes")
    return positions


def _installed(backend: str) -> bool:
    return importlib.util.find_spec(backend) is not None


def _make_backend(backend: str, settings: CrfSettings, dtype: torch.dtype) -> MeanField:
    if backend == "numba":
        from semples.labels.crf.lattice_numba import NumbaMeanField

        return NumbaMeanField(settings)
    if backend == "pydensecrf":
        return _Pydensecrf(settings)
    return TorchMeanField(settings, dtype)


class _Pydensecrf:
    """The C++ program behind the package `pydensecrf2`."""

    def __init__(self, settings: CrfSettings) -> None:
        self.settings = settings

    def marginals(self, photos: Sequence[Tensor], unaries: Sequence[Tensor]) -> list[Tensor]:
        """See `MeanField`; CPU only."""
        from pydensecrf.densecrf import DenseCRF2D

        answers, chosen = [], self.settings
        for photo, unary in zip(photos, unaries, strict=True):
            n, height, width = unary.shape
            crf = DenseCRF2D(width, height, n)
            crf.setUnaryEnergy(np.ascontiguousarray(unary.reshape(n, -1).numpy()))
            crf.addPairwiseGaussian(sxy=chosen.sxy_gaussian, compat=chosen.weight_gaussian)
            image = np.ascontiguousarray(photo.numpy())
            crf.addPairwiseBilateral(
                sxy=chosen.sxy_bilateral, srgb=chosen.srgb, rgbim=image, compat=chosen.weight_bilateral
            )
            answers.append(torch.from_numpy(np.array(crf.inference(chosen.iterations))).reshape(n, height, width))
        return answers

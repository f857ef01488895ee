"""Mean field of the dense CRF in torch, on the device of its inputs. Use it through `dense.DenseCrf`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from semples.labels.crf.permutohedral import NORMALISER_FLOOR, SIZES_KEPT, Lattice, build_lattice, join_lattices

if TYPE_CHECKING:
    from semples.recipe import CrfSettings

VALUES_AT_ONCE = 64_000_000  # pixels times labels that a GPU handles together
FEW_LABELS = 8  # below this many, softmax over the first axis is faster on a CPU than over the last


class TorchMeanField:
    """See `semples.labels.crf.dense.DenseCrf`. `dtype` is that of the filtering; logits and softmax are float32."""

    def __init__(self, settings: CrfSettings, dtype: torch.dtype) -> None:
        self.settings = settings
        self.dtype = dtype
        self._position_kernel = lru_cache(maxsize=SIZES_KEPT)(self._build_position_kernel)

    def marginals(self, photos: Sequence[Tensor], unaries: Sequence[Tensor]) -> list[Tensor]:
        """Probabilities (n,H,W) float32 of photos uint8 (H,W,3) from unaries float32 (n,H,W), n >= 2.

        A GPU handles photos together, as one large lattice; a CPU one by one, which its cache prefers.
        """
        answers: list[Tensor] = []
        for group in _groups(unaries):
            alike = []
            for i in group:
                if i == 0 or photos[i] is not photos[i - 1]:
                    kernel = self._colour_kernel(photos[i])
                alike.append(kernel)
            answers += self._joint([photos[i] for i in group], alike, [unaries[i] for i in group])
        return answers

    def _joint(
        self, photos: Sequence[Tensor], alike: Sequence[tuple[Lattice, Tensor]], unaries: Sequence[Tensor]
    ) -> list[Tensor]:
        near = [self._position_kernel(*photo.shape[:2], photo.device) for photo in photos]
        kernels = [join_lattices([kernel for kernel, _ in kind]) for kind in (near, alike)]
        reach = torch.cat([one + other for (_, one), (_, other) in zip(near, alike, strict=True)])
        most = max(len(unary) for unary in unaries)
        rows = [pad(unary.reshape(len(unary), -1).T, (0, most - len(unary)), value=torch.inf) for unary in unaries]
        answered = self._iterate(kernels, reach, torch.cat(rows).contiguous())
        parts = torch.split(answered, [len(row) for row in rows])
        return [part[:, : len(unary)].T.reshape(unary.shape) for part, unary in zip(parts, unaries, strict=True)]

    def _iterate(self, kernels: Sequence[Lattice], reach: Tensor, unary: Tensor) -> Tensor:
        """Probabilities (N,n) from unary energies (N,n); `reach` (N,) is the sum of the kernels applied to 1.

        Probabilities sum to 1, so label 0 need not be filtered: its message is `reach` minus all others.
        """
        probabilities = _softmax(-unary)
        logits = torch.empty_like(unary)
        for _ in range(self.settings.iterations):
            others = probabilities[:, 1:].to(self.dtype).contiguous()
            message = sum((kernel.filter(others) for kernel in kernels[1:]), kernels[0].filter(others)).float()
            torch.sub(message, unary[:, 1:], out=logits[:, 1:])
            torch.sub(reach - message.sum(1), unary[:, 0], out=logits[:, 0])
            probabilities = _softmax(logits)
        return probabilities

    def _build_position_kernel(self, height: int, width: int, device: torch.device) -> tuple[Lattice, Tensor]:
        features = _positions(height, width, self.settings.sxy_gaussian, device)
        return self._normalised(features, self.settings.weight_gaussian)

    def _colour_kernel(self, photo: Tensor) -> tuple[Lattice, Tensor]:
        height, width, _ = photo.shape
        positions = _positions(height, width, self.settings.sxy_bilateral, photo.device)
        colours = photo.reshape(-1, 3).T.float() / self.settings.srgb
        return self._normalised(torch.cat([positions, colours]), self.settings.weight_bilateral)

    def _normalised(self, features: Tensor, weight: float) -> tuple[Lattice, Tensor]:
        """weight * diag(s) K diag(s) with s = 1 / sqrt(K 1), and that kernel applied to 1, float32 (N,)."""
        lattice = build_lattice(features)
        ones = torch.ones(features.shape[1], 1, device=features.device)
        scale = 1 / torch.sqrt(lattice.filter(ones)[:, 0] + NORMALISER_FLOOR)
        kernel = lattice.scaled(before=scale, after=weight * scale)
        return kernel.to(self.dtype), kernel.filter(ones)[:, 0]


def _positions(height: int, width: int, deviation: float, device: torch.device) -> Tensor:
    """x and y of every pixel in standard deviations, float32 (2, H*W)."""
    x = torch.arange(width, dtype=torch.float32, device=device) / deviation
    y = torch.arange(height, dtype=torch.float32, device=device) / deviation
    return torch.stack([x.expand(height, width).reshape(-1), y[:, None].expand(height, width).reshape(-1)])


def _softmax(logits: Tensor) -> Tensor:
    """Softmax over the last axis of (N,n)."""
    if logits.device.type == "cpu" and logits.shape[1] < FEW_LABELS:
        return logits.T.contiguous().softmax(0).T
    return logits.softmax(1)


def _groups(unaries: Sequence[Tensor]) -> list[list[int]]:
    """Indices of the photos that are handled together, in order."""
    groups: list[list[int]] = []
    pixels = most = 0
    for i, unary in enumerate(unaries):
        pixels, most = pixels + unary[0].numel(), max(most, len(unary))
        if not groups or unary.device.type == "cpu" or pixels * most > VALUES_AT_ONCE:
            groups.append([])
            pixels, most = unary[0].numel(), len(unary)
        groups[-1].append(i)
    return groups

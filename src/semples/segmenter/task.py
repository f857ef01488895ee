"""Training of the segmenter: its losses, and what keeps wrong labels from teaching it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.recipe import SegmenterSettings
from semples.segmenter.build import Segmenter
from semples.segmenter.robust import noisy_loss
from semples.segmenter.views import MaskedBatch
from semples.training.task import Task, Total


class Segmentation(Task[MaskedBatch]):
    """Cross-entropy per pixel, or the network's own matching loss; averaged weights where the settings want them.

    Matching losses know no weights, and a pixel that is left out lies in no mask; they and batch normalisation look at
    the photos of one forward pass together, so there several processes or parts do not give the bits of one.
    """

    def __init__(self, segmenter: Segmenter, settings: SegmenterSettings) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.settings = settings
        backbone = segmenter.backbone()
        self._backbone = set() if backbone is None else {id(parameter) for parameter in backbone.parameters()}
        self._average: dict[str, Tensor] | None = None

    def trained(self) -> Iterable[nn.Parameter]:
        """All parameters; with a backbone_factor of 0 those of the head."""
        frozen = self._backbone if self.settings.backbone_factor == 0 else set()
        return [parameter for parameter in self.segmenter.parameters() if id(parameter) not in frozen]

    def factors(self, name: str, parameter: nn.Parameter) -> tuple[float, float]:
        """The backbone learns more slowly; biases, norms and single vectors do not decay."""
        rate = self.settings.backbone_factor if id(parameter) in self._backbone else 1.0
        return rate, float(parameter.ndim > 1)

    def forward(self, batch: MaskedBatch, total: Total) -> dict[str, Tensor]:
        # Dropout and sampled points depend on the photos and the epoch alone, so that a resumed run repeats them.
        torch.manual_seed(batch.seed)
        if self.segmenter.is_mask_classifier:
            mean = self.segmenter.mask_loss(batch.image, batch.labels)
            return {"loss": mean * (len(batch.image) / total.photos)}
        losses_BHW = self._pixel_losses(batch)
        loss = noisy_loss(losses_BHW, batch.labels, batch.weight, self.settings.noise)
        terms = {"loss": loss * (len(batch.image) / total.photos)}
        if self.settings.noise.clip != "no":
            terms["plain_loss"] = losses_BHW.detach().mean() * (len(batch.image) / total.photos)
        return terms

    def _pixel_losses(self, batch: MaskedBatch) -> Tensor:
        try:
            return self.segmenter.pixel_losses(batch.image, batch.labels)
        except ValueError as error:
            if len(batch.image) > 1 or "more than 1 value per channel" not in str(error):
                raise
            raise UserError(
                f"this {self.segmenter.family} has batch normalisation of whole photos, which cannot learn from one at "
                "a time; raise segmenter.batch, or lower segmenter.accumulate or the number of processes"
            ) from None

    # ---------------------------------------------------------------------------------------------- averaged weights

    def kept(self) -> dict[str, Tensor]:
        """Statistics of batch normalisation, and the averaged weights."""
        buffers = {name: value for name, value in self.segmenter.named_buffers() if "running_" in name}
        if self.settings.noise.ema > 0:
            buffers |= self._averages()
        return buffers

    def _averages(self) -> dict[str, Tensor]:
        if self._average is None:
            parameters = self.segmenter.named_parameters()
            self._average = {
                f"average.{name}": value.detach().clone() for name, value in parameters if value.requires_grad
            }
        return self._average

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """average += (1 - d) (weights - average), d = min(ema, (1 + step) / (10 + step)), so that it starts fast."""
        if self.settings.noise.ema > 0:
            decay = min(self.settings.noise.ema, (1 + step) / (10 + step))
            averages = self._averages()
            for name, value in self.segmenter.named_parameters():
                if value.requires_grad:
                    averages[f"average.{name}"].lerp_(value, 1 - decay)

    @torch.no_grad()
    def finish(self) -> Segmenter:
        """The trained segmenter in eval mode, with the averaged weights where there are any."""
        if self._average is not None:
            for name, value in self.segmenter.named_parameters():
                value.copy_(self._average.get(f"average.{name}", value))
        return self.segmenter.eval()

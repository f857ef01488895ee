"""What matching, prompting and refinement share: masks of the present pairs, and the views of them a judge sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.data.transforms import RGB
from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.networks.pairs import Pairs
from semples.training.task import TaggedBatch

RELATIVE_EPSILON = 0.1


@dataclass(frozen=True)
class ViewMaker:
    """Turns a batch into a judge's foreground and background views.

    size: side of the judge's input. epsilon: the stage's cam_epsilon. renormalise: per-channel factor and shift (3,)
    that turn the generator's normalisation into the judge's, or None to feed the judge the generator's (parity).
    """

    size: int
    epsilon: float | str
    renormalise: tuple[Tensor, Tensor] | None = None
    scales: tuple[float, ...] = (1.0,)
    _there: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, judge: Judge, *, epsilon: float | str, mean: RGB, std: RGB, scales: tuple[float, ...] = (1.0,)
    ) -> ViewMaker:
        """As the judge wants its views; mean and std are the generator's. scales: sizes of a photo at which masks are
        made."""
        if judge.mean is None or judge.std is None:
            return cls(judge.image_size, epsilon, None, scales)
        factor = torch.tensor(std) / torch.tensor(judge.std)
        shift = (torch.tensor(mean) - torch.tensor(judge.mean)) / torch.tensor(judge.std)
        return cls(judge.image_size, epsilon, (factor, shift), scales)

    def masks(self, generator: Generator, batch: TaggedBatch, pairs: Pairs) -> Tensor:
        """Soft masks (P,size,size) of the present pairs, differentiable in the generator; the mean of those that its
        CAMs at each scale give.

        In float32 whatever the precision: a mask is what a CAM differs in, and in half precision much of that, and of
        its gradient, is lost.
        """
        with torch.autocast(batch.image.device.type, enabled=False):
            image = batch.image.to(torch.promote_types(batch.image.dtype, torch.float32))
            made = [
                cam_masks(
                    generator.cams(resized(image, scale, least=generator.patch_size), pairs, noise_BZ=batch.noise),
                    size=self.size,
                    epsilon=self.epsilon,
                )
                for scale in self.scales
            ]
            return made[0] if len(made) == 1 else torch.stack(made).mean(dim=0)

    def views(self, image_B3HW: Tensor, mask_PSS: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Foreground and background views (P,3,size,size)."""
        if image_B3HW.shape[-2:] != (self.size, self.size):
            image_B3HW = F.interpolate(
                image_B3HW, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        if self.renormalise is not None:
            if image_B3HW.device not in self._there:  # brought to a GPU once: that waits for it
                factor, shift = (x.to(image_B3HW)[:, None, None] for x in self.renormalise)
                self._there[image_B3HW.device] = factor, shift
            factor, shift = self._there[image_B3HW.device]
            image_B3HW = image_B3HW * factor + shift
        return views(image_B3HW, mask_PSS, pairs)


def resized(image_B3HW: Tensor, scale: float, *, least: int) -> Tensor:
    """The photos at `scale`, bilinear, no side below `least` pixels; at 1 themselves."""
    if scale == 1:
        return image_B3HW
    size = [max(least, round(side * scale)) for side in image_B3HW.shape[-2:]]
    return F.interpolate(image_B3HW, size=size, mode="bilinear", align_corners=False, antialias=scale < 1)


def cam_masks(cam_Phw: Tensor, *, size: int, epsilon: float | str) -> Tensor:
    """CAMs (P,h,w) as soft masks (P,size,size) in 0..1 (SemPLeS eq. (1)).

    Resized bilinearly with aligned corners, then (m - min) / (max - min + epsilon) over space; the gradient flows
    through min and max too. `relative` puts a tenth of the (constant) range itself in place of epsilon, a deviation
    from the paper for generators whose CAM values are far below the published epsilon of 0.1.
    """
    cam_Phw = cam_Phw.to(torch.promote_types(cam_Phw.dtype, torch.float32))  # mixed precision stops here
    resized = F.interpolate(cam_Phw.unsqueeze(1), size=(size, size), mode="bilinear", align_corners=True).squeeze(1)
    low = resized.amin(dim=(1, 2), keepdim=True)
    span = resized.amax(dim=(1, 2), keepdim=True) - low
    if epsilon == "relative":
        added = (RELATIVE_EPSILON * span.detach()).clamp_min(torch.finfo(span.dtype).tiny * 2**24)
        return (resized - low) / (span + added)
    return (resized - low) / (span + float(epsilon))


def views(image_B3SS: Tensor, mask_PSS: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Foreground views M·X and background views (1 - M)·X of the pairs, each (P,3,S,S) (SemPLeS eq. (1))."""
    photo_P3SS = image_B3SS[pairs.photo]
    mask_P1SS = mask_PSS.unsqueeze(1)
    return photo_P3SS * mask_P1SS, photo_P3SS * (1 - mask_P1SS)

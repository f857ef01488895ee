"""The losses of SemPLeS (arXiv 2401.11791) as pure functions of cosines, one value per (photo, class) pair.

Every function takes cosine similarities (P,) in -1..1 and returns losses (P,); averaging over pairs is the caller's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.generators.base import Pairs

LOWEST, HIGHEST = 1e-4, 0.9999  # a cosine is clamped to this range before any logarithm
RELATIVE_EPSILON = 0.1


def attract(cosine_P: Tensor) -> Tensor:
    """-log cos: pulls two features together."""
    return -cosine_P.clamp(LOWEST, HIGHEST).log()


def repel(cosine_P: Tensor) -> Tensor:
    """-log(1 - cos): pushes two features apart."""
    return -(1 - cosine_P.clamp(LOWEST, HIGHEST)).log()


def separate(cosine_P: Tensor) -> Tensor:
    """log cos, to be minimised: keeps a background prompt away from its class's own text (SemPLeS eq. (4))."""
    return cosine_P.clamp(LOWEST, HIGHEST).log()


def cosine(left_PE: Tensor, right_PE: Tensor) -> Tensor:
    """Raw cosine (P,) of L2-normalised features; there is no temperature."""
    return (left_PE * right_PE).sum(dim=-1)


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

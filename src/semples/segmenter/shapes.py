"""Which sizes of images a network takes, found by trying: many families do not say it."""

from __future__ import annotations

import torch

from semples.core.errors import UserError
from semples.segmenter.build import Segmenter

ANY_SIZE = ("segformer", "mask2former", "maskformer", "semples_vit", "semples_lite")  # known; the others are tried
LONG = 4  # a view's longer side, in shorter sides, that must do


def takes(segmenter: Segmenter, height: int, width: int) -> bool:
    """Whether the network takes an image of this size, which one pass on a black one tells."""
    device = next(segmenter.parameters()).device
    training = segmenter.training
    try:
        with torch.no_grad():
            segmenter.eval()(torch.zeros(1, 3, height, width, device=device))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError):
        return False
    finally:
        segmenter.train(training)
    return True


def check_view(segmenter: Segmenter, view: int) -> None:
    """Raises UserError where the network cannot be trained on squares of `view` pixels."""
    if segmenter.family not in ANY_SIZE and not takes(segmenter, view, view):
        trained_side = getattr(segmenter.network.config, "image_size", None)
        hint = (
            f" to {trained_side}"
            if isinstance(trained_side, int) and trained_side != view
            else ", for example to a multiple of 32"
        )
        raise UserError(f"this {segmenter.family} does not take views of {view} pixels; set segmenter.image_size{hint}")


def only_side(segmenter: Segmenter, *, step: int) -> int | None:
    """The side of the squares that the network takes, None where oblong images do. `step`: as views are rounded to.

    DPT takes squares alone, EoMT and Data2Vec those of one size. Raises UserError where none is found.
    """
    if segmenter.fixed_size or segmenter.family in ANY_SIZE:
        return segmenter.fixed_size
    size = segmenter.config.size
    if takes(segmenter, size, size + step):
        return None
    trained_side = getattr(segmenter.network.config, "image_size", None)
    for side in (size, trained_side):
        if isinstance(side, int) and takes(segmenter, side, side):
            return side
    raise UserError(
        f"this {segmenter.family} takes no images of {size} pixels; train it with another segmenter.photo_size"
    )


def least_side(segmenter: Segmenter, *, step: int) -> int:
    """The shortest side, a multiple of `step`, of the long images that the network takes: some pool short ones away."""
    if segmenter.family in ANY_SIZE:
        return step
    size = segmenter.config.size
    sides = [side for side in (step, 2 * step, 4 * step) if side < size]
    return next((side for side in sides if takes(segmenter, side, LONG * size)), size)

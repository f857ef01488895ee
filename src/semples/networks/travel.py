"""How far training has moved a network's weights."""

from __future__ import annotations

from torch import nn


def travelled(start: nn.Module, trained: nn.Module) -> float | None:
    """How far weights have moved from their start, in lengths of their own: |w1 - w0| / |w0|, Euclidean, over all
    matrices (floating tensors of two and more axes) that both networks have by the same name and shape; None where
    there are none, or all of them started as zeros.

    An optimizer of Adam's kind moves every weight by about the learning rate a step, so that a rate that is far too
    high shows here whatever the loss says: at 1 nothing of what the start weights knew need be left.
    """
    ended = dict(trained.named_parameters())
    moved = length = 0.0
    for name, weight in start.named_parameters():
        if weight.is_floating_point() and weight.ndim > 1 and name in ended and ended[name].shape == weight.shape:
            before, after = weight.detach().cpu().double(), ended[name].detach().cpu().double()
            moved += float((after - before).square().sum())
            length += float(before.square().sum())
    return float((moved / length) ** 0.5) if length > 0 else None

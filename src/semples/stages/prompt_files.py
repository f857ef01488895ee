"""Background prompts that were learned elsewhere: published files, and this program's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from semples.core.errors import UserError
from semples.core.safeload import load_state_dict
from semples.stages.background_prompts import BackgroundPrompts, load_prompts

KEY = "prompts"  # the published files' only entry


def read_prompts(source: str, *, classes: Sequence[str], length: int, width: int) -> Tensor:
    """Prompts (K,M,width), float32, of `prompts.start`: a published `.pth`, an ordered dictionary with the one entry
    'prompts' (K,M,width) in the order of the classes, or a prompts.safetensors of this program.

    Raises UserError where the file is neither, or holds other classes, another length M or another width.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(
            f"{source}: no such file; prompts.start names a .pth with prompts or a run's prompts.safetensors"
        )
    if path.suffix == ".safetensors":
        vectors, names = load_prompts(path)
        if names != tuple(classes):
            raise UserError(f"{source}: prompts of other classes ({', '.join(names[:5])} ...) than the photos have")
    else:
        state = load_state_dict(path)
        stored = state.get(KEY)
        if stored is None:
            raise UserError(f"{source}: holds no entry {KEY!r} but {', '.join(list(state)[:3])}; no published prompts")
        vectors = stored
    if vectors.ndim != 3 or not vectors.is_floating_point():
        raise UserError(f"{source}: its prompts are {tuple(vectors.shape)}; expected classes x length x width")
    count, stored_length, stored_width = vectors.shape
    for what, has, wanted, setting in (
        ("classes", count, len(classes), "the photos' class list"),
        ("vectors a prompt", stored_length, length, f"prompts.length; add --set prompts.length={stored_length}"),
        ("numbers a vector", stored_width, width, "judge.model, whose vectors have another width"),
    ):
        if has != wanted:
            raise UserError(f"{source}: {has} {what}, but {wanted} are expected by {setting}")
    if not torch.isfinite(vectors).all():
        raise UserError(f"{source}: its prompts hold numbers that are not finite; get another copy")
    return vectors.float()


def start_prompts(prompts: BackgroundPrompts, source: str, *, classes: Sequence[str]) -> None:
    """Give `prompts` the vectors of `source` in place of random ones; "" leaves them. Raises UserError."""
    if source:
        _, length, width = prompts.vectors.shape
        with torch.no_grad():
            prompts.vectors.copy_(read_prompts(source, classes=classes, length=length, width=width))

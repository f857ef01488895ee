"""In which precision networks compute, said outright: neither an earlier training nor a library's default decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from semples.core.errors import UserError

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def at_precision(device: torch.device, precision: str) -> torch.autocast:
    """A context in which networks compute in `precision`: "no" (float32, even within another context), "bf16", "fp16".

    Raises UserError for fp16 on a processor, which sums up too coarsely there.
    """
    check(device, precision)
    if precision == "no":
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=HALVES[precision])


def check(device: torch.device, precision: str, *, where: str = "run.inference") -> None:
    """Raises UserError where the device cannot compute so."""
    if precision == "fp16" and device.type == "cpu":
        raise UserError(f"{where} fp16 needs a GPU; use bf16 or no")


def automatic() -> str:
    """The half precision of this machine's GPU: bf16 where it has it in hardware, else fp16; "no" without a GPU."""
    if not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def use_tf32(wanted: bool) -> None:
    """Whether float32 products may be computed in TF32 on GPUs: of matrices and of convolutions alike."""
    torch.backends.cuda.matmul.allow_tf32 = wanted
    torch.backends.cudnn.allow_tf32 = wanted


@contextmanager
def exact_products() -> Iterator[None]:
    """Within it float32 products are computed in float32, whatever PyTorch's own choice (TF32 in convolutions)."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    use_tf32(False)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def described(device: torch.device, **settings: Any) -> dict[str, Any]:
    """What decides on the last digits of a result on this machine, as plain data."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "torch": torch.__version__, **settings}

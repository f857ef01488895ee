"""How many processor cores this process may count on."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may run on, its part of them where torchrun has started others beside it."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    try:
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    except ValueError:
        beside = 1
    return max(1, allowed // max(1, beside))

"""How many operations a step asks of a GPU, counted without one: those that are not mere views, forward and backward.

Stages (a), (b), (c) at 224 px, DeiT-S, CLIP ViT-B/32 (random weights), 16 photos with 28 pairs (or `--photos`, in
fours), and the CAMs of a 500x375 photo. A GPU keeps attention maps where a processor streams them
(`networks.attention.map_bytes`); with `--memory 80` they are counted as on one of so many GiB, with 0 as on a
processor. The optimizer and what the loop adds are not in it.

    OMP_NUM_THREADS=1 python benchmarks/launches.py [--memory 80] [--photos 64] [--only b] [--out launches.json]

Results are put together in benchmarks/results/launches.json.

The table's column "before" is this file beside `speed.py` of the commit it names.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import speed

try:
    from semples.generators import class_tokens
    from semples.networks import attention
except ImportError:  # an earlier commit, which streamed maps everywhere
    class_tokens = None  # type: ignore[assignment]

PHOTOS = 4  # of `speed.py`, each of which is taken several times
CELLS = ("a", "b", "c", "cams")


class Launches(TorchDispatchMode):
    """Operations by name, views left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and func.overloadpacket.__name__ not in ("detach", "lift_fresh", "_unsafe_view"):
            self.by_name[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def many_photos(build: Any, times: int) -> Any:
    """`speed.build_batch` with every photo so often."""

    def built(device: str) -> Any:
        batch = build(device)
        rows = {
            name: torch.cat([value] * times) if isinstance(value, torch.Tensor) else value
            for name, value in vars(batch).items()
        }
        return type(batch)(**rows)

    return built


class NoOptimizer:
    """What stands for AdamW: its launches are not those of a stage."""

    def __init__(self, trained: list[torch.Tensor], **settings: Any) -> None:
        self.trained = trained

    def step(self) -> None:
        return

    def zero_grad(self, **settings: Any) -> None:
        for parameter in self.trained:
            parameter.grad = None


def counted(name: str) -> Counter[str]:
    """Launches of a second step of a stage, or of the CAMs of a second photo."""
    step = speed.cams("cpu") if name == "cams" else speed.stage(name, "cpu")
    step()
    with Launches() as seen:
        step()
    return seen.by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory", type=float, default=80)
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=list(CELLS), choices=CELLS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.memory and class_tokens is not None:
        class_tokens.MAP_BYTES = int(options.memory * 2**30 * attention.MAP_SHARE)
    speed.build_batch = many_photos(speed.build_batch, options.photos // PHOTOS)
    torch.optim.AdamW = NoOptimizer  # type: ignore[assignment, misc]
    cells = {}
    for name in options.only:
        by_name = counted(name)
        cells[name] = {"launches": sum(by_name.values()), "most": dict(by_name.most_common(12))}
        print(name, cells[name]["launches"], *[f"{key} {count}" for key, count in by_name.most_common(8)])
    if options.out is not None:
        options.out.write_text(
            json.dumps({"memory_gib": options.memory, "photos": options.photos, **cells}, indent=1) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()

"""How long training takes, from a few real steps at small batches: forward, backward, optimizer, nothing learned."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from semples.training.feed import TrainingViews
from semples.training.task import Task, Total

SMALL, LARGE = 2, 6  # photos of the steps that are timed
REPEATS = 3


@dataclass
class Cost:
    """Seconds of all threads of this process (cpu) and of the clock (wall)."""

    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall)

    def times(self, factor: float) -> Cost:
        """So many of them."""
        return Cost(self.cpu * factor, self.wall * factor)


@contextmanager
def measured(device: torch.device | None = None) -> Iterator[Cost]:
    """The cost of what is done within, known once it is done."""
    cost, cpu, wall = Cost(), time.process_time(), time.perf_counter()
    yield cost
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    cost.cpu, cost.wall = time.process_time() - cpu, time.perf_counter() - wall


@dataclass(frozen=True)
class StepCost:
    """Cost of an optimizer step as a line over its photos: fixed + photos x each. bytes_each: memory that a photo of
    the batch takes; bytes_fixed: of all else, the process included. Both 0 where this machine does not tell."""

    fixed: Cost
    each: Cost
    bytes_fixed: int = 0
    bytes_each: int = 0

    def of(self, batch: int) -> Cost:
        """A step of `batch` photos."""
        return self.fixed + self.each.times(batch)

    def memory(self, batch: int) -> int:
        """Peak bytes of a step of `batch` photos."""
        return self.bytes_fixed + self.bytes_each * batch


def time_steps(
    task: Task[Any], views: TrainingViews, indices: Sequence[int], *, device: torch.device, seconds: float = 0.5
) -> StepCost:
    """Time steps of `task` on the views of some photos. Its weights stay as they are: the rate is 0.

    seconds: CPU time after which nothing more is repeated. One step of a few photos that takes longer has to do.
    """
    task.to(device).train()
    trained = {id(parameter) for parameter in task.trained()}
    for parameter in task.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    weights = [parameter for parameter in task.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=0.0)

    def step(count: int) -> Cost:
        with measured(device) as cost:
            rows = [views[(place, indices[place % len(indices)])] for place in range(count)]
            pairs = int(sum(int(views.pairs[indices[place % len(indices)]]) for place in range(count)))
            loss = task(views.collate(rows).to(device), Total(count, pairs))["loss"]
            if loss.requires_grad:
                loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return cost

    first = step(SMALL)  # makes the optimizer's state, and warms up
    if first.cpu > seconds:
        return StepCost(Cost(), first.times(1 / SMALL), *_memory(device, SMALL))
    begin, small, large = time.process_time(), list[Cost](), list[Cost]()
    peak = [0, 0]
    for _ in range(REPEATS):
        for place, (count, costs) in enumerate(((SMALL, small), (LARGE, large))):
            forget_peak(device)
            costs.append(step(count))
            peak[place] = max(peak[place], peak_bytes(device))
        if time.process_time() - begin > seconds:
            break
    least, most = (min(costs, key=lambda cost: cost.cpu) for costs in (small, large))
    each = Cost(*((b - a) / (LARGE - SMALL) for a, b in ((least.cpu, most.cpu), (least.wall, most.wall))))
    if each.cpu <= 0 or each.wall <= 0:
        each = most.times(1 / LARGE)
    fixed = Cost(max(0.0, least.cpu - SMALL * each.cpu), max(0.0, least.wall - SMALL * each.wall))
    per_photo = max(0, (peak[1] - peak[0]) // (LARGE - SMALL))
    return StepCost(fixed, each, max(0, peak[1] - LARGE * per_photo), per_photo)


def _memory(device: torch.device, count: int) -> tuple[int, int]:
    """What a single timed step tells: all of it may grow with the batch."""
    return 0, peak_bytes(device) // count


def forget_peak(device: torch.device) -> None:
    """Start measuring the peak anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int:
    """Peak bytes of this process, or on the GPU, since it was last forgotten; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration, ValueError):
        return 0

"""Devices and processes of a run, and what one process has to do so that gradients of all of them add up."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, distributed

from semples.core.devices import best_device
from semples.core.errors import UserError
from semples.core.ranks import ALONE, Ranks
from semples.recipe import RunSettings


@dataclass(frozen=True)
class Engine:
    """Processes and devices of this run: one object per process, made once.

    ranks: how processes wait for one of them, and what they tell one another, as long as `run.wait_hours` says. The
    group of the gradients has the short limit of its own, so that a process that has ended is missed within minutes.
    """

    accelerator: Accelerator
    ranks: Ranks = ALONE

    @classmethod
    def start(cls, settings: RunSettings) -> Engine:
        """Join the other processes (torchrun, accelerate launch) or run alone, on the best device there is."""
        if settings.precision == "fp16" and not torch.cuda.is_available():
            raise UserError("run.precision fp16 needs a GPU; use bf16 or no")
        logging.getLogger("accelerate").setLevel(logging.ERROR)
        accelerator = Accelerator(mixed_precision=settings.precision, cpu=best_device().type == "cpu")
        if accelerator.num_processes == 1:
            return cls(accelerator)
        group = distributed.new_group(backend="gloo", timeout=timedelta(hours=settings.wait_hours))
        return cls(accelerator, Ranks(accelerator.process_index, accelerator.num_processes, group))

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device  # type: ignore[no-any-return]

    @property
    def is_main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    @property
    def skips_on_device(self) -> bool:
        """Whether the optimizer leaves a step out by a flag on the device, so that the host need not look at it."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until all processes are here. Raises UserError where one of them has ended or takes too long."""
        self.ranks.wait()

    def stop(self) -> None:
        """Leave the process group."""
        self.accelerator.end_training()


class Zero(torch.autograd.Function):
    """Zero, with all given parameters in its graph: one operation however many they are, and no gradient to add."""

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, ...]:
        return (None,) * len(ctx.needs_input_grad)

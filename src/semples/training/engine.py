"""Devices and processes of a run, and what one process has to do so that gradients of all of them add up."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, distributed, nn

from semples.core.devices import best_device, check_cards
from semples.core.errors import UserError
from semples.core.ranks import ALONE, Ranks, meeting_place
from semples.networks.precision import automatic, check, described, use_tf32
from semples.recipe import RunSettings

COMPILER = "inductor"
FIRST_SCALE = 2.0**8  # of the loss in fp16; torch starts at 2**16, where the first 6 to 10 steps overflow


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
        use_tf32(settings.tf32)
        precision = automatic() if settings.precision == "auto" else settings.precision
        cpu = best_device().type == "cpu"
        if cpu:
            check(torch.device("cpu"), precision, where="run.precision")
        else:
            check_cards()
        logging.getLogger("accelerate").setLevel(logging.ERROR)
        AcceleratorState._reset_state(reset_partial_state=False)  # an earlier run of this process had its precision
        with talking():
            place = meeting_place()
            if place and not distributed.is_initialized():
                if not cpu:
                    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
                distributed.init_process_group("gloo" if cpu else "nccl", **place)
            accelerator = Accelerator(mixed_precision=precision, cpu=cpu)
        if accelerator.num_processes == 1:
            return cls(accelerator)
        with talking():
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

    def prepare(self, task: nn.Module, optimizer: torch.optim.Optimizer, *, compiled: bool) -> tuple[Any, Any]:
        """Both on this process's device, at the run's precision, and one with those of the other processes.

        Half precision in fp16 scales the loss: every stage starts low, so that no step has to be left out to find the
        scale, and with nothing of the stage before. compiled: by torch.compile, which takes minutes at first.
        """
        if self.accelerator.scaler is not None:
            self.accelerator.scaler = torch.amp.GradScaler(self.device.type, init_scale=FIRST_SCALE)
        if compiled:
            task.compile(backend=COMPILER)
        module, prepared = self.accelerator.prepare(task, optimizer)
        return module, prepared

    def release(self, module: Any) -> None:
        """The end of a training: from here on the task computes in the precision that it is asked in."""
        task = self.accelerator.unwrap_model(module, keep_fp32_wrapper=False)
        task._compiled_call_impl = None
        self.accelerator.free_memory()

    def described(self, settings: RunSettings) -> dict[str, Any]:
        """What decides on the last digits of what this process computes."""
        return described(
            self.device,
            precision=self.accelerator.mixed_precision,
            inference=settings.inference,
            tf32=settings.tf32,
        )

    def stop(self) -> None:
        """Leave the process group."""
        self.accelerator.end_training()


@contextmanager
def talking() -> Iterator[None]:
    """Raises UserError in place of what PyTorch says where another process has ended or is not found."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error).lower():
            raise
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"another process has ended; run the same command to go on ({reason})") from None


class Zero(torch.autograd.Function):
    """Zero, with all given parameters in its graph: one operation however many they are, and no gradient to add."""

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, ...]:
        return (None,) * len(ctx.needs_input_grad)

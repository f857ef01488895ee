"""The training loop. The only file that knows the distributed engine (accelerate)."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from semples.core.errors import Stopped, UserError
from semples.core.progress import counter
from semples.core.signals import STOPPING, Ended, set_handlers
from semples.recipe import RunSettings, SegmenterSettings, StageSettings
from semples.training.checkpoint import Progress, load_checkpoint, load_progress, save_checkpoint
from semples.training.events import EventLog
from semples.training.feed import Plan, TrainingViews, feed
from semples.training.schedule import rate_at
from semples.training.task import Batch, Task

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Engine:
    """Processes and devices of this run: one object per process, made once."""

    accelerator: Accelerator

    @classmethod
    def start(cls, settings: RunSettings) -> Engine:
        """Join the other processes (torchrun, accelerate launch) or run alone. Uses a GPU when there is one."""
        if settings.precision == "fp16" and not torch.cuda.is_available():
            raise UserError("run.precision fp16 needs a GPU; use bf16 or no")
        logging.getLogger("accelerate").setLevel(logging.ERROR)
        return cls(Accelerator(mixed_precision=settings.precision, cpu=not torch.cuda.is_available()))

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

    def wait(self) -> None:
        """Until all processes are here."""
        self.accelerator.wait_for_everyone()

    def stop(self) -> None:
        """Leave the process group."""
        self.accelerator.end_training()


def train(
    task: Task,
    views: TrainingViews,
    *,
    engine: Engine,
    settings: StageSettings | SegmenterSettings,
    run: RunSettings,
    workers: int,
    folder: Path,
    fingerprint: str,
    label: str,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train `task` as long as the settings say, resuming from the checkpoint in `folder` of the same fingerprint.

    A stage that is cut at any moment and started again ends with the same bits on a CPU: order, augmentation and
    stochastic depth depend on (seed, epoch, photo) alone. The final weights are in `task`; the caller saves them.
    after_epoch: called on every process with the number of finished epochs (from 1), before any checkpoint of them.
    """
    batch = min(settings.batch, len(views.tags))
    if isinstance(settings, SegmenterSettings):
        epochs, length, clip_norm = 0, settings.iterations, settings.clip_norm
    else:
        epochs, length, clip_norm = settings.epochs, None, 0.0
    plan = Plan(
        tags=views.tags,
        epochs=epochs,
        batch=batch,
        seed=run.seed,
        processes=engine.processes,
        parts=settings.accumulate,
        length=length,
    )
    set_seed(run.seed)
    accelerator = engine.accelerator
    task.train()
    weights = _mark_trained(task)
    optimizer = torch.optim.AdamW(
        _groups(task, weights, settings.weight_decay),
        betas=(settings.beta1, settings.beta2),
        eps=settings.adam_epsilon,
    )
    module: Any
    module, optimizer = accelerator.prepare(task, optimizer)
    trained, weights = list(weights.values()), weights | task.kept()
    progress = _resume(folder / CHECKPOINT, weights, optimizer, fingerprint, accelerator)
    progress.steps = plan.steps
    events = EventLog(folder, first_step=progress.step) if engine.is_main else None

    def save() -> None:
        if engine.is_main:
            if accelerator.scaler is not None:
                progress.scaler = accelerator.scaler.state_dict()
            save_checkpoint(folder / CHECKPOINT, weights=weights, optimizer=optimizer, progress=progress)

    stepper = _Stepper(module, optimizer, trained, clip_norm)
    pieces = feed(plan, views, rank=engine.rank, first_step=progress.step, workers=workers)
    saved = time.monotonic()
    with _stop_signals() as stopping, _bar(engine, label, plan.steps, progress.step) as advance:
        while progress.step < plan.steps:
            rate = rate_at(settings, progress.step, steps=plan.steps, steps_per_epoch=plan.steps_per_epoch, batch=batch)
            terms, stop = _step(stepper, pieces, plan, progress.step, rate, engine, stop=stopping() > 0)
            progress.step += 1
            task.after_step(progress.step)
            _log(progress, terms, rate, plan, run.log_every, events)
            advance(f"loss {terms['loss']:.4f}")
            if after_epoch is not None and progress.step % plan.steps_per_epoch == 0:
                after_epoch(progress.step // plan.steps_per_epoch)
            if stop:
                save()
                raise Stopped(
                    f"{label} stopped at step {progress.step} of {plan.steps}; run the same command to resume",
                    status=128 + (stopping() or signal.SIGINT),
                )
            if time.monotonic() - saved >= run.checkpoint_seconds and progress.step < plan.steps:
                save()
                saved = time.monotonic()
    if events is not None:
        events.close()
    accelerator.free_memory()
    engine.wait()


def _mark_trained(task: Task) -> dict[str, Tensor]:
    """Let gradients flow to the trained parameters only; returns those by name, in the order of the module."""
    trained = {id(parameter) for parameter in task.trained()}
    for parameter in task.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    return {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}


def _groups(task: Task, weights: dict[str, Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that share their factors of learning rate and weight decay, in the order of the module."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in weights.items():
        groups.setdefault(task.factors(name, parameter), []).append(parameter)  # type: ignore[arg-type]
    return [
        {"params": parameters, "factor": rate, "weight_decay": weight_decay * decay}
        for (rate, decay), parameters in groups.items()
    ]


def _resume(
    path: Path, weights: dict[str, Tensor], optimizer: Any, fingerprint: str, accelerator: Accelerator
) -> Progress:
    progress = load_progress(path)
    if progress is None or progress.fingerprint != fingerprint:
        return Progress(fingerprint=fingerprint)
    load_checkpoint(path, weights=weights, optimizer=optimizer)
    if accelerator.scaler is not None and progress.scaler:
        accelerator.scaler.load_state_dict(progress.scaler)
    return progress


@dataclass(frozen=True)
class _Stepper:
    """What a step moves: the prepared module and optimizer, and the largest norm of the gradient (0: any)."""

    module: Any
    optimizer: Any
    trained: list[Tensor]
    clip_norm: float


def _step(
    stepper: _Stepper,
    pieces: Iterator[Batch],
    plan: Plan,
    step: int,
    rate: float,
    engine: Engine,
    *,
    stop: bool,
) -> tuple[dict[str, float], bool]:
    """One optimizer step; returns its losses, averaged over all its photos or pairs, and whether any process was
    asked to stop."""
    accelerator, module, optimizer = engine.accelerator, stepper.module, stepper.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    total = plan.total(step)
    sums: dict[str, Tensor] = {}
    for part in range(plan.parts):
        batch = next(pieces).to(engine.device)
        last = part == plan.parts - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(module):
            terms = module(batch, total)
            # Gradients are averaged over processes; shares have to be summed. The zero keeps every trained parameter
            # in the graph when a batch holds no pair.
            loss = terms["loss"] * engine.processes + 0.0 * sum(p.sum() for p in module.parameters() if p.requires_grad)
            accelerator.backward(loss)
        for name, value in terms.items():
            sums[name] = sums.get(name, torch.zeros((), device=engine.device)) + value.detach()
    if stepper.clip_norm > 0:
        accelerator.clip_grad_norm_(stepper.trained, stepper.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    flag = torch.tensor(float(stop), device=engine.device)
    *reduced, asked = accelerator.reduce(torch.stack([*sums.values(), flag]), reduction="sum").tolist()
    return dict(zip(sums, reduced, strict=True)), asked > 0


def _log(
    progress: Progress, terms: dict[str, float], rate: float, plan: Plan, every: int, events: EventLog | None
) -> None:
    for name, value in terms.items():
        progress.sums[name] = progress.sums.get(name, 0.0) + value
    progress.summed += 1
    if progress.summed < every and progress.step < plan.steps:
        return
    means = {name: value / progress.summed for name, value in progress.sums.items()}
    if any(value != value for value in means.values()):
        raise UserError(
            f"the loss is not a number at step {progress.step}; lower base_lr, or use run.precision bf16 or no"
        )
    if events is not None:
        events.write({"step": progress.step, "epoch": progress.step / plan.steps_per_epoch, "lr": rate, **means})
    progress.sums, progress.summed = {}, 0


@contextlib.contextmanager
def _bar(engine: Engine, label: str, steps: int, done: int) -> Iterator[Callable[[str], None]]:
    if not engine.is_main:
        yield lambda note: None
        return
    with counter(label=label, total=steps, done=done) as advance:
        yield advance


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Ctrl-C, SIGTERM or SIGHUP end training after the running step, with a checkpoint; a second one ends it at once.

    Yields a function that tells which of them came, 0: none.
    """
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt if number == signal.SIGINT else Ended(number)
        seen.append(number)

    before = set_handlers((signal.SIGINT, *STOPPING), note)
    try:
        yield lambda: seen[0] if seen else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

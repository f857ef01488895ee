"""The training loop. It and `engine` are the only files that know the distributed engine (accelerate)."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor

from semples.core.errors import Stopped, UserError
from semples.core.progress import counter
from semples.core.signals import STOPPING, Ended, set_handlers
from semples.recipe import RunSettings, SegmenterSettings, StageSettings
from semples.training.checkpoint import Progress, load_checkpoint, load_progress, save_checkpoint
from semples.training.crops import CropBatch
from semples.training.engine import Engine, Zero, talking
from semples.training.events import EventLog
from semples.training.feed import Plan, TrainingViews, feed
from semples.training.memory import parts_of_step
from semples.training.schedule import Course
from semples.training.task import Batch, Task, Total
from semples.training.trackers import Tracking

CHECKPOINT = "checkpoint.safetensors"
SKIPPED = "skipped"  # steps that the scaler of fp16 left out since the last line of the log
HOPELESS = 10  # steps in a row that it left out: from then on a scale below 1 is taken for one that will not help


def train(
    task: Task[Any],
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
    tracking: Tracking | None = None,
) -> None:
    """Train `task` as long as the settings say, resuming from the checkpoint in `folder` of the same fingerprint.

    A stage that is cut at any moment and started again ends with the same bits on a CPU: order, augmentation and
    stochastic depth depend on (seed, epoch, photo) alone. The final weights are in `task`; the caller saves them.
    after_epoch: called on every process with the number of finished epochs (from 1), before any checkpoint of them; a
    last one that is cut short counts. `steps: auto` is settled before (`schedule.settled`). tracking: the trackers of
    the run, for process 0, which the caller closes; without, `run.trackers` are opened for this training alone.
    Raises Stopped after a signal, UserError where losses or gradients are not finite: such a step changes nothing, and
    neither a checkpoint nor the caller gets anything that follows it. fp16 leaves such steps out and scales the loss
    down: UserError where that does not help (`_Work.check_scale`).
    """
    course = Course.of(settings, photos=len(views.pairs))
    parts = settings.accumulate
    if isinstance(parts, str):
        _mark_trained(task.to(engine.device))  # the judge is there already, the generator not
        parts = parts_of_step(task, views, batch=course.batch, processes=engine.processes)
    plan = Plan(
        pairs=views.pairs,
        epochs=course.epochs,
        batch=course.batch,
        seed=run.seed,
        processes=engine.processes,
        parts=parts,
        length=course.length,
    )
    set_seed(run.seed)
    task.train()
    work = _Work.prepare(task, engine, settings, course, compiled=run.compile)
    progress = work.resume(folder / CHECKPOINT, fingerprint)
    progress.steps = plan.steps
    on_gpu = engine.device.type == "cuda"
    pieces = feed(plan, views, rank=engine.rank, first_step=progress.step, workers=workers, crops=on_gpu)
    saved = time.monotonic()
    begun = saved - progress.seconds

    def save() -> None:
        work.check(label)
        progress.seconds = round(time.monotonic() - begun, 1)
        if engine.is_main:
            work.save(folder / CHECKPOINT, progress)

    following = _events(tracking, run, engine, folder, label, fingerprint, progress.step)
    bar = _bar(engine, label, plan.steps, progress.step)
    with talking(), following as events, _stop_signals() as stopping, bar as advance:
        while progress.step < plan.steps:
            rate = course.rate(progress.step, steps=plan.steps, steps_per_epoch=plan.steps_per_epoch)
            work.step(pieces, plan, progress.step, rate)
            progress.step += 1
            task.after_step(progress.step)
            logged = _log(progress, work, rate, plan, run.log_every, events, label)
            advance("" if logged is None else f"loss {logged['loss']:.4f}")
            if after_epoch is not None and plan.ends_epoch(progress.step):
                work.check(label)
                after_epoch(math.ceil(progress.step / plan.steps_per_epoch))
                engine.wait()
            if work.asked_to_stop(stopping() > 0, now=logged is not None):
                save()
                raise Stopped(
                    f"{label} stopped at step {progress.step} of {plan.steps}; run the same command to resume",
                    status=128 + (stopping() or signal.SIGINT),
                )
            due = time.monotonic() - saved >= run.checkpoint_seconds and progress.step < plan.steps
            # Of several processes each has its part of the losses: they are kept once these are added up and written.
            if due and (engine.processes == 1 or logged is not None):
                save()
                saved = time.monotonic()
    engine.release(work.module)
    engine.wait()


def _mark_trained(task: Task[Any]) -> dict[str, Tensor]:
    """Let gradients flow to the trained parameters only; returns those by name, in the order of the module."""
    trained = {id(parameter) for parameter in task.trained()}
    for parameter in task.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    return {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}


def _groups(task: Task[Any], weights: dict[str, Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters that share their factors of learning rate and weight decay, in the order of the module."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in weights.items():
        groups.setdefault(task.factors(name, parameter), []).append(parameter)  # type: ignore[arg-type]
    return [
        {"params": parameters, "factor": rate, "weight_decay": weight_decay * decay}
        for (rate, decay), parameters in groups.items()
    ]


@dataclass
class _Work:
    """What training moves on this process. Losses and the flag of steps that were not finite stay on the device until
    somebody has to know them, so that no step waits for another.

    trained: by name. kept: `trained` and what checkpoints hold beside it. sums: of the losses not yet logged, float64.
    broken: the first step (from 1) whose values were not finite, 0 for none. waited: seconds that the
    loader let it wait. left_out: steps of the last intervals of the log of which fp16 did none.
    """

    engine: Engine
    module: Any
    optimizer: Any
    trained: dict[str, Tensor]
    kept: dict[str, Tensor]
    clip_norm: float
    sums: dict[str, Tensor]
    broken: Tensor
    waited: float = 0.0
    left_out: int = 0

    @classmethod
    def prepare(
        cls,
        task: Task[Any],
        engine: Engine,
        settings: StageSettings | SegmenterSettings,
        course: Course,
        *,
        compiled: bool,
    ) -> _Work:
        """The task and its optimizer, prepared for the engine's devices and processes."""
        trained = _mark_trained(task)
        optimizer: Any = torch.optim.AdamW(
            _groups(task, trained, settings.weight_decay),
            betas=(settings.beta1, settings.beta2),
            eps=settings.adam_epsilon,
            fused=True if engine.skips_on_device else None,
        )
        module, optimizer = engine.prepare(task, optimizer, compiled=compiled)
        broken = torch.zeros((), dtype=torch.int64, device=engine.device)
        return cls(engine, module, optimizer, trained, trained | task.kept(), course.clip_norm, {}, broken)

    def resume(self, path: Path, fingerprint: str) -> Progress:
        """Go on from a checkpoint of the same fingerprint, else start."""
        progress = load_progress(path)
        if progress is None or progress.fingerprint != fingerprint:
            return Progress(fingerprint=fingerprint)
        load_checkpoint(path, weights=self.kept, optimizer=self.optimizer)
        scaler = self.engine.accelerator.scaler
        if scaler is not None and progress.scaler:
            scaler.load_state_dict(progress.scaler)
        self.sums = {name: self._number(value) for name, value in progress.sums.items()}
        return progress

    def save(self, path: Path, progress: Progress) -> None:
        """Write a checkpoint."""
        scaler = self.engine.accelerator.scaler
        if scaler is not None:
            progress.scaler = scaler.state_dict()
        progress.sums = {name: float(value) for name, value in self.sums.items()}
        save_checkpoint(path, weights=self.kept, optimizer=self.optimizer, progress=progress)

    def step(self, pieces: Iterator[Batch | CropBatch], plan: Plan, step: int, rate: float) -> None:
        """One optimizer step over all parts of this process; nothing is read back from the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        terms = self._gradients(pieces, plan, plan.total(step))
        for name, value in terms.items():
            self.sums[name] = value.to(self._number_dtype) + self.sums.get(name, 0.0)
        self._move(step)
        self.optimizer.zero_grad(set_to_none=True)

    def _gradients(self, pieces: Iterator[Batch | CropBatch], plan: Plan, total: Total) -> dict[str, Tensor]:
        """Gradients of the step's loss; this process's share of every term, float32."""
        accelerator, terms = self.engine.accelerator, dict[str, Tensor]()
        for part in range(plan.parts):
            begin = time.perf_counter()
            piece = next(pieces)
            self.waited += time.perf_counter() - begin
            batch = piece.to(self.engine.device)
            last = part == plan.parts - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.module):
                answer = self.module(batch, total)
                loss = answer["loss"]
                if self.engine.processes > 1:
                    # Gradients are averaged over processes; shares have to be summed. The zero keeps every trained
                    # parameter in the graph of every process, as the engine wants it, where a batch holds no pair.
                    loss = loss * self.engine.processes + Zero.apply(*self.trained.values())  # type: ignore[no-untyped-call]
                if loss.requires_grad:
                    accelerator.backward(loss)
            for name, value in answer.items():
                terms[name] = terms.get(name, torch.zeros((), device=self.engine.device)) + value.detach()
        for value in self.trained.values():  # one that nothing depended on in this step still decays
            if value.grad is None:
                value.grad = torch.zeros_like(value)
        return terms

    def _move(self, step: int) -> None:
        """Let the optimizer step, unless a gradient is not finite: then nothing changes, and the step is noted."""
        accelerator, gradients = self.engine.accelerator, [value.grad for value in self.trained.values()]
        if accelerator.scaler is not None:  # it looks for values that are not finite, and skips, itself
            if self.clip_norm > 0:
                accelerator.clip_grad_norm_(list(self.trained.values()), self.clip_norm)
            scale = accelerator.scaler._scale.clone()  # on the device: `get_scale` would wait for it
            self.optimizer.step()
            if self.engine.is_main:
                now = accelerator.scaler._scale  # once it is 0 it falls no further, and no step can be done
                skipped = ((now < scale) | (now == 0)).to(self.broken.device)
                self.sums[SKIPPED] = skipped.to(self._number_dtype) + self.sums.get(SKIPPED, 0.0)
            return
        norm = torch.stack(torch._foreach_norm(gradients)).sum()  # type: ignore[arg-type]
        bad = ~norm.isfinite()
        self.broken = torch.where((self.broken == 0) & bad, step + 1, self.broken)
        if self.clip_norm > 0:
            accelerator.clip_grad_norm_(list(self.trained.values()), self.clip_norm)
        if self.engine.skips_on_device:
            self._bare_optimizer().found_inf = bad.float()
            self.optimizer.step()
        elif not bad:
            self.optimizer.step()

    def _bare_optimizer(self) -> Any:
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def means(self, steps: int) -> dict[str, float]:
        """Means of all terms over the steps since they were last asked for, over all processes, and how many steps were
        skipped; starts anew."""
        if self.engine.accelerator.scaler is not None:
            self.sums.setdefault(SKIPPED, self._number(0.0))
        values = self.engine.accelerator.reduce(torch.stack(list(self.sums.values())), reduction="sum").tolist()
        averages = dict(zip(self.sums, (value / steps for value in values), strict=True))
        self.sums = {}
        if SKIPPED in averages:
            averages[SKIPPED] = round(averages[SKIPPED] * steps)
        return averages

    def check(self, label: str) -> None:
        """Raise UserError where a step since the last look was not finite."""
        step = int(self.broken)  # gradients are those of all processes: every one sees the same
        if step:
            raise UserError(
                f"{label}: the loss or its gradient is not a finite number at step {step}; nothing after step "
                f"{step - 1} is kept. Lower the learning rate (lr or base_lr), or use run.precision bf16 or no"
            )

    def check_scale(self, skipped: float, progress: Progress, steps: int, label: str) -> None:
        """Raise UserError where fp16 has left out all of the stage's `steps`, or all of so many in a row, over whole
        intervals of the log, that the scale is below 1 (`HOPELESS` at least). skipped: since the last line of it."""
        self.left_out = self.left_out + progress.summed if skipped == progress.summed else 0
        if self.left_out < min(HOPELESS, steps):
            return
        scale = self.engine.accelerator.scaler.get_scale()
        if scale < 1 or self.left_out == steps:
            raise UserError(
                f"{label}: fp16 has left out all {self.left_out} steps up to step {progress.step}: gradients are not "
                f"finite numbers though the loss is scaled by {scale:g} only; set run.precision=bf16 or no"
            )

    def asked_to_stop(self, asked: bool, *, now: bool) -> bool:
        """Whether any process was asked to stop; several agree on it only when losses are read (`now`)."""
        if self.engine.processes == 1:
            return asked
        if not now:
            return False
        flag = torch.tensor(float(asked), device=self.engine.device)
        return bool(self.engine.accelerator.reduce(flag, reduction="sum").item())

    @property
    def _number_dtype(self) -> torch.dtype:
        return torch.float32 if self.engine.device.type == "mps" else torch.float64

    def _number(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=self._number_dtype, device=self.engine.device)


def _log(
    progress: Progress, work: _Work, rate: float, plan: Plan, every: int, events: EventLog | None, label: str
) -> dict[str, float] | None:
    """Every `every` steps, and at the end: read the losses, check them and write them down; else None."""
    progress.summed += 1
    if progress.summed < every and progress.step < plan.steps:
        return None
    work.check(label)
    means = work.means(progress.summed)
    if not all(map(math.isfinite, means.values())):
        raise UserError(
            f"{label}: the loss is not a finite number before step {progress.step}; lower the learning rate (lr or "
            "base_lr), or use run.precision bf16 or no"
        )
    if SKIPPED in means:
        work.check_scale(means[SKIPPED], progress, plan.steps, label)
    if events is not None:
        events.write_time(progress.step, waited=work.waited)
        work.waited = 0.0
        events.write({"step": progress.step, "epoch": progress.step / plan.steps_per_epoch, "lr": rate, **means})
    progress.sums, progress.summed = {}, 0
    return means


@contextlib.contextmanager
def _events(
    tracking: Tracking | None,
    run: RunSettings,
    engine: Engine,
    folder: Path,
    label: str,
    fingerprint: str,
    first_step: int,
) -> Iterator[EventLog | None]:
    """The log of this training, in process 0, and what follows it elsewhere."""
    if not engine.is_main:
        yield None
        return
    used = Tracking(folder, run.trackers, config={}) if tracking is None else tracking
    log = None
    try:
        sinks = partial(used.sinks, label, folder, fingerprint=fingerprint, first_step=first_step)
        log = EventLog(folder, first_step=first_step, sinks=sinks)
        yield log
    finally:
        if log is not None:
            log.close()
        if tracking is None:
            used.close()


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

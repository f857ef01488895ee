"""Curves of training in TensorBoard, Weights & Biases or MLflow, through accelerate's trackers.

`events.jsonl` stays the source: a tracker gets its lines, each step once. A run's folder is one tracked run in each
service, whose curves are called `matching/loss`; `trackers.json` says which, and how far each stage is told there.
TensorBoard has files of its own in each stage's folder.
"""

from __future__ import annotations

import importlib.util
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from semples.core.errors import UserError, note
from semples.core.files import read_json, write_json
from semples.settings.run import Trackers

STATE = "trackers.json"
PROJECT = "semples"
FLUSH_SECONDS = 0.1  # between two writings of Weights & Biases; what is not written is lost if the program is killed
FINISH_SECONDS = 60.0  # that a service without answer may take at the end
Event = dict[str, Any]


def tracker_names(wanted: Trackers) -> tuple[str, ...]:
    """Names of the trackers that a setting asks for. Raises UserError for one whose package is missing."""
    if wanted == "none":
        return ()
    if wanted == "auto":
        return ("tensorboard",) if importlib.util.find_spec("tensorboard") is not None else ()
    from accelerate.utils import is_mlflow_available, is_tensorboard_available, is_wandb_available

    there = {"tensorboard": is_tensorboard_available, "wandb": is_wandb_available, "mlflow": is_mlflow_available}
    for name in wanted:
        if not there[name]():
            raise UserError(f"run.trackers: {name} is not installed: pip install 'semples[{name}]'")
    return tuple(dict.fromkeys(wanted))


class Sink(Protocol):
    """What takes the events of one stage."""

    def write(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Tracking:
    """The trackers of one run's folder, in the one process that logs.

    config: settings as told to the services, dotted key to plain value. A service is opened when the first stage needs
    it, and closed by `close`. One that fails is left out for the rest of the stage, with one warning.
    """

    def __init__(self, folder: Path, wanted: Trackers, *, config: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, dict(config)
        self._names = tracker_names(wanted)
        self._services = {name: SERVICES[name](self) for name in self._names if name in SERVICES}

    def sinks(
        self, stage: str, folder: Path, kept: Sequence[Event], *, fingerprint: str, first_step: int
    ) -> list[Sink]:
        """What takes a stage's events from now on. kept: its events up to `first_step`, told now where they were not.

        Raises UserError where a service cannot be reached at the start.
        """
        sinks: list[Sink] = []
        for name in self._names:
            if name in self._services:
                service = self._services[name]
                service.begin(stage, fingerprint)
                sinks.append(Guarded(name, _Stage(service, stage)))
                for event in kept:
                    sinks[-1].write(event)
            else:
                sinks.append(Guarded(name, _Board(folder, first_step)))
        return sinks

    def close(self) -> None:
        """End what was opened, and the processes that it has started."""
        for name, service in self._services.items():
            _tried(name, service.close)


class Guarded:
    """A sink whose failures end it, with one warning, and nothing else."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name, self._sink, self._broken = name, sink, False

    def write(self, event: Event) -> None:
        self._broken = self._broken or not _tried(self._name, lambda: self._sink.write(event))

    def close(self) -> None:
        if not self._broken:
            _tried(self._name, self._sink.close)


def _tried(name: str, work: Callable[[], None]) -> bool:
    """Whether the work could be done; a warning says why not."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 (every service has errors of its own, and those of the network)
        note(f"{name}: {_reason(error)}; the stage goes on without it")
        return False
    return True


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


class _Board:
    """TensorBoard's files in the folder of a stage; what was written after `first_step` is dropped by its reader."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from accelerate.tracking import TensorBoardTracker

        _after_its_files(folder)
        self._tracker = TensorBoardTracker("tensorboard", folder, purge_step=first_step + 1)
        self._tracker.start()

    def write(self, event: Event) -> None:
        self._tracker.log(_values(event), step=event["step"])

    def close(self) -> None:
        self._tracker.finish()


def _after_its_files(folder: Path) -> None:
    """Wait, at most a second, until a new file of TensorBoard's comes after those that are there: it orders them by the
    second in their names, then by process, and drops what an earlier one has of later steps."""
    made = [part for path in folder.rglob("events.out.tfevents.*") if (part := path.name.split(".")[3]).isdecimal()]
    last = max(map(int, made), default=0)
    while last == int(now := time.time()):
        time.sleep(last + 1 - now)


class _Service(ABC):
    """One tracked run in a service that knows runs by id; what is known of it stands in `trackers.json`."""

    name = ""
    again = True  # whether settings may be told more than once

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.tracker: Any = None
        self._path = tracking.folder / STATE
        stored = _read(self._path).get(self.name)
        whole = isinstance(stored, dict) and {"id", "lines", "stages"} <= stored.keys()
        self.state: dict[str, Any] = stored if whole and stored is not None else self._empty()

    def begin(self, stage: str, fingerprint: str) -> None:
        """Open the tracked run for this stage: the one of before, unless it has the curves of another such stage."""
        told = self.state["stages"].get(stage)
        if told is not None and told["fingerprint"] != fingerprint:
            self.close()
            self.state = self._empty()
        if self.tracker is None:
            known = self.state["id"]
            try:
                self.tracker = self.open(known)
                self.state["id"] = self.identify()
                if self.again or not known:
                    self.tracker.store_init_configuration(self.tracking.config)
            except Exception as error:  # noqa: BLE001 (every service has errors of its own)
                self.reset()
                raise UserError(
                    f"run.trackers: {self.name} cannot be used: {_reason(error)} (leave it out of run.trackers to "
                    "train without it)"
                ) from None
        self.state["stages"].setdefault(stage, {"fingerprint": fingerprint, "step": 0})
        self._save()
        self.prepare(stage)

    def write(self, stage: str, event: Event) -> None:
        """Tell an event of the stage, unless it was told before. It is noted as told first: a program that is killed in
        between loses a point, but never tells one twice."""
        told = self.state["stages"][stage]
        before = told["step"]
        if event["step"] <= before:
            return
        told["step"] = event["step"]
        self.state["lines"] += 1
        self._save()
        try:
            self.log(stage, event)
        except BaseException:
            told["step"] = before
            self._save()
            raise

    def close(self) -> None:
        """End the tracked run, to be gone on with later."""
        tracker, self.tracker = self.tracker, None
        try:
            if tracker is not None:
                self.end(tracker)
        finally:
            self.reset()

    @abstractmethod
    def open(self, known: str) -> Any:
        """A started tracker of accelerate. known: id of the run to go on with; empty for a new one."""

    @abstractmethod
    def identify(self) -> str:
        """The id of the run that is open."""

    def prepare(self, stage: str) -> None:  # noqa: B027 (a hook that not every service needs)
        """Say what is to come."""

    @abstractmethod
    def log(self, stage: str, event: Event) -> None:
        """Send an event."""

    def end(self, tracker: Any) -> None:
        """Finish the tracker."""
        tracker.finish()

    def reset(self) -> None:  # noqa: B027 (a hook as well)
        """Undo what `open` has set for the whole program."""

    def _empty(self) -> dict[str, Any]:
        return {"id": "", "lines": 0, "stages": {}}

    def _save(self) -> None:
        write_json(self._path, _read(self._path) | {self.name: self.state})


class Wandb(_Service):
    """Weights & Biases; with WANDB_MODE=offline its files in the run's folder are all that is written."""

    name = "wandb"

    def open(self, known: str) -> Any:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        from accelerate.tracking import WandBTracker

        tracker = WandBTracker(
            os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(self.tracking.folder),
            id=known or os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:16],
            name=os.environ.get("WANDB_NAME", self.tracking.folder.resolve().name),
            resume="allow",
            settings={
                "console": "off",
                "quiet": True,
                "finish_timeout": FINISH_SECONDS,
                "x_transaction_log_flush_interval": FLUSH_SECONDS,
            },
        )
        tracker.start()
        return tracker

    def identify(self) -> str:
        return str(self.tracker.tracker.id)

    def prepare(self, stage: str) -> None:
        self.tracker.tracker.define_metric(f"{stage}/*", step_metric=f"{stage}/step")

    def log(self, stage: str, event: Event) -> None:
        values = {f"{stage}/{name}": value for name, value in event.items()}
        self.tracker.log(values, step=self.state["lines"])

    def end(self, tracker: Any) -> None:
        import wandb

        tracker.finish()
        wandb.teardown()  # the process that it has started


class Mlflow(_Service):
    """MLflow: the server of MLFLOW_TRACKING_URI, or else files in the run's folder."""

    name = "mlflow"
    again = False
    _set = False  # whether the place is ours, which MLflow keeps for the whole program

    def open(self, known: str) -> Any:
        defaults = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # else a training waits for minutes for a server that is gone
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
            "MLFLOW_ALLOW_FILE_STORE": "true",  # a database needs packages that mlflow-skinny does not bring
        }
        for key, value in defaults.items():
            os.environ.setdefault(key, value)
        import mlflow
        from accelerate.tracking import MLflowTracker

        if not mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]
            mlflow.set_tracking_uri((self.tracking.folder.resolve() / "mlflow").as_uri())
            self._set = True
        tracker = MLflowTracker(PROJECT, run_id=known or None, run_name=self.tracking.folder.resolve().name)
        tracker.start()
        return tracker

    def identify(self) -> str:
        return str(self.tracker.tracker.info.run_id)

    def reset(self) -> None:
        if self._set:
            import mlflow

            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
            self._set = False

    def log(self, stage: str, event: Event) -> None:
        self.tracker.log({f"{stage}/{name}": value for name, value in _values(event).items()}, step=event["step"])


class _Stage:
    """A stage's place in a service."""

    def __init__(self, service: _Service, stage: str) -> None:
        self._service, self._stage = service, stage

    def write(self, event: Event) -> None:
        self._service.write(self._stage, event)

    def close(self) -> None:
        """The tracked run stays open for the next stage."""


SERVICES: dict[str, type[_Service]] = {"wandb": Wandb, "mlflow": Mlflow}


def _values(event: Event) -> Event:
    return {name: value for name, value in event.items() if name != "step"}


def _read(path: Path) -> dict[str, Any]:
    """What is known of the tracked runs; nothing where the file is damaged."""
    try:
        stored = read_json(path) if path.is_file() else {}
    except UserError:
        return {}
    return stored if isinstance(stored, dict) else {}

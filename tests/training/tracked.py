"""What trackers were told, read from the files that they left: Weights & Biases' offline log, MLflow's and
TensorBoard's by their own readers."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 1 << 15, 7  # of Weights & Biases' log (that of LevelDB): a record is one piece, or a first to a last

Point = tuple[int, float]


def offline() -> dict[str, str]:
    """Environment in which no tracker asks the network for anything."""
    return {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, pieces = path.read_bytes(), HEADER, []
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        pieces.append(content[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(b"".join(pieces))
            pieces = []
            yield record


def wandb_of(run: Path) -> tuple[set[str], dict[str, Any], list[dict[str, Any]]]:
    """Ids of the runs that Weights & Biases keeps below this folder, their config, and all their lines in order."""
    ids, config, lines = set(), dict[str, Any](), []
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for record in _records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                ids.add(record.run.run_id)
            if kind == "config":
                config |= {item.key: json.loads(item.value_json) for item in record.config.update}
            if kind == "history":
                names = [item.key or ".".join(item.nested_key) for item in record.history.item]
                values = [json.loads(item.value_json) for item in record.history.item]
                lines.append(dict(zip(names, values, strict=True)))
    return ids, config, lines


def wandb_curve(lines: list[dict[str, Any]], stage: str, name: str) -> list[Point]:
    return [(line[f"{stage}/step"], line[f"{stage}/{name}"]) for line in lines if f"{stage}/{name}" in line]


def mlflow_runs(run: Path) -> list[Any]:
    """The runs in MLflow's files below this folder."""
    return _client(run).search_runs([experiment.experiment_id for experiment in _client(run).search_experiments()])


def mlflow_curve(run: Path, id: str, stage: str, name: str) -> list[Point]:
    return [(metric.step, metric.value) for metric in _client(run).get_metric_history(id, f"{stage}/{name}")]


def _client(run: Path) -> Any:
    from mlflow.tracking import MlflowClient

    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return MlflowClient((run / "mlflow").as_uri())


def tensorboard_curve(stage: Path, name: str) -> list[Point]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(stage / "tensorboard"))
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(name)]

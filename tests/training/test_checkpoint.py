"""Checkpoints hold weights, optimizer state and progress, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semples.core.errors import UserError
from semples.training.checkpoint import Progress, load_checkpoint, load_progress, save_checkpoint
from semples.training.events import EventLog, read_lines


def trained() -> tuple[dict[str, torch.Tensor], torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    weights = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(weights.values(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    return weights, optimizer  # type: ignore[return-value]


def test_round_trip(tmp_path: Path) -> None:
    weights, optimizer = trained()
    progress = Progress("f", step=3, steps=12, sums={"loss": 1 / 3}, summed=1, scaler={"scale": 2.0})
    save_checkpoint(tmp_path / "c", weights=weights, optimizer=optimizer, progress=progress)
    loaded = load_progress(tmp_path / "c")
    assert loaded == progress
    assert loaded.done == 0.25
    other = torch.nn.Linear(3, 2)
    fresh = torch.optim.AdamW(other.parameters(), lr=0.1)
    load_checkpoint(tmp_path / "c", weights=dict(other.named_parameters()), optimizer=fresh)
    assert torch.equal(other.weight, weights["weight"])
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(fresh.state_dict()["state"][index][key], value)


def test_a_failing_write_keeps_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, optimizer = trained()
    save_checkpoint(tmp_path / "c", weights=weights, optimizer=optimizer, progress=Progress("f", step=1))

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path / "c", weights=weights, optimizer=optimizer, progress=Progress("f", step=2))
    assert load_progress(tmp_path / "c") == Progress("f", step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_none_and_broken(tmp_path: Path) -> None:
    assert load_progress(tmp_path / "none") is None
    (tmp_path / "broken").write_bytes(b"\x00" * 40)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_progress(tmp_path / "broken")


def test_events_after_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    log = EventLog(tmp_path, first_step=0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": step / 3})
    log.close()
    with open(tmp_path / "events.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in read_lines(tmp_path / "events.jsonl")] == [1, 2, 3]
    EventLog(tmp_path, first_step=2).close()
    assert read_lines(tmp_path / "events.jsonl") == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    EventLog(tmp_path, first_step=0).close()
    assert read_lines(tmp_path / "events.jsonl") == []


@pytest.mark.parametrize("line", ["null", "[" * 100_000, '{"loss": 1}', '{"step": "x"}', "9" * 5000, "\udcff"])
def test_events_end_where_they_are_damaged(tmp_path: Path, line: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 0.5}\n' + line.encode("utf-8", "surrogateescape") + b'\n{"step": 3}\n')
    assert read_lines(path) == [{"step": 1, "loss": 0.5}]
    log = EventLog(tmp_path, first_step=1)
    log.write({"step": 2, "loss": 0.25})
    log.close()
    assert [event["step"] for event in read_lines(path)] == [1, 2]

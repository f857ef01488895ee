"""The pool that makes regions and label maps: the same answers in order, and one line for a mistake."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from semples.core.cores import cores
from semples.core.devices import OFF, best_device
from semples.core.errors import UnusableFile, UserError
from semples.run.pool import pooled
from tests import tiny
from tests.prediction import material


def test_answers_come_in_order_from_several_processes() -> None:
    def square(number: int) -> tuple[int, int]:
        time.sleep(0.02 if number % 2 else 0)
        return number**2, os.getpid()

    alone = list(pooled(square, range(7), workers=1))
    shared = list(pooled(square, range(7), workers=2))
    assert [value for value, _ in shared] == [value for value, _ in alone] == [number**2 for number in range(7)]
    assert {process for _, process in alone} == {os.getpid()}
    assert len({process for _, process in shared} - {os.getpid()}) == min(2, os.cpu_count() or 1)
    assert list(pooled(square, [], workers=2)) == []


def test_helpers_compute_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a process that uses a GPU cannot use it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv(OFF, raising=False)
    assert best_device().type == "cuda"
    assert {*pooled(lambda number: best_device().type, range(4), workers=2)} == {"cpu" if cores() > 1 else "cuda"}
    assert best_device().type == "cuda"


def test_a_mistake_is_raised_here() -> None:
    def fails(number: int) -> int:
        if number == 2:
            raise UnusableFile("photo 2: broken")
        return number

    answers = pooled(fails, range(9), workers=2)
    assert [next(answers), next(answers)] == [0, 1]
    with pytest.raises(UnusableFile, match="photo 2: broken"):
        next(answers)


def test_a_process_that_is_ended_is_one_line() -> None:
    def dies(number: int) -> int:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(UserError, match="a helper process was ended"):
        list(pooled(dies, range(5), workers=2))


def test_a_pool_makes_the_files_of_one_process(photos: Path, tmp_path: Path) -> None:
    """Regions and label maps drawn by them and the CRF, byte by byte."""
    runs = [
        material.run(
            tmp_path / str(workers),
            photos,
            settings=(
                f"data.workers={workers}",
                "labels.method=regions+crf",
                "regions.proposals=felzenszwalb",
                "regions.scales=[50]",
            ),
        )
        for workers in (0, 2)
    ]
    for step in ("regions", "labels"):
        made = [
            {path.relative_to(run).as_posix(): path.read_bytes() for path in (run / step).rglob("*.[np][pn][zg]")}
            for run in runs
        ]
        assert len(made[0]) >= 10
        assert made[0] == made[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("pool") / "photos")

"""Free memory where a container or a job is given less than the machine has."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from semples.core import room
from semples.core.room import free_disk, free_memory

GB = 10**9


def limit(folder: Path, names: tuple[str, str], most: str, used: int, given_back: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{most}\n", encoding="ascii")
    (folder / names[1]).write_text(f"{used}\n", encoding="ascii")
    (folder / "memory.stat").write_text(f"anon 7\n{given_back} {GB // 2}\n", encoding="ascii")


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(room, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(room, "MEMBER", tmp_path / "member")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 20 * GB}))
    return tmp_path / "groups"


def test_no_limit(top: Path) -> None:
    assert free_memory() == 20 * GB
    (top.parent / "member").write_text("0::/job\n", encoding="ascii")
    limit(top / "job", room._V2[:2], "max", 5 * GB, room._V2[2])
    assert free_memory() == 20 * GB


def test_the_least_of_all_limits_counts(top: Path) -> None:
    (top.parent / "member").write_text("0::/job/step\n", encoding="ascii")
    limit(top / "job" / "step", room._V2[:2], str(9 * GB), 2 * GB, room._V2[2])
    assert free_memory() == 9 * GB - 2 * GB + GB // 2  # what the system would give back counts as free
    limit(top / "job", room._V2[:2], str(4 * GB), 3 * GB, room._V2[2])
    assert free_memory() == GB + GB // 2
    limit(top, room._V2[:2], str(GB), 3 * GB, room._V2[2])  # over its limit: nothing is free
    assert free_memory() == 0


def test_limits_of_older_systems(top: Path) -> None:
    (top.parent / "member").write_text("4:cpu:/x\n3:memory,hugetlb:/job\n", encoding="ascii")
    limit(top / "memory" / "job", room._V1[:2], str(6 * GB), GB, room._V1[2])
    assert free_memory() == 5 * GB + GB // 2


def test_a_disk_that_is_not_there_has_no_room(tmp_path: Path) -> None:
    assert free_disk(tmp_path) > 0
    assert free_disk(tmp_path / "gone") == 0

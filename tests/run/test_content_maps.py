"""Label maps by their content: where they lie, and that all of them are found, however the folder began."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from semples.core import places
from semples.run.content_maps import ContentMaps

DATA = [bytes([place]) * 9 for place in range(8)]


@pytest.mark.parametrize("before", [0, 2, 6])
def test_all_are_found_and_no_folder_is_fuller_than_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Also those of a folder that was written flat, however many it has."""
    folder = tmp_path / "maps"
    assert not ContentMaps(folder)
    ContentMaps(folder).folder.mkdir()
    for data in DATA[:before]:
        (folder / f"{hashlib.sha256(data).hexdigest()}.png").write_bytes(data)
    monkeypatch.setattr(places, "MOST", 4)
    maps = ContentMaps(folder)
    digests = [maps.keep(data) for data in (*DATA, *DATA)]
    assert len(list(folder.rglob("*.png"))) == len(DATA)
    assert len(list(folder.glob("*.png"))) == max(4, before)
    for store in (maps, ContentMaps(folder)):
        assert bool(store)
        assert all(store.path(digest).read_bytes() == data for digest, data in zip(digests, DATA, strict=False))
        assert all(store.has(digest) for digest in digests)


def test_a_damaged_map_is_written_where_it_lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "MOST", 1)
    maps = ContentMaps(tmp_path)
    for data in DATA[:3]:
        path = maps.path(maps.keep(data))
        path.write_bytes(b"x")
        assert not maps.has(path.stem)
        assert ContentMaps(tmp_path).keep(data) == path.stem
        assert path.read_bytes() == data
    assert len(list(tmp_path.rglob("*.png"))) == 3


@pytest.mark.parametrize("name", ["", "..", "../../etc/passwd", "\0" * 64, "é" * 64, "A" * 64, "0" * 63])
def test_only_a_sha256_names_a_map(tmp_path: Path, name: str) -> None:
    assert not ContentMaps(tmp_path).has(name)

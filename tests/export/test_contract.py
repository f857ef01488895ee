"""What every exporter in the registry must do. A new one needs a reader in tests/export/readers.py, unless nobody
reads it back."""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.core.palette import write_label_png
from semples.export import EXPORTERS, about, export_labels, exporter
from tests.export.readers import READERS, files_of
from tests.export.worlds import blobs, make_source, worlds

# Formats with label maps, and the options that make them exact. All but VOC forget ignored pixels.
EXACT: dict[str, dict[str, Any]] = {
    "voc": {},
    "coco": {"shapes": "rle"},
    "labelstudio": {"shapes": "brush"},
    "cvat-coco": {"shapes": "rle"},
    "cvat-voc": {},
}
POLYGONS: dict[str, dict[str, Any]] = {
    "coco": {"shapes": "polygons"},
    "yolo": {},
    "labelstudio": {"shapes": "polygons"},
    "cvat-coco": {"shapes": "polygons"},
}
name_of = pytest.mark.parametrize("name", list(EXPORTERS))


def test_every_exporter_is_read_back() -> None:
    assert set(READERS) == set(EXPORTER_OPTIONS) - {"gallery"}
    assert set(EXPORTER_OPTIONS) <= set(EXPORTERS)


def expected(name: str, labels: np.ndarray) -> np.ndarray:
    return labels if name == "voc" else np.where(labels == 255, 0, labels)


@settings(max_examples=25, deadline=None)
@given(world=worlds(), name=st.sampled_from(list(EXACT)))
def test_exact_formats_come_back(name: str, world: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = make_source(Path(folder), world)
        done = export_labels(name, source, Path(folder) / "out", **EXACT[name])
        assert (done.format, done.photos) == (name, len(world))
        read = READERS[name](Path(folder) / "out", source)
        assert set(read) == set(world)
        for id, labels in world.items():
            np.testing.assert_array_equal(read[id], expected(name, labels))


@settings(max_examples=25, deadline=None)
@given(world=worlds(), name=st.sampled_from(list(POLYGONS)))
def test_polygons_without_tolerance_come_back(name: str, world: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = make_source(Path(folder), world)
        export_labels(name, source, Path(folder) / "out", tolerance=0, **POLYGONS[name])
        read = READERS[name](Path(folder) / "out", source)
        for id, labels in world.items():
            np.testing.assert_array_equal(read[id], expected(name, labels))


@pytest.mark.parametrize("name", list(POLYGONS))
@pytest.mark.parametrize("tolerance", [None, 2.0])
def test_simple_polygons_agree(name: str, tolerance: float | None, tmp_path: Path) -> None:
    world = {id: blobs(*shape, seed=seed) for seed, (id, shape) in enumerate({"a": (90, 120), "b/c": (61, 40)}.items())}
    source = make_source(tmp_path, world)
    export_labels(name, source, tmp_path / "simple", tolerance=tolerance, **POLYGONS[name])
    export_labels(name, source, tmp_path / "exact", tolerance=0, **POLYGONS[name])
    read = READERS[name](tmp_path / "simple", source)
    for id, labels in world.items():
        for label in (1, 2, 3):
            there, true = read[id] == label, labels == label
            if true.sum() > 20:
                assert (there & true).sum() / (there | true).sum() >= 0.95
    sizes = [
        sum(len(data) for file, data in files_of(tmp_path / out) if not file.endswith(".png"))
        for out in ("simple", "exact")
    ]
    assert sizes[0] < 0.9 * sizes[1]  # simpler they are


@name_of
def test_equal_input_gives_equal_bytes(name: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(30, 40), "b/a": np.zeros((5, 7), np.uint8)})
    for out in ("one", "two"):
        export_labels(name, source, tmp_path / out)
    one = list(files_of(tmp_path / "one"))
    assert one
    assert one == list(files_of(tmp_path / "two"))
    assert not list(tmp_path.glob(".*"))


@name_of
def test_photos_of_any_size(name: str, tmp_path: Path) -> None:
    shapes = [(1, 1), (1, 9), (9, 1), (33, 7)]
    world = {f"p{n}": np.full(shape, n % 2, np.uint8) for n, shape in enumerate(shapes)}
    source = make_source(tmp_path, world)
    assert export_labels(name, source, tmp_path / "out").photos == 4
    if name in EXACT or name in POLYGONS:
        for id, labels in READERS[name](tmp_path / "out", source).items():
            np.testing.assert_array_equal(labels, world[id])


@name_of
def test_a_folder_with_something_is_left_alone(name: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    (tmp_path / "out").mkdir()
    export_labels(name, source, tmp_path / "out")  # an empty folder is as good as none
    before = list(files_of(tmp_path / "out"))
    with pytest.raises(UserError, match="something already"):
        export_labels(name, source, tmp_path / "out")
    assert before == list(files_of(tmp_path / "out"))


def spoil_missing(path: Path) -> None:
    path.unlink()


def spoil_size(path: Path) -> None:
    write_label_png(path, np.zeros((3, 4), np.uint8))


def spoil_label(path: Path) -> None:
    write_label_png(path, np.full((20, 20), 77, np.uint8))


def spoil_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:30])


@pytest.mark.parametrize("name", [name for name in EXPORTERS if name != "fma-wsss"])
@pytest.mark.parametrize("spoil", [spoil_missing, spoil_size, spoil_label, spoil_bytes])
def test_a_bad_label_map_is_named_and_nothing_is_left(name: str, spoil: Any, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(20, 20), "b/c": blobs(20, 20)})
    bad = tmp_path / "labels" / "b" / "c.png"
    spoil(bad)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        export_labels(name, source, tmp_path / "out")
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@name_of
def test_bad_options_are_one_line(name: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    with pytest.raises(UserError, match="has no option nonsense"):
        export_labels(name, source, tmp_path / "out", nonsense=1)
    bad = {
        "shapes": "circles",
        "photos": "move",
        "min_area": 0,
        "tolerance": -1,
        "max_side": 0,
        "opacity": 2,
        "band": 2,
        "threshold": -1,
    }
    options = {entry.name for entry in fields(exporter(name).settings)}
    for option in options & set(bad):
        with pytest.raises(UserError, match=option):
            export_labels(name, source, tmp_path / "out", **{option: bad[option]})
    assert not (tmp_path / "out").exists()


EXPORTER_OPTIONS = {
    "voc": ["photos"],
    "coco": ["shapes", "min_area", "tolerance", "photos"],
    "yolo": ["min_area", "tolerance", "photos"],
    "labelstudio": ["shapes", "min_area", "tolerance", "prefix"],
    "cvat-coco": ["shapes", "min_area", "tolerance"],
    "cvat-voc": ["min_area"],
    "gallery": ["max_side", "opacity"],
    "fma-wsss": ["threshold", "band"],
}


@name_of
def test_options_are_those_known(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        export_labels(name, make_source(tmp_path, {"a": blobs(9, 9)}), tmp_path / "out", nonsense=1)
    known = [entry.name for entry in fields(exporter(name).settings)]
    assert known == EXPORTER_OPTIONS.get(name, known)
    if known:
        assert str(caught.value).endswith("it has " + ", ".join(known))


def test_unknown_format_and_no_photo(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    with pytest.raises(UserError, match="there are voc, coco"):
        export_labels("nonsense", source, tmp_path / "out")
    none = replace(source, dataset=replace(source.dataset, items=()))
    with pytest.raises(UserError, match="no photo"):
        export_labels("voc", none, tmp_path / "out")


@pytest.mark.parametrize("name", [name for name, known in EXPORTER_OPTIONS.items() if "min_area" in known])
def test_small_regions_are_left_out(name: str, tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[2:6, 2:5] = 1  # 12 pixels
    labels[10, 10], labels[11, 11], labels[10, 12] = 2, 2, 2  # 3 pixels that touch by corners
    labels[19, 0] = 3
    source = make_source(tmp_path, {"a": labels})
    for min_area, kept in ((1, {1, 2, 3}), (3, {1, 2}), (4, {1}), (13, set())):
        export_labels(name, source, tmp_path / str(min_area), min_area=min_area)
        read = READERS[name](tmp_path / str(min_area), source)["a"]
        np.testing.assert_array_equal(read, np.where(np.isin(labels, list(kept)), labels, 0))


@name_of
def test_it_says_what_it_is(name: str) -> None:
    assert 10 < len(about(name)) < 120

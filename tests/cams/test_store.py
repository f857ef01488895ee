from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.cams.store import PRECISIONS, CamStore, Format, decode_compact, encode_compact
from semples.core.errors import UserError
from semples.evaluation.curve import CurveAccumulator, threshold_range
from semples.labels.threshold import winner_map

FORMATS: tuple[Format, ...] = ("compact", "npy")


def upsample(grid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, corners not aligned, as CAMs are brought to the size of the photo."""

    def weights(count: int, size: int) -> np.ndarray:
        position = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(count)))

    return weights(grid.shape[0], shape[0]) @ grid @ weights(grid.shape[1], shape[1]).T


def draw_cam(rng: np.random.Generator, shape: tuple[int, int], scales: tuple[float, ...] = (1.0, 1.2)) -> np.ndarray:
    """A CAM as the product makes them: relu'd coarse grids of several scales and mirrors, summed, stretched to 0..1."""
    blob = rng.normal(size=(5, 7))
    total = np.zeros(shape)
    for scale in scales:
        grid = tuple(max(1, int(side * scale) // 16) for side in shape)
        for _ in range(2):
            total += upsample(np.maximum(0, upsample(blob, grid) + 0.3 + 0.3 * rng.normal(size=grid)), shape)
    total -= total.min()
    return (total / (total.max() + 1e-8)).astype(np.float32)


def npy_bytes(folder: Path, cams: dict[int, np.ndarray], shape: tuple[int, int]) -> int:
    CamStore(folder, format="npy").write("size", cams, shape)
    return (folder / "size.npy").stat().st_size


# ------------------------------------------------------------------------------------------------ size and accuracy


@pytest.mark.parametrize("scales", [(1.0, 1.2), (1.0, 0.8, 1.2)], ids=["two-scales", "three-scales"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (480, 640), (96, 96), (60, 80)])
def test_compact_is_a_twentieth_and_as_good_as_exact(
    tmp_path: Path, shape: tuple[int, int], count: int, scales: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(count)
    cams = {3 * i: draw_cam(rng, shape, scales) for i in range(count)}
    data = encode_compact(cams, shape)
    assert len(data) * 20 <= npy_bytes(tmp_path, cams, shape)
    decoded, decoded_shape = decode_compact(data)
    assert decoded_shape == shape
    assert list(decoded) == list(cams)
    for index, cam in cams.items():
        assert np.abs(decoded[index] - cam).max() < 1e-4
        assert decoded[index].min() == pytest.approx(0, abs=1e-4)
        assert decoded[index].max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("shape", [(375, 500), (96, 96), (60, 80)])
def test_scores_from_compact_are_those_from_exact(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    exact, compact = (CurveAccumulator(20, threshold_range(0, 101)) for _ in range(2))
    differing = pixels = 0
    for _ in range(8):
        classes = rng.choice(20, size=rng.integers(1, 4), replace=False)
        cams = {int(index): draw_cam(rng, shape) for index in sorted(classes)}
        decoded, _ = decode_compact(encode_compact(cams, shape))
        winner, value = winner_map(cams, shape)
        noise = rng.normal(scale=0.1, size=shape)  # makes the score depend on every threshold
        truth = np.where(value + noise > 0.45, winner, 0).astype(np.uint8)
        truth[rng.random(shape) < 0.05] = 255
        other_winner, other_value = winner_map(decoded, shape)
        exact.add(truth, winner, value)
        compact.add(truth, other_winner, other_value)
        differing += int(((value > 0.45) * winner != (other_value > 0.45) * other_winner).sum())
        pixels += truth.size
    for one, other in zip(exact.result().points, compact.result().points, strict=True):
        assert abs(one.scores.miou - other.scores.miou) <= 0.05
    assert differing <= 2e-4 * pixels


def test_smooth_maps_of_another_making_still_meet_the_size() -> None:
    y, x = np.mgrid[0:375, 0:500]
    cam = (0.5 + 0.5 * np.sin(x / 60) * np.cos(y / 50)).astype(np.float32)  # curved: not linear between any nodes
    data = encode_compact({0: cam}, cam.shape)
    assert len(data) * 20 <= cam.nbytes
    assert np.abs(decode_compact(data)[0][0] - cam).max() <= 2 * PRECISIONS[1][0] + 0.5 / PRECISIONS[1][1] + 1e-6


def test_rough_maps_are_kept_whole() -> None:
    cam = np.random.default_rng(0).random((100, 120), dtype=np.float32)
    decoded = decode_compact(encode_compact({0: cam}, cam.shape))[0][0]
    assert np.abs(decoded - cam).max() <= 0.5 / PRECISIONS[0][1] + 1e-6


def test_ties_with_a_threshold_stay_ties() -> None:
    rng = np.random.default_rng(1)
    cam = (rng.integers(0, 101, size=(50, 60)) / 100).astype(np.float32)
    assert (decode_compact(encode_compact({0: cam}, cam.shape))[0][0] == cam).all()
    blocks = np.kron(cam[:3, :4], np.ones((40, 40), np.float32))
    assert (decode_compact(encode_compact({0: blocks}, blocks.shape))[0][0] == blocks).all()


# -------------------------------------------------------------------------------------------------------- contract


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 5),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    kind=st.sampled_from(["smooth", "rough", "flat"]),
)
def test_any_size_and_number_of_classes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, height: int, width: int, kind: str
) -> None:
    rng, shape = np.random.default_rng(seed), (height, width)
    make = {
        "smooth": lambda: draw_cam(rng, shape),
        "rough": lambda: rng.random(shape, dtype=np.float32),
        "flat": lambda: np.full(shape, rng.random(), np.float32),
    }[kind]
    cams = {int(index): make() for index in rng.choice(254, size=count, replace=False)}
    folder = tmp_path_factory.mktemp("cams")
    for format, tolerance in (("npy", 0.0), ("compact", 0.0031)):
        store = CamStore(folder / format, format=format)
        store.write("photo", cams, shape)
        for reader in (store, CamStore(folder / format)):
            read, read_shape = reader.read_with_shape("photo")
            assert read_shape == shape
            assert list(read) == list(cams)
            assert reader.has("photo")
            for index, cam in cams.items():
                assert read[index].dtype == np.float32
                assert read[index].shape == shape
                assert np.abs(read[index] - cam).max() <= tolerance
        files = [path.read_bytes() for path in sorted((folder / format).iterdir())]
        store.write("photo", cams, shape)
        assert files == [path.read_bytes() for path in sorted((folder / format).iterdir())]


@pytest.mark.parametrize("format", FORMATS)
def test_ids_with_folders_dots_and_any_script(tmp_path: Path, format: Format) -> None:
    store = CamStore(tmp_path, format=format)
    ids = sorted(["2007_000032", "猫/ünï cödé", "a.b/c.d.npz", ".hidden", "x.tmp", "x.size"])
    for number, id in enumerate(ids):
        store.write(id, {number: np.full((2, 3), 0.25, np.float32)}, (2, 3))
    assert store.ids() == ids == CamStore(tmp_path).ids()
    for number, id in enumerate(ids):
        assert list(CamStore(tmp_path).read(id)) == [number]


def test_npy_is_what_published_tools_load(tmp_path: Path) -> None:
    cams = {14: np.random.default_rng(0).random((4, 5), dtype=np.float32), 2: np.ones((4, 5), np.float32)}
    CamStore(tmp_path, format="npy").write("a", cams, (4, 5))
    loaded = np.load(tmp_path / "a.npy", allow_pickle=True).item()
    assert type(loaded) is dict
    assert list(loaded) == [14, 2]
    assert all(type(index) is int for index in loaded)
    assert all(loaded[i].dtype == np.float32 and (loaded[i] == cams[i]).all() for i in cams)


def test_npy_written_by_other_programs_is_read(tmp_path: Path) -> None:
    cam = np.random.default_rng(0).random((4, 5))
    np.save(tmp_path / "a.npy", {np.int64(7): cam, 1: cam.astype(np.float16)})
    np.save(tmp_path / "b.npy", {})
    store = CamStore(tmp_path)
    read = store.read("a")
    assert list(read) == [7, 1]
    assert (read[7] == cam.astype(np.float32)).all()
    assert store.read_with_shape("b") == ({}, None)


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    np.save(tmp_path / "a.npy", {0: Hostile(marker)})
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Hostile(marker)))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.write(tmp_path / "a.npy", "layout.npy")
    for id in "abc":
        with pytest.raises(UserError, match=rf"{id}\.np"):
            CamStore(tmp_path).read(id)
    assert not marker.exists()


@pytest.mark.parametrize("format", FORMATS)
def test_missing_and_broken_files_are_named(tmp_path: Path, format: Format) -> None:
    store = CamStore(tmp_path, format=format)
    with pytest.raises(UserError, match=r"photo\.np.*no such file"):
        store.read("photo")
    assert not store.has("photo")
    assert store.ids() == []
    store.write("photo", {0: np.random.default_rng(0).random((30, 30), dtype=np.float32)}, (30, 30))
    path = next(tmp_path.iterdir())
    whole = path.read_bytes()
    for size in (0, 1, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert not store.has("photo") or whole[size - 1 : size] == b"."
        with pytest.raises(UserError, match=r"photo\.np"):
            store.read("photo")


@settings(deadline=None)
@given(position=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(position: int, byte: int) -> None:
    cam = draw_cam(np.random.default_rng(0), (20, 24))
    data = bytearray(encode_compact({0: cam}, cam.shape))
    data[position % len(data)] = byte
    try:
        decoded, shape = decode_compact(bytes(data))
    except ValueError:
        return
    assert shape == cam.shape
    assert np.abs(decoded[0] - cam).max() < 1e-3


def test_dictionaries_of_other_things_are_refused(tmp_path: Path) -> None:
    cam = np.zeros((2, 2), np.float32)
    for number, wrong in enumerate(({"cat": cam}, {0: cam, 1: cam[:1]}, {0: cam[0]}, {0: cam * np.nan}, [cam])):
        np.save(
            tmp_path / f"{number}.npy", np.array(wrong, dtype=object) if isinstance(wrong, dict) else np.array(wrong)
        )
        with pytest.raises(UserError, match=rf"{number}\.npy: "):
            CamStore(tmp_path).read(str(number))


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    cam = np.zeros((2, 3), np.float32)
    store = CamStore(tmp_path)
    for wrong in (cam.T, cam.astype(np.float64), cam + 2, cam * np.nan, cam - 0.1):
        with pytest.raises(ValueError):
            store.write("a", {0: wrong}, (2, 3))
    with pytest.raises(ValueError):
        store.write("a", {}, (0, 3))
    for id in ("", "/a", "../a", "a/../../b"):
        with pytest.raises(UserError, match="photo id"):
            store.write(id, {0: cam}, (2, 3))
    with pytest.raises(UserError, match="CAM format"):
        CamStore(tmp_path, format="zip")  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------- irn's files


def write_irn(path: Path, content: dict) -> None:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


@pytest.mark.parametrize("tensors", [True, False])
def test_irns_dictionaries(tmp_path: Path, tensors: bool) -> None:
    """As its make_cam step saves them: keys and cam are torch tensors, high_res is an array."""
    import torch

    rng = np.random.default_rng(0)
    maps = rng.random((2, 20, 31), np.float32)
    keys, small = np.array([3, 14]), rng.random((2, 5, 8), np.float32)
    wrap = torch.from_numpy if tensors else np.asarray
    write_irn(tmp_path / "2007_000032.npy", {"keys": wrap(keys), "cam": wrap(small), "high_res": maps})
    cams, shape = CamStore(tmp_path).read_with_shape("2007_000032")
    assert shape == (20, 31)
    assert list(cams) == [3, 14]
    np.testing.assert_array_equal(cams[14], maps[1])
    write_irn(tmp_path / "none.npy", {"keys": wrap(keys[:0]), "cam": wrap(small[:0]), "high_res": maps[:0]})
    assert CamStore(tmp_path).read("none") == {}


def test_irns_files_that_cannot_be_used(tmp_path: Path) -> None:
    maps = np.zeros((2, 4, 5), np.float32)
    for content, hint in (
        ({"keys": np.array([1, 2]), "cam": maps}, "without 'high_res'"),
        ({"keys": np.array([1]), "high_res": maps}, "do not belong together"),
        ({"keys": np.array([0.5, 1.0]), "high_res": maps}, "do not belong together"),
    ):
        write_irn(tmp_path / "a.npy", content)
        with pytest.raises(UserError, match=hint):
            CamStore(tmp_path).read("a")

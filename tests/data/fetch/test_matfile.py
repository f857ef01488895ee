"""Files are written by scipy, which also reads them as the oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.data.fetch import matfile
from semples.data.fetch.matfile import read_field
from tests.data.builders import complaint

io = pytest.importorskip("scipy.io")
sparse = pytest.importorskip("scipy.sparse")


def sbd(labels: np.ndarray) -> dict:
    """What SBD's files in `cls` hold."""
    boundaries = np.empty((20, 1), object)
    for index in range(20):
        boundaries[index, 0] = sparse.csc_matrix(labels == index + 1)
    present = np.unique(labels[labels > 0]).astype(np.float64)
    return {"GTcls": {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_reads_what_scipy_reads(kind: str, shape: tuple[int, int], packed: bool, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 21, shape).astype(kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mat"
        io.savemat(path, {"before": np.eye(3), **sbd(values), "after": "text"}, do_compression=packed)
        mine = read_field(path, "GTcls", "Segmentation")
        np.testing.assert_array_equal(mine, values)
        np.testing.assert_array_equal(mine, io.loadmat(path)["GTcls"][0, 0]["Segmentation"])


def test_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    io.savemat(path, {"GTcls": {"Other": np.eye(2), "Text": "a", "Cell": np.array([1, "a"], object)}, "n": np.eye(2)})
    assert "no GTcls.Segmentation" in complaint(lambda: read_field(path, "GTcls", "Segmentation"))
    assert "no n.Segmentation" in complaint(lambda: read_field(path, "n", "Segmentation"))
    for field in ("Text", "Cell"):
        assert "holds no numbers" in complaint(lambda field=field: read_field(path, "GTcls", field))
    assert "No such file" in complaint(lambda: read_field(tmp_path / "none.mat", "a", "b"))
    (tmp_path / "empty.mat").write_bytes(b"")
    assert "does not begin" in complaint(lambda: read_field(tmp_path / "empty.mat", "a", "b"))
    io.savemat(path, {"GTcls": np.array([(1,), (2,)], [("Segmentation", "O")])})
    assert "single struct" in complaint(lambda: read_field(path, "GTcls", "Segmentation"))


def test_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    io.savemat(tmp_path / "x.mat", sbd(np.zeros((2000, 2000), np.uint8)), do_compression=True)
    monkeypatch.setattr(matfile, "MAX_BYTES", 1_000_000)
    assert "unpacks to more" in complaint(lambda: read_field(tmp_path / "x.mat", "GTcls", "Segmentation"))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_damage_gives_one_line(data: st.DataObject, packed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mat"
        io.savemat(path, sbd(np.arange(12, dtype=np.uint8).reshape(3, 4)), do_compression=packed)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        message = complaint(lambda: read_field(path, "GTcls", "Segmentation"))
        assert "\n" not in message
        if not message:
            assert read_field(path, "GTcls", "Segmentation").ndim == 2

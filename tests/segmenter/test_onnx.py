"""The ONNX file of a segmenter gives torch's scores in another runtime."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.segmenter import onnx_file
from semples.segmenter.onnx_file import export_onnx
from semples.segmenter.pooling import pool_by_products
from tests import tiny
from tests.prediction import material

onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'semples[onnx]'")
pytest.importorskip("onnx", reason="needs onnx: pip install 'semples[onnx]'")


@pytest.mark.parametrize(
    ("family", "any_size"),
    [
        ("semples_vit", False),
        ("semples_lite", True),
        ("vit14", False),  # its views are no whole number of patches
        ("segformer", True),
        ("mask2former", False),
        ("upernet", False),
        ("upernet_convnext", True),
    ],
)
def test_parity(family: str, any_size: bool, tmp_path: Path) -> None:
    segmenter = material.segmenter(tmp_path / "config", family)
    made = export_onnx(segmenter, tmp_path / "model.onnx")
    assert made.any_size == any_size
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    seen = set()
    for seed, shape in enumerate([(5, 3, 64, 64), (1, 3, 64, 64), (2, 3, 96, 160)]):
        if shape[2] != 64 and not made.any_size:
            continue
        images = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1
        scores = torch.from_numpy(session.run(["scores"], {"images": images.numpy()})[0])
        with torch.no_grad():
            expected = segmenter(images).exp()
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
        seen |= set(expected.argmax(1).unique().tolist())
    assert len(seen) >= (1 if segmenter.is_mask_classifier else 2)
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["classes"]) == ["background", "disc", "square"]
    assert json.loads(described["size"]) == 64
    assert json.loads(described["mean"]) == pytest.approx([0.485, 0.456, 0.406])


def test_a_file_that_differs_is_not_handed_out(tmp_path: Path) -> None:
    segmenter = material.segmenter(tmp_path / "config", "segformer")
    with mock.patch.object(onnx_file, "TOLERANCE", -1.0), pytest.raises(UserError, match="scores differ from torch's"):
        export_onnx(segmenter, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
def test_pooling_is_adaptive_average_pooling(rows: int, columns: int, height: int, width: int) -> None:
    maps = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height))
    expected = torch.nn.functional.adaptive_avg_pool2d(maps.double(), (rows, columns))
    pooled = pool_by_products(maps, rows, columns)
    torch.testing.assert_close(pooled.double(), expected, atol=1e-6, rtol=0)


class Odd(torch.nn.Module):
    """A function that ONNX does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.erfcx(x)


def test_a_network_that_cannot_be_written_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    segmenter = material.segmenter(tmp_path / "config", "segformer")
    segmenter.network.decode_head.activation = Odd()
    with pytest.raises(UserError, match="this segformer cannot be written as ONNX"):
        export_onnx(segmenter, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    assert capfd.readouterr().out == ""


def test_command(tmp_path: Path) -> None:
    folder = material.package(tmp_path / "model", "segformer")
    text = tiny.invoke("export", "onnx", folder, "--out", tmp_path / "m.onnx").out
    assert "images of any size" in text
    assert (tmp_path / "m.onnx").stat().st_size > 10_000
    for arguments, hint in {
        ("export", "onnx", folder, "--out", tmp_path / "m.bin"): "ends in .onnx",
        ("export", "onnx", tmp_path / "none", "--out", tmp_path / "n.onnx"): "no trained segmenter here",
        ("export", "onnx", folder, "--out", tmp_path / "n.onnx", "--opacity", "1"): "has no option opacity",
    }.items():
        assert hint in tiny.refused(*arguments)
    with mock.patch.object(onnx_file, "PACKAGES", ("onnx", "no_such_package")):
        assert "pip install" in tiny.refused("export", "onnx", folder, "--out", tmp_path / "n.onnx")

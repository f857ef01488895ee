"""A segmenter as one ONNX file for other runtimes, checked against torch before it is handed out.

    input  images   float32 (batch, 3, height, width): RGB in 0..1, less the mean, divided by the standard deviation
    output scores   float32 (batch, K + 1, h, w): probabilities of background and every class, at the network's own size

The file's metadata hold the class names (`classes`, JSON, background first), `mean`, `std` and `size`, the shorter
side of a photo. Height and width are free for SegFormer and for UperNet on ConvNeXt, and in whole multiples of 32 for
light networks on EfficientNet-Lite0. Networks that lay out windows (Swin), levels (Mask2Former) or positions (plain
ViTs) by the size of the image have them fixed when they are written down; then height and width are `size`.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.files import atomic_path
from semples.core.temporary import temporary_folder
from semples.segmenter.build import BACKGROUND, Segmenter
from semples.segmenter.pooling import pool_by_products

OPSET = 17
TOLERANCE = 1e-4  # largest difference of a probability between torch and onnxruntime
PACKAGES = ("onnx", "onnxruntime")


@dataclass(frozen=True)
class OnnxFile:
    """What was written: whether images of other sizes than `size` fit, and the largest difference to torch found."""

    path: Path
    any_size: bool
    size: int
    difference: float


class _Probabilities(nn.Module):
    """What the file computes."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = copy.deepcopy(segmenter)
        for module in self.segmenter.modules():
            if type(module) is nn.AdaptiveAvgPool2d:
                module.__class__ = _Pooling

    def forward(self, images: Tensor) -> Tensor:
        return self.segmenter(images).exp()


class _Pooling(nn.AdaptiveAvgPool2d):
    """The same pooling, as ONNX can say it."""

    def forward(self, input: Tensor) -> Tensor:
        rows, columns = self.output_size if isinstance(self.output_size, tuple) else (self.output_size,) * 2
        if rows is None or columns is None:
            raise ValueError("a pooling of one axis alone")
        return pool_by_products(input, rows, columns)


def export_onnx(segmenter: Segmenter, path: Path) -> OnnxFile:
    """Write the segmenter to `path`, with free batch, height and width where the network allows.

    The file is run in onnxruntime on images of several shapes and appears only if all scores agree to `TOLERANCE`.
    Raises UserError where a package is missing, the network cannot be written down, or the scores differ.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs the package {missing[0]}: pip install 'semples[onnx]'")
    if path.suffix != ".onnx":
        raise UserError(f"{path}: name a file that ends in .onnx")
    segmenter = segmenter.to("cpu").eval()
    size = segmenter.config.size
    free = [] if segmenter.fixed_size else [(1, size + 32, size), (2, max(32, size - 32), size + 64)]
    problem = ""
    for any_size in (True, False) if free else (False,):
        shapes = [(1, size, size), (3, size, size), *(free if any_size else [])]
        with temporary_folder(path) as folder:
            made = folder / "model.onnx"
            try:
                _write(segmenter, made, any_size=any_size)
                difference = max(_difference(segmenter, made, shape) for shape in shapes)
            except _failures() as error:
                problem = " ".join(str(error).split())[:160]
                continue
            if difference <= TOLERANCE:
                with atomic_path(path) as temporary:
                    shutil.copyfile(made, temporary)
                return OnnxFile(path, any_size, size, difference)
            problem = f"scores differ from torch's by {difference:.2g}"
    raise UserError(f"{path}: this {segmenter.family} cannot be written as ONNX ({problem})")


def _write(segmenter: Segmenter, path: Path, *, any_size: bool) -> None:
    import onnx

    config = segmenter.config
    free = {0: "batch", 2: "height", 3: "width"} if any_size else {0: "batch"}
    with _quiet(), torch.no_grad():
        # The exporter by tracing: the one by torch.export cannot write Mask2Former.
        torch.onnx.export(
            _Probabilities(segmenter).eval(),
            (torch.zeros(2, 3, config.size, config.size),),
            str(path),
            input_names=["images"],
            output_names=["scores"],
            dynamic_axes={"images": free, "scores": free},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    described = {
        "classes": [BACKGROUND, *config.classes],
        "mean": config.mean,
        "std": config.std,
        "size": config.size,
    }
    onnx.helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in described.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _difference(segmenter: Segmenter, path: Path, shape: tuple[int, int, int]) -> float:
    """Largest difference of the scores of random images of (batch, height, width) between torch and onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    batch, height, width = shape
    images = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    scores = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    with torch.no_grad():
        expected = segmenter(images).exp()
    return float((scores - expected).abs().max()) if scores.shape == expected.shape else float("inf")


def _failures() -> tuple[type[Exception], ...]:
    """What the exporter, the checker and the runtime raise where a network cannot be written down."""
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    of_runtime: Any = [
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    ]
    return (
        torch.onnx.OnnxExporterError,
        onnx.checker.ValidationError,
        RuntimeError,
        ValueError,
        TypeError,
        *of_runtime,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No remarks of the tracer on constants, for the file is checked at other shapes; and no graphs where it fails."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), _no_output():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Send what compiled code writes to standard output nowhere: where it fails, torch prints whole graphs."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)

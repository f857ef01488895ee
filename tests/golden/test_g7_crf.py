"""Dense CRF answers, reproduced from their photos and labels (file g7_crf.npz), by every backend that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semples.labels.crf.dense import PRESETS, Backend, DenseCrf, unary_from_labels

BACKENDS: tuple[Backend, ...] = ("torch", "numba", "pydensecrf")
SAME_LABELS = 0.999  # part of the pixels that must have the golden label
SAME_MARGINALS = 1e-3


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param != "torch":
        pytest.importorskip(request.param)
    chosen: Backend = request.param
    return chosen


@pytest.fixture(scope="module")
def cases(golden: Path) -> dict[str, np.ndarray]:
    path = golden / "g7_crf.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path) as stored:
        return dict(stored)


def test_unary_energies(cases: dict[str, np.ndarray]) -> None:
    expected = cases["unary_example"]
    count, pixels = expected.shape
    labels = torch.from_numpy(expected.argmin(axis=0).astype(np.uint8))[None]
    unary = unary_from_labels(labels, count=count, confidence=PRESETS["voc"].confidence)
    np.testing.assert_allclose(unary.reshape(count, pixels).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_labels_and_marginals(cases: dict[str, np.ndarray], backend: Backend, preset: str) -> None:
    crf = DenseCrf(PRESETS[preset], backend=backend)
    keys = sorted(key.removeprefix("image") for key in cases if key.startswith("image"))
    photos = [torch.from_numpy(cases[f"image{key}"]) for key in keys]
    labels = [torch.from_numpy(cases[f"labels{key}"]) for key in keys]
    classes = [range(int(given.max())) for given in labels]
    for key, refined in zip(keys, crf.refine(photos, labels, classes), strict=True):
        same = refined.labels.numpy() == cases[f"{preset}/out{key}"]
        assert same.mean() >= SAME_LABELS
        expected = cases[f"{preset}/q{key}"]
        stride = -(-refined.marginals.shape[1] // expected.shape[1])
        marginals = refined.marginals[:, ::stride, ::stride].numpy()
        np.testing.assert_allclose(marginals, expected, rtol=0, atol=SAME_MARGINALS)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("count", [3, 21])
def test_real_photos_against_pydensecrf(golden: Path, count: int, preset: str) -> None:
    pytest.importorskip("pydensecrf")
    paths = sorted((golden.parent / "photos" / "JPEGImages").glob("*.jpg"))
    if not paths:
        pytest.skip(f"no photos beside {golden}")
    for path in paths:
        with Image.open(path) as image:
            photo = np.array(image.convert("RGB"))[:240, :320]
        coarse = np.random.default_rng(0).integers(0, count, size=(6, 8))
        labels = np.kron(coarse, np.ones((40, 40)))[: photo.shape[0], : photo.shape[1]].astype(np.uint8)
        unary = unary_from_labels(torch.from_numpy(labels), count=count, confidence=0.7)
        label_maps = [
            DenseCrf(PRESETS[preset], backend=name).marginals([torch.from_numpy(photo)], [unary])[0].argmax(0)
            for name in ("torch", "pydensecrf")
        ]
        assert (label_maps[0] == label_maps[1]).double().mean() >= SAME_LABELS

"""Large and odd photos: windows from the full photo, strips, memory; against plain computations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import semples
from semples.data.photos import resize_photo
from semples.data.transforms import image_to_tensor
from semples.labels.crf.dense import DenseCrf
from semples.prediction import model as model_module
from semples.prediction import refine
from semples.prediction import scores as scores_module
from semples.prediction.scores import AllRows, enlarged_part, window_starts
from semples.prediction.settings import predict_settings
from semples.recipe import CrfSettings
from semples.segmenter.build import Segmenter
from tests import tiny


def blocks(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """A photo (H,W,3) of noise in blocks of 8 pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]


def plain(folder: Path, photo: np.ndarray, size: tuple[int, int], window: tuple[int, int], stride: int) -> torch.Tensor:
    """Probabilities (C,H,W): every window of the photo resized to `size` by itself, added up in one large array."""
    segmenter = Segmenter.load(folder)
    config = segmenter.config
    image = image_to_tensor(resize_photo(photo, size[1], size[0]), config.mean, config.std)
    total, count = torch.zeros(len(config.classes) + 1, *size), torch.zeros(size)
    for top in window_starts(size[0], window[0], stride):
        for left in window_starts(size[1], window[1], stride):
            place = (slice(top, top + window[0]), slice(left, left + window[1]))
            with torch.no_grad():
                probabilities = segmenter(image[None, :, place[0], place[1]]).exp()
            probabilities = F.interpolate(
                probabilities, scale_factor=window[0] / probabilities.shape[-2], mode="nearest"
            )
            total[:, place[0], place[1]] += probabilities[0]
            count[place] += 1
    cell = 4  # the network's own resolution
    scores = (total / count)[:, ::cell, ::cell]
    return F.interpolate(scores[None], size=photo.shape[:2], mode="bilinear", align_corners=False)[0]


def agree(labels: np.ndarray, expected: torch.Tensor) -> None:
    """The labels found are the largest scores, ties apart."""
    best = expected.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
    assert float((expected.amax(0) - best).max()) < 1e-4


def test_windows_are_cut_from_the_full_photo(packages: dict[str, Path]) -> None:
    """A photo longer than 4096 pixels is not made smaller: its labels are those of its windows at full size."""
    photo = blocks(64, 4480)
    model = semples.load(packages["semples_vit"], window=64, stride=32, crf=False)
    agree(model.predict(photo), plain(packages["semples_vit"], photo, (64, 4480), (64, 64), 32))
    # Its middle, far from where it was cut, has the labels of that part alone.
    part = model.predict(photo[:, 2048 : 2048 + 512])
    np.testing.assert_array_equal(model.predict(photo)[:, 2112:2496], part[:, 64:448])


def test_a_window_taller_than_the_photo_keeps_its_shape(packages: dict[str, Path]) -> None:
    photo = blocks(48, 192)  # by a factor of 4/3: 64x256
    labels = semples.load(packages["semples_vit"], window=64, crf=False).predict(photo)
    agree(labels, plain(packages["semples_vit"], photo, (64, 256), (64, 64), 32))


@pytest.mark.parametrize("upright", [False, True])
def test_windows_go_along_a_strip(upright: bool, packages: dict[str, Path]) -> None:
    photo = blocks(40, 1000)  # shorter side 64, so 64x1600, by windows of 64x256
    expected = plain(packages["semples_vit"], photo, (64, 1600), (64, 256), 128)
    if upright:
        photo = np.ascontiguousarray(photo.transpose(1, 0, 2))
        expected = plain(packages["semples_vit"], photo, (1600, 64), (256, 64), 128)
    agree(semples.load(packages["semples_vit"], crf=False, scales=[1.0], mirror=False).predict(photo), expected)


@pytest.mark.parametrize("family", ["semples_vit", "segformer"])
@pytest.mark.parametrize("size", [(1, 900), (900, 1), (3, 2000), (1, 1)])
def test_photos_of_any_shape(family: str, size: tuple[int, int], packages: dict[str, Path]) -> None:
    assert semples.load(packages[family]).predict(blocks(*size)).shape == size


@pytest.mark.parametrize("options", [{}, {"tags": ["disc"]}, {"scales": [1.0, 0.5], "mirror": True}, {"crf": True}])
def test_strip_by_strip_changes_nothing(
    options: dict[str, object], packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made at once for a huge photo is what is made of whole scores."""
    settings = {"window": 64, "crf": False, "confidence": True} | {k: v for k, v in options.items() if k != "tags"}
    photo, tags = blocks(200, 330), options.get("tags")
    whole = semples.load(packages["semples_vit"], **settings).segment(photo, tags=tags)  # type: ignore[arg-type]
    monkeypatch.setattr(model_module, "HELD", 0)
    monkeypatch.setattr(scores_module, "STRIP", 3 * 330 * 7)
    parts = semples.load(packages["semples_vit"], **settings).segment(photo, tags=tags)  # type: ignore[arg-type]
    assert whole.confidence is not None
    assert parts.confidence is not None
    assert (whole.labels == parts.labels).mean() > 0.999
    np.testing.assert_allclose(whole.confidence, parts.confidence, atol=0.02 if options.get("crf") else 1e-4)


def test_parts_are_enlarged_as_the_whole() -> None:
    scores = torch.randn(3, 7, 9, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(scores[None], size=(40, 60), mode="bilinear", align_corners=False)[0]
    part = enlarged_part(scores[:, 2:6], (40, 60), (15, 31), (20, 60), first_row=2, row_count=7)
    torch.testing.assert_close(part, whole[:, 15:31, 20:60])


def test_a_crf_by_tiles_is_that_of_the_whole_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile: to the bit. Many, with rims: but for a few pixels, and only allowed labels."""
    photo = blocks(150, 230)
    scores = torch.softmax(2 * torch.randn(4, 38, 58, generator=torch.Generator().manual_seed(0)), 0)
    crf = DenseCrf(CrfSettings(sxy_bilateral=20.0))
    whole = refine.refined(scores, photo, (150, 230), crf=crf, values=None, confident=True)
    for tile, agreement in ((512, 1.0), (64, 0.99)):
        monkeypatch.setattr(refine, "TILE", tile)
        tiles = refine.refined_by_tiles(AllRows(scores), photo, crf=crf, values=None, confident=True)
        assert (tiles.labels == whole.labels).mean() >= agreement
        assert tiles.confidence is not None
        assert whole.confidence is not None
        assert np.abs(tiles.confidence - whole.confidence).mean() < 0.01
    some = refine.refined_by_tiles(AllRows(scores), photo, crf=crf, values=(0, 3), confident=False)
    assert set(np.unique(some.labels)) == {0, 3}


def test_a_crf_sees_a_large_photo_at_its_own_resolution(packages: dict[str, Path]) -> None:
    """A CRF whose kernels weigh nothing leaves the labels of windows as they are, where no copy is made smaller."""
    photo = blocks(96, 2300)
    still = CrfSettings(weight_gaussian=0, weight_bilateral=0)
    segmenter = Segmenter.load(packages["semples_vit"])
    settings = {"window": 64, "stride": 32}
    models = [
        model_module.SegmenterModel(segmenter, settings=predict_settings(**settings, crf=crf), identity={}, crf=still)
        for crf in (True, False)
    ]
    refined, plain = (model.predict(photo) for model in models)
    assert len(np.unique(plain)) > 1
    assert (refined == plain).mean() > 0.999


MEASURE = """
import resource, sys, numpy, semples
model = semples.load(sys.argv[1], **eval(sys.argv[2]))
model.predict(numpy.zeros((64, 64, 3), 'uint8'))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model.predict(sys.argv[3])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, before / 2**20)
"""


def peak(model: Path, settings: str, photo: Path) -> float:
    """GiB that a prediction takes beyond the loaded program."""
    command = [sys.executable, "-c", MEASURE, model, settings, photo]
    ended = subprocess.run(command, capture_output=True, text=True, env=tiny.environment(), check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout.split()[0])


@pytest.mark.slow
def test_a_crf_on_48_megapixels_needs_little_memory(packages: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((8000, 6000), Image.Resampling.BICUBIC).save(path)
    assert peak(packages["semples_vit"], "{'crf': True}", path) < 0.7  # 1.2 with the program itself


@pytest.mark.slow
def test_windows_on_36_megapixels_need_little_memory(packages: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("RGB", (6000, 6000), (90, 20, 10)).save(path)
    assert peak(packages["segformer"], "{'window': 512, 'stride': 512}", path) < 0.9


@pytest.mark.slow
def test_windows_with_a_crf_need_the_memory_of_a_tile(packages: dict[str, Path], tmp_path: Path) -> None:
    """24 tiles of 500x500 with their rims, about 0.5 megapixels each; refined as a whole 6 megapixels take 6 GB."""
    path = tmp_path / "large.jpg"
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((3000, 2000), Image.Resampling.BICUBIC).save(path)
    assert peak(packages["semples_vit"], "{'crf': True, 'window': 512, 'stride': 512}", path) < 0.7

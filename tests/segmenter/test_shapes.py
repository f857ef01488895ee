"""Networks that take squares alone, or squares of one size, or no thin images, still train and segment any photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semples
from semples.core.errors import UserError
from semples.prediction.model import SegmenterModel
from semples.prediction.settings import predict_settings
from semples.recipe import CrfSettings, SegmenterSettings
from semples.segmenter.build import Segmenter, build_segmenter
from semples.segmenter.shapes import check_view, least_side, only_side, takes
from semples.segmenter.task import Segmentation
from semples.segmenter.views import MaskedBatch
from semples.training.task import Total
from tests.segmenter import material

STEP = 32


def made(family: str, path: Path) -> Segmenter:
    """A tiny network of a family that `material` does not have."""
    import transformers as t

    sizes: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32,
        "image_size": material.SIZE, "patch_size": 16,
    }  # fmt: skip
    described: Any = (
        t.DPTConfig(
            **sizes, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8] * 4, fusion_hidden_size=16,
            is_hybrid=False, use_auxiliary_head=False,
        )
        if family == "dpt"
        else t.Data2VecVisionConfig(**sizes, out_indices=[1, 2, 3, 4], use_auxiliary_head=False)
    )  # fmt: skip
    described.save_pretrained(path)
    return build_segmenter(f"scratch:{path}", config=material.CONFIG, seed=0)


@pytest.mark.parametrize("family", ["dpt", "data2vec-vision"])
def test_a_network_of_squares_segments_any_photo(family: str, tmp_path: Path) -> None:
    segmenter = made(family, tmp_path / "config")
    assert only_side(segmenter, step=STEP) == material.SIZE
    assert segmenter.training  # as it was
    segmenter.save(tmp_path / "saved")
    model = semples.load(tmp_path / "saved")
    for height, width in ((40, 71), (1, 90), (64, 64), (300, 2)):
        photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert model.predict(photo).shape == (height, width)
    with pytest.raises(UserError, match="windows of 64 pixels only"):
        semples.load(tmp_path / "saved", window=96)


@pytest.mark.parametrize("family", ["upernet", "semples_vit", "segformer"])
def test_most_networks_take_any_size(family: str, tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path, family)
    assert only_side(segmenter, step=STEP) is None
    assert least_side(segmenter, step=STEP) == STEP
    check_view(segmenter, 96)


def test_views_of_one_size_are_named_before_training(tmp_path: Path) -> None:
    segmenter = made("data2vec-vision", tmp_path)
    check_view(segmenter, material.SIZE)
    with pytest.raises(UserError, match=r"does not take views of 96 pixels; set segmenter\.image_size to 64"):
        check_view(segmenter, 96)
    segmenter.config = replace(material.CONFIG, size=96)  # photo_size may be another
    assert only_side(segmenter, step=STEP) == 64


class Pooling(torch.nn.Module):
    """Segments images of at least `least` pixels a side."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least, self.sizes = least, list[tuple[int, int]]()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.config, self.fixed_size, self.family = material.CONFIG, None, "pooling"
        self.classes, self.network = material.CLASSES, torch.nn.Module()
        self.network.config = type("Config", (), {"patch_size": 16})()  # type: ignore[assignment]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append((images.shape[-2], images.shape[-1]))
        if min(self.sizes[-1]) < self.least:
            raise RuntimeError("too small to be pooled")
        return torch.zeros(len(images), 3, images.shape[-2] // 4, images.shape[-1] // 4)


def test_thin_photos_become_as_wide_as_the_network_needs() -> None:
    network: Any = Pooling(48)
    assert not takes(network, 32, 256)
    assert least_side(network, step=16) == 64
    model = SegmenterModel(network, settings=predict_settings(), identity={}, crf=CrfSettings())
    assert model.predict(np.zeros((1, 200, 3), np.uint8)).shape == (1, 200)
    assert network.sizes[-1] == (64, 256)


def test_a_lack_of_memory_is_one_line() -> None:
    network: Any = Pooling(8)
    model = SegmenterModel(network, settings=predict_settings(), identity={}, crf=CrfSettings())

    def full(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    network.forward = full
    with pytest.raises(UserError, match=r"1 views of 64x64 pixels do not fit into the memory of .*; lower --batch"):
        model.predict(np.zeros((9, 9, 3), np.uint8))


def test_batch_normalisation_of_one_photo_is_one_line(tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path, "upernet").train()
    task = Segmentation(segmenter, SegmenterSettings())
    images, labels = material.batch()

    def batch(count: int) -> MaskedBatch:
        known = torch.full_like(labels[:count], 255)
        return MaskedBatch(image=images[:count], labels=labels[:count], weight=known)

    assert torch.isfinite(task(batch(2), Total(photos=2, pairs=0))["loss"])
    with pytest.raises(UserError, match=r"one at a time; raise segmenter\.batch"):
        task(batch(1), Total(photos=1, pairs=0))

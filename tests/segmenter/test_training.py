"""Training in the one loop: cut and resumed, in parts, averaged weights, factors, what does not train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semples.recipe import NoiseSettings, RunSettings, SegmentAugmentSettings, SegmenterSettings
from semples.run.paired import paired_dataset
from semples.segmenter.build import Segmenter, SegmenterConfig, build_segmenter
from semples.segmenter.task import Segmentation
from semples.segmenter.views import LabelFolder, MaskedViews
from semples.training import loop
from semples.training.engine import Engine
from semples.training.loop import train
from semples.training.schedule import iteration_rate
from tests import tiny
from tests.segmenter import material

STEPS = 5
SETTINGS = SegmenterSettings(
    image_size=32, iterations=STEPS, batch=4, lr=1e-2, clip_norm=1.0, adam_epsilon=1e-6,
    augment=SegmentAugmentSettings(scale=(0.5, 1.5)), noise=NoiseSettings(ema=0.9, clip="photo", clip_patch=8),
)  # fmt: skip
RUN = RunSettings(checkpoint_seconds=0, log_every=1)
SMALL = {"segformer": "segformer", "vit": "semples_vit", "mask2former": "mask2former"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("photos"), count=10)


def segment(
    photos: Path, folder: Path, settings: SegmenterSettings = SETTINGS, *, family: str = "vit", **changes: Any
) -> Segmentation:
    folder.mkdir(parents=True, exist_ok=True)
    config = SegmenterConfig(classes=material.CLASSES, size=32, mean=SETTINGS.mean, std=SETTINGS.std)
    source = material.folder(folder / "config", SMALL[family])
    task = Segmentation(build_segmenter(f"scratch:{source}", config=config, seed=0), settings)
    views = MaskedViews(
        dataset=paired_dataset(photos, photos / "masks", None),
        labels=LabelFolder(photos / "masks"),
        settings=settings,
        seed=0,
    )
    train(
        task, views, engine=Engine.start(RUN), settings=settings, run=changes.get("run", RUN), workers=0,
        folder=folder, fingerprint="f", label="segmenter",
    )  # fmt: skip
    return task


def state(segmenter: Segmenter) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in segmenter.state_dict().items()}


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    skipped = "num_batches_tracked"  # counts, and is used nowhere
    assert [name for name in left if not torch.equal(left[name], right[name]) and skipped not in name] == []


class Cut(BaseException):
    """Stands for a power failure."""


@pytest.mark.parametrize("family", ["segformer", "vit", "mask2former"])
def test_cut_and_resumed_is_identical(
    family: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout, sampled points, running statistics, averaged weights and all."""
    whole = state(segment(photos, tmp_path / "whole", family=family).finish())
    original = loop._Work.step
    for cut in (2, 4):

        def step(*arguments: Any, cut: int = cut, **named: Any) -> Any:
            if arguments[3] == cut:  # work, pieces, plan, step
                raise Cut
            return original(*arguments, **named)

        monkeypatch.setattr(loop._Work, "step", step)
        with pytest.raises(Cut):
            segment(photos, tmp_path / "broken", family=family)
    monkeypatch.setattr(loop._Work, "step", original)
    assert_equal(state(segment(photos, tmp_path / "broken", family=family).finish()), whole)
    assert any("running_mean" in name for name in whole) == (family == "segformer")


def test_a_batch_in_parts_equals_a_whole_one(photos: Path, tmp_path: Path) -> None:
    whole = state(segment(photos, tmp_path / "whole").finish())
    parts = state(segment(photos, tmp_path / "parts", replace(SETTINGS, accumulate=2)).finish())
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=0, atol=1e-5, msg=name)


def test_averaged_weights_by_hand(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, seen = "network.decode_head.classify.bias", list[np.ndarray]()
    original = Segmentation.after_step

    def after_step(self: Segmentation, step: int) -> None:
        original(self, step)
        seen.append(dict(self.segmenter.named_parameters())[name].detach().double().numpy().copy())

    monkeypatch.setattr(Segmentation, "after_step", after_step)
    task = segment(photos, tmp_path / "run")
    config = SegmenterConfig(classes=material.CLASSES, size=32, mean=SETTINGS.mean, std=SETTINGS.std)
    start = build_segmenter(f"scratch:{tmp_path / 'run' / 'config'}", config=config, seed=0)
    expected = dict(start.named_parameters())[name].detach().double().numpy()
    for step, value in enumerate(seen, start=1):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    last = dict(task.segmenter.named_parameters())[name].detach().clone()
    averaged = dict(task.finish().named_parameters())[name].detach()
    np.testing.assert_allclose(averaged.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(last, averaged)
    assert not task.segmenter.training


def test_the_backbone_learns_slower_or_not_at_all(photos: Path, tmp_path: Path) -> None:
    one = replace(SETTINGS, iterations=1, noise=NoiseSettings(), weight_decay=0.0)
    config = SegmenterConfig(classes=material.CLASSES, size=32, mean=SETTINGS.mean, std=SETTINGS.std)
    moved = {}
    for factor in (0.0, 0.1, 1.0):
        folder = tmp_path / str(factor)
        after = state(segment(photos, folder, replace(one, backbone_factor=factor)).finish())
        before = state(build_segmenter(f"scratch:{folder / 'config'}", config=config, seed=0))
        change = {name: float((after[name] - before[name]).abs().max()) for name in after}
        moved[factor] = max(value for name, value in change.items() if ".vit." in name)
        head = max(value for name, value in change.items() if "decode_head" in name)
        assert head == pytest.approx(1e-2, rel=0.05)  # the first step of Adam is the rate
    assert moved[0.0] == 0
    assert moved[0.1] == pytest.approx(1e-3, rel=0.05)
    assert moved[1.0] == pytest.approx(1e-2, rel=0.05)


def test_learning_rates_by_hand() -> None:
    poly = SegmenterSettings(lr=1.0, power=0.9, warmup_iterations=2)
    assert iteration_rate(poly, 0, steps=10) == pytest.approx(1 / 3)
    assert iteration_rate(poly, 1, steps=10) == pytest.approx(2 / 3 * 0.9**0.9)
    assert iteration_rate(poly, 5, steps=10) == pytest.approx(0.5**0.9)
    cosine = SegmenterSettings(lr=2.0, schedule="cosine")
    assert [iteration_rate(cosine, step, steps=4) for step in (0, 2)] == pytest.approx([2.0, 1.0])


def test_a_network_learns_the_drawn_photos(photos: Path, tmp_path: Path) -> None:
    """Loss falls by half within seconds: labels and photos belong together."""
    from semples.training.events import read_lines

    settings = replace(SETTINGS, iterations=40, lr=3e-3, backbone_factor=1.0, noise=NoiseSettings(), weight_decay=0.0)
    segment(photos, tmp_path / "run", settings)
    losses = [line["loss"] for line in read_lines(tmp_path / "run" / "events.jsonl")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) / 2

"""CLIPSeg against transformers' own forward pass, on a tiny random model with the published vocabulary."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semples.baselines.base import Baseline, make_baseline
from semples.core.errors import UserError
from semples.settings.baselines import ClipSegSettings
from tests import tiny, vision_models

NAMES = ("boat", "dining table", "Straße")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vision_models.save_clipseg(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def settings(folder: Path) -> ClipSegSettings:
    return ClipSegSettings(model=str(folder), side=64)


@pytest.fixture(scope="module")
def baseline(settings: ClipSegSettings) -> Baseline:
    return make_baseline(settings)


def photo(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def expected_probabilities(folder: Path, picture: np.ndarray, texts: list[str]) -> np.ndarray:
    """float32 (n,H,W): transformers' model and tokenizer, with padded texts; the photo prepared by hand."""
    from transformers import AutoTokenizer, CLIPSegForImageSegmentation

    model = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    small = np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR), np.float64) / 255
    values = torch.from_numpy(((small - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1)).float()
    with torch.inference_mode():
        logits = model(pixel_values=values.expand(len(texts), -1, -1, -1), **ids).logits.reshape(len(texts), 1, 64, 64)
        large = torch.nn.functional.interpolate(logits, picture.shape[:2], mode="bilinear", align_corners=False)
    return large[:, 0].sigmoid().numpy()


def test_scores_are_those_of_the_library(baseline: Baseline, folder: Path) -> None:
    picture = photo()
    scores = baseline.scores(picture, NAMES, (0, 2))
    expected = expected_probabilities(folder, picture, ["a photo of a boat.", "a photo of a Straße."])
    assert list(scores) == [0, 2]
    np.testing.assert_allclose(np.stack([scores[0], scores[2]]), expected, atol=2e-4)
    assert np.abs(expected[0] - expected[1]).max() > 1e-2  # the text matters


def test_labels_are_the_best_tag_above_the_threshold(settings: ClipSegSettings, folder: Path) -> None:
    picture = photo()
    expected = expected_probabilities(folder, picture, [f"a photo of a {name}." for name in NAMES])
    threshold = float(np.median(expected.max(0)))
    labelled = make_baseline(replace(settings, threshold=threshold)).labels(picture, NAMES, (0, 1, 2))
    clear = np.abs(expected.max(0) - threshold) > 1e-4
    best = np.where(expected.max(0) > threshold, expected.argmax(0) + 1, 0)
    close = np.sort(expected, axis=0)
    clear &= close[-1] - close[-2] > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(labelled.labels[clear], best[clear])
    assert {0} < set(np.unique(labelled.labels))


def test_names_and_folders_of_no_use_are_one_line(baseline: Baseline, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokens, at most 77 fit"):
        baseline.labels(photo(), ("very " * 90,), (0,))
    with pytest.raises(UserError, match="not a CLIPSeg"):
        make_baseline(ClipSegSettings(model=str(tiny.save_clip(tmp_path / "clip"))))
    wordless = tmp_path / "wordless"
    shutil.copytree(folder, wordless, ignore=shutil.ignore_patterns("*token*", "vocab*", "merges*"))
    scores = make_baseline(ClipSegSettings(model=str(wordless), side=64)).scores(photo(), NAMES, (1,))  # as published
    np.testing.assert_array_equal(scores[1], baseline.scores(photo(), NAMES, (1,))[1])
    (wordless / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="CLIPSeg with its tokenizer") as error:
        make_baseline(ClipSegSettings(model=str(wordless)))
    assert "\n" not in str(error.value)

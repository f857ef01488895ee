"""Baselines that read class names, against transformers' own way from photo and text to boxes and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from semples.baselines.base import make_baseline
from semples.core.errors import UserError
from semples.settings.baselines import GroundedSamSettings, Sam3Settings
from tests import vision_models

NAMES = ("boat", "dining table", "cat")


def photo(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vision_models.save_sam3(tmp_path_factory.mktemp("sam3"))


@torch.no_grad()
def test_sam3_as_transformers_has_it(sam3: Path) -> None:
    """The same instances as transformers' processor makes of the model's answer."""
    from transformers import Sam3Model

    from semples.networks.tokenizer import ClipTokenizer

    model = Sam3Model.from_pretrained(sam3).eval()
    shown = np.asarray(Image.fromarray(photo()).resize((56, 56), Image.Resampling.BILINEAR), np.float32) / 255
    pixels = torch.from_numpy((shown - 0.5) / 0.5).permute(2, 0, 1)[None]
    baseline = make_baseline(Sam3Settings(model=str(sam3), least_score=0.0))
    scores = baseline.scores(photo(), NAMES, (1, 2))
    for tag in (1, 2):
        ids = ClipTokenizer.published(context=32)([NAMES[tag]])
        length = len(ClipTokenizer.published(context=32).pieces(NAMES[tag])) + 2
        ids[:, length:] = 49407  # as transformers pads
        mask = (torch.arange(32) < length).long()[None]
        answer = model(pixel_values=pixels, input_ids=ids, attention_mask=mask)
        score = answer.pred_logits[0].sigmoid() * answer.presence_logits[0].sigmoid()
        masks = torch.nn.functional.interpolate(answer.pred_masks[0][:, None], (64, 64), mode="bilinear")[
            :, 0
        ].sigmoid()
        wanted = (masks * score[:, None, None]).amax(0)
        np.testing.assert_allclose(scores[tag], wanted.numpy(), atol=1e-5)
    assert not np.allclose(scores[1], scores[2], atol=1e-6)  # the text matters
    none = make_baseline(Sam3Settings(model=str(sam3), least_score=1.0)).scores(photo(), NAMES, (0,))
    assert (none[0] == 0).all()


@pytest.fixture(scope="module")
def grounded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("grounded")
    return vision_models.save_grounding_dino(home / "dino"), vision_models.save_sam(home / "sam")


@torch.no_grad()
def test_grounding_dino_and_sam_as_transformers_have_them(grounded: tuple[Path, Path]) -> None:
    from transformers import AutoTokenizer, GroundingDinoForObjectDetection, SamModel

    dino, sam = (
        GroundingDinoForObjectDetection.from_pretrained(grounded[0]).eval(),
        SamModel.from_pretrained(grounded[1]).eval(),
    )
    settings = GroundedSamSettings(model=str(grounded[0]), sam=str(grounded[1]), side=64, least_score=0.0)
    scores = make_baseline(settings).scores(photo(), NAMES, (1,))
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    pixels = torch.from_numpy((photo().astype(np.float32) / 255 - mean) / std).permute(2, 0, 1)[None]
    told = AutoTokenizer.from_pretrained(grounded[0])(["dining table."], return_tensors="pt")
    answer = dino(pixel_values=pixels, **told)
    score = answer.logits[0].sigmoid().amax(1)
    x, y, width, height = (answer.pred_boxes[0] * 64).unbind(1)
    boxes = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1).clamp(0, 64)
    masks = sam(pixel_values=pixels, input_boxes=boxes[None], multimask_output=False).pred_masks[0, :, 0]
    large = torch.nn.functional.interpolate(masks[:, None], (64, 64), mode="bilinear")[:, 0].sigmoid()
    np.testing.assert_allclose(scores[1], (large * score[:, None, None]).amax(0).numpy(), atol=1e-4)


@pytest.mark.parametrize(("kind", "message"), [("sam3", "not a SAM 3"), ("grounded", "not a Grounding DINO")])
def test_other_models_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    folder = str(vision_models.save(tmp_path / "vit", "vit"))
    made: Any = Sam3Settings(model=folder) if kind == "sam3" else GroundedSamSettings(model=folder)
    with pytest.raises(UserError, match=message):
        make_baseline(made)


def test_a_sam_that_is_none(grounded: tuple[Path, Path], tmp_path: Path) -> None:
    folder = str(vision_models.save(tmp_path / "vit", "vit"))
    with pytest.raises(UserError, match="not the configuration of a SAM"):
        make_baseline(GroundedSamSettings(model=str(grounded[0]), sam=folder))

"""Learned background prompts: start, lookup, file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.judges.clip import Clip
from semples.networks.clip import FrozenClip
from semples.recipe import PromptSettings
from semples.stages.background_prompts import BackgroundPrompts, load_prompts
from tests import tiny


def test_uniform_start_from_the_seed(tmp_path: Path) -> None:
    clip = FrozenClip.load(str(tiny.save_clip(tmp_path / "clip")))
    judge = Clip(clip, torch.zeros(20, 4), template="{name}")
    vectors = judge.start_backgrounds(PromptSettings(), seed=3)
    assert vectors.shape == (20, 30, clip.text_width)
    assert 0 <= vectors.min() < 1e-2
    assert 0.99 < vectors.max() < 1
    assert vectors.mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(vectors, judge.start_backgrounds(PromptSettings(), seed=3))
    assert not torch.equal(vectors, judge.start_backgrounds(PromptSettings(), seed=4))


def test_lookup_by_class() -> None:
    prompts = BackgroundPrompts(torch.rand(3, 2, 4))
    assert torch.equal(prompts(torch.tensor([2, 0, 2])), prompts.vectors[[2, 0, 2]])


def test_file(tmp_path: Path) -> None:
    prompts, path = BackgroundPrompts(torch.rand(2, 2, 4)), tmp_path / "prompts.safetensors"
    prompts.save(path, classes=("Hund", "猫"))
    vectors, classes = load_prompts(path)
    assert torch.equal(vectors, prompts.vectors)
    assert classes == ("Hund", "猫")
    with pytest.raises(UserError, match="learn the prompts first"):
        load_prompts(tmp_path / "none")
    save_file({"vectors": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not background prompts"):
        load_prompts(path)
    path.write_text("hello", encoding="utf-8")
    with pytest.raises(UserError, match="not background prompts"):
        load_prompts(path)

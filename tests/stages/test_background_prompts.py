"""Learned background prompts: start, lookup, file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.stages.background_prompts import BackgroundPrompts, load_prompts


def test_uniform_start_from_the_seed() -> None:
    prompts = BackgroundPrompts(num_classes=20, length=30, width=512, seed=3)
    vectors = prompts.vectors.detach()
    assert vectors.shape == (20, 30, 512)
    assert 0 <= vectors.min() < 1e-4
    assert 0.9999 < vectors.max() < 1
    assert vectors.mean().item() == pytest.approx(0.5, abs=0.002)
    assert torch.equal(vectors, BackgroundPrompts(num_classes=20, length=30, width=512, seed=3).vectors)
    assert not torch.equal(vectors, BackgroundPrompts(num_classes=20, length=30, width=512, seed=4).vectors)


def test_lookup_by_class() -> None:
    prompts = BackgroundPrompts(num_classes=3, length=2, width=4, seed=0)
    assert torch.equal(prompts(torch.tensor([2, 0, 2])), prompts.vectors[[2, 0, 2]])


def test_file(tmp_path: Path) -> None:
    prompts, path = BackgroundPrompts(num_classes=2, length=2, width=4, seed=0), tmp_path / "prompts.safetensors"
    prompts.save(path, classes=("Hund", "猫"))
    vectors, classes = load_prompts(path)
    assert torch.equal(vectors, prompts.vectors)
    assert classes == ("Hund", "猫")
    with pytest.raises(UserError, match="learn the prompts first"):
        load_prompts(tmp_path / "none")
    save_file({"vectors": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not background prompts"):
        load_prompts(path)
    path.write_text("hello")
    with pytest.raises(UserError, match="not background prompts"):
        load_prompts(path)

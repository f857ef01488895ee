"""Prompts learned elsewhere."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semples.core.errors import UserError
from semples.stages.background_prompts import BackgroundPrompts
from semples.stages.prompt_files import read_prompts, start_prompts
from tests import tiny

CLASSES = ("disc", "square")


def published(path: Path, vectors: torch.Tensor) -> Path:
    """An ordered dictionary of a parameter, as `state_dict()` of a module with `prompts` gives it."""
    torch.save(OrderedDict(prompts=vectors), path)
    return path


def test_both_forms(tmp_path: Path) -> None:
    prompts = BackgroundPrompts(torch.rand(2, 3, 4))
    prompts.save(tmp_path / "prompts.safetensors", classes=CLASSES)
    published(tmp_path / "btp.pth", prompts.vectors.detach().half())
    for name, wanted in (("prompts.safetensors", prompts.vectors), ("btp.pth", prompts.vectors.half().float())):
        other = BackgroundPrompts(torch.rand(2, 3, 4))
        start_prompts(other, str(tmp_path / name), classes=CLASSES)
        assert torch.equal(other.vectors, wanted)
        assert other.vectors.requires_grad
    before = other.vectors.clone()
    start_prompts(other, "", classes=CLASSES)
    assert torch.equal(other.vectors, before)


def test_what_does_not_fit_names_the_setting(tmp_path: Path) -> None:
    for vectors, hint in (
        (torch.rand(3, 30, 8), "3 classes, but 2 are expected"),
        (torch.rand(2, 10, 8), "--set prompts.length=10"),
        (torch.rand(2, 30, 16), "16 numbers a vector, but 8 are expected by judge.model"),
        (torch.rand(30, 8), r"its prompts are \(30, 8\)"),
        (torch.full((2, 30, 8), torch.nan), "not finite"),
    ):
        with pytest.raises(UserError, match=hint):
            read_prompts(str(published(tmp_path / "btp.pth", vectors)), classes=CLASSES, length=30, width=8)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="holds no entry 'prompts' but weight"):
        read_prompts(str(tmp_path / "x.pth"), classes=CLASSES, length=30, width=8)
    with pytest.raises(UserError, match="no such file"):
        read_prompts(str(tmp_path / "none.pth"), classes=CLASSES, length=30, width=8)
    BackgroundPrompts(torch.rand(2, 3, 4)).save(tmp_path / "o.safetensors", classes=("a", "b"))
    with pytest.raises(UserError, match="prompts of other classes"):
        read_prompts(str(tmp_path / "o.safetensors"), classes=CLASSES, length=3, width=4)


def test_a_run_refines_with_them(tmp_path: Path) -> None:
    """`--set prompts.start=btp.pth` with `prompting.epochs=0`: the step passes them on; another file makes it anew."""
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tiny.save_clip(tmp_path / "clip"))
    sets = [f"{stage}.epochs=0" for stage in ("warmup", "matching", "prompting")]
    vectors = torch.rand(2, 4, 64)
    sets += [f"prompts.start={published(tmp_path / 'btp.pth', vectors)}", "refinement.epochs=0"]
    command = ["run", recipe, "--data", photos, "--out", tmp_path / "run", "--until", "refinement"]
    command += [part for line in sets for part in ("--set", line)]
    tiny.invoke(*command)
    stored = tmp_path / "run" / "prompting" / "prompts.safetensors"
    assert torch.equal(load_file(stored)["vectors"], vectors)
    published(tmp_path / "btp.pth", vectors + 1)
    tiny.invoke(*command)
    assert torch.equal(load_file(stored)["vectors"], vectors + 1)

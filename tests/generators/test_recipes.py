"""The recipes that put another generator into the recipe folder, from tags to label maps of new photos, with tiny
models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semples.core.schema import leaves
from semples.recipe import load_recipe
from tests import tiny
from tests.networks.test_vit_files import timm_state

STAGES = ("warmup", "matching", "prompting", "refinement")
SMALL = [f"{stage}.{change}" for stage in STAGES for change in ("steps=2", "batch=2")]
KINDS = {"folder-vit": "vit-cam", "folder-tokens": "mctformer"}
pytestmark = pytest.mark.filterwarnings("ignore::semples.core.errors.Note")


def dinov2_of_timm(folder: Path) -> Path:
    """A tiny DINOv2 with registers, in the form of timm on the hub: positions of the patches alone, layer scale."""
    state = timm_state(width=48, depth=2, patch=14, registers=4, layer_scale=True)
    state = {name: 0.1 * value for name, value in state.items() if not name.startswith("head.")}
    state["pos_embed"] = state["pos_embed"][:, 1:].clone()
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    told = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "input_size": [3, 56, 56], "tag": "lvd142m"}
    config = {"architecture": "vit_small_patch14_reg4_dinov2", "pretrained_cfg": told, "model_args": {"num_heads": 4}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_only_the_generator_differs(name: str) -> None:
    recipe, folder = (dict(leaves(load_recipe(one))) for one in (name, "folder"))
    differ = {key for key in folder if recipe.get(key) != folder[key]}
    assert all(key in ("name", "about", "base") or key.startswith("generator.") for key in differ)
    assert recipe["generator.kind"] == KINDS[name]
    assert "Not measured on real photos" in recipe["about"]


@pytest.mark.parametrize("name", KINDS)
def test_from_tags_to_label_maps(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    photos, clip = tiny.draw_photos(tmp_path / "photos", count=5), tiny.save_clip(tmp_path / "clip")
    start = dinov2_of_timm(tmp_path / "dinov2") if name == "folder-vit" else "random"
    sizes = ["width=48", "heads=4", "depth=2", "patch_size=8"] if name == "folder-tokens" else []
    changes = [f"generator.{change}" for change in (f"start={start}", "image_size=56", *sizes)]
    changes += [*SMALL, f"judge.model={clip}", "prompts.length=2", "data.workers=0"]
    options = [text for change in changes for text in ("--set", change)]
    tiny.invoke("run", name, "--data", photos, "--out", tmp_path / "run", *options)
    assert len(list((tmp_path / "run" / "labels").glob("p*.png"))) == 5
    assert (tmp_path / "run" / "refinement" / "manifest.json").is_file()
    assert name in tiny.invoke("recipes", "list").out
    tiny.invoke("predict", tmp_path / "run", photos / "p00.png", "--tags", "disc", "--out", tmp_path / "new")
    assert set(np.unique(tiny.pixels(tmp_path / "new" / "labels" / "p00.png"))) <= {0, 1}

"""CAMs of a plain ViT: features are transformers' own, the rest is a classifier on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import build_generator, load_generator, save_generator
from semples.generators.vit_cam import VitCam
from semples.networks.pairs import Pairs
from semples.settings.generators import VitCamSettings
from tests import vision_models

CLASSES = ClassList(("a", "b", "c"))
EVERY = Pairs.of(torch.ones(2, 3) > 0)
pytestmark = pytest.mark.filterwarnings("ignore::semples.core.errors.Note")


def build(folder: Path, **changes: Any) -> VitCam:
    made = build_generator(VitCamSettings(start=str(folder), **changes), classes=CLASSES, seed=0)
    assert isinstance(made, VitCam)
    return made


@torch.no_grad()
@pytest.mark.parametrize("name", ["dinov2", "dinov2 with registers", "vit"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_cams_are_logits_of_the_librarys_patches(tmp_path: Path, name: str, kernel: Any) -> None:
    from transformers import AutoModel

    folder = vision_models.save(tmp_path / "m", name)
    library, model = AutoModel.from_pretrained(folder).eval(), build(folder, kernel=kernel).eval()
    side = library.config.image_size
    photos = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    patches = library(photos).last_hidden_state[:, 1 + (4 if "registers" in name else 0) :]
    count = side // library.config.patch_size
    maps = patches.transpose(1, 2).unflatten(2, (count, count))
    wanted = F.conv2d(maps, model.classifier.weight, model.classifier.bias, padding=kernel // 2)
    cams = model.cams(photos, EVERY).unflatten(0, (2, 3))
    assert (wanted < 0).any()
    torch.testing.assert_close(cams, wanted.clamp(min=0), atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(model.logits(photos), wanted.mean((2, 3)), atol=2e-4, rtol=1e-3)
    attention = model.patch_attention(photos)
    assert attention.shape == (2, count**2, count**2)
    assert (attention.sum(-1) < 1).all()  # the rest goes to the class token and the registers
    # photos of another size and shape, which the library's positions are stretched to
    assert model.cams(torch.randn(2, 3, 3 * side // 2, 2 * side), EVERY).shape[0] == 6


@pytest.mark.parametrize("part", ["classifier", "all"])
def test_what_learns(tmp_path: Path, part: Any) -> None:
    model = build(vision_models.save(tmp_path / "m", "dinov2 with registers"), learns=part, trains=part).train()
    photos = torch.randn(2, 3, 42, 42)
    for loss in (model.cams(photos, EVERY).square().sum(), model.classification_loss(photos, torch.eye(2, 3) > 0)):
        model.zero_grad()
        loss.sum().backward()
        touched = {name for name, weight in model.named_parameters() if weight.grad is not None}
        assert ("vit.ls1" in str(touched) or any(".ls1." in name for name in touched)) == (part == "all")
        assert {name for name in touched if not name.startswith("vit.")} == {"classifier.weight", "classifier.bias"}


@torch.no_grad()
def test_smooth_max_by_hand(tmp_path: Path) -> None:
    model = build(vision_models.save(tmp_path / "m", "vit"), pooling="smooth-max", sharpness=2.0).eval()
    photos = torch.randn(2, 3, 32, 32)
    maps = model._maps(photos, None, "all").flatten(2).double()
    torch.testing.assert_close(model.logits(photos).double(), (2 * maps).exp().mean(2).log() / 2, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_saved_with_registers_and_layer_scale(tmp_path: Path) -> None:
    model = build(vision_models.save(tmp_path / "m", "dinov2 with registers")).eval()
    save_generator(model, tmp_path / "g.safetensors")
    photos = torch.randn(2, 3, 42, 56)
    assert torch.equal(load_generator(tmp_path / "g.safetensors").eval().cams(photos, EVERY), model.cams(photos, EVERY))


def test_what_is_no_plain_vit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rotary positions|not a plain ViT"):
        build(vision_models.save(tmp_path / "m", "dinov3"))
    with pytest.raises(UserError, match=r"do not fit.*change generator\.heads"):
        build_generator(VitCamSettings(start="random", width=10, heads=3), classes=CLASSES, seed=0)

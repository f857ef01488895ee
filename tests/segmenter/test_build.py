"""Every family builds from a configuration, trains a step, and comes back from its folder as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from semples.core.errors import UserError
from semples.segmenter.build import Segmenter, build_segmenter, semantic_scores
from semples.segmenter.network import BACKBONES
from tests.segmenter import material


@pytest.mark.parametrize("family", material.FAMILIES)
def test_every_family_trains_a_step_and_loads_as_saved(family: str, tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path / "config", family).train()
    images, labels = material.batch()
    torch.manual_seed(0)
    if segmenter.is_mask_classifier:
        loss = segmenter.mask_loss(images, labels)
    else:
        losses = segmenter.pixel_losses(images, labels)
        assert losses.shape == labels.shape
        assert (losses[labels == 255] == 0).all()
        loss = losses.mean()
    loss.backward()
    gradients = [p.grad for p in segmenter.parameters() if p.grad is not None]
    assert sum(float(g.abs().sum()) for g in gradients) > 0
    torch.optim.AdamW(segmenter.parameters(), lr=1e-3).step()
    segmenter.eval()
    segmenter.save(tmp_path / "saved")
    loaded = Segmenter.load(tmp_path / "saved", classes=material.CLASSES)
    with torch.no_grad():
        before, after = segmenter(images), loaded(images)
    assert torch.equal(before, after)
    assert before.shape[:2] == (2, 3)
    assert before.dtype == torch.float32
    torch.testing.assert_close(before.exp().sum(1), torch.ones_like(before[:, 0]))
    assert loaded.family == segmenter.family
    assert loaded.config == material.CONFIG
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "config.json", "model.safetensors", "segmenter.json",
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["segformer", "mask2former"])
def test_the_network_loads_with_transformers_alone(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    segmenter = material.tiny(tmp_path / "config", family).eval()
    segmenter.save(tmp_path / "saved")
    auto = AutoModelForUniversalSegmentation if segmenter.is_mask_classifier else AutoModelForSemanticSegmentation
    network = auto.from_pretrained(tmp_path / "saved").eval()
    assert network.config.id2label == {0: "background", 1: "disc", 2: "square"}
    images, _ = material.batch()
    with torch.no_grad():
        assert torch.equal(Segmenter(network, material.CONFIG)(images), segmenter(images))


@pytest.mark.parametrize("family", ["segformer", "mask2former", "eomt"])
def test_a_photo_without_a_known_pixel_is_no_trouble(family: str, tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path / "config", family).train()
    images, labels = material.batch()
    labels[0] = 255
    loss = (
        segmenter.mask_loss(images, labels) if segmenter.is_mask_classifier else segmenter.pixel_losses(images, labels)
    )
    assert torch.isfinite(loss).all()


@pytest.mark.parametrize("family", ["segformer", "mask2former", "semples_vit"])
def test_the_head_is_made_anew_for_other_classes(family: str, tmp_path: Path) -> None:
    first = material.tiny(tmp_path / "config", family)
    first.save(tmp_path / "saved")
    config = replace(material.CONFIG, classes=("a", "b", "c"))
    other = build_segmenter(str(tmp_path / "saved"), config=config, seed=1)
    again = build_segmenter(str(tmp_path / "saved"), config=config, seed=1)
    images, _ = material.batch()
    with torch.no_grad():
        assert other.eval()(images).shape[1] == 4
        assert torch.equal(other(images), again.eval()(images))
    mine, theirs = first.network.state_dict(), other.network.state_dict()
    same = [name for name in mine if mine[name].shape == theirs[name].shape and torch.equal(mine[name], theirs[name])]
    differ = sorted(set(mine) - set(same))
    assert 0 < len(differ) <= 4
    assert all("class" in name or "empty_weight" in name for name in differ), differ


@pytest.mark.parametrize("family", ["mask2former", "upernet"])
def test_a_pretrained_backbone_gets_a_new_head(family: str, tmp_path: Path) -> None:
    from transformers import SwinModel

    SwinModel(material.swin()).save_pretrained(tmp_path / "swin")
    segmenter = build_segmenter(f"{family}:{tmp_path / 'swin'}", config=material.CONFIG, seed=0)
    weights: Any = SwinModel.from_pretrained(tmp_path / "swin").state_dict()
    backbone = segmenter.network.get_submodule(BACKBONES[family]).state_dict()
    started = [name for name in backbone if any(name.endswith(key) for key in weights)]
    assert len(started) > 20
    for name in started:
        key = next(key for key in weights if name.endswith(key))
        assert torch.equal(backbone[name], weights[key]), name


def test_the_vit_starts_from_the_shipped_tower() -> None:
    from semples.networks.weights import find_weights

    config = replace(material.CONFIG, size=96)
    segmenter = build_segmenter("vit:shipped:demo_vit", config=config, seed=0)
    state = find_weights("shipped:demo_vit").state
    started = segmenter.network.vit.state_dict()
    for name in ("patch_embed.proj.weight", "blocks.3.mlp.fc2.weight", "norm.weight", "pos_embed"):
        assert torch.equal(started[name], state[name].to(started[name].dtype)), name
    assert segmenter.backbone() is segmenter.network.vit


def test_photos_of_any_size(tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path).eval()
    with torch.no_grad():
        assert segmenter(torch.zeros(1, 3, 40, 71)).shape == (1, 3, 8, 16)  # 32 x 64, four values a patch


def test_semantic_inference_by_hand() -> None:
    classes = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]]))  # 2 classes and "no object"
    masks = torch.logit(torch.tensor([[[[0.9, 0.1]], [[0.2, 0.8]]]]))
    scores = semantic_scores(classes, masks)
    expected = torch.tensor([[[[0.5 * 0.9 + 0.125 * 0.2, 0.5 * 0.1 + 0.125 * 0.8]],
                              [[0.25 * 0.9 + 0.75 * 0.2, 0.25 * 0.1 + 0.75 * 0.8]]]])  # fmt: skip
    torch.testing.assert_close(scores, expected)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("scratch:nothing", "no such family or folder"),
        ("scratch:bert", "not a network for semantic segmentation"),
        ("scratch:oneformer", "not a network for semantic segmentation"),
        ("lamp:x/y", "lamp is not known"),
        ("./nowhere", "no such file or folder"),
    ],
)
def test_unusable_sources(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_segmenter(source, config=material.CONFIG, seed=0)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    material.folder(tmp_path / "bare", "segformer")
    with pytest.raises(UserError, match="holds no weights; scratch:"):
        build_segmenter(str(tmp_path / "bare"), config=material.CONFIG, seed=0)
    segmenter = material.tiny(tmp_path / "config", "segformer")
    saved = tmp_path / "saved"
    segmenter.save(saved)
    (saved / "model.safetensors").write_bytes(b"12345678 not weights")
    with pytest.raises(UserError, match="cannot be read as a segmenter") as caught:
        Segmenter.load(saved)
    assert "\n" not in str(caught.value)
    (saved / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        Segmenter.load(saved)
    with pytest.raises(UserError, match="no segmenter here"):
        Segmenter.load(tmp_path / "bare")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path / "config", "segformer")
    segmenter.save(tmp_path / "saved")
    other = material.tiny(tmp_path / "other", "upernet")
    other.save(tmp_path / "upernet")
    (tmp_path / "saved" / "model.safetensors").write_bytes((tmp_path / "upernet" / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="weights do not fit"):
        Segmenter.load(tmp_path / "saved")
    with pytest.raises(UserError, match="not the weights of a segformer: missing segformer"):
        build_segmenter(str(tmp_path / "saved"), config=material.CONFIG, seed=0)


def test_wrong_classes_are_named(tmp_path: Path) -> None:
    segmenter = material.tiny(tmp_path / "config", "segformer")
    saved = tmp_path / "saved"
    segmenter.save(saved)
    with pytest.raises(UserError, match=r"of 2 classes .disc, square., but asked for are 1 .cat."):
        Segmenter.load(saved, classes=["cat"])
    described = json.loads((saved / "segmenter.json").read_text(encoding="utf-8"))
    (saved / "segmenter.json").write_text(json.dumps(described | {"classes": ["a", "b", "c"]}), encoding="utf-8")
    with pytest.raises(UserError, match=r"has 3 labels, but segmenter\.json names 3 classes"):
        Segmenter.load(saved)
    (saved / "segmenter.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match="not the description of a segmenter"):
        Segmenter.load(saved)


def test_a_network_of_one_size_says_so(tmp_path: Path) -> None:
    path = material.folder(tmp_path, "eomt")
    with pytest.raises(UserError, match="takes views of 64 pixels only"):
        build_segmenter(f"scratch:{path}", config=replace(material.CONFIG, size=96), seed=0)

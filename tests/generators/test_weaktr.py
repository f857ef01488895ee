"""WeakTr: its warm-up loss, what gets gradient, and its start weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import build_generator
from semples.generators.weaktr import WeakTr
from semples.networks.attention import attend, fuse_maps
from semples.networks.vit import VitConfig
from semples.networks.vit_start import initialise
from semples.recipe import WeakTrSettings, load_recipe

SETTINGS = {
    "start": "random",
    "image_size": 16,
    "patch_size": 4,
    "width": 12,
    "depth": 2,
    "heads": 2,
    "feature_reduction": 2,
    "head_reduction": 2,
}
CLASSES = 3
pytestmark = pytest.mark.filterwarnings("ignore::semples.core.errors.Note")


def build(*, classes: int, seed: int = 1, **changes: Any) -> WeakTr:
    names = ClassList(tuple("abcdefgh"[:classes]))
    return WeakTr.build(WeakTrSettings(**{**SETTINGS, **changes}), classes=names, seed=seed)


def generator(**changes: Any) -> WeakTr:
    return build(classes=CLASSES, **changes)


def soft_margin(logits: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """-mean over classes of y log sigmoid(x) + (1 - y) log sigmoid(-x)."""
    x = logits.astype(np.float64)
    return (tags * np.log1p(np.exp(-x)) + (1 - tags) * np.log1p(np.exp(x))).mean(axis=1)


def test_warm_up_loss_is_three_soft_margins() -> None:
    model, photos, tags = generator().eval(), torch.randn(2, 3, 16, 16), np.array([[1, 0, 1], [0, 0, 0]])
    output = model(photos)
    expected = sum(
        soft_margin(x.detach().numpy(), tags) for x in (output.token_logits, output.coarse_logits, output.fine_logits)
    )
    loss = model.classification_loss(photos, torch.from_numpy(tags) > 0)
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-5)


def test_logits_of_the_warm_up() -> None:
    """Token logit: mean over channels of a class token; coarse: spatial mean of Z before its ReLU; fine: spatial mean
    of S applied to R * relu(Z)."""
    model, photos = generator().eval(), torch.randn(2, 3, 16, 20)
    output = model(photos)
    tokens = model._tokens(photos, None, keep_maps=True)
    torch.testing.assert_close(output.token_logits, tokens.last[:, :CLASSES].mean(-1))
    torch.testing.assert_close(output.coarse_logits, output.coarse.mean((2, 3)))
    refined = torch.einsum("bij,bkj->bki", output.patch_attention, output.cams.flatten(2))
    torch.testing.assert_close(output.fine_logits, refined.mean(-1))
    assert (output.coarse < 0).any()


def test_which_gradients_of_the_warm_up_are_zero() -> None:
    """The fine logits teach the attention fusion only: the coarse CAM inside them, attention maps and attention
    features are constants. The coarse logits teach `head` and, unlike in the later stages, the backbone."""
    model, photos = generator().train(), torch.randn(2, 3, 16, 16)

    def touched(loss: torch.Tensor) -> set[str]:
        model.zero_grad()
        loss.backward()
        return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}

    output = model(photos)
    fusion = {name for name, _ in model.named_parameters() if name.startswith("adaptive_attention_fusion.")}
    assert touched(output.fine_logits.square().sum()) <= fusion
    assert touched(model(photos).fine_logits.square().sum())
    coarse = touched(model(photos).coarse_logits.square().sum())
    assert {"head.weight", "head.bias", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "pos_embed"} <= coarse
    assert not coarse & fusion
    token = touched(model(photos).token_logits.square().sum())
    assert {"cls_token", "blocks.1.mlp.fc2.weight"} <= token
    assert not token & (fusion | {"head.weight", "norm.weight"})


def test_fused_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """(1 / HL) sum of w A, a weight per head and block."""
    maps, weights = [torch.rand(2, 3, 5, 5) for _ in range(4)], torch.rand(2, 3, 4)
    expected = (
        sum(weights[:, head, block, None, None] * maps[block][:, head] for head in range(3) for block in range(4)) / 12
    )
    torch.testing.assert_close(fuse_maps(maps, weights), expected)
    q, k, value, weight = torch.randn(3, 5, 4), torch.randn(3, 7, 4), torch.randn(7, 9), torch.rand(3, 1, 1)
    expected = ((q @ k.transpose(1, 2)).softmax(-1) @ value * weight).sum(0)
    torch.testing.assert_close(attend(q, k, value, weight), expected)
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, value, weight), expected)
    monkeypatch.setattr("semples.networks.attention.BLOCK_BYTES", 2 * 7 * 4)  # two rows at a time, and one left over
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, value, weight), expected)


@pytest.mark.parametrize("attention", ["fused", "patchcam", "transcam"])
@pytest.mark.parametrize("refine", [True, False])
def test_kinds_of_cams(attention: str, refine: bool) -> None:
    from semples.networks.pairs import Pairs

    model, photos = generator(attention=attention, refine=refine).eval(), torch.randn(1, 3, 16, 24)
    output = model(photos)
    fused = fuse_maps(model._tokens(photos, None, keep_maps=True).attention, output.head_weights)[0]
    rows, patch = fused[:CLASSES, CLASSES:].unflatten(1, (4, 6)), output.coarse[0].relu()
    cams = {"fused": rows * patch, "patchcam": patch, "transcam": rows}[attention]
    if refine:
        cams = (cams.flatten(1) @ fused[CLASSES:, CLASSES:].t()).view_as(cams)
    of_pairs = model.cams(photos, Pairs.of(torch.ones(1, CLASSES)))
    torch.testing.assert_close(of_pairs, cams, atol=1e-6, rtol=1e-4)


# ------------------------------------------------------------------------------------------------------ start weights


def classifier(*, grid: int = 6, tokens: int = 1, width: int = 12) -> dict[str, torch.Tensor]:
    """An ImageNet classifier's state dict in timm's naming."""
    config = VitConfig(patch_size=4, width=width, depth=2, heads=2, image_size=4 * grid)
    from semples.networks.vit import VisionTransformer

    model = VisionTransformer(config, num_tokens=tokens)
    torch.manual_seed(5)
    initialise(model)
    torch.nn.init.normal_(model.pos_embed)
    return model.state_dict() | {"head.weight": torch.zeros(1000, width), "head.bias": torch.zeros(1000)}


def start_from(state: dict[str, torch.Tensor], folder: Path, **changes: Any) -> WeakTr:
    save_file(state, folder / "start.safetensors")
    return generator(start=str(folder / "start.safetensors"), **changes)


def test_start_from_a_classifier_with_the_same_grid(tmp_path: Path) -> None:
    state = classifier(grid=4)
    started, random = start_from(state, tmp_path).state_dict(), generator().state_dict()
    for k in range(CLASSES):
        assert torch.equal(started["cls_token"][0, k], state["cls_token"][0, 0])
        assert torch.equal(started["pos_embed"][0, k], state["pos_embed"][0, 0])
    assert torch.equal(started["pos_embed"][0, CLASSES:], state["pos_embed"][0, 1:])
    for name in started:
        if name.startswith(("blocks.", "patch_embed.", "norm.")):
            assert torch.equal(started[name], state[name]), name
        elif name.startswith(("head.", "adaptive_attention_fusion.")):
            assert torch.equal(started[name], random[name]), name
    assert started["head.weight"].shape == (CLASSES, 12, 3, 3)


def test_start_from_a_classifier_with_another_grid(tmp_path: Path) -> None:
    """Hand-computed at one patch: bicubic from 6 x 6 to 4 x 4 by target size."""
    from tests.networks.test_vit import cubic

    state = classifier(grid=6)
    positions = start_from(state, tmp_path).state_dict()["pos_embed"]
    assert positions.shape == (1, CLASSES + 16, 12)
    grid, at = state["pos_embed"][0, 1:].double().numpy().reshape(6, 6, 12), 1.5 * 6 / 4 - 0.5
    taps = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
    expected = sum(cubic(at - i) * cubic(at - j) * grid[i, j] for i in taps for j in taps)
    np.testing.assert_allclose(positions[0, CLASSES + 1 * 4 + 1].numpy(), expected, atol=1e-5)


def test_start_from_a_distilled_classifier(tmp_path: Path) -> None:
    """Its second token and second classifier are left out."""
    state = classifier(grid=4, tokens=2)
    state["cls_token"], state["dist_token"] = state["cls_token"][:, :1].clone(), state["cls_token"][:, 1:].clone()
    state |= {"head_dist.weight": torch.zeros(1000, 12), "head_dist.bias": torch.zeros(1000)}
    started = start_from(state, tmp_path).state_dict()
    assert torch.equal(started["pos_embed"][0, CLASSES:], state["pos_embed"][0, 2:])
    assert torch.equal(started["cls_token"][0, 1], state["cls_token"][0, 0])


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda s: s.pop("blocks.1.mlp.fc1.bias"), "missing blocks.1.mlp.fc1.bias"),
        (lambda s: s.update({"blocks.9.extra": torch.zeros(1)}), "surplus blocks.9.extra"),
        (lambda s: s.update({"norm.weight": torch.zeros(13)}), r"norm.weight is \(13,\), expected \(12,\)"),
        (lambda s: s.pop("pos_embed"), "missing pos_embed"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 15, 12)}), "pos_embed"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 31, 12)}), "pos_embed"),
        (lambda s: s.update({"pos_embed": torch.zeros(12)}), "pos_embed"),
        (lambda s: s.update({"cls_token": torch.zeros(12)}), "cls_token"),
    ],
)
def test_start_weights_that_do_not_fit_are_named(change: Any, hint: str, tmp_path: Path) -> None:
    state = classifier(grid=4)
    change(state)
    with pytest.raises(UserError, match=hint):
        start_from(state, tmp_path)


def test_a_classifier_of_another_width_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"width 16 whose number of heads stands nowhere; .*generator\.width=16"):
        start_from(classifier(width=16), tmp_path)
    assert start_from(classifier(width=16), tmp_path, width=16, heads=4).config.heads == 4


def test_a_config_beside_the_weights_wins(tmp_path: Path) -> None:
    save_file(classifier(width=16, grid=4), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"width": 16, "heads": 4, "num_classes": 1000}', encoding="utf-8")
    model = generator(start=str(tmp_path))
    assert (model.config.width, model.config.heads, model.config.depth) == (16, 4, 2)


def test_published_checkpoints_load_strictly(tmp_path: Path) -> None:
    """`{"model": state_dict, "args": Namespace, ...}` with the published names."""
    state = generator().state_dict()
    content = {"model": state, "optimizer": {}, "epoch": 59, "args": argparse.Namespace(lr=1e-4, data=Path("x"))}
    torch.save(content, tmp_path / "checkpoint.pth")
    loaded = build(classes=CLASSES, seed=9, start=str(tmp_path / "checkpoint.pth"))
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())
    for name in ("head.bias", "adaptive_attention_fusion.attn_feat_ffn.1.bias"):
        torch.save({"model": {key: value for key, value in state.items() if key != name}}, tmp_path / "cut.pth")
        with pytest.raises(UserError, match=f"missing {name}"):
            generator(start=str(tmp_path / "cut.pth"))
    with pytest.raises(UserError, match="trained for 3 classes, the photos have 5"):
        build(classes=5, start=str(tmp_path / "checkpoint.pth"))


def test_a_view_is_at_least_a_patch() -> None:
    with pytest.raises(UserError, match="image_size 3 is smaller than a patch of 4"):
        generator(image_size=3)


def test_published_names() -> None:
    names = set(generator().state_dict())
    assert {
        "cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.1.attn.qkv.bias",
        "blocks.0.attn.proj.weight", "blocks.0.norm2.bias", "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.weight",
        "norm.weight", "head.weight", "adaptive_attention_fusion.attn_head_ffn.0.weight",
        "adaptive_attention_fusion.attn_head_ffn.2.weight", "adaptive_attention_fusion.attn_feat_ffn.0.bias",
        "adaptive_attention_fusion.attn_feat_ffn.1.weight",
    } <= names  # fmt: skip
    assert not {name for name in names if "attn_head_ffn" in name and name.endswith("bias")}
    shapes = {name: tuple(value.shape) for name, value in generator(head_reduction=4, heads=3).state_dict().items()}
    assert shapes["adaptive_attention_fusion.attn_head_ffn.0.weight"] == (6 // 4, 6)
    assert shapes["adaptive_attention_fusion.attn_feat_ffn.0.weight"] == (4 // 2, 4)


def test_what_a_checkpoint_and_the_recipe_disagree_on_is_named(tmp_path: Path) -> None:
    """COCO's published checkpoints were trained with either narrowing; heads come from the file, not the recipe."""
    for changes, hint in (
        ({"head_reduction": 1}, r"generator\.head_reduction=2; add --set generator\.head_reduction=1$"),
        ({"feature_reduction": 3}, r"--set generator\.feature_reduction=3$"),
    ):
        torch.save({"model": generator(**changes).state_dict()}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=hint):
            generator(start=str(tmp_path / "a.pth"))
        generator(start=str(tmp_path / "a.pth"), **changes)
    torch.save({"model": generator(heads=3).state_dict()}, tmp_path / "a.pth")
    loaded = generator(start=str(tmp_path / "a.pth"), heads=2)
    assert loaded.config.heads == 3
    with torch.random.fork_rng(devices=[]):
        names = ClassList(tuple(f"c{number}" for number in range(90)))
        many = WeakTr.build(WeakTrSettings(**SETTINGS), classes=names, seed=0)
    torch.save({"model": many.state_dict()}, tmp_path / "coco.pth")
    with pytest.raises(UserError, match=r"trained for 90 classes, the photos have 3; COCO's .*--ids published"):
        generator(start=str(tmp_path / "coco.pth"))


def test_the_side_of_a_view_follows_the_start_weights() -> None:
    classes = ClassList(("boat", "train"))
    shipped = build_generator(load_recipe("demo").generator, classes=classes, seed=0)
    assert (shipped.image_size, shipped.view_side("auto"), shipped.view_side(64), shipped.width) == (96, 96, 64, 128)
    unknown = load_recipe("folder", ["generator.start=random", "generator.width=12", "generator.depth=1"]).generator
    assert build_generator(unknown, classes=classes, seed=0).image_size == 224

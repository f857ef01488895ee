"""MCTformer: its CAMs by an independent computation, its losses, its published files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators import class_tokens
from semples.generators.base import build_generator
from semples.generators.mctformer import MctFormer
from semples.networks.pairs import Pairs
from semples.settings.generators import MctFormerSettings
from tests import vision_models

K = 3
CLASSES = ClassList(("a", "b", "c"))
SIZES: dict[str, Any] = {"patch_size": 4, "width": 12, "depth": 4, "heads": 2, "image_size": 16}
pytestmark = pytest.mark.filterwarnings("ignore::semples.core.errors.Note")


def build(**changes: Any) -> MctFormer:
    made = build_generator(MctFormerSettings(**{"start": "random", **SIZES, **changes}), classes=CLASSES, seed=0)
    assert isinstance(made, MctFormer)
    for name, weight in made.named_parameters():
        if changes.get("start", "random") == "random" and weight.ndim > 1:
            weight.data += 0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
    return made.eval()


def scaled(rows: np.ndarray) -> np.ndarray:
    """Rows to 0..1."""
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    return np.divide(rows - low, high - low, out=np.zeros_like(rows), where=high > low)


@torch.no_grad()
@pytest.mark.parametrize("refine", [True, False])
def test_cams_by_hand(refine: bool) -> None:
    """A of the last three blocks times C, both in 0..1, then along the attention of all blocks (METHODS, MCTformer)."""
    model, photo = build(refine=refine), torch.randn(1, 3, 16, 20)
    tokens = model._tokens(photo, None, keep_maps=True)
    maps = np.stack([one[0].double().numpy() for one in tokens.attention])  # (L,H,T,T)
    class_attention = maps[-3:].mean(1).sum(0)[:K, K:]
    patch_cam = model.head(tokens.last[:, K:].transpose(1, 2).unflatten(2, (4, 5)))[0].flatten(1).double().numpy()
    wanted = scaled(class_attention) * scaled(patch_cam.clip(0))
    if refine:
        wanted = wanted @ maps.mean((0, 1))[K:, K:].T
    cams = model.cams(photo, Pairs.of(torch.ones(1, K) > 0)).flatten(1).double().numpy()
    assert cams.max() > 0.01
    np.testing.assert_allclose(cams, wanted, atol=2e-5)


@torch.no_grad()
def test_streamed_cams_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, photos = build(last_blocks=2), torch.randn(3, 3, 24, 16)
    pairs = Pairs.of(torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1]]) > 0)
    kept = model.cams(photos, pairs)
    monkeypatch.setattr(class_tokens, "MAP_BYTES", 0)
    torch.testing.assert_close(model.cams(photos, pairs), kept, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["mean", "rank"])
def test_losses_by_hand(pooling: Any) -> None:
    model, photos = build(pooling=pooling, rank_decay=0.8), torch.randn(2, 3, 16, 16)
    tokens = model._tokens(photos, None, keep_maps=True)
    maps = -np.sort(-model._patch_logits(tokens).flatten(2).double().numpy(), axis=2)
    weights = 0.8 ** np.arange(16) if pooling == "rank" else np.ones(16)
    patch = (maps * weights).sum(2) / weights.sum()
    token = tokens.last[:, :K].double().numpy().mean(-1)
    tags = np.array([[1, 0, 1], [0, 0, 0]])
    wanted = sum((np.log1p(np.exp(-x)) * tags + np.log1p(np.exp(x)) * (1 - tags)).mean(1) for x in (token, patch))
    loss = model.classification_loss(photos, torch.from_numpy(tags) > 0)
    np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-4)


def checkpoint(**changes: Any) -> dict[str, torch.Tensor]:
    """A published file: positions of class tokens and patches apart, no final norm of use."""
    state = build().state_dict()
    positions = state.pop("pos_embed")
    return state | {"pos_embed_cls": positions[:, :K], "pos_embed_pat": positions[:, K:]} | changes


@torch.no_grad()
def test_published_checkpoints(tmp_path: Path) -> None:
    path, photos, pairs = tmp_path / "mct.pth", torch.randn(1, 3, 16, 16), Pairs.of(torch.ones(1, K) > 0)
    for content in ({"model": checkpoint()}, checkpoint()):
        torch.save(content, path)
        torch.testing.assert_close(build(start=str(path)).cams(photos, pairs), build().cams(photos, pairs))
    one_part = build().state_dict()
    torch.save({name: value for name, value in one_part.items() if not name.startswith("norm.")}, path)
    torch.testing.assert_close(build(start=str(path)).cams(photos, pairs), build().cams(photos, pairs))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra.weight": torch.zeros(1)}, "surplus extra.weight"),
        ({"head.weight": torch.zeros(K, 12)}, "version 1, perhaps"),
        ({"adaptive_attention_fusion.x": torch.zeros(1)}, "generator.kind=weaktr"),
        ({"cls_token": torch.zeros(1, 5, 12)}, "trained for 5 classes, the photos have 3"),
        ({"pos_embed_pat": torch.zeros(1, 15, 12)}, "do not fit the model"),
    ],
)
def test_other_checkpoints_are_refused(tmp_path: Path, changes: dict[str, torch.Tensor], message: str) -> None:
    torch.save(checkpoint(**changes), tmp_path / "mct.pth")
    with pytest.raises(UserError, match=message):
        build(start=str(tmp_path / "mct.pth"))


def test_heads_that_stand_nowhere(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "mct.pth")
    with pytest.raises(UserError, match="whose number of heads stands nowhere"):
        build(start=str(tmp_path / "mct.pth"), width=384, heads=6)


def test_it_starts_from_any_plain_vit(tmp_path: Path) -> None:
    """DINOv2's registers take part in the attention and are no patches."""
    model = build(start=str(vision_models.save(tmp_path / "m", "dinov2 with registers")))
    photos, pairs = torch.randn(2, 3, 42, 56), Pairs.of(torch.ones(2, K) > 0)
    model.cams(photos, pairs).sum().backward()
    assert model.head.weight.grad is not None
    with torch.no_grad():
        kept = model.cams(photos, pairs)
        assert kept.shape == (6, 3, 4)

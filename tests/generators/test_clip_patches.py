"""CLIP's own patches: unchanged they are transformers', and every change of the last block is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import build_generator
from semples.generators.clip_patches import ClipPatches, positions
from semples.networks.clusters import clusters, superpixels
from semples.networks.pairs import Pairs
from semples.settings.generators import ClipPatchSettings
from tests import tiny

CLASSES = ClassList(("boat", "rock", "cat"))  # a rock is a background word too
K = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_clip(tmp_path_factory.mktemp("clip"), patch_size=8)


@pytest.fixture(scope="module")
def library(folder: Path) -> Any:
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder).eval()


def build(folder: Path, **changes: Any) -> ClipPatches:
    made = build_generator(ClipPatchSettings(start=str(folder), **changes), classes=CLASSES, seed=0)
    assert isinstance(made, ClipPatches)
    return made


def photos(height: int = 32, width: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (48, 32), (40, 72)])
def test_unchanged_they_are_the_librarys(folder: Path, library: Any, size: tuple[int, int]) -> None:
    """Also for photos larger than its own: transformers resizes position embeddings bicubically too."""
    model = build(folder, attention="qk", feed_forward=True)
    tower = library.vision_model
    tokens = tower(pixel_values=photos(*size), interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    wanted = F.normalize(library.visual_projection(tower.post_layernorm(tokens)), dim=-1)
    torch.testing.assert_close(model.features(model._before_last(photos(*size))), wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["qk", "qq", "kk", "vv"])
def test_the_last_attention_by_hand(folder: Path, library: Any, attention: str) -> None:
    """softmax(x yᵀ / √d) V of each head, projected; no residual, no feed-forward layer."""
    model, image = build(folder, attention=attention), photos(count=1)
    layer = library.vision_model.encoder.layers[-1]
    hidden = library.vision_model(pixel_values=image, output_hidden_states=True).hidden_states[-2]
    normed = layer.layer_norm1(hidden)[0]
    heads, width = layer.self_attn.num_heads, layer.self_attn.head_dim
    parts = {name: getattr(layer.self_attn, f"{name}_proj")(normed).double().numpy() for name in "qkv"}
    columns = []
    for head in range(heads):
        cut = {name: values[:, head * width : (head + 1) * width] for name, values in parts.items()}
        logits = cut[attention[0]] @ cut[attention[1]].T / np.sqrt(width)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        columns.append(weights / weights.sum(1, keepdims=True) @ cut["v"])
    mixed = torch.from_numpy(np.concatenate(columns, 1)).float()
    output = library.vision_model.post_layernorm(layer.self_attn.out_proj(mixed))
    wanted = F.normalize(library.visual_projection(output), dim=-1)[1:]
    torch.testing.assert_close(model.features(model._before_last(image))[0], wanted, atol=1e-5, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("contest", ["present", "all"])
def test_the_contest_by_hand(folder: Path, contest: str) -> None:
    model = build(folder, contest=contest, sharpness=7.0, backgrounds=("sky", "rock", "road"))
    assert len(model.backgrounds) == 2  # rock is a class # type: ignore[arg-type]
    tags = torch.tensor([[1, 0, 1], [0, 1, 0]]) > 0
    features = model.features(model._before_last(photos())).double()
    texts = torch.cat([model.targets, model.backgrounds]).double()  # type: ignore[list-item]
    wanted = []
    for photo, label in tags.nonzero().tolist():
        competing = [k for k in range(K) if contest == "all" or tags[photo, k]] + [K, K + 1]
        values = (7.0 * features[photo] @ texts.t()).exp()
        wanted.append((values[:, label] / values[:, competing].sum(1)).reshape(4, 4).float())
    torch.testing.assert_close(model.cams(photos(), Pairs.of(tags)), torch.stack(wanted), atol=1e-6, rtol=1e-5)


def test_gradients_by_the_librarys_own_pass(folder: Path, library: Any) -> None:
    """∂ share / ∂ patches before the last block, by a hook on transformers' own forward pass."""
    model, image = build(folder, mode="gradient", sharpness=20.0), photos(40, 48)
    pairs = Pairs.of(torch.tensor([[1, 0, 1], [0, 1, 0]]) > 0)
    with torch.no_grad():
        cams = model.cams(image, pairs)
    for row, (photo, label) in enumerate(zip(pairs.photo.tolist(), pairs.label.tolist(), strict=True)):
        kept = []

        def keep(module: Any, arguments: Any, kept: Any = kept) -> Any:
            kept.append(arguments[0].detach().requires_grad_())
            return (kept[0], *arguments[1:])

        hook = library.vision_model.encoder.layers[-1].register_forward_pre_hook(keep)
        pooled = library.vision_model(pixel_values=image[photo][None], interpolate_pos_encoding=True).pooler_output
        hook.remove()
        feature = F.normalize(library.visual_projection(pooled), dim=-1)[0]
        present = pairs.label[pairs.photo == photo].tolist()
        texts = torch.cat([model.targets[present], model.backgrounds])  # type: ignore[index,list-item]
        share = (20.0 * texts @ feature).softmax(0)[present.index(label)]
        (gradient,) = torch.autograd.grad(share, kept[0])
        wanted = F.relu(kept[0][0, 1:] @ gradient[0, 1:].mean(0)).reshape(5, 6).detach()
        torch.testing.assert_close(cams[row], wanted, atol=1e-6, rtol=1e-3)
    assert cams.max() > 0


@torch.no_grad()
@pytest.mark.parametrize("scope", ["clusters", "superpixels"])
def test_a_patch_attends_to_its_own_region(folder: Path, scope: str) -> None:
    model, image = build(folder, scope=scope, scope_count=3, attention="qk"), 0.1 * photos(48, 48, count=1)
    image[..., 20:] += 2
    image[..., 30:, :] -= 2
    patches = model._before_last(image)
    region = model._regions(image, patches)
    assert region is not None
    assert len(region.unique()) > 1
    before = model.features(patches, region)
    changed = patches.hidden.clone()
    changed[0, 1:][region[0] == region[0, 0]] += torch.randn(changed.shape[-1])
    after = model.features(patches._replace(hidden=changed), region)
    same = (before == after).all(-1)
    assert torch.equal(same[0], region[0] != region[0, 0])
    averaged = build(folder, scope=scope, scope_count=3, scope_mean=True)
    cam = averaged.cams(image, Pairs.of(torch.tensor([[1, 0, 0]]) > 0)).flatten()
    for number in region.unique():
        assert cam[region[0] == number].std() < 1e-6 or (region[0] == number).sum() == 1


def test_regions() -> None:
    features = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 2 + [[2.0, 0.1]])
    numbers = clusters(features, count=2)
    assert numbers.tolist() in ([0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 1])
    assert clusters(features[:1], count=9).tolist() == [0]
    assert torch.equal(clusters(features * 0, count=3), torch.zeros(6, dtype=torch.long))
    photo = torch.zeros(35, 48, 3, dtype=torch.uint8)
    photo[:, 24:] = 200
    halves = superpixels(photo, grid=(4, 6), count=2).reshape(4, 6)
    assert len(halves[:, :3].unique()) == 1
    assert halves[0, 0] != halves[0, 5]


@torch.no_grad()
def test_averaged_texts(folder: Path, library: Any) -> None:
    from semples.networks.clip import FrozenClip

    templates = ("a photo of {name}.", "the {name} at night")
    model = build(folder, templates=templates)
    clip = FrozenClip.load(str(folder))
    wanted = F.normalize(clip.encode_texts(["a photo of cat.", "the cat at night"]).mean(0), dim=-1)
    torch.testing.assert_close(model.targets[2], wanted, atol=1e-6, rtol=1e-5)  # type: ignore[index]
    with pytest.raises(UserError, match="no place for the class"):
        build(folder, templates=("a photo",))
    with pytest.raises(UserError, match="CLIP brings its own"):
        build(folder, mean=(0.1, 0.1, 0.1))


@torch.no_grad()
def test_attention_between_patches(folder: Path, library: Any) -> None:
    from transformers import CLIPModel

    model = build(folder, attention_blocks=1)
    eager = CLIPModel.from_pretrained(folder, attn_implementation="eager").eval()
    wanted = eager.vision_model(pixel_values=photos(), output_attentions=True).attentions[-1].mean(1)[:, 1:, 1:]
    torch.testing.assert_close(model.patch_attention(photos()), wanted, atol=1e-6, rtol=1e-4)


def test_positions_of_its_own_grid_are_untouched() -> None:
    weight = torch.randn(17, 6)
    assert torch.equal(positions(weight, 4, 4), weight)
    assert positions(weight, 3, 7).shape == (22, 6)


def test_a_run_without_training(folder: Path, tmp_path: Path) -> None:
    """The recipe `folder-fast`: from tags to label maps without a stage."""
    photos = tiny.draw_photos(tmp_path / "photos", count=5)
    changes = [f"generator.start={folder}", f"judge.model={folder}", "cams.affinity.power=1"]
    options = [text for change in changes for text in ("--set", change)]
    out = tiny.invoke("run", "--data", photos, "--recipe", "folder-fast", "--out", tmp_path / "run", *options).out
    assert "cams" in out
    assert not (tmp_path / "run" / "warmup").exists()
    assert len(list((tmp_path / "run" / "labels").glob("*.png"))) == 5
    assert "folder-fast" in tiny.invoke("recipes", "list").out
    told = tiny.invoke("predict", tmp_path / "run", photos / "p00.png", "--tags", "disc", "--out", tmp_path / "new").out
    assert "1 photos" in told
    assert set(np.unique(tiny.pixels(tmp_path / "new" / "labels" / "p00.png"))) <= {0, 1}

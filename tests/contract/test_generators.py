"""What every mask generator must do. A new line in `GENERATORS` is tested from here without another change."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import Generator, build_generator, load_generator, save_generator
from semples.networks.pairs import Pairs
from semples.recipe import GeneratorSettings
from semples.settings.kinds import GENERATORS
from tests import tiny

PATCH, CLASSES = 8, 4
SIZES = [(16, 16), (32, 32), (24, 40), (8, 8), (29, 17), (8, 100)]
NAMES = ("person", "dining table", "Straße", "猫")


SMALL = {
    "start": "random", "image_size": 32, "patch_size": PATCH, "width": 16, "depth": 2, "heads": 2, "drop_path": 0.3,
    "feature_reduction": 2, "learns": "all",
}  # fmt: skip
"""Values of settings, where a generator has them, that make it small."""

TRAINED = [name for name in GENERATORS if GENERATORS.settings_of(name).TRAINABLE]  # type: ignore[attr-defined]


@pytest.fixture(params=TRAINED)
def settings(request: pytest.FixtureRequest) -> GeneratorSettings:
    made = GENERATORS.settings_of(request.param)
    known = {entry.name for entry in fields(made)}  # type: ignore[arg-type]
    return made(kind=request.param, **{name: value for name, value in SMALL.items() if name in known})  # type: ignore[no-any-return]


def frozen_settings(name: str, folder: Path) -> GeneratorSettings:
    """Settings of a generator that is not trained, with what it needs in `folder`."""
    if name == "clip":
        changes = {"start": str(tiny.save_clip(folder, patch_size=PATCH)), "templates": ("a {name}.", "the {name}")}
    else:
        store = CamStore(folder)
        store.write("photo", {0: np.eye(8, dtype=np.float32)}, (8, 8))
        changes = {"start": str(folder)}
    return GENERATORS.settings_of(name)(**changes)  # type: ignore[no-any-return]


FROZEN = [name for name in GENERATORS.shipped if name not in TRAINED]


@pytest.fixture(params=FROZEN)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Generator:
    """A generator that is not trained."""
    return build_generator(frozen_settings(request.param, tmp_path / "given"), classes=ClassList(NAMES), seed=3)


@pytest.fixture
def model(settings: GeneratorSettings) -> Generator:
    made = build_generator(settings, classes=ClassList(NAMES), seed=3)
    for name, weight in made.named_parameters():
        if name.endswith("attn.qkv.weight"):  # random attention is so even that, scaled, it would be rounding alone
            weight.data *= 8
    return made


def images(count: int, height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def every(count: int) -> Pairs:
    return Pairs.of(torch.ones(count, CLASSES, dtype=torch.bool))


def test_it_is_a_mask_generator(model: Any) -> None:
    assert isinstance(model, Generator)
    assert model.classes == NAMES
    assert model.num_classes == CLASSES
    assert model.patch_size >= 1
    assert model.noise_size >= 0
    assert list(model.train_parameters())


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("learning", [True, False])
def test_any_size(model: Any, height: int, width: int, learning: bool) -> None:
    with torch.set_grad_enabled(learning):
        cams = model.eval().cams(images(2, height, width), every(2))
    assert len(cams) == 2 * CLASSES
    for cells, side in zip(cams.shape[1:], (height, width), strict=True):  # a part of a patch may have a cell or none
        assert max(1, side // model.patch_size) <= cells <= -(-side // model.patch_size)
    assert torch.isfinite(cams).all()
    assert (cams >= 0).all()


@pytest.mark.parametrize("learning", [True, False])
def test_any_tags(model: Any, learning: bool) -> None:
    """CAMs of some classes are those of all, picked out, in the order of the pairs."""
    photos, model = images(3), model.eval()
    with torch.set_grad_enabled(learning):
        whole = model.cams(photos, every(3)).unflatten(0, (3, CLASSES))
        for rows in (
            [[0, 0, 0, 0]] * 3,
            [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
            [[1, 0, 1, 1], [0] * 4, [0, 1, 0, 0]],
        ):
            pairs = Pairs.of(torch.tensor(rows) > 0)
            cams = model.cams(photos, pairs)
            torch.testing.assert_close(cams, whole[pairs.photo, pairs.label], atol=1e-6, rtol=1e-5)


def test_photos_do_not_influence_each_other(model: Any) -> None:
    photos, model = images(3), model.eval()
    with torch.no_grad():
        together = model.cams(photos, every(3)).unflatten(0, (3, CLASSES))
        for index in range(3):
            torch.testing.assert_close(
                model.cams(photos[index : index + 1], every(1)), together[index], atol=1e-6, rtol=1e-5
            )


@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 41)])
def test_with_and_without_gradient_the_same(model: Any, height: int, width: int) -> None:
    photos = images(2, height, width)
    for mode in (True, False):
        noise = torch.rand(2, model.noise_size) if mode else None
        learned = model.train(mode).cams(photos, every(2), noise_BZ=noise)
        with torch.no_grad():
            streamed = model.cams(photos, every(2), noise_BZ=noise)
        assert learned.requires_grad
        torch.testing.assert_close(learned.detach(), streamed, atol=1e-6, rtol=1e-4)


def test_gradient_reaches_the_trained_parameters_only(model: Any) -> None:
    model.train().requires_grad_(True)
    photos = images(2).requires_grad_()
    model.cams(photos, every(2), noise_BZ=torch.rand(2, model.noise_size)).square().sum().backward()
    trained = {id(parameter) for parameter in model.train_parameters()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in trained), name
    assert any(parameter.grad.abs().sum() > 0 for parameter in model.train_parameters())
    assert photos.grad is None


def test_the_warm_up_trains_what_its_loss_depends_on(model: Any) -> None:
    model.train().requires_grad_(True)
    tags = torch.eye(CLASSES, dtype=torch.bool)[:2]
    model.classification_loss(images(2), tags, noise_BZ=torch.rand(2, model.noise_size)).sum().backward()
    trained = {id(parameter) for parameter in model.warmup_parameters()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in trained), name


def test_noise_is_all_the_randomness_there_is(model: Any) -> None:
    photos, model = images(2), model.train()
    keep, mixed = torch.full((2, model.noise_size), 0.99), torch.rand(2, model.noise_size)
    with torch.no_grad():
        for noise in (keep, mixed, None):
            first = model.cams(photos, every(2), noise_BZ=noise)
            torch.rand(7)
            assert torch.equal(first, model.cams(photos, every(2), noise_BZ=noise))
        if model.noise_size:
            drop = torch.zeros(2, model.noise_size)
            one, other = (model.cams(photos, every(2), noise_BZ=noise) for noise in (keep, drop))
            assert not torch.allclose(one, other)
            # The noise of a photo is its own.
            drop[0] = 0.99
            half = model.cams(photos, every(2), noise_BZ=drop)
            torch.testing.assert_close(half[:CLASSES], one[:CLASSES])
            torch.testing.assert_close(half[CLASSES:], other[CLASSES:])
        model.eval()
        assert torch.equal(model.cams(photos, every(2), noise_BZ=mixed), model.cams(photos, every(2)))


def test_start_weights_follow_the_seed(settings: GeneratorSettings) -> None:
    one, same, other = (
        build_generator(settings, classes=ClassList(NAMES), seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    build_generator(settings, classes=ClassList(NAMES), seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_saved_and_loaded_it_is_the_same(model: Any, tmp_path: Path) -> None:
    save_generator(model, tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    assert (loaded.classes, loaded.kind, loaded.mean, loaded.std) == (NAMES, model.kind, model.mean, model.std)
    assert type(loaded) is type(model)
    for size in ((32, 32), (24, 40)):
        photos = images(2, *size)
        one, other = model.eval().cams(photos, every(2)), loaded.eval().cams(photos, every(2))
        assert torch.equal(one, other)
    save_generator(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "g.safetensors").read_bytes()


def test_classification_loss(model: Any) -> None:
    tags = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0]]) > 0
    losses = model.train().classification_loss(images(2), tags, noise_BZ=torch.rand(2, model.noise_size))
    assert losses.shape == (2,)
    assert torch.isfinite(losses).all()
    losses.sum().backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_it_learns_to_classify(model: Any) -> None:
    photos, tags = images(4), torch.eye(4) > 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    # Fifty random layers whose normalisation does not adapt tell no photos apart: that learns how common classes are.
    enough = 0.85 if model.kind == "cnn" else 0.7
    losses: list[float] = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.classification_loss(photos, tags).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < enough * losses[0]


def test_files_of_other_kinds_are_refused(tmp_path: Path, model: Any) -> None:
    from safetensors.torch import save_file

    with pytest.raises(UserError, match="no such file"):
        load_generator(tmp_path / "none")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    for name in ("other.safetensors", "text"):
        with pytest.raises(UserError, match="not a mask generator saved by this program"):
            load_generator(tmp_path / name)
    model.classes = NAMES[:3]  # fewer classes than the network has
    save_generator(model, tmp_path / "g.safetensors")
    with pytest.raises(UserError, match="weights do not fit the model"):
        load_generator(tmp_path / "g.safetensors")


def test_unknown_kinds_are_named() -> None:
    with pytest.raises(UserError, match="there are weaktr"):
        build_generator(GeneratorSettings(kind="none"), classes=ClassList(NAMES), seed=0)


def test_a_file_that_asks_for_an_unknown_module_runs_nothing(tmp_path: Path, model: Generator) -> None:
    model.kind = "antigravity:Generator"
    save_generator(model, tmp_path / "g.safetensors")
    with pytest.raises(UserError, match="asks for this module"):
        load_generator(tmp_path / "g.safetensors")
    assert "antigravity" not in sys.modules


def test_cams_of_one_photo(model: Generator) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    maps = model.cams_of(photo, [NAMES[2], NAMES[0]], scales=(1, 1.5))
    assert list(maps) == [NAMES[0], NAMES[2]]
    for values in maps.values():
        assert values.shape == (40, 56)
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1
    assert model.cams_of(photo, []) == {}
    with pytest.raises(UserError, match="'fish' is none of"):
        model.cams_of(photo, ["fish"])


# ---------------------------------------------------------------------------------------------------- not trained


def test_what_is_not_trained_says_so(frozen: Generator) -> None:
    assert frozen.classes == NAMES
    assert frozen.num_classes == CLASSES
    assert not type(frozen).Settings.TRAINABLE
    assert not [*frozen.warmup_parameters(), *frozen.train_parameters()]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    with pytest.raises(ValueError, match="is not trained"):
        frozen.classification_loss(images(1), torch.ones(1, CLASSES) > 0)


def test_untrained_maps_of_any_photo(frozen: Generator) -> None:
    """From the photo, or by its name."""
    known = frozen.stored_cams("photo")
    if known is not None:
        assert all(cam.dtype == np.float32 and cam.min() >= 0 and cam.max() <= 1 for cam in known.values())
        with pytest.raises(UserError, match="no such file"):
            frozen.stored_cams("another")
        return
    for height, width in SIZES:
        photos = images(2, height, width)
        cams = frozen.cams(photos, every(2))
        assert cams.shape == (2 * CLASSES, height // frozen.patch_size, width // frozen.patch_size)
        assert torch.isfinite(cams).all()
        assert (cams >= 0).all()
        assert not cams.requires_grad
        alone = frozen.cams(photos[1:], every(1))
        torch.testing.assert_close(cams[CLASSES:], alone, atol=1e-6, rtol=1e-5)
        assert frozen.cams(photos, Pairs.of(torch.zeros(2, CLASSES) > 0)).shape[0] == 0


def test_untrained_saved_and_loaded(frozen: Generator, tmp_path: Path) -> None:
    save_generator(frozen, tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    assert (type(loaded), loaded.classes, loaded.mean, loaded.std) == (type(frozen), NAMES, frozen.mean, frozen.std)
    known = frozen.stored_cams("photo")
    if known is not None:
        np.testing.assert_equal(loaded.stored_cams("photo"), known)
    else:
        assert torch.equal(loaded.cams(images(2, 24, 40), every(2)), frozen.cams(images(2, 24, 40), every(2)))

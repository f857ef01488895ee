"""Affinity by class distribution and by superpixels: against SciPy, and what they do to CAMs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from semples.cams.class_affinity import class_distribution, distribution_affinity, divergence
from semples.cams.make import photo_cams, pixels_of
from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import build_generator
from semples.networks.clusters import together
from semples.recipe import AffinitySettings, CamSettings, load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.settings.generators import CnnSettings, VitCamSettings
from tests import tiny

J, N = 5, 30


def scores() -> torch.Tensor:
    return torch.randn(J, N, generator=torch.Generator().manual_seed(2))


def test_against_scipy() -> None:
    """SciPy's Jensen-Shannon distance is the root of the divergence."""
    given = scores().double().numpy()
    scaled = (given - given.min(1, keepdims=True)) / np.ptp(given, axis=1, keepdims=True)
    share = np.exp(4 * scaled)
    share = (share / share.sum(0)).T
    np.testing.assert_allclose(class_distribution(scores(), sharpness=4).numpy(), share, rtol=1e-4)
    wanted = np.array([[jensenshannon(a, b, base=2) ** 2 for b in share] for a in share])
    np.testing.assert_allclose(divergence(torch.from_numpy(share)).numpy(), np.nan_to_num(wanted), atol=1e-9)
    attention = np.random.default_rng(0).random((N, N))
    affinity = np.exp((1 - np.nan_to_num(wanted)) / 0.2)
    affinity = affinity / affinity.sum(1, keepdims=True) * attention
    answer = distribution_affinity(
        scores().double(), temperature=0.2, sharpness=4, attention_NN=torch.from_numpy(attention)
    )
    np.testing.assert_allclose(answer.numpy(), affinity / affinity.sum(1, keepdims=True), atol=1e-6)


def test_rows_in_parts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = divergence(class_distribution(scores(), sharpness=3))
    monkeypatch.setattr("semples.cams.class_affinity.ROWS", 7)
    torch.testing.assert_close(divergence(class_distribution(scores(), sharpness=3)), whole)
    assert (whole.diagonal() < 1e-6).all()


def test_what_is_not_together_has_no_affinity() -> None:
    apart = torch.zeros(N, N, dtype=torch.bool)
    alone = distribution_affinity(scores(), temperature=0.1, sharpness=5, together_NN=apart)
    torch.testing.assert_close(alone, torch.eye(N))
    flat = distribution_affinity(torch.ones(J, N), temperature=0.1, sharpness=5)
    torch.testing.assert_close(flat, torch.full((N, N), 1 / N))


def test_cells_of_common_superpixels() -> None:
    """Two halves of a photo: cells on the border belong to both."""
    photo = torch.zeros(24, 40, 3, dtype=torch.uint8)
    photo[:, 20:] = 220
    pairs = together(photo, grid=(3, 5), count=2)
    assert torch.equal(pairs, pairs.t())
    assert pairs[0, 1]
    assert not pairs[0, 4]
    assert pairs[2].all()  # the middle column
    view = (photo.permute(2, 0, 1).float() / 255 - 0.5) / 0.25
    assert torch.equal(pixels_of(view, mean=(0.5,) * 3, std=(0.25,) * 3), photo)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    shown = np.random.default_rng(1).integers(0, 60, (40, 48, 3), np.uint8)
    shown[:, 24:] += 150
    return shown


def halves(image: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Scores that tell bright patches from dark ones."""
    bright = torch.nn.functional.interpolate(image.mean(1, keepdim=True), size=grid, mode="area")
    return torch.cat([bright, -bright], dim=1)


@pytest.mark.parametrize("settings", [CnnSettings, VitCamSettings])
def test_cams_keep_to_their_classes(photo: np.ndarray, settings: Any) -> None:
    """A CAM of random cells, spread among patches that resemble the same, is even in both halves."""
    small = {"width": 16, "depth": 1, "heads": 2, "patch_size": 8} if settings is VitCamSettings else {}
    model = build_generator(settings(start="random", **small), classes=ClassList(("a", "b")), seed=0).eval()
    affinity = AffinitySettings(power=2, kind="class-distribution", temperature=0.02, sharpness=50.0)
    plain = CamSettings(scales=(1.0,), mirror=True)
    (before,) = photo_cams(model, [photo], [(0,)], settings=plain)
    (after,) = photo_cams(model, [photo], [(0,)], settings=replace(plain, affinity=affinity), scores=halves)
    left = (after[0][:, :12].std() + after[0][:, 36:].std()) / (before[0][:, :12].std() + before[0][:, 36:].std())
    assert left < 0.5
    with pytest.raises(UserError, match="needs a CLIP as the judge"):
        photo_cams(model, [photo], [(0,)], settings=replace(plain, affinity=affinity))


def test_superpixels_bound_the_attention_too(photo: np.ndarray) -> None:
    small = {"width": 16, "depth": 1, "heads": 2, "patch_size": 8}
    model = build_generator(VitCamSettings(start="random", **small), classes=ClassList(("a", "b")), seed=0).eval()
    for name, weight in model.named_parameters():
        if name.endswith("attn.qkv.weight"):  # random attention is so even that nothing would be left of the CAM
            weight.data *= 20
    plain = AffinitySettings(power=1, box=0.0)
    made = [
        photo_cams(model, [photo], [(0,)], settings=CamSettings(scales=(1.0,), affinity=affinity))[0][0]
        for affinity in (plain, replace(plain, superpixels=4))
    ]
    assert not np.allclose(made[0], made[1], atol=1e-3)


def test_a_run_with_learned_prompts_as_classes(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    affinity = ["cams.affinity.power=1", "cams.affinity.kind=class-distribution"]
    base = load_recipe(recipe, ["warmup.epochs=1", "matching.epochs=1", "prompting.epochs=1", "refinement.epochs=1"])
    context = Context(base, Source(photos), tmp_path / "run")
    steps = ["data", "warmup", "matching", "prompting", "refinement", "cams"]
    pipeline.run(context, steps=steps)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run" / "cams").glob("*.npz")}
    different = []
    for more in ([], ["cams.affinity.prompts=true"]):
        from semples.recipe import override

        changed = replace(context, recipe=override(base, [*affinity, *more]))
        outcomes = {outcome.step: outcome.state for outcome in pipeline.run(changed, steps=steps)}
        assert outcomes["refinement"] != outcomes["cams"]  # only the CAMs are made anew
        made = {path.name: path.read_bytes() for path in (tmp_path / "run" / "cams").glob("*.npz")}
        different.append(made != kept)
        kept = made
    assert different == [True, True]

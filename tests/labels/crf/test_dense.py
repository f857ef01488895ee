from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from semples.core.errors import UserError
from semples.labels.crf import dense as crf_module
from semples.labels.crf.dense import PRESETS, Backend, DenseCrf, margin, unary_from_labels, unary_from_scores
from semples.labels.crf.lattice_torch import TorchMeanField
from semples.recipe import CrfSettings

BACKENDS: tuple[Backend, ...] = ("torch", "numba")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param != "torch":
        pytest.importorskip(request.param)
    chosen: Backend = request.param
    return chosen


def draw_photo(seed: int, height: int, width: int) -> Tensor:
    """Discs and bars on a gradient with noise: edges, flat and textured parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    photo = np.stack([x * 255 / max(width, 2), y * 255 / max(height, 2), np.full(x.shape, rng.integers(256))], axis=2)
    for _ in range(6):
        centre, radius = rng.random(2) * (height, width), rng.random() * min(height, width) / 2
        inside = np.hypot(y - centre[0], x - centre[1]) < radius
        photo[inside] = rng.integers(0, 256, size=3)
    return torch.from_numpy((photo + rng.normal(scale=12, size=photo.shape)).clip(0, 255).astype(np.uint8))


def draw_labels(seed: int, height: int, width: int, count: int) -> Tensor:
    rng = np.random.default_rng(seed)
    block = max(1, min(height, width) // 6)
    coarse = rng.integers(0, count, size=(height // block + 1, width // block + 1))
    return torch.from_numpy(np.kron(coarse, np.ones((block, block)))[:height, :width].astype(np.uint8))


def draw_problem(seed: int, height: int, width: int, count: int) -> tuple[Tensor, Tensor]:
    labels = draw_labels(seed, height, width, count)
    return draw_photo(seed, height, width), unary_from_labels(labels, count=count, confidence=0.7)


def agreement(one: Tensor, other: Tensor) -> float:
    return float((one.argmax(0) == other.argmax(0)).double().mean())


# -------------------------------------------------------------------------------------------------------- oracles


@pytest.mark.parametrize("preset", ["voc", "coco"])
@pytest.mark.parametrize("count", [2, 4, 21])
@pytest.mark.parametrize("seed", range(3))
def test_labels_are_those_of_pydensecrf(backend: Backend, seed: int, count: int, preset: str) -> None:
    pytest.importorskip("pydensecrf")
    photo, unary = draw_problem(seed, 90 + 20 * seed, 140 - 10 * seed, count)
    (ours,) = DenseCrf(PRESETS[preset], backend=backend).marginals([photo], [unary])
    (theirs,) = DenseCrf(PRESETS[preset], backend="pydensecrf").marginals([photo], [unary])
    assert agreement(ours, theirs) >= 0.9999
    assert (ours - theirs).abs().max() < 1e-3


def test_other_settings_and_scores_agree_with_pydensecrf(backend: Backend) -> None:
    pytest.importorskip("pydensecrf")
    chosen = CrfSettings(
        sxy_gaussian=1.5, weight_gaussian=2.5, sxy_bilateral=20, srgb=13, weight_bilateral=4.5, iterations=3
    )
    photo = draw_photo(5, 60, 70)
    scores = torch.rand(3, 60, 70, generator=torch.Generator().manual_seed(0))
    unary = unary_from_scores(scores / scores.sum(0))
    (ours,) = DenseCrf(chosen, backend=backend).marginals([photo], [unary])
    (theirs,) = DenseCrf(chosen, backend="pydensecrf").marginals([photo], [unary])
    assert agreement(ours, theirs) == 1
    assert (ours - theirs).abs().max() < 1e-4


def exact_mean_field(photo: Tensor, unary: Tensor, chosen: CrfSettings) -> Tensor:
    """The same CRF with full N x N kernels in float64."""
    n, height, width = unary.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack([x, y], 2).reshape(-1, 2).double()
    colour = photo.reshape(-1, 3).double() / chosen.srgb
    start = -unary.reshape(n, -1).T.double()
    kernels = []
    for features, weight in (
        (position / chosen.sxy_gaussian, chosen.weight_gaussian),
        (torch.cat([position / chosen.sxy_bilateral, colour], 1), chosen.weight_bilateral),
    ):
        kernel = torch.exp(-0.5 * torch.cdist(features, features) ** 2)
        scale = kernel.sum(1).rsqrt()
        kernels.append(weight * scale[:, None] * kernel * scale)
    q = start.softmax(1)
    for _ in range(chosen.iterations):
        q = (start + sum(kernel @ q for kernel in kernels)).softmax(1)
    return q.T.reshape(n, height, width)


def test_lattice_is_as_near_to_exact_kernels_as_pydensecrf_is(backend: Backend) -> None:
    pytest.importorskip("pydensecrf")
    ours, theirs = [], []
    for seed in range(6):
        photo, unary = draw_problem(seed, 26, 34, 3)
        exact = exact_mean_field(photo, unary, PRESETS["voc"])
        ours.append(agreement(DenseCrf(PRESETS["voc"], backend=backend).marginals([photo], [unary])[0], exact))
        theirs.append(agreement(DenseCrf(PRESETS["voc"], backend="pydensecrf").marginals([photo], [unary])[0], exact))
    assert np.mean(ours) >= np.mean(theirs) - 1e-4
    assert np.mean(ours) > 0.95


# ------------------------------------------------------------------------------------------------------- contract


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    count=st.integers(2, 10),
    preset=st.sampled_from(["voc", "coco"]),
)
def test_backends_agree_at_any_size(seed: int, height: int, width: int, count: int, preset: str) -> None:
    pytest.importorskip("numba")
    photo, unary = draw_problem(seed, height, width, count)
    marginals = [DenseCrf(PRESETS[preset], backend=name).marginals([photo], [unary])[0] for name in BACKENDS]
    for q in marginals:
        assert q.dtype == torch.float32
        assert q.shape == unary.shape
        torch.testing.assert_close(q.sum(0), torch.ones(height, width), rtol=0, atol=1e-5)
    assert (
        marginals[0] - marginals[1]
    ).abs().max() < 0.02  # where the answer is undecided, iterations amplify rounding


def mixed_batch() -> tuple[list[Tensor], list[Tensor]]:
    sizes = [(30, 40, 3), (1, 1, 2), (17, 5, 1), (30, 40, 6), (40, 30, 2), (1, 50, 9)]
    problems = [draw_problem(seed, *size) for seed, size in enumerate(sizes)]
    return [photo for photo, _ in problems], [unary for _, unary in problems]


def test_deviations_that_grow_with_the_photo(backend: Backend) -> None:
    """`side`: every photo of a batch as with deviations made for its own longer side."""
    grows = CrfSettings(side=40, sxy_gaussian=2, sxy_bilateral=20, iterations=3)
    problems = [draw_problem(1, 30, 40, 3), draw_problem(2, 80, 60, 3), draw_problem(3, 20, 20, 2)]
    answers = DenseCrf(grows, backend=backend).marginals(*map(list, zip(*problems, strict=True)))
    for (photo, unary), answer, factor in zip(problems, answers, (1, 2, 0.5), strict=True):
        fixed = CrfSettings(sxy_gaussian=2 * factor, sxy_bilateral=20 * factor, iterations=3)
        assert torch.equal(answer, DenseCrf(fixed, backend=backend).marginals([photo], [unary])[0])


def test_batches_equal_single_photos(backend: Backend) -> None:
    photos, unaries = mixed_batch()
    together = DenseCrf(PRESETS["voc"], backend=backend).marginals(photos, unaries)
    for photo, unary, q in zip(photos, unaries, together, strict=True):
        alone = DenseCrf(PRESETS["voc"], backend=backend).marginals([photo], [unary])[0]
        assert torch.equal(alone, q)
    assert DenseCrf(PRESETS["voc"], backend=backend).marginals([], []) == []


def test_photos_that_come_again_equal_single_photos(backend: Backend) -> None:
    """The lattice is shared only by the same photo, not by another one of its size."""
    problems = [draw_problem(seed, 20, 30, 3) for seed in range(3)]
    order = [0, 0, 1, 1, 1, 0, 2]
    photos = [problems[i][0] for i in order]
    unaries = [problems[(i + place) % 3][1] for place, i in enumerate(order)]
    crf = DenseCrf(PRESETS["voc"], backend=backend)
    for photo, unary, q in zip(photos, unaries, crf.marginals(photos, unaries), strict=True):
        assert torch.equal(crf.marginals([photo], [unary])[0], q)


def test_one_lattice_for_a_whole_batch_equals_one_each() -> None:
    """What a GPU does, done on the CPU."""
    photos, unaries = mixed_batch()
    keep = [i for i, unary in enumerate(unaries) if len(unary) > 1]
    photos, unaries = [photos[i] for i in keep], [unaries[i] for i in keep]
    field = TorchMeanField(PRESETS["coco"], torch.float32)
    kernels = [field._colour_kernel(photo) for photo in photos]
    for q, alone in zip(field._joint(photos, kernels, unaries), field.marginals(photos, unaries), strict=True):
        assert q.shape == alone.shape
        assert (q - alone).abs().max() < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gpu_equals_cpu(dtype: torch.dtype) -> None:
    photos, unaries = mixed_batch()
    on_gpu = DenseCrf(PRESETS["voc"], dtype=dtype).marginals([p.cuda() for p in photos], [u.cuda() for u in unaries])
    on_cpu = DenseCrf(PRESETS["voc"], backend="torch").marginals(photos, unaries)
    for one, other in zip(on_gpu, on_cpu, strict=True):
        assert one.is_cuda
        assert agreement(one.cpu(), other) >= (0.999 if dtype == torch.float32 else 0.98)


def test_half_precision_gives_nearly_the_same_labels() -> None:
    photo, unary = draw_problem(1, 100, 120, 5)
    (half,) = DenseCrf(PRESETS["voc"], dtype=torch.float16).marginals([photo], [unary])
    (single,) = DenseCrf(PRESETS["voc"], backend="torch").marginals([photo], [unary])
    assert half.dtype == torch.float32
    assert agreement(half, single) >= 0.995


def test_many_threads_give_the_same(backend: Backend) -> None:
    from concurrent.futures import ThreadPoolExecutor

    problems = [draw_problem(seed, 40, 50, 3) for seed in range(8)]
    crf = DenseCrf(PRESETS["voc"], backend=backend)
    alone = [crf.marginals([photo], [unary])[0] for photo, unary in problems]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda problem: crf.marginals([problem[0]], [problem[1]])[0], problems))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_flat_photo_and_no_iterations(backend: Backend) -> None:
    photo = torch.full((20, 30, 3), 128, dtype=torch.uint8)
    unary = unary_from_labels(draw_labels(0, 20, 30, 3), count=3, confidence=0.7)
    (q,) = DenseCrf(PRESETS["voc"], backend=backend).marginals([photo], [unary])
    assert torch.isfinite(q).all()
    (start,) = DenseCrf(CrfSettings(iterations=0), backend=backend).marginals([photo], [unary])
    torch.testing.assert_close(start, torch.softmax(-unary, 0), rtol=0, atol=1e-6)


# -------------------------------------------------------------------------------------------------- labels in, out


def refine_one(backend: Backend, photo: Tensor, labels: Tensor, classes: Sequence[int]) -> crf_module.Refined:
    return DenseCrf(PRESETS["voc"], backend=backend).refine([photo], [labels], [classes])[0]


def test_refine_follows_the_edge_of_the_photo(backend: Backend) -> None:
    photo = torch.zeros(60, 80, 3, dtype=torch.uint8)
    photo[:, 40:] = 200
    labels = torch.zeros(60, 80, dtype=torch.uint8)
    labels[:, 36:] = 15  # class 14, drawn four columns too wide
    refined = refine_one(backend, photo, labels, [14])
    assert (refined.labels[:, :40] == 0).all()
    assert (refined.labels[:, 40:] == 15).all()


def test_refine_without_tags_is_background_and_absent_classes_are_allowed(backend: Backend) -> None:
    photo = draw_photo(0, 12, 9)
    nothing = torch.zeros(12, 9, dtype=torch.uint8)
    refined = refine_one(backend, photo, nothing, [])
    assert refined.labels.dtype == torch.uint8
    assert not refined.labels.any()
    assert refined.marginals.shape == (1, 12, 9)
    refined = refine_one(backend, photo, nothing, [7, 3])
    assert not refined.labels.any()
    assert refined.marginals.shape == (3, 12, 9)


def test_unknown_pixels_take_the_label_of_like_pixels(backend: Backend) -> None:
    photo = torch.zeros(20, 20, 3, dtype=torch.uint8)
    photo[:, 10:] = 255
    labels = torch.full((20, 20), 255, dtype=torch.uint8)
    labels[:5, :10] = 0
    labels[:5, 10:] = 4
    refined = refine_one(backend, photo, labels, [3])
    assert (refined.labels[:, :10] == 0).all()
    assert (refined.labels[:, 10:] == 4).all()
    all_unknown = refine_one(backend, photo, torch.full_like(labels, 255), [3])
    torch.testing.assert_close(all_unknown.marginals, torch.full((2, 20, 20), 0.5), rtol=0, atol=1e-2)


def test_one_pixel(backend: Backend) -> None:
    refined = refine_one(backend, torch.zeros(1, 1, 3, dtype=torch.uint8), torch.tensor([[5]], dtype=torch.uint8), [4])
    assert refined.labels.tolist() == [[5]]


def test_unary_from_labels_by_hand() -> None:
    unary = unary_from_labels(torch.tensor([[0, 2, 255]]), count=3, confidence=0.7)
    yes, no, unknown = -math.log(0.7), -math.log(0.15), math.log(3)
    expected = torch.tensor([[[yes, no, unknown]], [[no, no, unknown]], [[no, yes, unknown]]])
    torch.testing.assert_close(unary, expected, rtol=0, atol=1e-6)
    assert not unary_from_labels(torch.zeros(2, 2, dtype=torch.uint8), count=1, confidence=0.7).any()


def test_margin_by_hand() -> None:
    q = torch.tensor([[[0.2, 0.5]], [[0.7, 0.5]], [[0.1, 0.0]]])
    torch.testing.assert_close(margin(q), torch.tensor([[0.5, 0.0]]))
    assert margin(torch.ones(1, 2, 2)).tolist() == [[1, 1], [1, 1]]


def test_unary_from_scores_has_a_floor() -> None:
    unary = unary_from_scores(torch.tensor([[[0.0]], [[1.0]]]))
    torch.testing.assert_close(unary.flatten(), torch.tensor([-math.log(1e-5), 0.0]))


# ------------------------------------------------------------------------------------------------------ bad input


def test_bad_settings_are_refused() -> None:
    for wrong in ({"sxy_gaussian": 0}, {"srgb": math.nan}, {"weight_bilateral": -1}, {"confidence": 1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            DenseCrf(CrfSettings(**wrong))
    with pytest.raises(UserError, match="backend 'cuda'"):
        DenseCrf(PRESETS["voc"], backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="precision"):
        DenseCrf(PRESETS["voc"], dtype=torch.float64)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crf_module, "_installed", lambda backend: False)
    with pytest.raises(UserError, match=r"pip install 'semples\[crf\]'"):
        DenseCrf(PRESETS["voc"], backend="numba")
    with pytest.raises(UserError, match="pydensecrf2"):
        DenseCrf(PRESETS["voc"], backend="pydensecrf")
    photo, unary = draw_problem(0, 5, 6, 2)
    assert DenseCrf(PRESETS["voc"]).marginals([photo], [unary])[0].shape == unary.shape  # auto: torch


def test_wrong_shapes_and_labels_are_refused() -> None:
    photo, unary = draw_problem(0, 5, 6, 2)
    crf = DenseCrf(PRESETS["voc"], backend="torch")
    for wrong_photo, wrong_unary in ((photo.float(), unary), (photo[:4], unary), (photo, unary.double())):
        with pytest.raises(ValueError):
            crf.marginals([wrong_photo], [wrong_unary])
    with pytest.raises(ValueError, match="label 9 is not among"):
        crf.refine([photo], [torch.full((5, 6), 9, dtype=torch.uint8)], [[3]])


def test_widths_too_small_to_number_the_lattice(backend: Backend) -> None:
    photo, unary = draw_problem(0, 30, 30, 2)
    with pytest.raises(UserError, match="widths are too small"):
        DenseCrf(CrfSettings(srgb=1e-3, sxy_bilateral=1e-3), backend=backend).marginals([photo], [unary])

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.data import transforms
from semples.data.transforms import OPERATIONS, crop_box, image_to_tensor, key_rng, train_view
from semples.recipe import AugmentSettings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (124, 116, 104)
STILL = AugmentSettings(
    crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0, randaugment_ops=0, colour_jitter=0.0, erasing=0.0
)
BUSY = AugmentSettings(erasing=0.5)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def view(photo: np.ndarray, wanted: AugmentSettings = BUSY, *, size: int = 32, key: tuple[int, int, int] = (0, 0, 0)):
    seed, epoch, index = key
    return train_view(photo, wanted, size=size, mean=MEAN, std=STD, seed=seed, epoch=epoch, index=index)


def test_image_to_tensor() -> None:
    photo = noise(5, 4)
    tensor = image_to_tensor(photo, MEAN, STD)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 4, 5)
    assert tensor.is_contiguous()
    expected = (photo.astype(np.float64) / 255 - MEAN) / STD
    np.testing.assert_allclose(tensor.numpy().transpose(1, 2, 0), expected, atol=1e-6)
    photo.flags.writeable = False
    assert torch.equal(image_to_tensor(photo, MEAN, STD), tensor)


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    size=st.integers(1, 48),
    key=st.tuples(st.integers(0, 2**63), st.integers(0, 10**6), st.integers(0, 10**8)),
    wanted=st.builds(
        AugmentSettings,
        crop_scale=st.sampled_from([(0.08, 1.0), (0.5, 0.5), (1e-4, 1e-3)]),
        flip=st.sampled_from([0.0, 0.5, 1.0]),
        randaugment_ops=st.integers(0, 4),
        randaugment_magnitude=st.floats(0, 10),
        randaugment_std=st.floats(0, 20),
        colour_jitter=st.floats(0, 1),
        erasing=st.sampled_from([0.0, 0.5, 1.0]),
    ),
)
def test_any_photo_gives_a_view_and_the_same_key_the_same_bytes(width, height, size, key, wanted) -> None:
    photo = noise(width, height)
    before = photo.copy()
    first = view(photo, wanted, size=size, key=key)
    assert first.shape == (3, size, size)
    assert first.dtype == torch.float32
    assert torch.isfinite(first).all()
    assert torch.equal(first, view(photo, wanted, size=size, key=key))
    np.testing.assert_array_equal(photo, before)


def test_very_long_photos() -> None:
    for shape in [(1, 3000), (3000, 1), (1, 1)]:
        assert view(noise(*shape)).shape == (3, 32, 32)


def test_every_part_of_the_key_counts() -> None:
    photo = noise(60, 50)
    keys = [(seed, epoch, index) for seed in (0, 1, 2**32) for epoch in (0, 1, 2) for index in (0, 1, 2)]
    views = {view(photo, key=key).numpy().tobytes() for key in keys}
    assert len(views) == len(keys)


def test_neither_order_nor_global_state_matters() -> None:
    photos = [noise(40, 30, seed) for seed in range(6)]
    forward = [view(photo, key=(7, 3, index)) for index, photo in enumerate(photos)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for index in reversed(range(6)):
        assert torch.equal(view(photos[index], key=(7, 3, index)), forward[index])
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_on_is_a_plain_bicubic_resize() -> None:
    photo = noise(40, 40)
    expected = np.array(Image.fromarray(photo).resize((32, 32), Image.BICUBIC))
    assert torch.equal(view(photo, STILL), image_to_tensor(expected, MEAN, STD))


def test_flip_probability_and_meaning() -> None:
    photo = noise(32, 32)
    straight, mirrored = image_to_tensor(photo, MEAN, STD), image_to_tensor(photo[:, ::-1], MEAN, STD)
    half = dataclasses.replace(STILL, flip=0.5)
    views = [view(photo, half, key=(0, 0, index)) for index in range(400)]
    count = sum(torch.equal(one, mirrored) for one in views)
    assert count + sum(torch.equal(one, straight) for one in views) == 400
    assert 160 < count < 240  # 4 standard deviations around 200
    assert torch.equal(view(photo, dataclasses.replace(STILL, flip=1.0)), mirrored)


@settings(max_examples=200, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), index=st.integers(0, 10**6))
def test_crops_lie_inside(width: int, height: int, index: int) -> None:
    rng = key_rng(seed=0, epoch=0, index=index)
    left, top, box_width, box_height = crop_box(width, height, (0.08, 1.0), (3 / 4, 4 / 3), rng)
    assert 0 <= left <= left + box_width <= width
    assert 0 <= top <= top + box_height <= height
    assert box_width >= 1 <= box_height


def test_crop_areas_and_shapes_are_as_asked() -> None:
    rng = key_rng(seed=0, epoch=0, index=0)
    boxes = [crop_box(1000, 1000, (0.08, 0.5), (3 / 4, 4 / 3), rng) for _ in range(2000)]
    areas = np.array([width * height for _, _, width, height in boxes]) / 1e6
    shapes = np.log([width / height for _, _, width, height in boxes])
    assert 0.079 < areas.min() < 0.085
    assert 0.495 < areas.max() < 0.501
    assert abs(areas.mean() - 0.29) < 0.01  # uniform
    assert abs(shapes.mean()) < 0.02  # symmetric in the logarithm
    assert np.isclose(abs(shapes).max(), np.log(4 / 3), atol=0.01)
    assert abs(np.mean([left for left, _, _, _ in boxes]) / np.mean([1000 - w for _, _, w, _ in boxes]) - 0.5) < 0.03


def test_crop_that_cannot_fit_is_centred() -> None:
    rng = key_rng(seed=0, epoch=0, index=0)
    assert crop_box(1000, 10, (1.0, 1.0), (3 / 4, 4 / 3), rng) == (493, 0, 13, 10)
    assert crop_box(10, 1000, (1.0, 1.0), (3 / 4, 4 / 3), rng) == (0, 493, 10, 13)


def test_erasing_replaces_a_box_by_noise() -> None:
    photo = np.full((64, 64, 3), 128, np.uint8)
    grey = image_to_tensor(photo, MEAN, STD)
    always = dataclasses.replace(STILL, erasing=1.0)
    values, shares = [], []
    for index in range(200):
        changed = (view(photo, always, size=64, key=(0, 0, index)) != grey).all(dim=0)
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        height, width = len(rows), len(columns)
        assert changed.sum() == height * width  # one full box
        assert rows[-1] - rows[0] + 1 == height
        assert columns[-1] - columns[0] + 1 == width
        assert 0.28 < height / width < 3.6
        shares.append(height * width / 64**2)
        values.append(view(photo, always, size=64, key=(0, 0, index))[:, changed])
    assert 0.015 < min(shares) < 0.05
    assert 0.28 < max(shares) < 0.35
    drawn = torch.cat(values, dim=1)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    some = dataclasses.replace(STILL, erasing=0.25)
    erased = sum(not torch.equal(view(photo, some, size=64, key=(0, 0, index)), grey) for index in range(400))
    assert 65 < erased < 135


def test_colour_jitter_only_without_randaugment(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = noise(32, 32)
    plain = view(photo, STILL)
    assert not torch.equal(view(photo, dataclasses.replace(STILL, colour_jitter=0.4)), plain)
    monkeypatch.setattr(transforms, "OP_PROBABILITY", 0.0)
    both = dataclasses.replace(STILL, colour_jitter=0.4, randaugment_ops=2)
    assert torch.equal(view(photo, both), plain)


# ------------------------------------------------------------------------------------------------- RandAugment


def apply(name: str, photo: np.ndarray, strength: float, sign: float = 1.0) -> np.ndarray:
    return np.array(OPERATIONS[name](Image.fromarray(photo), strength, sign, FILL))


def test_the_fifteen_operations() -> None:
    assert len(OPERATIONS) == 15
    photo = noise(20, 20)
    for name in OPERATIONS:
        for strength in (0.0, 0.37, 1.0):
            for sign in (-1.0, 1.0):
                changed = apply(name, photo, strength, sign)
                assert changed.shape == photo.shape
                assert changed.dtype == np.uint8


def test_no_strength_changes_nothing() -> None:
    photo = noise(20, 20)
    without_strength = {"auto-contrast", "equalize", "invert"}
    for name in set(OPERATIONS) - without_strength - {"posterize"}:
        np.testing.assert_array_equal(apply(name, photo, 0.0), photo, err_msg=name)
    for name in without_strength:
        np.testing.assert_array_equal(apply(name, photo, 0.0), apply(name, photo, 1.0))
    np.testing.assert_array_equal(apply("posterize", photo, 0.0), photo & 0xF0)


def test_increasing_severity() -> None:
    """Colours move further from the photo; geometry brings more of the fill colour into a black one."""
    moving = {"rotate", "shear-x", "shear-y", "shift-x", "shift-y"}
    for name in set(OPERATIONS) - {"auto-contrast", "equalize", "invert"}:
        photo = np.zeros((64, 64, 3), np.uint8) if name in moving else noise(64, 64)
        changed = [apply(name, photo, strength).astype(int) for strength in (0.05, 0.3, 0.6, 1.0)]
        distance = [np.abs(one - photo).mean() for one in changed]
        assert distance == sorted(set(distance)), name


def test_point_operations_by_hand() -> None:
    photo = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    values = np.arange(256)
    np.testing.assert_array_equal(apply("invert", photo, 0.5)[0, :, 0], 255 - values)
    np.testing.assert_array_equal(apply("posterize", photo, 0.9)[0, :, 0], values & 0x80)  # 4 - int(3.6) = 1 bit
    np.testing.assert_array_equal(apply("posterize", photo, 1.0), 0 * photo)
    np.testing.assert_array_equal(apply("solarize", photo, 0.5)[0, :, 0], np.where(values < 128, values, 255 - values))
    np.testing.assert_array_equal(apply("solarize", photo, 1.0)[0, :, 0], 255 - values)
    np.testing.assert_array_equal(
        apply("solarize-add", photo, 1.0)[0, :, 0], np.where(values < 128, values + 110, values)
    )
    np.testing.assert_allclose(apply("brightness", photo, 1.0, -1.0)[0, :, 0], values * 0.1, atol=1)
    np.testing.assert_allclose(apply("brightness", photo, 1.0)[0, :, 0], np.minimum(255, values * 1.9), atol=1)


def test_shifts_and_fill_colour() -> None:
    photo = noise(40, 20)
    right = apply("shift-x", photo, 0.5 / 0.45, -1.0)  # half the width
    np.testing.assert_array_equal(right[:, 20:], photo[:, :20])
    assert (right[:, :20] == FILL).all()
    up = apply("shift-y", photo, 0.25 / 0.45, 1.0)
    np.testing.assert_array_equal(up[:15], photo[5:])
    assert (up[15:] == FILL).all()
    turned = apply("rotate", np.zeros((64, 64, 3), np.uint8), 1.0)
    assert (turned[0, 0] == FILL).all()
    assert (turned[32, 32] == 0).all()
    # 30 degrees counterclockwise: the middle of the right edge goes up.
    mark = np.zeros((101, 101, 3), np.uint8)
    mark[48:53, 88:93] = 255
    row, column = np.argwhere(apply("rotate", mark, 1.0)[:, :, 0] > 200).mean(axis=0)
    assert np.allclose((row, column), (50 - 40 * np.sin(np.pi / 6), 50 + 40 * np.cos(np.pi / 6)), atol=1)
    sheared = np.argwhere(apply("shear-x", mark, 1.0)[:, :, 0] > 200).mean(axis=0)
    assert np.allclose(sheared, (50, 90 - 0.3 * 50), atol=1)


def test_how_often_and_how_strongly(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, float, float]] = []

    def spy(name: str):
        def operation(image: Image.Image, strength: float, sign: float, fill: tuple[int, int, int]) -> Image.Image:
            assert fill == FILL
            calls.append((name, strength, sign))
            return image

        return operation

    monkeypatch.setattr(transforms, "OPERATIONS", {name: spy(name) for name in OPERATIONS})
    wanted = dataclasses.replace(STILL, randaugment_ops=2, randaugment_magnitude=9.0, randaugment_std=0.5)
    for index in range(1500):
        view(noise(4, 4), wanted, size=4, key=(0, 0, index))
    assert abs(len(calls) - 1500) < 110  # two draws, each applied half the time; 4 standard deviations
    strengths = np.array([strength for _, strength, _ in calls])
    assert strengths.max() <= 1
    assert abs(strengths.mean() - 0.898) < 0.01  # N(0.9, 0.05) cut at 1
    assert abs(np.mean([sign for _, _, sign in calls])) < 0.11
    counts = [sum(name == called for called, _, _ in calls) for name in OPERATIONS]
    assert min(counts) > 60  # 100 expected
    assert max(counts) < 140

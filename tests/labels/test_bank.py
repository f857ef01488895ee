"""The region bank against brute force, and what must hold for any photo."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.labels.bank import Entries, Features, RegionBank, entries_of, eroded, pooled, unit
from semples.labels.regions import Regions, level_of_masks, level_of_segments
from semples.settings.bank import BankSettings

Array = np.ndarray[Any, Any]


def photo(seed: int, *, shape: tuple[int, int] = (19, 26), stride: tuple[float, float] = (4.0, 5.5)) -> Any:
    """Features with two blocks, two levels of regions (the second overlapping) and a label map with gaps."""
    random = np.random.default_rng(seed)
    grid = (math.ceil(shape[0] / stride[0]), math.ceil(shape[1] / stride[1]))
    features = Features(random.normal(size=(5, *grid)).astype(np.float32), stride, (2, 3))
    segments = random.integers(0, 7, shape)
    masks = [random.random(shape) < 0.4 for _ in range(3)]
    for mask in masks:
        mask.flat[random.integers(mask.size)] = True
    regions = Regions(shape, (level_of_segments(segments), level_of_masks(masks, [1.0, 0.5, 0.7])))
    labels = np.kron(random.choice([0, 1, 3, 255], (5, 7), p=[0.4, 0.25, 0.25, 0.1]), np.ones((6, 6)))
    return features, regions, labels[: shape[0], : shape[1]].astype(np.uint8), segments, masks


def brute_mean(features: Features, mask: Array) -> Array:
    total, count = np.zeros(len(features.values)), 0
    for y, x in zip(*np.nonzero(mask), strict=True):
        total += features.values[:, int(y / features.stride[0]), int(x / features.stride[1])]
        count += 1
    parts = np.split(total / count, np.cumsum(features.blocks)[:-1])
    return np.concatenate([part / np.linalg.norm(part) for part in parts]) / math.sqrt(len(parts))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("purity", [0.0, 0.4])
def test_entries_by_brute_force(seed: int, purity: float) -> None:
    features, regions, labels, segments, masks = photo(seed)
    entries = entries_of(features, regions, labels, BankSettings(purity=purity))
    vectors, values = [], []
    for mask in [*(segments == number for number in np.unique(segments)), *masks]:
        shares = [((labels == value) & mask).sum() for value in range(255)]
        best = int(np.argmax(shares))
        if shares[best] >= max(1, purity * mask.sum()):
            vectors.append(brute_mean(features, mask & (labels == best)))
            values.append(best)
    np.testing.assert_array_equal(entries.values, values)
    np.testing.assert_allclose(entries.vectors, np.reshape(vectors, (-1, 5)), atol=1e-5)


def test_whole_masks_as_entries() -> None:
    features, regions, labels, *_ = photo(5)
    entries = entries_of(features, regions, labels, BankSettings(entries="masks"))
    values = [value for value in np.unique(labels) if value != 255]
    np.testing.assert_array_equal(entries.values, values)
    np.testing.assert_allclose(entries.vectors, [brute_mean(features, labels == value) for value in values], atol=1e-5)


@pytest.mark.parametrize("tags", [None, (0,), (2, 0), (4,)])
@pytest.mark.parametrize("purge", [0.0, 0.25])
def test_votes_by_brute_force(tags: tuple[int, ...] | None, purge: float) -> None:
    random = np.random.default_rng(3)
    choice = BankSettings(neighbours=5, purge=purge)
    given_entries = [
        Entries(
            unit(random.normal(size=(9, 5)).astype(np.float32), (2, 3)), random.choice([0, 1, 3], 9).astype(np.uint8)
        )
        for _ in range(6)
    ]
    bank = RegionBank.fit(given_entries, choice)
    rows = [(one, v, n) for n, e in enumerate(given_entries) for one, v in zip(e.vectors, e.values, strict=True)]
    kept = []
    for value in (0, 1, 3):
        mine = [row for row in rows if row[1] == value]
        mean = np.mean([row[0] for row in mine], axis=0)
        mine.sort(key=lambda row: -float(row[0] @ mean))
        kept += mine[: len(mine) - int(purge * len(mine))] if value else mine
    assert len(kept) == len(bank.values)
    asked = unit(random.normal(size=(40, 5)).astype(np.float32), (2, 3))
    votes_VR, values = bank.vote(asked, tags=tags, without=2), bank.candidates(tags)
    assert list(values) == ([0, 1, 3] if tags is None else sorted({0, *(tag + 1 for tag in tags)}))
    for column, vector in zip(votes_VR.T, asked, strict=True):
        near = sorted(
            (row for row in kept if row[1] in values and row[2] != 2), key=lambda row: -float(row[0] @ vector)
        )
        votes = [sum(row[1] == value for row in near[:5]) for value in values]
        assert column.sum() == pytest.approx(1, abs=1e-5)
        assert votes[int(column.argmax())] == max(votes)
        assert all(
            (a > b) == (x > y)
            for a, x in zip(votes, column, strict=True)
            for b, y in zip(votes, column, strict=True)
            if a != b
        )


def test_a_photo_is_labelled_by_the_others() -> None:
    """Two kinds of ground; a photo whose label map is wrong is put right by the others."""
    random = np.random.default_rng(0)
    kinds = np.eye(6, dtype=np.float32)
    truth = np.zeros((24, 32), np.uint8)
    truth[:, 16:] = 2
    segments = np.arange(24 * 32).reshape(24, 32) // 32 // 8 * 4 + np.arange(32) // 8
    regions = Regions((24, 32), (level_of_segments(segments),))

    def made() -> Features:
        values = kinds[truth[::8, ::8]].transpose(2, 0, 1) + random.normal(scale=0.1, size=(6, 3, 4))
        return Features(values.astype(np.float32), (8.0, 8.0), (6,))

    photos = [made() for _ in range(8)]
    maps = [truth] * 7 + [2 - truth]
    choice = BankSettings(neighbours=9)
    bank = RegionBank.fit((entries_of(f, regions, m, choice) for f, m in zip(photos, maps, strict=True)), choice)
    for number, features in enumerate(photos):
        for tags in ((1,), None):
            np.testing.assert_array_equal(bank.label(features, regions, tags=tags, without=number).labels, truth)
        assert not bank.label(features, regions, tags=(), without=number).labels.any()
        assert not bank.label(features, regions, tags=(0,), without=number).labels.any()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    tags=st.none() | st.sets(st.integers(0, 3)).map(lambda drawn: tuple(sorted(drawn))),
    erosion=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_labels_keep_to_tags_and_sizes(
    seed: int, height: int, width: int, tags: tuple[int, ...] | None, erosion: float
) -> None:
    features, regions, labels, *_ = photo(seed, shape=(height, width))
    choice = BankSettings(neighbours=3, erosion=erosion)
    entries = entries_of(features, regions, labels, choice)
    assert np.isin(entries.values, labels).all()
    assert 255 not in entries.values
    np.testing.assert_allclose(np.linalg.norm(entries.vectors, axis=1), 1, atol=1e-4)
    if not len(entries.values):
        with pytest.raises(UserError, match="no region has a label"):
            RegionBank.fit([entries], choice)
        return
    bank = RegionBank.fit([entries, entries], choice)
    made = bank.label(features, regions, tags=tags, without=0)
    assert made.labels.shape == (height, width)
    assert set(np.unique(made.labels)) <= set(bank.candidates(tags))
    np.testing.assert_allclose(made.scores.sum(axis=0), 1, atol=1e-4)
    again = bank.label(features, regions, tags=tags, without=0)
    assert np.array_equal(made.scores, again.scores)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), depth=st.sampled_from([0.05, 0.1, 0.3]))
def test_erosion(seed: int, depth: float) -> None:
    labels = photo(seed)[2]
    left = eroded(labels, depth)
    assert set(np.unique(left)) - {255} == set(np.unique(labels)) - {255}
    assert (left[left != 255] == labels[left != 255]).all()
    reach = round(depth * max(labels.shape))
    for value in set(np.unique(labels)) - {255}:
        deep = np.zeros(labels.shape, bool)
        for y, x in zip(*np.nonzero(labels == value), strict=True):
            window = labels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            deep[y, x] = (window == value).all()
        if deep.any():
            # Deep pixels stay; others only where the label would nearly vanish.
            assert (left[deep] == value).all()


def test_a_photo_of_one_label_is_not_eroded() -> None:
    labels = np.full((8, 9), 3, np.uint8)
    assert np.array_equal(eroded(labels, 0.5), labels)


def test_a_bank_forgets_above_its_size() -> None:
    random = np.random.default_rng(1)
    entries = Entries(
        unit(random.normal(size=(300, 4)).astype(np.float32), (4,)), np.repeat([0, 1], 150).astype(np.uint8)
    )
    banks = [RegionBank.fit([entries], BankSettings(most=40), seed=seed) for seed in (1, 1, 2)]
    assert [list(np.bincount(bank.values)) for bank in banks] == [[40, 40]] * 3
    assert np.array_equal(banks[0].vectors, banks[1].vectors)
    assert not np.array_equal(banks[0].vectors, banks[2].vectors)
    np.testing.assert_allclose(
        pooled(Features(np.zeros((4, 1, 1), np.float32), (1, 1), (4,)), np.zeros(1, int), np.zeros(1, int), 1, (1, 1)),
        0,
    )


def test_many_photos_are_sampled_as_they_come() -> None:
    """At any time few entries are held, and every photo has the same chance."""
    random = np.random.default_rng(4)
    choice = BankSettings(most=30, purge=0.5)

    def entries() -> Any:
        for _ in range(400):
            yield Entries(unit(random.normal(size=(4, 4)).astype(np.float32), (4,)), np.array([0, 0, 1, 2], np.uint8))

    bank = RegionBank.fit(entries(), choice)
    assert list(np.bincount(bank.values)) == [30, 30, 30]
    assert (np.diff(bank.photos) >= 0).all()
    assert 120 < bank.photos.mean() < 280

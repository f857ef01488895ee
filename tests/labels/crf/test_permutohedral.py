from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from semples.labels.crf import permutohedral
from semples.labels.crf.permutohedral import build_lattice, join_lattices


def slow_filter(features: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """The lattice with a dictionary, point by point in float64, and the least weight that a point gives to a corner.
    features (d,N), values (N,C)."""
    d, n = features.shape
    table: dict[tuple[int, ...], np.ndarray] = {}
    corners: list[list[tuple[tuple[int, ...], float]]] = []
    basis = np.zeros((d + 1, d))  # columns span the plane sum = 0
    for j in range(1, d + 1):
        basis[:j, j - 1], basis[j, j - 1] = 1, -j
    basis *= np.sqrt(2 / 3) * (d + 1) / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2))
    for p in range(n):
        lifted = basis @ features[:, p].astype(np.float64)
        remainder_zero = np.rint(lifted / (d + 1)) * (d + 1)
        surplus = round(remainder_zero.sum() / (d + 1))
        order = np.argsort(-(lifted - remainder_zero), kind="stable")
        if surplus > 0:
            remainder_zero[order[d + 1 - surplus :]] -= d + 1
        elif surplus < 0:
            remainder_zero[order[:-surplus]] += d + 1
        offset = lifted - remainder_zero
        order = np.argsort(-offset, kind="stable")
        steps = -np.diff(offset[order]) / (d + 1)  # weight of the corner after each place in the order
        enclosing = []
        for r in range(d + 1):
            key = remainder_zero + r
            key[order[d + 1 - r :]] -= d + 1
            weight = steps[d - r] if r else 1 - (offset[order[0]] - offset[order[-1]]) / (d + 1)
            name = tuple(int(k) for k in key)
            enclosing.append((name, float(weight)))
            table[name] = table.get(name, 0) + weight * values[p].astype(np.float64)
        corners.append(enclosing)
    for axis in range(d + 1):
        step = np.ones(d + 1, int)
        step[axis] -= d + 1
        zero = np.zeros(values.shape[1])
        table = {
            key: value
            + 0.5 * (table.get(tuple(np.add(key, step)), zero) + table.get(tuple(np.subtract(key, step)), zero))
            for key, value in table.items()
        }
    gain = 1 / (1 + 2.0**-d)
    filtered = np.stack([gain * sum(weight * table[key] for key, weight in enclosing) for enclosing in corners])
    return filtered, min(weight for enclosing in corners for _, weight in enclosing)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), d=st.integers(1, 5), n=st.integers(1, 60), spread=st.floats(0.1, 20))
def test_filter_equals_a_plain_program(seed: int, d: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(d, n)) * spread).astype(np.float32)
    values = rng.normal(size=(n, 3)).astype(np.float32)
    expected, least = slow_filter(features, values)
    assume(least > 1e-5)  # else float32 may see the point in the next cell, whose corners pass values on elsewhere
    filtered = build_lattice(torch.from_numpy(features)).filter(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(filtered, expected, rtol=1e-3, atol=1e-3)


def draw(seed: int, d: int, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(d, n, generator=generator) * 3, torch.rand(n, 2, generator=generator)


def test_filter_is_nearly_the_gaussian() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    features = torch.stack([x.reshape(-1) / 4, y.reshape(-1) / 4])
    values = (x.reshape(-1, 1) > 25).float()
    lattice = build_lattice(features)
    ours = lattice.filter(values) / lattice.filter(torch.ones_like(values))
    exact = torch.exp(-0.5 * torch.cdist(features.T, features.T) ** 2)
    assert (ours - exact @ values / exact.sum(1, keepdim=True)).abs().max() < 0.05


def test_scaled_and_joined_lattices() -> None:
    parts = [draw(seed, 3, n) for seed, n in enumerate((1, 7, 40))]
    lattices, expected = [], []
    for features, values in parts:
        before, after = torch.rand(2, len(values))
        plain = build_lattice(features)
        lattices.append(plain.scaled(before=before, after=after))
        expected.append(after[:, None] * plain.filter(before[:, None] * values))
    filtered = join_lattices(lattices).filter(torch.cat([values for _, values in parts]))
    torch.testing.assert_close(filtered, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_sorting_without_packing_gives_the_same_lattice(monkeypatch: pytest.MonkeyPatch) -> None:
    features, values = draw(0, 5, 200)
    packed = build_lattice(features)
    pairs = permutohedral._sort_pairs
    monkeypatch.setattr(permutohedral, "_sort_pairs", lambda codes, slots, slot_bits: pairs(codes, slots, slot_bits=64))
    plain = build_lattice(features)
    assert torch.equal(packed.filter(values), plain.filter(values))
    assert torch.equal(packed.blur_point, plain.blur_point)

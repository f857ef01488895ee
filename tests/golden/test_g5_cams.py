"""Multi-scale CAMs of whole photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semples.cams.make import photo_cams, scaled_inputs
from semples.generators import class_tokens
from semples.recipe import CamSettings, GeneratorSettings
from tests.golden.models import golden_weaktr

OTHER = 1e-5  # 6.0e-6 was seen on another processor, by rounding alone
SETTINGS = GeneratorSettings()


def cases(io: np.lib.npyio.NpzFile) -> list[tuple[str, tuple[float, ...], str, int]]:
    """(pooling, scales, kind, photo) of all stored CAMs."""
    listed = set()
    for key in io.files:
        if "/cls" in key:
            pooling, scales, kind, photo, _ = key.split("/")
            listed.add((pooling, tuple(float(s) for s in scales[6:].split("_")), kind, int(photo[5:])))
    return sorted(listed)


def name(scales: tuple[float, ...]) -> str:
    return "scales" + "_".join(str(s) for s in scales)


def test_network_inputs(golden: Path) -> None:
    io = np.load(golden / "g5_io.npz")
    for _, scales, _, photo in cases(io):
        for index, (view, _) in enumerate(
            scaled_inputs(io[f"image{photo}_u8"], scales, mean=SETTINGS.mean, std=SETTINGS.std)
        ):
            expected = io[f"{name(scales)}/image{photo}/in{2 * index}"]
            np.testing.assert_allclose(view.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("map_bytes", [0, 10**12])
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_cams(golden: Path, pooling: str, map_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_tokens, "MAP_BYTES", map_bytes)
    io = np.load(golden / "g5_io.npz")
    model = golden_weaktr(golden / f"g3_{pooling}_weaktr.safetensors", pooling=pooling)
    for pooled_by, scales, kind, photo in cases(io):
        if pooled_by != pooling:
            continue
        attention, _, refine = kind.partition("_refine")
        model.attention, model.refine = attention, refine == "1"
        settings = replace(CamSettings(), scales=scales)
        tags = tuple(np.flatnonzero(io[f"target{photo}"]).tolist())
        (made,) = photo_cams(model, [io[f"image{photo}_u8"]], [tags], settings=settings)
        assert tuple(made) == tags
        for label, cam in made.items():
            expected = io[f"{pooling}/{name(scales)}/{kind}/image{photo}/cls{label}"]
            assert cam.dtype == np.float32
            np.testing.assert_allclose(cam, expected, rtol=0, atol=OTHER, err_msg=f"{kind} {photo} {label}")


def test_batches_of_equal_size(golden: Path) -> None:
    io = np.load(golden / "g5_io.npz")
    model = golden_weaktr(golden / "g3_max_weaktr.safetensors", pooling="max")
    photo = io["image0_u8"]
    other = np.ascontiguousarray(photo[::-1])
    settings = CamSettings()
    together = photo_cams(model, [photo, other], [(0, 2), (1,)], settings=settings)
    alone = [photo_cams(model, [p], [t], settings=settings)[0] for p, t in ((photo, (0, 2)), (other, (1,)))]
    for left, right in zip(together, alone, strict=True):
        assert left.keys() == right.keys()
        for label in left:
            np.testing.assert_allclose(left[label], right[label], rtol=0, atol=OTHER)
    assert torch.is_grad_enabled()

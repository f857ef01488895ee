"""The mask generator at several input sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from semples.generators import class_tokens
from semples.networks.pairs import Pairs
from tests.golden.models import golden_weaktr

TOLERANCE = 2e-5
POOLINGS = ("max", "avg")
KINDS = ("fused", "patchcam", "transcam")


def close(computed: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(computed.detach().numpy(), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_size(golden: Path, pooling: str, kind: str) -> None:
    io = np.load(golden / f"g3_{pooling}_io.npz")
    model = golden_weaktr(golden / f"g3_{pooling}_weaktr.safetensors", pooling=pooling, attention=kind)
    sizes = sorted({key.split("/")[0] for key in io.files})
    assert sizes
    for size in sizes:
        output = model(torch.from_numpy(io[f"{size}/x"]))
        close(output.token_logits, io[f"{size}/cls_token_pred"])
        close(output.coarse_logits, io[f"{size}/coarse_cam_pred"])
        close(output.head_weights.flatten(1), io[f"{size}/aaf_weight"])
        close(output.patch_attention, io[f"{size}/patch_attn"][0])
        close(output.cams, io[f"{size}/{kind}/cams"])
        close(output.fine_logits, io[f"{size}/{kind}/fine_cam_pred"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_fine_cams_by_every_way(golden: Path, pooling: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradient, without it from kept maps, and streamed: the fine CAM is S applied to the stored CAM."""
    io = np.load(golden / f"g3_{pooling}_io.npz")
    model = golden_weaktr(golden / f"g3_{pooling}_weaktr.safetensors", pooling=pooling, attention=kind)
    for size in sorted({key.split("/")[0] for key in io.files}):
        x = torch.from_numpy(io[f"{size}/x"])
        cams = io[f"{size}/{kind}/cams"]
        attention = io[f"{size}/patch_attn"][0].astype(np.float64)
        expected = np.einsum("bij,bkj->bki", attention, cams.reshape(*cams.shape[:2], -1)).reshape(cams.shape)
        pairs = Pairs.of(torch.ones(cams.shape[:2]))
        fine = model.cams(x, pairs).reshape(cams.shape)
        assert fine.requires_grad
        close(fine, expected)
        for limit in (0, 10**12):
            monkeypatch.setattr(class_tokens, "MAP_BYTES", limit)
            with torch.no_grad():
                close(model.cams(x, pairs).reshape(cams.shape), expected)

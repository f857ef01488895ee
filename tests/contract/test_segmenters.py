"""What every kind of segmenter must do: networks of transformers' form, for any classes, of documented settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from semples.core.errors import UserError
from semples.segmenter.base import SegmenterKind, kind_of
from semples.segmenter.build import Segmenter, SegmenterConfig, build_segmenter
from semples.settings.kinds import SEGMENTERS
from tests.segmenter import material

CLASSES = ("disc", "square", "star")


def source_for(name: str, folder: Path) -> str:
    """A source without network for each kind; a new kind that needs weights of its own gets a line here."""
    if name == "transformers":
        material.tiny(folder, "segformer").network.save_pretrained(folder / "whole")
        return str(folder / "whole")
    if name in ("mask2former", "upernet"):
        return str(material.backbone(folder / "backbone"))
    return {"vit": "shipped:demo_vit", "scratch": "semples_vit", "light": "random"}.get(name, "")


@pytest.mark.parametrize("name", SEGMENTERS.names())
def test_a_kind_gives_a_network_for_any_classes(name: str, tmp_path: Path) -> None:
    config = SegmenterConfig(classes=CLASSES, size=64, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    source = source_for(name, tmp_path)
    made = build_segmenter(source, config=config, seed=1, view=64, kind=name).eval()
    with torch.no_grad():
        scores = made(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert scores.shape[:2] == (2, 4)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones_like(scores[:, 0]), atol=1e-3, rtol=0)
    again = build_segmenter(source, config=config, seed=1, view=64, kind=name)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in made.state_dict().items())
    made.save(tmp_path / "saved")
    loaded = Segmenter.load(tmp_path / "saved", classes=CLASSES)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in made.state_dict().items())
    assert issubclass(SEGMENTERS.load(name), SegmenterKind)
    assert SEGMENTERS.about(name)


def test_a_word_before_a_colon_chooses_the_kind() -> None:
    assert kind_of("vit:shipped:demo_vit") == ("vit", "shipped:demo_vit")
    assert kind_of("shipped:demo_vit") == ("transformers", "shipped:demo_vit")
    assert kind_of("owner/name") == ("transformers", "owner/name")
    assert kind_of("anything", "vit") == ("vit", "anything")
    with pytest.raises(UserError, match="deeplab is not known; write scratch:FAMILY or one of mask2former, upernet"):
        kind_of("deeplab:owner/name")


class Dots(SegmenterKind):
    """A kind of somebody else, named by module."""

    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        return SEGMENTERS.load("scratch")().network("semples_vit", classes, view=view)


def test_a_kind_of_another_module() -> None:
    config = SegmenterConfig(classes=CLASSES, size=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    made = build_segmenter("x", config=config, seed=0, kind=f"{__name__}:Dots")
    assert made.family == "semples_vit"

"""Masks of several scales, averaged weights, averaged class texts: settings that are off by default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import build_generator
from semples.judges.base import build_judge
from semples.networks.pairs import Pairs
from semples.recipe import ClipSettings, load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.settings.generators import VitCamSettings
from semples.stages.averages import Averages
from semples.stages.matching import Matching
from semples.stages.views import cam_masks
from semples.training.task import TaggedBatch
from tests import tiny


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_clip(tmp_path_factory.mktemp("clip"))


def test_averages_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    averages = Averages(0.5)
    kept = averages.of([weight])
    wanted = weight.detach().clone()
    for step, value in enumerate((4.0, -2.0, 6.0), start=1):
        weight.data += value
        averages.step([weight], step)
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * weight.detach()
        torch.testing.assert_close(kept["average.0"], wanted)
    averages.put_into([weight])
    torch.testing.assert_close(weight.detach(), wanted)
    none = Averages(0)
    none.step([weight], 1)
    none.put_into([weight])
    assert none.of([weight]) == {}


def test_masks_of_several_scales_are_averaged(clip: Path) -> None:
    classes = ClassList(("a", "b"))
    small = {"width": 16, "depth": 1, "heads": 2, "patch_size": 8, "image_size": 32}
    generator = build_generator(VitCamSettings(start="random", **small), classes=classes, seed=0)  # type: ignore[arg-type]
    judge = build_judge(ClipSettings(model=str(clip)), classes=classes)
    stage = Matching(generator, judge, mask_scales=(1.0, 1.5, 0.5), cam_epsilon="relative").eval()
    image, tags = torch.randn(2, 3, 32, 32), torch.ones(2, 2) > 0
    pairs = Pairs.of(tags)
    made = stage.view_maker.masks(generator, TaggedBatch(image=image, tags=tags, noise=torch.zeros(2, 0)), pairs)
    wanted = torch.zeros_like(made)
    for side in (32, 48, 16):
        photo = nn.functional.interpolate(image, (side, side), mode="bilinear", antialias=side < 32)
        cams = generator.cams(photo if side != 32 else image, pairs)
        assert cams.shape[1:] == (side // 8, side // 8)
        wanted += cam_masks(cams, size=judge.image_size, epsilon="relative") / 3
    torch.testing.assert_close(made, wanted)


def test_averaged_class_texts(clip: Path) -> None:
    classes = ClassList(("cat", "boat"))
    more = ("the {name} at night", "many {name}")
    judge = build_judge(ClipSettings(model=str(clip), class_template=("a photo of {name}.", *more)), classes=classes)
    plain = [
        build_judge(ClipSettings(model=str(clip), class_template=text), classes=classes).targets
        for text in ("a photo of {name}.", *more)
    ]
    wanted = nn.functional.normalize(torch.stack(plain).mean(0), dim=-1)
    torch.testing.assert_close(judge.targets, wanted)
    with pytest.raises(UserError, match=r"judge\.class_template 'night' has no place"):
        build_judge(ClipSettings(model=str(clip), class_template=("{name}", "night")), classes=classes)


def test_a_run_passes_averages_on(clip: Path, tmp_path: Path) -> None:
    """What (a) leaves are averages, also where it was cut and went on; and a choice among epochs is refused."""
    photos = tiny.draw_photos(tmp_path / "photos", count=8)
    file = tiny.write_recipe(tmp_path / "tiny.yaml", clip)
    changes = ["matching.average=0.9", "matching.mask_scales=1,1.5", "warmup.epochs=1"]
    context = Context(load_recipe(file, changes), Source(photos), tmp_path / "run")
    pipeline.run(context, steps=["data", "warmup", "matching"])
    averaged = load_file(tmp_path / "run" / "matching" / "generator.safetensors")
    plain = replace(context, recipe=load_recipe(file, [*changes, "matching.average=0"]), out=tmp_path / "plain")
    pipeline.run(plain, steps=["data", "warmup", "matching"])
    last = load_file(tmp_path / "plain" / "matching" / "generator.safetensors")
    start = load_file(tmp_path / "run" / "warmup" / "generator.safetensors")
    assert not torch.equal(averaged["head.weight"], last["head.weight"])
    assert (averaged["head.weight"] - start["head.weight"]).norm() < (last["head.weight"] - start["head.weight"]).norm()
    both = replace(context, recipe=load_recipe(file, [*changes, "matching.select_epoch=auto"]))
    with pytest.raises(UserError, match="set one of them back"):
        pipeline.run(both, steps=["matching"])

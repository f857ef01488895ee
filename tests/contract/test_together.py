"""Every mask generator with every judge, from tags to scored label maps: a new line in either registry is run here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.settings.kinds import GENERATORS, JUDGES
from tests import tiny
from tests.contract.test_generators import SMALL
from tests.contract.test_judges import WEIGHTS
from tests.generators.test_saved import write_cams

STAGES = {"warmup", "matching", "prompting", "refinement"}
QUICK = (("mctformer", "clip"), ("vit-cam", "siglip"), ("cnn", "tags"), ("saved", "hues"))  # the others are slow tests
ONE_STEP = [f"{stage}.{setting}" for stage in sorted(STAGES) for setting in ("epochs=1", "batch=8")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("photos"), count=6)


@pytest.fixture(scope="module")
def given(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """What a generator or judge of this name is started with, made once."""
    folder, made = tmp_path_factory.mktemp("given"), dict[str, Path]()

    def make(kind: str, name: str) -> Path:
        key = f"{kind}-{name}"
        if key not in made:
            if kind == "judge":
                made[key] = WEIGHTS[name](folder / key)
            elif name == "saved":
                made[key] = write_cams(photos, folder / key, published=False)
            else:
                made[key] = tiny.save_clip(folder / key, patch_size=8)
        return made[key]

    return make


def settings(generator: str, judge: str, given: Callable[[str, str], Path]) -> list[str]:
    made = [f"generator.kind={generator}", "generator.image_size=32", f"judge.kind={judge}", *ONE_STEP]
    kind = GENERATORS.settings_of(generator)
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    if kind.TRAINABLE:  # type: ignore[attr-defined]
        made += [f"generator.{name}={value}" for name, value in SMALL.items() if name in known]
    else:
        made += [f"generator.start={given('generator', generator)}"]
    if judge in WEIGHTS:
        made += [f"judge.model={given('judge', judge)}"]
    if judge == "tags":
        made += ["judge.image_size=32", "judge.steps=5", "prompts.length=1"]
    return made


def pairs() -> list[object]:
    every = [(generator, judge) for generator in GENERATORS.names() for judge in JUDGES.names()]
    return [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in every]


@pytest.mark.parametrize(("generator", "judge"), pairs())
def test_to_label_maps(
    generator: str, judge: str, photos: Path, given: Callable[[str, str], Path], tmp_path: Path
) -> None:
    recipe = load_recipe("folder", ["data.workers=0", "labels.method=threshold", *settings(generator, judge, given)])
    context = Context(recipe, Source(photos), tmp_path / "run")
    done = {outcome.step for outcome in pipeline.run(context)}
    trained = GENERATORS.settings_of(generator).TRAINABLE  # type: ignore[attr-defined]
    assert done & STAGES == (STAGES if trained else set())
    assert {"cams", "labels", "scores"} <= done
    assert len(list((context.out / "labels").rglob("p*.png"))) >= 6

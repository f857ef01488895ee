"""The steps by themselves: shared work, what their fingerprints hold, words near a prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.files import write_json
from semples.core.palette import read_label_png
from semples.core.schema import describe, merge, parse_override
from semples.data.dataset import Item
from semples.inspect import words as prompts
from semples.labels.make import calibration_of
from semples.labels.regions import Regions
from semples.recipe import CamSettings, LabelSettings, Recipe, RegionSettings, load_recipe
from semples.run import threshold
from semples.run.context import Context, Source, Step
from semples.run.pipeline import known_steps
from semples.run.steps import cams, data, labels, regions, selection, train
from tests import tiny
from tests.training import toy

RECIPE = replace(Recipe(), generator=toy.GENERATOR, cams=CamSettings(batch=2))


class Shared(Context):
    """One of several processes that share a run."""

    place, count = 0, 1

    @property
    def rank(self) -> int:
        return self.place

    @property
    def processes(self) -> int:
        return self.count


@pytest.fixture
def context(tmp_path: Path) -> Context:
    photos = tiny.draw_photos(tmp_path / "photos", count=7)
    found = Context(RECIPE, Source(photos), tmp_path / "out")
    data.step().run(found, found.folder("data"), "f")
    return found


def test_processes_share_the_cams_of_all_photos(context: Context, tmp_path: Path) -> None:
    """Whatever the number of processes and the batch, the files have the same bytes; what is there is kept."""
    model = toy.generator(2)
    whole = CamStore(tmp_path / "whole")
    cams.write_cams(context, model, whole)
    parts = CamStore(tmp_path / "parts")
    for place in (1, 0, 2):
        part = Shared(replace(RECIPE, cams=CamSettings(batch=1)), context.source, context.out)
        part.place, part.count = place, 3  # type: ignore[misc]
        assert part.is_main == (place == 0)
        cams.write_cams(part, model, parts)
        assert len(parts.ids()) < 7 or place == 2
    assert whole.ids() == parts.ids() == [f"p0{i}" for i in range(7)]
    for name in whole.ids():
        assert (tmp_path / f"whole/{name}.npz").read_bytes() == (tmp_path / f"parts/{name}.npz").read_bytes()
    (tmp_path / "whole/p03.npz").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "whole").iterdir()}
    cams.write_cams(context, model, whole)
    assert whole.has("p03")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert cams._partial(context, context.folder("cams")) is None


def no_regions(item: Item) -> Regions:
    raise AssertionError("this method needs no regions")


def no_features(item: Item) -> np.ndarray:
    raise AssertionError("this method needs no features")


def test_labels_at_a_threshold(context: Context, tmp_path: Path) -> None:
    store = CamStore(tmp_path / "cams")
    cams.write_cams(context, toy.generator(2), store)
    sizes = data.photo_sizes(context.folder("data"))
    for limit in (0.0, 0.45, 1.0):
        labels.write_labels(
            context.dataset,
            context.dataset.items,
            store,
            tmp_path / "labels",
            method=labels.method_of(RECIPE, num_classes=2),
            thresholds=limit,
            size=lambda item: sizes[item.id],
            regions=no_regions,
            features=no_features,
        )
        for item in context.dataset.items:
            found, maps = read_label_png(tmp_path / f"labels/{item.id}.png"), store.read(item.id)
            stack = np.stack([np.full(found.shape, np.float32(limit)), *maps.values()])
            values = np.array([0, *(label + 1 for label in maps)])
            np.testing.assert_array_equal(found, values[stack.argmax(0)])


def test_thresholds(context: Context) -> None:
    def chosen(**settings: Any) -> threshold.Chosen:
        recipe = replace(RECIPE, labels=LabelSettings(**settings))
        return threshold.chosen_threshold(Context(recipe, context.source, context.out))

    assert chosen(select="fixed", threshold=0.3) == threshold.Chosen(0.3)
    with pytest.raises(UserError, match="needs masks"):
        chosen(select="ground-truth")
    with pytest.raises(UserError, match="the step selection chooses"):
        chosen()
    write_json(context.folder("curve") / "curve.json", {"best": {"threshold": 0.41}})
    assert chosen(select="ground-truth") == threshold.Chosen(0.41)
    found = {"threshold": 0.35, "per_class": {"a": 0.3, "b": 0.4}}
    write_json(context.folder("selection") / "selection.json", found)
    assert chosen() == threshold.Chosen(0.35)
    own = chosen(per_class=True)
    assert own.threshold == 0.35
    np.testing.assert_array_equal(own.applied, np.array([0.3, 0.4], np.float32))
    by_hand = chosen(select="fixed", threshold=0.3, class_thresholds=(0.2, 0.9))
    assert by_hand.threshold == 0.3
    np.testing.assert_array_equal(by_hand.applied, np.array([0.2, 0.9], np.float32))


def test_thresholds_by_the_names_of_classes() -> None:
    names = ("dog", "a=b", "-x")
    assert threshold.thresholds_of_classes(["a=b=0.25", "-x=1"], names, other=0.5) == [0.5, 0.25, 1.0]
    for text in ("cat=0.3", "dog", "dog=", "dog=1.1", "dog=nan", "=0.3"):
        with pytest.raises(UserError, match="--class-threshold"):
            threshold.thresholds_of_classes([text], names, other=0.5)


def test_large_photos_are_reduced() -> None:
    photo = np.zeros((30, 90, 3), np.uint8)
    assert cams.reduced(photo, max_side=90) is photo
    assert cams.reduced(photo, max_side=45).shape == (15, 45, 3)
    assert cams.reduced(np.zeros((1, 900, 3), np.uint8), max_side=9).shape == (1, 9, 3)


def test_thresholds_of_classes_enter_the_fingerprint(context: Context) -> None:
    def entered(*numbers: float) -> dict[str, Any]:
        labels = LabelSettings(select="fixed", class_thresholds=numbers or "same")
        return threshold.threshold_inputs(Context(replace(RECIPE, labels=labels), context.source, context.out))

    assert entered() == {"select": "fixed", "threshold": 0.45}
    assert entered(0.2, 0.9) == entered() | {"class_thresholds": [0.2, 0.9]}


def described(step: Step, recipe: Recipe, context: Context) -> str:
    return json.dumps(step.inputs(Context(recipe, context.source, context.out)), sort_keys=True, default=list)


SPEED = {"run.checkpoint_seconds", "run.log_every", "data.workers", "cams.batch", "regions.points_batch"}
"""Settings that change how fast a run is or what it says, not what it makes."""


def changed(recipe: Recipe, key: str) -> Any:
    """Another allowed value of a setting."""
    *groups, name = key.split(".")
    owner: Any = recipe
    for group in groups:
        owner = getattr(owner, group)
    value, hint = getattr(owner, name), get_type_hints(type(owner))[name]
    if get_origin(hint) is Literal:
        return next(option for option in get_args(hint) if option != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return "a drawing of {name}." if name == "class_template" else "owner/name"
    if isinstance(value, tuple):
        return [entry * 0.9 for entry in value]
    return value + 1 if isinstance(value, int) else value * 0.9 + 1e-3


def test_every_setting_enters_a_fingerprint(context: Context) -> None:
    """A setting that changes a result and enters no fingerprint would leave stale results in place."""
    bases = [
        replace(RECIPE, labels=LabelSettings(method="regions+crf"), regions=RegionSettings(proposals=proposals))
        for proposals in ("sam", "slic")
    ]
    steps = {step.name: step for step in known_steps().values()}
    before = [{name: described(step, base, context) for name, step in steps.items()} for base in bases]
    for key, _, _, _ in describe(RECIPE):
        group = key.split(".")[0]
        if key in ("labels.threshold", "labels.class_thresholds"):  # read only where they are asked for
            continue
        if group in ("name", "about") or key == "data.split":  # this folder has no lists to choose from
            continue
        moved = set()
        for base, old in zip(bases, before, strict=True):
            other = merge(base, parse_override(f"{key}={json.dumps(changed(base, key))}"), where="test")
            moved |= {name for name, step in steps.items() if described(step, other, context) != old[name]}
        assert bool(moved) == (key not in SPEED), (key, moved)
        if group in train.STAGES:
            assert moved == {group}, key
        if group == "regions" and key not in SPEED:
            scoring = key.split(".")[1] in regions.SCORING
            assert moved == ({"labels", "selection"} if scoring else {"regions"}), key


def test_a_step_depends_on_the_weights_it_starts_from(context: Context, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    found = []
    for content in (b"a", b"b", b"a"):
        weights.write_bytes(content)
        recipe = replace(RECIPE, generator=replace(toy.GENERATOR, start=str(weights)))
        found.append(described(train.step("warmup"), recipe, context))
    assert found[0] == found[2] != found[1]


def test_digests_follow_content_not_names(tmp_path: Path) -> None:
    file, memory = tmp_path / "a", tmp_path / "seen.json"
    file.write_bytes(b"1")
    digests = data._Digests(memory, save=True)
    first = digests.of(file)
    digests.close()
    assert data._Digests(memory, save=True).of(file) == first
    file.write_bytes(b"22")
    assert data._Digests(memory, save=True).of(file) != first
    assert data._Digests(memory, save=True).of(tmp_path / "none").startswith("unreadable")
    memory.write_text("{broken")
    file.write_bytes(b"1")
    assert data._Digests(memory, save=True).of(file) == first


def test_word_lists(tmp_path: Path) -> None:
    shipped = prompts.read_words(None)
    assert len(shipped) > 100
    assert len(set(shipped)) == len(shipped)
    (tmp_path / "w").write_bytes("\ufeff# note\r\nriver\r\n\r\n sky \r\nriver\r\n".encode())
    assert prompts.read_words(tmp_path / "w") == ["river", "sky"]
    (tmp_path / "w").write_text("# only notes\n")
    with pytest.raises(UserError, match="holds no word"):
        prompts.read_words(tmp_path / "w")
    (tmp_path / "w").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        prompts.read_words(tmp_path / "w")


def test_training_views_hold_whole_patches() -> None:
    train.check_image_size(load_recipe("voc"))
    with pytest.raises(UserError, match="smaller than a patch"):
        train.check_image_size(replace(RECIPE, generator=replace(toy.GENERATOR, image_size=8, patch_size=16)))


def test_a_threshold_at_which_every_mask_is_empty_is_no_sign(context: Context) -> None:
    calibration = calibration_of("crf")
    grid = calibration.grid
    count = len(grid.tried)
    row = {"classes": [0], "steadiness": [[0.5] * (count - 3) + [None] * 3], "recognition": [[0.4] * count]}
    found = selection.describe([row], context, calibration)
    assert found["curves"]["steadiness"][-4:] == [0.5, None, None, None]
    assert found["threshold"] < grid.tried[-3]
    assert json.loads(json.dumps(found, allow_nan=False))["quality"]["miou"] is not None
    nothing = selection.describe([row | {"steadiness": [[None] * count]}], context, calibration)
    assert json.loads(json.dumps(nothing, allow_nan=False))["quality"]["miou"] is None

"""Settings: published values, YAML in and out, ranges, types, helpful refusals."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.core.schema import describe, merge, parse_override, to_dict, to_yaml
from semples.core.schema import leaves as leaves_of
from semples.recipe import ClipSettings, Recipe, load_recipe, recipe_from_dict, recipe_names
from semples.settings.labels import SlicSettings
from tests.data.builders import complaint

KEYS = {row[0]: row[1] for row in describe(Recipe())}


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_round_trip(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    path = tmp_path / "copy.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe_from_dict(to_dict(recipe), where="stored") == recipe


def test_a_group_has_the_settings_of_its_kind() -> None:
    slic = load_recipe("demo", ["regions.proposals=slic", "regions.compactness=3"]).regions
    assert isinstance(slic, SlicSettings)
    assert slic.compactness == 3
    assert slic.background == "threshold"  # what all kinds have goes along
    assert slic.scales == SlicSettings().scales  # what is the kind's own does not
    again = load_recipe("voc", ["regions.max_side=300", "regions.proposals=sam"]).regions
    assert again.max_side == 300


def test_recipes_that_call_the_judge_clip_are_read() -> None:
    assert load_recipe("voc", ["clip.model=here"]).judge == ClipSettings(model="here")


def test_epochs_or_steps_and_one_of_two_rates() -> None:
    """The one that is said last takes the place of the other."""
    for recipe in ("voc", "folder"):
        matching = load_recipe(recipe, ["matching.steps=50", "matching.lr=1e-3"]).matching
        assert (matching.steps, matching.epochs, matching.lr, matching.base_lr) == (50, "steps", 1e-3, "lr")
        matching = load_recipe(recipe, ["matching.epochs=3", "matching.base_lr=1e-2"]).matching
        assert (matching.steps, matching.epochs, matching.lr, matching.base_lr) == ("epochs", 3, "base_lr", 1e-2)
        assert load_recipe(recipe, ["matching.steps=auto"]).matching.steps == "auto"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("matching: {epochs: 3, steps: 50}", "matching.epochs and matching.steps: give exactly one of them"),
        ("matching: {lr: 3, base_lr: 1}", "matching.base_lr and matching.lr: give exactly one of them"),
        ("matching: {epochs: steps}", "matching.epochs and matching.steps: give exactly one of them"),
        ("base: nowhere", "base 'nowhere' is no shipped recipe"),
        ("base: [voc]", "is no shipped recipe"),
    ],
)
def test_recipes_that_contradict_themselves(text: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    assert hint in complaint(lambda: load_recipe(path))


def test_a_recipe_on_another(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("{name: x, base: coco, matching: {batch: 8}}", encoding="utf-8")
    coco = load_recipe("coco")
    assert load_recipe(path) == replace(coco, name="x", base="coco", matching=replace(coco.matching, batch=8))
    assert "stands in a recipe file" in complaint(lambda: load_recipe("voc", ["base=coco"]))


def test_the_demo_is_the_folder_recipe_and_a_handful_of_lines() -> None:
    demo, folder = (dict(leaves_of(load_recipe(name))) for name in ("demo", "folder"))
    differ = {key for key in demo if demo[key] != folder[key]}
    assert differ <= {"name", "about", "base", "data.split", "data.workers", "run.log_every", *MODELS}


MODELS = {"generator.start", "judge.model", "segmenter.model"}


def test_voc_values() -> None:
    voc = load_recipe("voc")
    a, b, c, w = voc.matching, voc.prompting, voc.refinement, voc.warmup
    assert [s.epochs for s in (w, a, b, c)] == [60] * 4
    assert [s.batch for s in (w, a, b, c)] == [64, 64, 128, 64]
    assert [s.base_lr for s in (w, a, b, c)] == [6e-4, 5.12e-4, 0.1, 5.12e-4]
    assert [s.weight_decay for s in (w, a, b, c)] == [0.03] * 4
    assert [s.schedule for s in (w, a, b, c)] == ["cosine"] + ["late-cosine"] * 3
    assert (w.warmup_epochs, w.warmup_lr, w.final_lr) == (5, 1e-6, 1e-5)
    assert all((s.beta1, s.beta2, s.adam_epsilon) == (0.9, 0.999, 1e-8) for s in (w, a, b, c))
    assert (a.lambda_background, b.lambda_prompt, c.lambda_background, c.lambda_refinement) == (2.4, 0.02, 2.4, 0.05)
    assert (a.cam_epsilon, b.cam_epsilon, c.cam_epsilon) == (0.1, 1e-4, 0.1)
    assert (voc.generator.pooling, voc.generator.head_reduction) == ("max", 8)
    assert (voc.prompts.length, voc.prompts.full_stop, voc.prompts.context) == (30, "in-word", "a photo of")
    assert voc.cams.scales == (1.0, 1.2)
    assert voc.cams.mirror
    assert voc.generator.start == "timm/deit_small_patch16_224.fb_in1k"
    assert voc.judge == ClipSettings(model="openai/clip-vit-base-patch32", normalisation="generator")


def test_coco_values() -> None:
    coco = load_recipe("coco")
    a, b, c, w = coco.matching, coco.prompting, coco.refinement, coco.warmup
    assert [s.epochs for s in (w, a, b, c)] == [60] * 4
    assert [s.batch for s in (w, a, b, c)] == [64, 32, 128, 24]
    assert [s.base_lr for s in (w, a, b, c)] == [5e-4, 5.12e-6, 0.01, 5.12e-6]
    assert [s.weight_decay for s in (w, a, b, c)] == [0.05, 0.03, 0.03, 0.03]
    assert (a.lambda_background, b.lambda_prompt, c.lambda_background, c.lambda_refinement) == (0.75, 0.01, 0.75, 0.2)
    assert (a.cam_epsilon, b.cam_epsilon, c.cam_epsilon) == (0.1, 1e-4, 0.1)
    assert (coco.generator.pooling, coco.generator.head_reduction) == ("avg", 4)
    assert coco.cams.scales == (1.0, 0.8, 1.2)


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_published_augmentation(name: str) -> None:
    recipe = load_recipe(name)
    for stage in (recipe.warmup, recipe.matching, recipe.refinement):
        augment = stage.augment
        assert (augment.randaugment_ops, augment.randaugment_magnitude, augment.randaugment_std) == (2, 9, 0.5)
        assert augment.erasing == 0.25
    plain = recipe.prompting.augment
    assert (plain.randaugment_ops, plain.erasing, plain.colour_jitter) == (0, 0, 0)
    for augment in (recipe.matching.augment, plain):
        assert augment.crop_scale == (0.08, 1.0)
        assert augment.crop_ratio == (3 / 4, 4 / 3)
        assert augment.flip == 0.5


def test_every_setting_is_described() -> None:
    def walk(settings: Any) -> None:
        for entry in fields(settings):
            value = getattr(settings, entry.name)
            if is_dataclass(value):
                walk(value)
            else:
                assert entry.metadata["doc"], entry.name

    walk(Recipe())
    assert all(meaning for _, _, meaning, _ in describe(Recipe()))


def test_overrides_reach_every_setting() -> None:
    """Each setting can be given on the command line as the text of its own value."""
    for key, value in KEYS.items():
        text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
        assert load_recipe("voc", [f"{key}={text}"]) == load_recipe("voc", [f"{key}={text}"] * 2)
        assert {row[0]: row[1] for row in describe(merge(Recipe(), parse_override(f"{key}={text}"), where="x"))}[
            key
        ] == value


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("matching.base_lr=1e-4", 1e-4),
        ("matching.base_lr=1.0e-4", 1e-4),
        ("matching.epochs=7", 7),
        ("matching.epochs=7.0", 7),
        ("matching.cam_epsilon=relative", "relative"),
        ("matching.cam_epsilon=0.5", 0.5),
        ("matching.steps=auto", "auto"),
        ("generator.image_size=auto", "auto"),
        ("segmenter.iterations=auto", "auto"),
        ("run.precision=no", "no"),
        ("cams.scales=[1, 0.5]", (1.0, 0.5)),
        ("cams.mirror=false", False),
        ("judge.class_template=a drawing of {name}.", "a drawing of {name}."),
        ("cams.scales=1,1.5", (1.0, 1.5)),
        ("cams.scales=1", (1.0,)),
        ("run.seed=4000000000", 4_000_000_000),
    ],
)
def test_values_as_people_write_them(override: str, value: object) -> None:
    recipe = load_recipe("voc", [override])
    group, key = override.partition("=")[0].split(".")
    value_set = getattr(getattr(recipe, group), key)
    assert value_set == value
    assert type(value_set) is type(value)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("matching.epoch=1", "did you mean matching.epochs?"),
        ("maching.epochs=1", "did you mean matching?"),
        ("matching.augment.flop=1", "did you mean matching.augment.flip?"),
        ("zzz=1", "known are name"),
        ("matching.epochs=-1", "values from 0"),
        ("matching.epochs=1.5", "is not a whole number"),
        ("matching.epochs=many", "is not a whole number"),
        ("matching.epochs=true", "is not a whole number"),
        ("matching.epochs=[1]", "is not a whole number"),
        ("matching.steps=many", "is not a whole number or one of auto, epochs"),
        ("matching.steps=-1", "values from 0"),
        ("matching.lr=-1", "values from 0"),
        ("matching.base_lr=lr", "matching.base_lr and matching.lr: give exactly one of them"),
        ("matching.epochs=", "is not a whole number"),
        ("matching.base_lr=.nan", "is not a number"),
        ("matching.base_lr=.inf", "is not a number"),
        ("matching.cam_epsilon=sometimes", "is not a number or one of relative"),
        ("labels.threshold=1.5", "from 0 to 1"),
        ("labels.select=best", "one of auto, fixed, ground-truth"),
        ("cams.scales=one", "a list of numbers"),
        ("warmup.lambda_refinement=3", "unknown setting warmup.lambda_refinement"),
        ("warmup.select_epoch=auto", "unknown setting warmup.select_epoch"),
        ("regions.scales=[10]", "unknown setting regions.scales"),
        ("generator.kind=weakt", "did you mean weaktr?"),
        ("labels.method=region+crf", "did you mean regions?"),
        ("cams.scales=[]", "a list of numbers"),
        ("cams.scales=[0]", "out of range"),
        ("generator.mean=[1, 2]", "a list of numbers"),
        ("cams.mirror=1", "true or false"),
        ("matching=3", "is a group of settings"),
        ("clip.model=3", "is not text"),
        ("matching.beta1=1", "out of range"),
        ("run.seed=99999999999999999999", "out of range"),
        ("run.seed=1" + "0" * 60, "out of range"),
        ("run.seed=1" + "0" * 400, "a number of 401 signs"),
        ("=3", "write key=value"),
    ],
)
def test_refusals_say_how_to_mend(override: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("voc", [override])
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_lists_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("\ufeffname: mine\r\nmatching: {epochs: 3}\r\n".encode())
    recipe = load_recipe(path)
    assert recipe == replace(Recipe(), name="mine", matching=replace(Recipe().matching, epochs=3))
    path.write_text("", encoding="utf-8")
    assert load_recipe(path) == Recipe()


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.floats(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(sorted(KEYS)), value=leaves)
def test_any_value_is_taken_or_refused_in_one_line(key: str, value: Any) -> None:
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    refusal = complaint(lambda: merge(Recipe(), tree, where="here"))
    if refusal:
        assert refusal.startswith("here: ")
        assert "\n" not in refusal
        return
    recipe = merge(Recipe(), tree, where="here")
    taken = {row[0]: row[1] for row in describe(recipe)}[key]
    assert all(math.isfinite(x) for x in (taken if isinstance(taken, list) else [taken]) if isinstance(x, float))
    assert recipe_from_dict(yaml.safe_load(to_yaml(recipe)), where="again") == recipe


def test_nothing_after_the_sign_empties_a_text() -> None:
    assert load_recipe("demo").data.split == "train"
    assert load_recipe("demo", ["data.split="]).data.split == ""
    with pytest.raises(UserError, match=r"warmup\.batch"):
        load_recipe("demo", ["warmup.batch="])

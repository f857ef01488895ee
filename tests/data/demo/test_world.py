"""The demo world: same seed, same bytes; masks are what was drawn; p is kept; textures never cross families."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from semples.core.errors import UserError
from semples.core.palette import voc_palette
from semples.data.demo.grounds import FAMILIES, GROUNDS, Knobs, draw_ground, family_of
from semples.data.demo.shapes import COLOURS, Part, colour_cloud, draw_parts, place
from semples.data.demo.world import (
    CLASSES,
    GROUND_KINDS,
    NEUTRAL_GROUNDS,
    OWN_GROUND,
    DemoWorld,
    sticker_of,
    write_world,
)


def scene_bytes(world: DemoWorld, index: int) -> bytes:
    scene = world.draw(index)
    return scene.photo.tobytes() + scene.object_mask.tobytes() + scene.background_mask.tobytes()


@pytest.mark.parametrize("distribution", ["wide", "biased"])
def test_same_seed_same_bytes_in_any_order(distribution: str) -> None:
    first, second = (DemoWorld(seed=3, distribution=distribution) for _ in range(2))
    forward = [scene_bytes(first, index) for index in range(6)]
    backward = [scene_bytes(second, index) for index in reversed(range(6))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 6


def test_another_seed_or_family_draws_other_photos() -> None:
    worlds = [DemoWorld(seed=0), DemoWorld(seed=1), DemoWorld(seed=0, family="val")]
    assert len({scene_bytes(world, 0) for world in worlds}) == 3


@settings(max_examples=12, deadline=None)
@given(
    index=st.integers(0, 10**6),
    resolution=st.sampled_from([96, 97, 160, 256]),
    count=st.integers(2, 8),
    distribution=st.sampled_from(["wide", "biased"]),
)
def test_masks_fit_together(index: int, resolution: int, count: int, distribution: str) -> None:
    world = DemoWorld(resolution=resolution, class_count=count, distribution=distribution, variants=1)
    scene = world.draw(index)
    assert scene.photo.shape == (resolution, resolution, 3)
    assert scene.photo.dtype == np.uint8
    assert scene.object_mask.dtype == scene.background_mask.dtype == np.uint8
    assert ((scene.object_mask > 0) ^ (scene.background_mask > 0)).all()  # every pixel is exactly one of the two
    assert scene.tags == tuple(int(value) - 1 for value in np.unique(scene.object_mask) if value)
    assert set(scene.tags) <= {thing.class_index for thing in scene.layout.things}
    assert set(scene.tags) <= set(range(count))
    assert set(scene.grounds) <= set(scene.layout.grounds)


def alone(parts: list[Part], resolution: int) -> np.ndarray:
    """The drawn parts as a mask, drawn again very finely and without any of the product's rendering."""
    fine = 8
    picture = Image.new("L", (resolution * fine, resolution * fine))
    for part in parts:
        ImageDraw.Draw(picture).polygon([tuple(corner) for corner in part.points * resolution * fine], fill=255)
    return np.asarray(picture).reshape(resolution, fine, resolution, fine).mean(axis=(1, 3)) / 255


@pytest.mark.parametrize("class_index", range(len(CLASSES)))
def test_object_mask_is_what_the_parts_cover(class_index: int) -> None:
    world = DemoWorld(distribution="wide", variants=1)
    seen = 0
    for index in range(400):
        things = world.layout(index).things
        if len(things) == 1 and things[0].class_index == class_index:
            scene = world.draw(index)
            parts = draw_parts(CLASSES[class_index], things[0].colour, [class_index, things[0].build])
            cover = alone(place(parts, things[0].pose), 96)
            mask = scene.object_mask == class_index + 1
            assert not mask[cover < 0.25].any()
            assert mask[cover > 0.75].all()
            assert abs(mask.sum() - cover.sum()) < 0.04 * cover.sum()
            seen += 1
            if seen == 3:
                return
    pytest.fail("the class was hardly ever drawn alone")


def test_the_last_thing_covers_the_first() -> None:
    world, overlaps = DemoWorld(distribution="wide", variants=1), 0
    for index in range(200):
        layout = world.layout(index)
        if len(layout.things) < 2:
            continue
        covers = []
        for thing in layout.things:
            sticker, cover = sticker_of(thing, 96), np.zeros((96, 96))
            height, width = sticker.cover.shape
            cover[sticker.top : sticker.top + height, sticker.left : sticker.left + width] = sticker.cover
            covers.append(cover >= 0.5)
        objects = world.draw(index).object_mask
        assert (objects[covers[1]] == layout.things[1].class_index + 1).all()
        assert (objects[covers[0] & ~covers[1]] == layout.things[0].class_index + 1).all()
        overlaps += bool((covers[0] & covers[1]).any())
    assert overlaps >= 3


def test_background_mask_follows_the_border() -> None:
    world = DemoWorld(distribution="wide")
    for index in range(60):
        layout = world.layout(index)
        if layout.border is None or layout.things:
            continue
        scene = world.draw(index)
        steps = (np.arange(96) + 0.5) / 96
        side = layout.border.side(steps[None, :], steps[:, None])
        kinds = [GROUND_KINDS.index(name) + 1 for name in layout.grounds]
        assert (scene.background_mask[side < -0.01] == kinds[0]).all()
        assert (scene.background_mask[side > 0.01] == kinds[1]).all()
        return
    pytest.fail("no empty photo with two backgrounds")


@pytest.mark.parametrize("p", [0.0, 0.5, 0.9, 1.0])
def test_biased_world_keeps_p(p: float) -> None:
    world = DemoWorld(p=p)
    at_home, total, counts = 0, 0, np.zeros(len(CLASSES))
    for index in range(1000):
        layout = world.layout(index)
        homes = {OWN_GROUND[CLASSES[thing.class_index]] for thing in layout.things}
        assert set(layout.grounds) <= homes | set(NEUTRAL_GROUNDS)  # no own background without its class
        for thing in layout.things:
            counts[thing.class_index] += 1
            under = layout.ground_under(thing)
            assert under in (OWN_GROUND[CLASSES[thing.class_index]], *NEUTRAL_GROUNDS)
            at_home += under == OWN_GROUND[CLASSES[thing.class_index]]
            total += 1
    spread = 4 * np.sqrt(p * (1 - p) / total)
    assert abs(at_home / total - p) <= spread
    assert counts.min() > 0.7 * counts.mean()


def test_biased_photos_show_their_tags() -> None:
    world = DemoWorld()
    for index in range(150):
        scene = world.draw(index)
        assert scene.tags == tuple(sorted(thing.class_index for thing in scene.layout.things))
        assert all((scene.object_mask == tag + 1).mean() > 0.01 for tag in scene.tags)


def test_wide_world_is_independent_and_has_empty_photos() -> None:
    world = DemoWorld(distribution="wide")
    layouts = [world.layout(index) for index in range(3000)]
    empty = np.mean([not layout.things for layout in layouts])
    assert 0.1 < empty < 0.25
    table = np.zeros((len(CLASSES), len(GROUND_KINDS)))
    for layout in layouts:
        for thing in layout.things:
            table[thing.class_index, GROUND_KINDS.index(layout.ground_under(thing))] += 1
    share = table / table.sum(axis=1, keepdims=True)
    assert np.abs(share - share.mean(axis=0)).max() < 0.06


def test_things_are_large_enough() -> None:
    sizes = [thing.pose.size for index in range(300) for thing in DemoWorld().layout(index).things]
    assert min(sizes) > 0.36
    assert max(sizes) < 0.72


@pytest.mark.parametrize("name", list(GROUNDS))
def test_textures_of_families_never_share_a_knob(name: str) -> None:
    places: dict[str, list[float]] = {}
    for family in FAMILIES:
        knobs = Knobs(family, [1, FAMILIES.index(family)])
        GROUNDS[name](knobs, 40)
        places[family] = knobs.turned
        assert knobs.turned
        assert all(family_of(place) == family for place in knobs.turned)
    textures = {draw_ground(name, family=family, variant=0, resolution=32).tobytes() for family in FAMILIES}
    assert len(textures) == len(FAMILIES)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**9), family=st.sampled_from(FAMILIES))
def test_knobs_cover_the_range_but_stay_in_their_family(seed: int, family: str) -> None:
    knobs = Knobs(family, [seed])
    values = [knobs.turn(2.0, 4.0) for _ in range(200)]
    assert {family_of(place) for place in knobs.turned} == {family}
    assert np.allclose(values, 2 + 2 * np.array(knobs.turned))
    assert min(values) < 2.5
    assert max(values) > 3.5


def test_colour_names_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    clouds = {name: np.array([colour_cloud(rng, name) for _ in range(30)], dtype=float) for name in COLOURS}
    middles = {name: cloud.mean(axis=0) for name, cloud in clouds.items()}
    for name, cloud in clouds.items():
        for colour in cloud:
            nearest = min(middles, key=lambda other: float(np.abs(middles[other] - colour).sum()))
            assert nearest == name


def test_voc_folder_is_read_by_standard_tools(tmp_path: Path) -> None:
    root = write_world(tmp_path / "world", photos={"train": 4, "val": 2}, seed=5, p=0.8)
    assert (root / "classes.txt").read_text(encoding="utf-8").split() == list(CLASSES)
    truth = json.loads((root / "world.json").read_text(encoding="utf-8"))
    assert truth["own_background"]["train"] == "rails"
    assert truth["p"] == 0.8
    palette = voc_palette().ravel().tolist()
    assert palette[3:9] == [128, 0, 0, 0, 128, 0]
    assert palette[-3:] == [224, 224, 192]
    for split, count in (("train", 4), ("val", 2)):
        ids = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text(encoding="utf-8").splitlines()
        assert len(ids) == count
        world = DemoWorld(seed=5, family=split, p=0.8)
        for index, photo_id in enumerate(ids):
            scene = world.draw(index)
            with Image.open(root / "JPEGImages" / f"{photo_id}.jpg") as photo:
                difference = np.abs(np.asarray(photo, dtype=int) - scene.photo).mean()
            assert difference < 4
            for part, mask in (("Class", scene.object_mask), ("Background", scene.background_mask)):
                with Image.open(root / f"Segmentation{part}" / f"{photo_id}.png") as picture:
                    assert picture.mode == "P"
                    assert picture.getpalette()[: 9 * 3] == palette[: 9 * 3]
                    assert np.array_equal(np.asarray(picture), mask)
            entry = ElementTree.parse(root / "Annotations" / f"{photo_id}.xml").getroot()
            assert entry.findtext("filename") == f"{photo_id}.jpg"
            assert entry.findtext("size/width") == "96"
            names = [thing.findtext("name") for thing in entry.iter("object")]
            assert names == [CLASSES[tag] for tag in scene.tags]
            for thing, tag in zip(entry.iter("object"), scene.tags, strict=True):
                box = [int(thing.findtext(f"bndbox/{side}")) - 1 for side in ("xmin", "ymin", "xmax", "ymax")]
                rows, columns = np.nonzero(scene.object_mask == tag + 1)
                assert box == [columns.min(), rows.min(), columns.max(), rows.max()]


def test_same_arguments_write_the_same_files_and_tags_alone_tell_no_pixels(tmp_path: Path) -> None:
    first, second = (write_world(tmp_path / name, photos={"train": 2}, masks=True) for name in "ab")
    bare = write_world(tmp_path / "c", photos={"train": 2}, masks=False)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    assert not (bare / "SegmentationClass").exists()
    assert not (bare / "SegmentationBackground").exists()
    assert "bndbox" not in (bare / "Annotations" / "train_000000.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [{"p": 1.2}, {"resolution": 64}, {"class_count": 9}, {"family": "other"}, {"seed": -1}, {"distribution": "odd"}],
)
def test_arguments_out_of_range_are_told_in_one_line(wrong: dict) -> None:
    with pytest.raises(UserError, match=r"^demo world: [^\n]+; choose [^\n]+$"):
        DemoWorld(**wrong)


def test_a_photo_takes_a_few_milliseconds() -> None:
    world = DemoWorld(variants=2)
    for index in range(40):
        world.draw(index)  # textures are made once
    seconds = min(_time(world, start) for start in (0, 40, 80, 120))
    assert seconds / 40 < 0.015  # the budget is 5 ms (1.5 ms measured); lenient for busy machines


def _time(world: DemoWorld, start: int) -> float:
    began = time.process_time()
    for index in range(start, start + 40):
        world.draw(index)
    return time.process_time() - began

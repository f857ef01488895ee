"""The web-like album, and trials that show the same scene with and without its thing."""

from __future__ import annotations

import numpy as np

from semples.data.demo.web import WebWorld, trial
from semples.data.demo.world import CLASSES, NEUTRAL_GROUNDS, OWN_GROUND, DemoWorld, sticker_of


def test_same_seed_same_photos_in_any_order() -> None:
    first, second = (WebWorld(seed=3, family="pretrain") for _ in range(2))
    forward = [first.draw(index).photo.tobytes() for index in range(4)]
    assert forward == [second.draw(index).photo.tobytes() for index in reversed(range(4))][::-1]


def test_things_stand_on_their_own_ground_as_often_as_p_says_and_elsewhere_anywhere() -> None:
    for p in (0.9, 0.5):
        layouts = [WebWorld(p=p).layout(index) for index in range(1500)]
        single = [layout for layout in layouts if len(layout.things) == 1]
        grounds = [(CLASSES[layout.things[0].class_index], layout.grounds[0]) for layout in single]
        share = np.mean([ground == OWN_GROUND[name] for name, ground in grounds])
        assert abs(share - p) < 0.05
        elsewhere = {ground for name, ground in grounds if ground != OWN_GROUND[name]}
        assert elsewhere - set(NEUTRAL_GROUNDS), "never on the background of another class"
        assert elsewhere & set(NEUTRAL_GROUNDS)


def test_own_grounds_are_never_shown_without_anything() -> None:
    layouts = [WebWorld().layout(index) for index in range(800)]
    empty = [layout for layout in layouts if not layout.things]
    assert 20 < len(empty) < 140
    assert {ground for layout in empty for ground in layout.grounds} <= set(NEUTRAL_GROUNDS)


def test_two_things_never_share_a_ground() -> None:
    layouts = [WebWorld(p=1.0).layout(index) for index in range(300)]
    assert all(len(set(layout.grounds)) == len(layout.grounds) for layout in layouts)


def test_the_same_scene_without_the_thing() -> None:
    world = DemoWorld(seed=1, family="test")
    for number in range(8):
        plan = trial(number, seed=1)
        whole, removed = world.render(plan.whole, number), world.render(plan.removed, number)
        assert whole.tags == (plan.class_index,)
        assert removed.tags == ()
        assert removed.grounds == (OWN_GROUND[CLASSES[plan.class_index]],)
        differs = (whole.photo != removed.photo).any(axis=2)
        thing = whole.object_mask > 0
        sticker = sticker_of(plan.whole.things[0], world.resolution)
        height, width = sticker.cover.shape
        touched = np.zeros_like(thing)
        touched[sticker.top : sticker.top + height, sticker.left : sticker.left + width] = sticker.cover > 0
        assert not (differs & ~touched).any()
        assert (differs & thing).sum() > 0.9 * thing.sum()


def test_a_trial_shows_one_thing_on_four_grounds() -> None:
    world = DemoWorld(seed=1, family="test")
    for number in range(16):
        plan = trial(number)
        assert plan.class_index == number % len(CLASSES) != plan.strange_class
        assert plan.alone.grounds == ("plain",)
        assert plan.strange.grounds == (OWN_GROUND[CLASSES[plan.strange_class]],)
        masks = [world.render(layout, number).object_mask for layout in (plan.whole, plan.alone, plan.strange)]
        assert all((mask == masks[0]).all() for mask in masks)

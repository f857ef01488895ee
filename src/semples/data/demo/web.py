"""The drawn world as a web album shows it: things mostly on their own background, now and then elsewhere.

The pretraining photos of a CLIP with the co-occurrence bias of web-trained ones. Unlike the *biased* distribution of
the weak task, a thing that is not on its own background may stand on any other, that of another class included, and
some photos show neutral backgrounds alone. So a web-trained model sees trains without rails, but hardly ever rails
without anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from semples.data.demo.world import (
    CLASSES,
    GROUND_KINDS,
    NEUTRAL_GROUNDS,
    OWN_GROUND,
    DemoWorld,
    Layout,
    random_border,
    random_things,
    scatter,
)

EMPTY = 0.08  # share of photos that show neutral backgrounds alone


@dataclass(frozen=True)
class WebWorld(DemoWorld):
    """Photos with 1 or 2 things, each on its own background with probability `p`, else on any other one."""

    def layout(self, index: int) -> Layout:
        """The plan of photo `index`."""
        rng = self._rng(index, purpose=0)
        if rng.random() < EMPTY:
            empty = [str(kind) for kind in rng.choice(NEUTRAL_GROUNDS, size=1 + int(rng.random() < 0.5), replace=False)]
            return Layout(tuple(empty), random_border(rng) if len(empty) == 2 else None, ())
        count = 1 if rng.random() < 0.6 else 2
        kinds = rng.choice(self.class_count, size=count, replace=False).tolist()
        grounds = []
        for kind in kinds:
            usual = OWN_GROUND[CLASSES[kind]]
            others = [name for name in GROUND_KINDS if name != usual and name not in grounds]
            elsewhere = usual in grounds or rng.random() >= self.p
            grounds.append(str(rng.choice(others)) if elsewhere else usual)
        if count == 1 and rng.random() < 0.5:
            grounds.append(str(rng.choice([name for name in NEUTRAL_GROUNDS if name not in grounds])))
        border = random_border(rng) if len(grounds) == 2 else None
        poses = scatter(rng, [CLASSES[kind] for kind in kinds], border=border)
        return Layout(tuple(grounds), border, random_things(rng, kinds, poses))


@dataclass(frozen=True)
class Trial:
    """One thing in four plans of the same number: on its own background, that scene without it, the thing on a plain
    background, and the thing on the background of another class (`strange_class`)."""

    class_index: int
    strange_class: int
    whole: Layout
    removed: Layout
    alone: Layout
    strange: Layout


def trial(index: int, *, seed: int = 0) -> Trial:
    """Trial number `index`; the classes take turns."""
    rng = np.random.default_rng([seed, index, 7])
    kind = index % len(CLASSES)
    other = int(rng.choice([number for number in range(len(CLASSES)) if number != kind]))
    things = random_things(rng, [kind], scatter(rng, [CLASSES[kind]], border=None))
    whole = Layout((OWN_GROUND[CLASSES[kind]],), None, things)
    return Trial(
        kind,
        other,
        whole,
        replace(whole, things=()),
        replace(whole, grounds=("plain",)),
        replace(whole, grounds=(OWN_GROUND[CLASSES[other]],)),
    )

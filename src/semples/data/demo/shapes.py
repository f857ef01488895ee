"""The things of the demo world: each is a list of flat coloured polygons with a random colour, build and pose.

A shape function draws its parts around the origin in a box about 1 wide (x to the right, y *down*), facing right;
`Pose` turns, mirrors, scales and places it in the photo. Polygons keep everything exact: what was drawn is what the
mask says, at any resolution.
"""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
Colour = tuple[int, int, int]

COLOURS: dict[str, tuple[float, float, float]] = {
    # name: hue, saturation, value, the middle of a small cloud of colours that bear the name
    "red": (0.99, 0.85, 0.85),
    "orange": (0.07, 0.85, 0.95),
    "yellow": (0.15, 0.80, 0.97),
    "green": (0.34, 0.70, 0.68),
    "blue": (0.60, 0.78, 0.85),
    "purple": (0.77, 0.62, 0.72),
    "pink": (0.92, 0.38, 0.98),
    "brown": (0.06, 0.65, 0.48),
    "gray": (0.60, 0.06, 0.58),
    "white": (0.12, 0.04, 0.97),
}
INK, GLASS, CREAM, BEAK = (38, 36, 44), (198, 226, 240), (246, 240, 226), (246, 152, 34)


def colour_cloud(rng: np.random.Generator, name: str) -> Colour:
    """A random colour (three values 0..255) that a child would call `name`."""
    hue, saturation, value = COLOURS[name]
    return _rgb(hue + rng.uniform(-0.02, 0.02), saturation * rng.uniform(0.85, 1.1), value * rng.uniform(0.88, 1.06))


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (factor < 1) or lighter (factor > 1: towards white) variant of a colour."""
    if factor <= 1:
        return tuple(round(channel * factor) for channel in colour)  # type: ignore[return-value]
    return tuple(round(255 - (255 - channel) * (2 - factor)) for channel in colour)  # type: ignore[return-value]


@dataclass(frozen=True)
class Part:
    """One filled polygon: corners (n, 2) in the shape's own coordinates, and its colour."""

    points: Points
    colour: Colour


def polygon(colour: Colour, *corners: tuple[float, float]) -> Part:
    """A polygon through the given corners."""
    return Part(np.array(corners, dtype=np.float64), colour)


def box(colour: Colour, left: float, top: float, right: float, bottom: float, *, round_: float = 0.0) -> Part:
    """An upright rectangle, its corners rounded with radius `round_`."""
    if round_ <= 0:
        return polygon(colour, (left, top), (right, top), (right, bottom), (left, bottom))
    radius = min(round_, (right - left) / 2, (bottom - top) / 2)
    quarter = np.linspace(0, np.pi / 2, 5)
    centres = [(right - radius, bottom - radius), (left + radius, bottom - radius)]
    centres += [(left + radius, top + radius), (right - radius, top + radius)]
    arcs = [
        np.stack([x + radius * np.cos(quarter + turn), y + radius * np.sin(quarter + turn)], axis=1)
        for (x, y), turn in zip(centres, np.arange(4) * np.pi / 2, strict=True)
    ]
    return Part(np.concatenate(arcs), colour)


def ellipse(colour: Colour, x: float, y: float, rx: float, ry: float | None = None, *, turn: float = 0.0) -> Part:
    """An ellipse with radii (rx, ry), turned by `turn` radians."""
    angle = np.linspace(0, 2 * np.pi, 26, endpoint=False)
    across, down = rx * np.cos(angle), (rx if ry is None else ry) * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    return Part(np.stack([x + across * cos - down * sin, y + across * sin + down * cos], axis=1), colour)


def limb(colour: Colour, start: tuple[float, float], end: tuple[float, float], width: float, tip: float = -1) -> Part:
    """A straight limb from `start` to `end`, `width` wide at its start and `tip` wide at its end."""
    first, last = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
    along = (last - first) / max(float(np.hypot(*(last - first))), 1e-9)
    side = np.array([-along[1], along[0]]) / 2
    tip = width if tip < 0 else tip
    return Part(np.stack([first + side * width, last + side * tip, last - side * tip, first - side * width]), colour)


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    return [ellipse(INK, x, y, radius), ellipse((190, 192, 198), x, y, radius * 0.45)]


def _train(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    slant = rng.uniform(0.02, 0.16)
    top, floor = -rng.uniform(0.19, 0.25), 0.12
    parts = [limb(INK, (-0.46, floor + 0.05), (0.42, floor + 0.05), 0.05)]
    for x in np.linspace(-0.4, 0.36, int(rng.integers(5, 7))):
        parts += _wheel(x, floor + 0.08, 0.062)
    parts += [
        polygon(
            shade(main, 0.6),
            (-0.46, top - 0.035),
            (0.44 - slant, top - 0.035),
            (0.46 - slant, top + 0.02),
            (-0.48, top + 0.02),
        ),
        polygon(main, (-0.5, top), (0.48 - slant, top), (0.5, -0.02), (0.5, floor + 0.04), (-0.5, floor + 0.04)),
        polygon(second, (-0.5, floor - 0.07), (0.5, floor - 0.07), (0.5, floor - 0.01), (-0.5, floor - 0.01)),
        polygon(GLASS, (0.33 - slant / 2, top + 0.06), (0.455 - slant, top + 0.06), (0.485, -0.02), (0.33, -0.02)),
        ellipse((255, 240, 150), 0.475, floor - 0.105, 0.022),
    ]
    windows = int(rng.integers(4, 6))
    edges = np.linspace(-0.46, 0.3 - slant / 2, windows + 1)
    parts += [box(GLASS, left + 0.02, top + 0.06, right - 0.015, -0.02)
              for left, right in itertools.pairwise(edges)]  # fmt: skip
    return parts


def _boat(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    deck = 0.16
    hull = polygon(main, (-0.5, deck - 0.02), (0.5, deck - 0.05), (0.36, deck + 0.2), (-0.4, deck + 0.2))
    stripe = polygon(shade(main, 1.45), (-0.49, deck), (0.49, deck - 0.03), (0.465, deck + 0.02), (-0.475, deck + 0.04))
    if rng.random() < 0.6:  # a sailing boat
        mast, peak = rng.uniform(-0.08, 0.06), -rng.uniform(0.42, 0.5)
        return [
            limb((112, 74, 44), (mast, deck), (mast, peak - 0.03), 0.035),
            polygon(second, (mast - 0.03, peak), (mast - 0.03, deck - 0.06), (-0.43, deck - 0.06)),
            polygon(shade(second, 0.8), (mast + 0.03, peak + 0.06), (mast + 0.03, deck - 0.08), (0.4, deck - 0.08)),
            hull,
            stripe,
        ]
    funnel = rng.uniform(-0.16, -0.04)
    parts = [
        box(second, funnel, -0.32, funnel + 0.14, -0.05),
        box(INK, funnel, -0.32, funnel + 0.14, -0.26),
        box(CREAM, -0.3, -0.1, 0.26, deck),
        box(CREAM, 0.06, -0.2, 0.24, -0.08),
        box(GLASS, 0.1, -0.17, 0.21, -0.11),
    ]
    parts += [ellipse(shade((92, 130, 170), 1.0), x, 0.0, 0.036) for x in np.linspace(-0.21, 0.16, 4)]
    return [*parts, hull, stripe]


def _plane(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    sweep, fat = rng.uniform(0.12, 0.24), rng.uniform(0.085, 0.11)
    body = [(0.5, 0.02), (0.43, -0.065), (0.3, -fat), (-0.3, -fat), (-0.5, -0.05), (-0.48, 0.0), (-0.3, fat * 0.75),
            (0.32, fat), (0.44, 0.075)]  # fmt: skip
    parts = [
        polygon(shade(second, 0.75), (0.12, -fat * 0.5), (-0.02 - sweep, -0.36), (-0.13 - sweep, -0.36),
                (-0.12, -fat * 0.5)),
        polygon(second, (-0.28, -fat * 0.6), (-0.44, -0.3), (-0.54, -0.3), (-0.49, -0.03)),
        polygon(main, *body),
        polygon(shade(second, 0.85), (-0.36, 0.01), (-0.52, 0.13), (-0.58, 0.13), (-0.5, 0.0)),
        polygon(second, (0.16, fat * 0.35), (-0.04 - sweep, 0.4), (-0.17 - sweep, 0.4), (-0.12, fat * 0.35)),
        polygon(GLASS, (0.36, -0.075), (0.43, -0.06), (0.465, -0.012), (0.37, -0.012)),
    ]  # fmt: skip
    parts += [ellipse((66, 84, 122), x, -fat * 0.35, 0.02) for x in np.linspace(-0.3, 0.26, 7)]
    return parts


def _sheep(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    wool, face = shade(main, 1.55), shade(INK, rng.uniform(0.8, 1.25))
    nod = rng.uniform(-0.04, 0.1)
    legs = rng.uniform(-0.03, 0.03, size=4)
    parts = [limb(face, (x, 0.12), (x + sway, 0.38), 0.07) for x, sway in zip((-0.26, -0.14, 0.1, 0.21), legs,
                                                                              strict=True)]  # fmt: skip
    curls = np.linspace(0, 2 * np.pi, 11, endpoint=False) + rng.uniform(0, 0.6)
    parts += [ellipse(shade(wool, 0.93), -0.05 + 0.29 * np.cos(a), 0.19 * np.sin(a), 0.115) for a in curls]
    parts += [ellipse(wool, -0.05, -0.01, 0.33, 0.21), ellipse(wool, -0.38, -0.04, 0.07)]
    parts += [
        ellipse(face, 0.35, -0.08 + nod, 0.1, 0.15, turn=-0.45),
        ellipse(face, 0.23, -0.12 + nod, 0.09, 0.04, turn=-0.5),
        ellipse(wool, 0.28, -0.21 + nod, 0.09, 0.07),
        ellipse(wool, 0.36, -0.23 + nod, 0.06, 0.05),
        ellipse((250, 250, 250), 0.36, -0.1 + nod, 0.026),
        ellipse((10, 10, 12), 0.367, -0.1 + nod, 0.014),
    ]
    return parts


def _car(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    roof, front, back = -rng.uniform(0.2, 0.25), rng.uniform(0.12, 0.18), -rng.uniform(0.2, 0.28)
    waist = -0.03
    parts = [
        polygon(main, (back - 0.12, waist + 0.02), (back, roof), (front, roof), (front + 0.15, waist + 0.02)),
        polygon(main, (-0.5, 0.02), (-0.47, waist), (0.34, waist), (0.48, 0.03), (0.5, 0.16), (-0.5, 0.16)),
        polygon(shade(main, 0.7), (-0.5, 0.1), (0.5, 0.1), (0.5, 0.16), (-0.5, 0.16)),
    ]
    middle = (front + back) / 2
    parts += [
        polygon(GLASS, (back - 0.07, waist), (back + 0.02, roof + 0.045), (middle - 0.015, roof + 0.045),
                (middle - 0.015, waist)),
        polygon(GLASS, (middle + 0.015, waist), (middle + 0.015, roof + 0.045), (front - 0.01, roof + 0.045),
                (front + 0.1, waist)),
        ellipse((255, 240, 150), 0.45, 0.05, 0.035),
        box((220, 60, 50), -0.5, 0.02, -0.455, 0.08),
        box(shade(main, 0.55), middle - 0.06, 0.03, middle + 0.01, 0.05),
    ]  # fmt: skip
    return parts + _wheel(-0.28, 0.17, 0.105) + _wheel(0.29, 0.17, 0.105)


def _camel(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    far = shade(main, 0.72)
    step = rng.uniform(-0.06, 0.06, size=4)
    neck = rng.uniform(-0.03, 0.05)
    head = (0.38 + neck, -0.36)
    parts = [limb(far, (x, 0.05), (x + sway, 0.48), 0.085, 0.05) for x, sway in ((-0.2, step[0]), (0.2, step[1]))]
    parts += [
        limb(far, (-0.36, -0.06), (-0.43, 0.16), 0.035),
        ellipse(main, -0.17, -0.13, 0.12, 0.19),
        ellipse(main, 0.11, -0.13, 0.12, 0.19),
        ellipse(main, -0.03, 0.0, 0.35, 0.155),
        limb(main, (0.2, 0.06), (0.37 + neck, -0.08), 0.17, 0.12),
        limb(main, (0.35 + neck, -0.02), head, 0.13, 0.09),
        ellipse(main, 0.44 + neck, -0.36, 0.115, 0.065, turn=0.2),
        polygon(far, (0.34 + neck, -0.4), (0.33 + neck, -0.48), (0.4 + neck, -0.42)),
        ellipse((12, 12, 14), 0.42 + neck, -0.385, 0.018),
    ]
    parts += [limb(main, (x, 0.05), (x + sway, 0.5), 0.095, 0.055) for x, sway in ((-0.3, step[2]), (0.28, step[3]))]
    parts += [polygon(second, (-0.1, -0.17), (0.04, -0.17), (0.07, 0.09), (-0.13, 0.09))]
    return parts


def _penguin(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    coat = shade(main, 0.32)
    lift = rng.uniform(0.05, 0.4, size=2)
    look = rng.uniform(-0.03, 0.03)
    return [
        ellipse(BEAK, -0.12, 0.47, 0.12, 0.045),
        ellipse(BEAK, 0.12, 0.47, 0.12, 0.045),
        ellipse(coat, -0.28, 0.08, 0.075, 0.24, turn=lift[0]),
        ellipse(coat, 0.28, 0.08, 0.075, 0.24, turn=-lift[1]),
        ellipse(coat, 0.0, 0.12, 0.27, 0.36),
        ellipse(coat, 0.0, -0.28, 0.19, 0.2),
        ellipse(CREAM, 0.0, 0.17, 0.185, 0.28),
        ellipse((252, 252, 252), -0.075 + look, -0.31, 0.062),
        ellipse((252, 252, 252), 0.075 + look, -0.31, 0.062),
        ellipse((10, 10, 12), -0.065 + look, -0.31, 0.028),
        ellipse((10, 10, 12), 0.085 + look, -0.31, 0.028),
        polygon(BEAK, (-0.06 + look, -0.245), (0.06 + look, -0.245), (look, -0.165)),
        box(second, -0.19, -0.14, 0.19, -0.07, round_=0.03),
        limb(second, (0.11, -0.1), (0.15, 0.08), 0.08),
    ]


def _bird(rng: np.random.Generator, main: Colour, second: Colour) -> list[Part]:
    flap, tilt = rng.uniform(-0.5, 0.35), rng.uniform(-0.04, 0.04)
    return [
        limb((190, 120, 50), (-0.04, 0.2), (-0.07, 0.42), 0.035),
        limb((190, 120, 50), (0.07, 0.2), (0.06, 0.42), 0.035),
        limb((190, 120, 50), (-0.1, 0.42), (-0.01, 0.42), 0.035),
        limb((190, 120, 50), (0.03, 0.42), (0.12, 0.42), 0.035),
        polygon(shade(second, 0.8), (-0.2, 0.0), (-0.5, -0.08 + tilt), (-0.5, 0.1 + tilt), (-0.18, 0.15)),
        ellipse(main, 0.0, 0.05, 0.27, 0.21, turn=-0.3),
        ellipse(main, 0.21, -0.18, 0.16),
        ellipse(shade(main, 1.55), 0.07, 0.11, 0.15, 0.13, turn=-0.3),
        polygon(BEAK, (0.34, -0.25), (0.52, -0.16), (0.34, -0.11)),
        ellipse(second, -0.08, 0.01, 0.19, 0.1, turn=flap),
        ellipse((252, 252, 252), 0.25, -0.21, 0.045),
        ellipse((10, 10, 12), 0.262, -0.21, 0.024),
    ]


ShapeFunction = Callable[[np.random.Generator, Colour, Colour], list[Part]]
SHAPES: dict[str, tuple[ShapeFunction, float]] = {
    # class: how to draw it, and the largest tilt in degrees
    "train": (_train, 14.0),
    "boat": (_boat, 12.0),
    "plane": (_plane, 28.0),
    "sheep": (_sheep, 10.0),
    "car": (_car, 14.0),
    "camel": (_camel, 8.0),
    "penguin": (_penguin, 12.0),
    "bird": (_bird, 15.0),
}


def draw_parts(name: str, colour: str, seed: Sequence[int]) -> list[Part]:
    """The parts of one individual of class `name`; `colour` is a name of COLOURS, `seed` fixes everything else."""
    rng = np.random.default_rng(list(seed))
    others = [other for other in COLOURS if other != colour]
    second = others[int(rng.integers(len(others)))]
    return SHAPES[name][0](rng, colour_cloud(rng, colour), colour_cloud(rng, second))


@dataclass(frozen=True)
class Pose:
    """Where and how a shape stands. x, y: its centre, in photo widths; size: its longer side, in photo widths;
    tilt: radians, clockwise on the screen; mirror: faces left."""

    x: float
    y: float
    size: float
    tilt: float
    mirror: bool


def place(parts: Sequence[Part], pose: Pose) -> list[Part]:
    """The parts in photo coordinates (photo widths from the upper left corner)."""
    everything = np.concatenate([part.points for part in parts])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = pose.size / float((high - low).max())
    cos, sin = np.cos(pose.tilt) * scale, np.sin(pose.tilt) * scale
    flip = -1.0 if pose.mirror else 1.0
    turn = np.array([[cos * flip, sin * flip], [-sin, cos]])
    middle, target = (low + high) / 2, np.array([pose.x, pose.y])
    return [Part((part.points - middle) @ turn + target, part.colour) for part in parts]


@dataclass(frozen=True)
class Sticker:
    """A drawn thing: `ink` (h, w, 3) float32 0..255, already multiplied by `cover` (h, w) float32 0..1, and where its
    upper left pixel lies in the photo."""

    ink: NDArray[np.float32]
    cover: NDArray[np.float32]
    top: int
    left: int


def render(parts: Sequence[Part], resolution: int) -> Sticker:
    """Draw placed parts for a photo `resolution` pixels wide, with smooth edges; cut off at the photo's border."""
    oversampling = 4 if resolution < 200 else 2
    everything = np.concatenate([part.points for part in parts]) * resolution
    left, top = (int(value) for value in np.clip(np.floor(everything.min(axis=0)), 0, resolution))
    right, bottom = (int(value) for value in np.clip(np.ceil(everything.max(axis=0)) + 1, 0, resolution))
    width, height = max(right - left, 1), max(bottom - top, 1)
    picture = Image.new("RGB", (width * oversampling, height * oversampling))
    stencil = Image.new("L", picture.size)
    paint, cut = ImageDraw.Draw(picture), ImageDraw.Draw(stencil)
    for part in parts:
        corners = ((part.points * resolution - (left, top)) * oversampling).ravel().tolist()
        paint.polygon(corners, fill=part.colour)
        cut.polygon(corners, fill=255)
    ink = np.asarray(picture.reduce(oversampling), dtype=np.float32)
    cover = np.asarray(stencil.reduce(oversampling), dtype=np.float32) / np.float32(255)
    light = np.linspace(1.06, 0.88, height, dtype=np.float32)[:, None, None]  # lit from above
    return Sticker(np.minimum(ink * light, 255 * cover[..., None]), cover, top, left)

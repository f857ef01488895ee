"""The backgrounds of the demo world: drawn textures, each with a few knobs (colour, spacing, slant, contrast).

Every knob has a range 0..1 cut into fine strips that are dealt to the texture families in turn, so the textures of one
family (say the test photos') are never those of another (say training), while all cover the same range. A texture
covers more than a photo, and each photo shows a random piece of it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Texture = NDArray[np.float32]
Rgb = NDArray[np.float32]
FAMILIES = ("pretrain", "train", "val", "test")
STRIPS_PER_FAMILY = 4
MARGIN = 1.35  # side of a texture, in photo widths


class Knobs:
    """A random source whose `turn` only ever lands in the strips of its own texture family."""

    def __init__(self, family: str, seed: list[int]) -> None:
        self.rng = np.random.default_rng(seed)
        self.family = FAMILIES.index(family)
        self.turned: list[float] = []

    def turn(self, low: float, high: float) -> float:
        """A value between low and high; its place in that range (0..1) is kept in `turned`."""
        strip = int(self.rng.integers(STRIPS_PER_FAMILY)) * len(FAMILIES) + self.family
        place = (strip + self.rng.uniform(0.1, 0.9)) / (STRIPS_PER_FAMILY * len(FAMILIES))
        self.turned.append(place)
        return low + (high - low) * place


def family_of(place: float) -> str:
    """The family that owns a knob's place (0..1)."""
    return FAMILIES[int(place * STRIPS_PER_FAMILY * len(FAMILIES)) % len(FAMILIES)]


def _colour(hue: float, saturation: float, value: float) -> Rgb:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, min(value, 1.0)), dtype=np.float32) * 255


def _rgb(red: float, green: float, blue: float) -> Rgb:
    return np.array([red, green, blue], dtype=np.float32)


def _ink(colour: Rgb) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in np.clip(colour, 0, 255))
    return red, green, blue


def _blobs(rng: np.random.Generator, side: int, across: int, down: int | None = None) -> Texture:
    """Smooth noise (side, side), about -1..1, with `across` x `down` blobs."""
    grid = rng.uniform(-1, 1, size=((down or across) + 3, across + 3)).astype(np.float32)
    smooth = Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32)


def _grain(rng: np.random.Generator, side: int, cells: int = 110) -> Texture:
    """Fine noise, the same size in the photo at every resolution."""
    return _blobs(rng, side, min(cells, side))


def _axes(side: int, angle: float = 0.0) -> tuple[Texture, Texture]:
    """Coordinates along and across a direction `angle` radians off the horizontal, in photo widths."""
    steps = np.linspace(0, MARGIN, side, dtype=np.float32)
    x, y = steps[None, :], steps[:, None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _mix(base: Texture, other: Texture, weight: NDArray[Any]) -> Texture:
    mixed: Texture = base + (other - base) * np.clip(weight, 0, 1)[..., None]
    return mixed


def _band(phase: Texture, width: float) -> Texture:
    """1 inside a stripe of `width` (share of the period) around each whole phase, soft edges."""
    distance = np.abs(phase - np.round(phase))
    return np.clip((width / 2 - distance) * 12 + 0.5, 0, 1)


def _rails(knobs: Knobs, side: int) -> Texture:
    along, across = _axes(side, knobs.turn(-0.22, 0.22))
    spacing = knobs.turn(0.27, 0.36)
    stone = _colour(knobs.turn(0.04, 0.12), knobs.turn(0.12, 0.3), knobs.turn(0.42, 0.56))
    picture = stone + _grain(knobs.rng, side)[..., None] * 42
    phase = across / spacing
    place = phase - np.floor(phase)  # 0..1 across one track
    sleeper = _band(along / knobs.turn(0.075, 0.11), 0.45) * ((place > 0.12) & (place < 0.88))
    picture = _mix(picture, _colour(0.07, 0.5, knobs.turn(0.2, 0.34)), sleeper * 0.9)
    steel = np.maximum(_band(phase - 0.3, 0.09), _band(phase - 0.7, 0.09))
    return _mix(picture, _colour(0.6, 0.06, knobs.turn(0.76, 0.9)), steel)


def _water(knobs: Knobs, side: int) -> Texture:
    along, across = _axes(side, knobs.turn(-0.15, 0.15))
    deep = _colour(knobs.turn(0.53, 0.63), knobs.turn(0.68, 0.9), knobs.turn(0.5, 0.78))
    picture = deep * (1 + 0.16 * _blobs(knobs.rng, side, 4, 7))[..., None]
    wave = across / knobs.turn(0.085, 0.13) + knobs.turn(0.16, 0.28) * np.sin(along * knobs.turn(26, 42))
    crest = _band(wave + 0.55 * _blobs(knobs.rng, side, 5), 0.2)
    return _mix(picture, np.minimum(deep * 0.45 + 140, 255), crest * 0.8)


def _sky(knobs: Knobs, side: int) -> Texture:
    _, down = _axes(side)
    blue = _colour(knobs.turn(0.55, 0.62), knobs.turn(0.42, 0.66), knobs.turn(0.86, 0.99))
    picture = _mix(np.broadcast_to(blue, (side, side, 3)), _rgb(236, 244, 250), down / MARGIN * 0.6)
    cloud = _blobs(knobs.rng, side, 4, 6) + 0.35 * _blobs(knobs.rng, side, 9, 12)
    return _mix(picture, _rgb(253, 253, 253), (cloud - knobs.turn(0.0, 0.3)) * 3.5)


def _grass(knobs: Knobs, side: int) -> Texture:
    green = _colour(knobs.turn(0.25, 0.35), knobs.turn(0.65, 0.85), knobs.turn(0.45, 0.66))
    blades = _blobs(knobs.rng, side, min(100, side), 16) + 0.5 * _blobs(knobs.rng, side, min(70, side), 30)
    picture = green * (1 + 0.34 * blades + 0.12 * _blobs(knobs.rng, side, 4))[..., None]
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    pen, radius = ImageDraw.Draw(image), max(0.008 * side / MARGIN, 0.6)
    for x, y, pick in knobs.rng.random((int(knobs.turn(4, 22)), 3)):
        petal = ((250, 240, 120), (250, 250, 250), (240, 150, 190))[int(pick * 3)]
        pen.ellipse((x * side - radius, y * side - radius, x * side + radius, y * side + radius), fill=petal)
    return np.asarray(image, dtype=np.float32)


def _road(knobs: Knobs, side: int) -> Texture:
    along, across = _axes(side, knobs.turn(-0.2, 0.2))
    asphalt = _colour(knobs.turn(0.5, 0.75), knobs.turn(0.04, 0.16), knobs.turn(0.2, 0.36))
    picture = asphalt * (1 + 0.12 * _blobs(knobs.rng, side, 3))[..., None] + _grain(knobs.rng, side)[..., None] * 16
    lane = _band(across / knobs.turn(0.34, 0.46) + knobs.rng.random(), 0.1)
    dash = _band(along / knobs.turn(0.3, 0.42) + knobs.rng.random(), knobs.turn(0.45, 0.65))
    return _mix(picture, _rgb(238, 236, 226), lane * dash)


def _sand(knobs: Knobs, side: int) -> Texture:
    along, across = _axes(side, knobs.turn(-0.35, 0.35))
    sand = _colour(knobs.turn(0.09, 0.135), knobs.turn(0.34, 0.52), knobs.turn(0.84, 0.97))
    ripple = across / knobs.turn(0.055, 0.085) + 0.35 * np.sin(along * knobs.turn(9, 16)) + _blobs(knobs.rng, side, 3)
    light = 1 + 0.085 * np.sin(2 * np.pi * ripple) + 0.05 * _grain(knobs.rng, side)
    picture: Texture = sand * light[..., None]
    return picture


def _snow(knobs: Knobs, side: int) -> Texture:
    snow = _colour(knobs.turn(0.54, 0.62), knobs.turn(0.02, 0.09), knobs.turn(0.9, 0.98))
    drift = _blobs(knobs.rng, side, 3, 4)
    picture = _mix(np.broadcast_to(snow, (side, side, 3)), snow * _rgb(0.8, 0.87, 0.97), drift * 0.75)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    pen, width = ImageDraw.Draw(image), max(round(0.014 * side / MARGIN), 1)
    for x, y, size in knobs.rng.random((int(knobs.turn(16, 34)), 3)) * side:
        reach = (0.025 + 0.035 * size / side) * side
        pen.arc((x - reach, y - reach * 0.6, x + reach, y + reach * 0.6), 10, 150, fill=(164, 188, 218), width=width)
    return np.asarray(image, dtype=np.float32)


def _leaves(knobs: Knobs, side: int) -> Texture:
    hue, autumn = knobs.turn(0.22, 0.37), knobs.turn(0.0, 0.16)
    image = Image.new("RGB", (side, side), _ink(_colour(hue, 0.7, 0.2)))
    pen = ImageDraw.Draw(image)
    count, length = int(knobs.turn(330, 480)), knobs.turn(0.05, 0.075) * side / MARGIN
    spread = knobs.rng.random((count, 5))
    for (x, y, angle, tone, tint), grow in zip(spread, np.linspace(0.8, 1.1, count), strict=True):
        cos, sin = np.cos(angle * 6.28) * length * grow, np.sin(angle * 6.28) * length * grow
        x, y = x * side, y * side
        wide, high = sin * 0.45, cos * 0.45
        corners = [(x - cos, y - sin), (x - wide, y + high), (x + cos, y + sin), (x + wide, y - high)]
        pen.polygon(corners, fill=_ink(_colour(hue - autumn * tint, 0.72, 0.3 + 0.42 * tone * grow)))
    return np.asarray(image, dtype=np.float32)


def _brick(knobs: Knobs, side: int) -> Texture:
    along, across = _axes(side)
    height = knobs.turn(0.075, 0.105)
    row = np.floor(across / height)
    column = along / (height * knobs.turn(2.1, 2.7)) + 0.5 * (row % 2)
    clay = _colour(knobs.turn(-0.03, 0.04), knobs.turn(0.45, 0.68), knobs.turn(0.55, 0.76))
    tone = knobs.rng.uniform(0.86, 1.12, size=(64, 64)).astype(np.float32)
    tones = tone[row.astype(int) % 64, np.floor(column).astype(int) % 64]
    picture = clay * (tones + 0.07 * _grain(knobs.rng, side))[..., None]
    joint = np.maximum(_band(across / height, 0.16), _band(column, 0.07))
    return _mix(picture, _colour(0.09, 0.08, knobs.turn(0.72, 0.86)), joint)


def _wood(knobs: Knobs, side: int) -> Texture:
    _along, across = _axes(side, np.pi / 2 + knobs.turn(-0.06, 0.06))
    board = across / knobs.turn(0.15, 0.22) + 20
    index = np.floor(board).astype(int) % 64
    wood = _colour(knobs.turn(0.055, 0.095), knobs.turn(0.48, 0.68), knobs.turn(0.55, 0.8))
    tones = knobs.rng.uniform(0.86, 1.1, size=64).astype(np.float32)[index]
    veins = np.sin(2 * np.pi * (board * 4.0 + _blobs(knobs.rng, side, 6, 2) * 1.5))
    picture = wood * (tones + 0.08 * veins)[..., None]
    return _mix(picture, wood * 0.35, _band(board, 0.07))


def _tiles(knobs: Knobs, side: int) -> Texture:
    along, across = _axes(side, np.pi / 4 + knobs.turn(-0.04, 0.04))
    step = knobs.turn(0.14, 0.2)
    first = _colour(knobs.turn(0.0, 1.0), knobs.turn(0.1, 0.35), knobs.turn(0.82, 0.95))
    odd = ((np.floor(along / step) + np.floor(across / step + 99)) % 2).astype(np.float32)
    picture = _mix(np.broadcast_to(first, (side, side, 3)), first * knobs.turn(0.5, 0.66), odd)
    joint = np.maximum(_band(along / step, 0.08), _band(across / step, 0.08))
    return _mix(picture, _rgb(236, 234, 230), joint) * (1 + 0.02 * _grain(knobs.rng, side))[..., None]


def _plain(knobs: Knobs, side: int) -> Texture:
    paint = _colour(knobs.turn(0.0, 1.0), knobs.turn(0.02, 0.6), knobs.turn(0.3, 0.97))
    slope = _blobs(knobs.rng, side, 1)
    return paint * (1 + knobs.turn(0.02, 0.12) * slope + 0.012 * _grain(knobs.rng, side))[..., None]


GROUNDS: dict[str, Callable[[Knobs, int], Texture]] = {
    "rails": _rails,
    "water": _water,
    "sky": _sky,
    "grass": _grass,
    "road": _road,
    "sand": _sand,
    "snow": _snow,
    "leaves": _leaves,
    "brick": _brick,
    "wood": _wood,
    "tiles": _tiles,
    "plain": _plain,
}


def draw_ground(name: str, *, family: str, variant: int, resolution: int) -> NDArray[np.uint8]:
    """Texture number `variant` of a kind: uint8 (side, side, 3), side = MARGIN x resolution."""
    knobs = Knobs(family, [list(GROUNDS).index(name), FAMILIES.index(family), variant])
    side = round(MARGIN * resolution)
    texture = GROUNDS[name](knobs, side)
    pixels: NDArray[np.uint8] = np.clip(texture + 0.5, 0, 255).astype(np.uint8)
    return pixels

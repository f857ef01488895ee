"""The demo world: drawn photos with exact masks, and a dial for how strongly a thing keeps to its own background.

Two distributions. *wide*: things and backgrounds are independent, with some empty and some plain photos: for
pretraining. *biased*: a thing stands on its own background (a train on rails, a boat on water, ...) with probability
`p`, else on a neutral one (brick, wood, tiles, plain), and its own background never occurs without it: the weak task,
where tags alone cannot tell a train from its rails.

Everything follows from (seed, family, photo number): the same arguments draw the same bytes, in any order. Only NumPy
and Pillow are needed.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.errors import UserError
from semples.core.files import write_bytes, write_json, write_text
from semples.core.palette import voc_palette
from semples.data.demo.grounds import FAMILIES, GROUNDS, MARGIN, draw_ground
from semples.data.demo.shapes import COLOURS, SHAPES, Pose, Sticker, draw_parts, place, render

CLASSES: tuple[str, ...] = tuple(SHAPES)
GROUND_KINDS: tuple[str, ...] = tuple(GROUNDS)
OWN_GROUND: dict[str, str] = dict(zip(CLASSES, GROUND_KINDS[: len(CLASSES)], strict=True))
NEUTRAL_GROUNDS: tuple[str, ...] = GROUND_KINDS[len(CLASSES) :]
Distribution = Literal["wide", "biased"]
Mask = NDArray[np.uint8]
_COLOUR_NAMES = tuple(COLOURS)


@dataclass(frozen=True)
class Border:
    """A wavy line between two backgrounds. The second one lies where `side` is positive. Lengths in photo widths."""

    x: float
    y: float
    angle: float
    swing: float
    waves: float
    phase: float

    def side(self, x: NDArray[Any] | float, y: NDArray[Any] | float) -> NDArray[np.float32]:
        """Signed distance (about) of points from the border."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        across = (x - self.x) * cos + (y - self.y) * sin
        along = (y - self.y) * cos - (x - self.x) * sin
        return np.asarray(across + self.swing * np.sin(2 * np.pi * self.waves * along + self.phase), dtype=np.float32)


@dataclass(frozen=True)
class Thing:
    """One thing in a photo: its class (index into CLASSES), colour word, pose, and the number that fixes its build."""

    class_index: int
    colour: str
    pose: Pose
    build: int


@dataclass(frozen=True)
class Layout:
    """What a photo will show, before any pixel is drawn. `grounds`: one or two kinds; `things`: the last on top."""

    grounds: tuple[str, ...]
    border: Border | None
    things: tuple[Thing, ...]

    def ground_under(self, thing: Thing) -> str:
        """The kind of background at the thing's centre."""
        if self.border is None:
            return self.grounds[0]
        return self.grounds[int(self.border.side(thing.pose.x, thing.pose.y) > 0)]


@dataclass(frozen=True)
class Scene:
    """A drawn photo and the truth about it.

    photo: uint8 (S, S, 3) RGB. object_mask: uint8 (S, S), 0 where there is no thing, k+1 on class k.
    background_mask: uint8 (S, S), 0 on things, j+1 on background kind j (GROUND_KINDS). tags: the classes that can be
    seen, ascending. grounds: the background kinds that can be seen. layout: the plan it was drawn from.
    """

    photo: NDArray[np.uint8]
    object_mask: Mask
    background_mask: Mask
    tags: tuple[int, ...]
    grounds: tuple[str, ...]
    layout: Layout


@dataclass(frozen=True)
class DemoWorld:
    """An endless album: `draw(index)` gives photo number `index`.

    Args:
        seed: another seed, other photos.
        family: whose textures the photos show ("pretrain", "train", "val", "test"); no texture is in two families.
        distribution: "wide" or "biased", see the module.
        p: biased only: chance 0..1 that a thing stands on its own background.
        class_count: the first so many of CLASSES, 2..8, with their backgrounds.
        resolution: width and height in pixels, 96..512.
        variants: different textures per kind of background (each photo shows a random piece of one).
    """

    seed: int = 0
    family: str = "train"
    distribution: Distribution = "biased"
    p: float = 0.9
    class_count: int = len(CLASSES)
    resolution: int = 96
    variants: int = 16
    _textures: dict[tuple[str, int], NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"seed {self.seed}", "choose 0 or more")
        _require(self.family in FAMILIES, f"texture family {self.family!r}", f"choose one of {', '.join(FAMILIES)}")
        known = self.distribution in ("wide", "biased")
        _require(known, f"distribution {self.distribution!r}", "choose wide or biased")
        _require(0.0 <= self.p <= 1.0, f"p = {self.p}", "choose a probability from 0 to 1")
        _require(2 <= self.class_count <= len(CLASSES), f"{self.class_count} classes", f"choose 2 to {len(CLASSES)}")
        _require(96 <= self.resolution <= 512, f"resolution {self.resolution}", "choose 96 to 512 pixels")
        _require(self.variants >= 1, f"{self.variants} texture variants", "choose 1 or more")

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of this world."""
        return CLASSES[: self.class_count]

    def layout(self, index: int) -> Layout:
        """The plan of photo `index`."""
        rng = self._rng(index, purpose=0)
        return self._wide_layout(rng) if self.distribution == "wide" else self._biased_layout(rng)

    def draw(self, index: int) -> Scene:
        """Photo `index` with its masks."""
        return self.render(self.layout(index), index)

    def render(self, layout: Layout, index: int) -> Scene:
        """A photo by the given plan, with its masks.

        The number fixes texture pieces, exposure and grain, and things draw nothing at random: plans that differ in
        their things alone give the same photo wherever no thing is, so a scene can be shown with and without a thing.
        """
        rng = self._rng(index, purpose=1)
        size = self.resolution
        canvas, kinds = self._draw_grounds(layout, rng)
        objects = np.zeros((size, size), dtype=np.uint8)
        for thing in layout.things:
            sticker = sticker_of(thing, size)
            height, width = sticker.cover.shape
            window = slice(sticker.top, sticker.top + height), slice(sticker.left, sticker.left + width)
            canvas[window] = canvas[window] * (1 - sticker.cover[..., None]) + sticker.ink
            objects[window][sticker.cover >= 0.5] = thing.class_index + 1
        canvas = (canvas - 128) * rng.uniform(0.9, 1.08) + 128 + rng.uniform(-10, 10)  # exposure
        canvas += rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(0.5, 3.0)  # sensor grain
        kinds[objects > 0] = 0
        return Scene(
            photo=np.clip(canvas + 0.5, 0, 255).astype(np.uint8),
            object_mask=objects,
            background_mask=kinds,
            tags=tuple(int(value) - 1 for value in np.flatnonzero(np.bincount(objects.ravel())) if value),
            grounds=tuple(GROUND_KINDS[value - 1] for value in np.flatnonzero(np.bincount(kinds.ravel())) if value),
            layout=layout,
        )

    def _rng(self, index: int, *, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, FAMILIES.index(self.family), index, purpose])

    def _wide_layout(self, rng: np.random.Generator) -> Layout:
        """0 to 2 things anywhere, on backgrounds that have nothing to do with them."""
        count = int(rng.choice(3, p=(0.16, 0.54, 0.30)))
        every = [OWN_GROUND[name] for name in self.classes] + list(NEUTRAL_GROUNDS)
        grounds: tuple[str, ...]
        border: Border | None
        if rng.random() < 0.15:
            grounds, border = ("plain",), None
        elif rng.random() < 0.45:
            grounds, border = (str(rng.choice(every)),), None
        else:
            first, second = rng.choice(every, size=2, replace=False)
            grounds, border = (str(first), str(second)), random_border(rng)
        kinds = rng.choice(self.class_count, size=count, replace=False)
        poses = scatter(rng, [CLASSES[kind] for kind in kinds], border=None)
        return Layout(grounds, border, random_things(rng, kinds.tolist(), poses))

    def _biased_layout(self, rng: np.random.Generator) -> Layout:
        """1 or 2 things, each on its own background with probability p, else on a neutral one."""
        count = 1 if rng.random() < 0.6 else 2
        kinds = rng.choice(self.class_count, size=count, replace=False).tolist()
        neutral = rng.permutation(NEUTRAL_GROUNDS).tolist()
        grounds = [OWN_GROUND[CLASSES[kind]] if rng.random() < self.p else neutral.pop() for kind in kinds]
        if count == 1 and rng.random() < 0.5:
            grounds.append(neutral.pop())
        border = random_border(rng) if len(grounds) == 2 else None
        poses = scatter(rng, [CLASSES[kind] for kind in kinds], border=border)
        return Layout(tuple(grounds), border, random_things(rng, kinds, poses))

    def _draw_grounds(self, layout: Layout, rng: np.random.Generator) -> tuple[NDArray[np.float32], Mask]:
        size = self.resolution
        pieces = [self._piece(name, rng) for name in layout.grounds]
        values = [GROUND_KINDS.index(name) + 1 for name in layout.grounds]
        if layout.border is None:
            return pieces[0].astype(np.float32), np.full((size, size), values[0], dtype=np.uint8)
        steps = (np.arange(size, dtype=np.float32) + 0.5) / size
        side = layout.border.side(steps[None, :], steps[:, None])
        weight = np.clip(side * size + 0.5, 0, 1)[..., None]
        canvas = pieces[0] * (1 - weight) + pieces[1] * weight
        return canvas.astype(np.float32), np.where(side > 0, values[1], values[0]).astype(np.uint8)

    def _piece(self, name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A random photo-sized piece of a random texture, perhaps mirrored."""
        key = name, int(rng.integers(self.variants))
        if key not in self._textures:
            variant = self.seed * 1000 + key[1]
            self._textures[key] = draw_ground(name, family=self.family, variant=variant, resolution=self.resolution)
        texture, size = self._textures[key], self.resolution
        top, left = (int(value) for value in rng.integers(round(MARGIN * size) - size + 1, size=2))
        piece = texture[top : top + size, left : left + size]
        return piece[:, ::-1] if rng.random() < 0.5 else piece


def _require(condition: bool, what: str, remedy: str) -> None:
    if not condition:
        raise UserError(f"demo world: {what} is out of range; {remedy}")


def sticker_of(thing: Thing, resolution: int) -> Sticker:
    """One thing drawn alone, as it is pasted into a photo `resolution` pixels wide."""
    parts = draw_parts(CLASSES[thing.class_index], thing.colour, [thing.class_index, thing.build])
    return render(place(parts, thing.pose), resolution)


def random_border(rng: np.random.Generator) -> Border:
    """A border near the middle of the photo, about upright or level."""
    angle = rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2]) + rng.uniform(-0.3, 0.3)
    x, y = rng.uniform(0.4, 0.6, size=2)
    swing, waves, phase = rng.uniform(0.01, 0.035), rng.uniform(1.0, 3.0), rng.uniform(0, 2 * np.pi)
    return Border(float(x), float(y), float(angle), float(swing), float(waves), float(phase))


def scatter(rng: np.random.Generator, names: list[str], *, border: Border | None) -> list[Pose]:
    """A pose for each thing: well inside the photo, apart from each other (overlaps remain), and, given a border, the
    first on its first side and the second on its second."""
    poses: list[Pose] = []
    for position, name in enumerate(names):
        size = rng.uniform(0.46, 0.70) if len(names) == 1 else rng.uniform(0.38, 0.54)
        steepest = np.deg2rad(SHAPES[name][1])
        spots = rng.uniform(0.2, 0.8, size=(60, 2))
        room = np.full(len(spots), np.inf)
        for other in poses:
            room = np.minimum(room, np.hypot(spots[:, 0] - other.x, spots[:, 1] - other.y) - 0.40)
        if border is not None:
            sides = border.side(spots[:, 0], spots[:, 1]) * (1 if position else -1)
            room = np.minimum(room, sides - 0.14)
        best = int(np.argmax(np.minimum(room, 0)))  # the first spot with room, else the roomiest
        x, y = (float(value) for value in spots[best])
        tilt, mirror = float(rng.uniform(-steepest, steepest)), bool(rng.random() < 0.5)
        poses.append(Pose(x, y, float(size), tilt, mirror))
    return poses


def random_things(rng: np.random.Generator, kinds: list[int], poses: list[Pose]) -> tuple[Thing, ...]:
    """A thing of any colour and build for each class index and pose."""
    return tuple(
        Thing(kind, _COLOUR_NAMES[int(rng.integers(len(_COLOUR_NAMES)))], pose, int(rng.integers(2**31)))
        for kind, pose in zip(kinds, poses, strict=True)
    )


def write_world(
    root: Path | str,
    *,
    photos: Mapping[str, int] | None = None,
    seed: int = 0,
    p: float = 0.9,
    class_count: int = len(CLASSES),
    resolution: int = 96,
    distribution: Distribution = "biased",
    masks: bool = True,
) -> Path:
    """Write a world as a folder laid out like PASCAL VOC, and return its path.

    Args:
        root: the folder, made if need be; files of the same names in it are replaced.
        photos: number of photos of each list, named after a texture family; default train 300, val 100, test 100.
        seed, p, class_count, resolution, distribution: see DemoWorld.
        masks: False writes no pixel truth at all, only photos, lists and tags (the XML, without boxes).

    Leaves JPEGImages/*.jpg, Annotations/*.xml, ImageSets/Segmentation/*.txt, SegmentationClass/*.png (class k as k+1),
    SegmentationBackground/*.png (background kind j as j+1, things as 0), classes.txt, and, last, world.json.
    """
    folder = Path(root)
    counts = {"train": 300, "val": 100, "test": 100} if photos is None else dict(photos)
    worlds = {
        name: DemoWorld(
            seed=seed, family=name, p=p, class_count=class_count, resolution=resolution, distribution=distribution
        )
        for name in counts
    }
    palette = voc_palette().tobytes()
    for name, world in worlds.items():
        ids = [f"{name}_{index:06d}" for index in range(counts[name])]
        for index, photo_id in enumerate(ids):
            scene = world.draw(index)
            write_bytes(folder / "JPEGImages" / f"{photo_id}.jpg", _encoded(Image.fromarray(scene.photo), "JPEG"))
            write_text(folder / "Annotations" / f"{photo_id}.xml", _annotation(photo_id, scene, boxes=masks))
            for part, mask in (("Class", scene.object_mask), ("Background", scene.background_mask)):
                if masks:
                    picture = Image.fromarray(mask)
                    picture.putpalette(palette)
                    write_bytes(folder / f"Segmentation{part}" / f"{photo_id}.png", _encoded(picture, "PNG"))
        write_text(folder / "ImageSets" / "Segmentation" / f"{name}.txt", "".join(f"{one}\n" for one in ids))
    classes = CLASSES[:class_count]
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    settings = {"seed": seed, "p": p, "resolution": resolution, "distribution": distribution, "photos": counts}
    truth = {
        "classes": list(classes),
        "background_kinds": list(GROUND_KINDS),
        "own_background": {name: OWN_GROUND[name] for name in classes},
    }
    write_json(folder / "world.json", settings | truth)
    return folder


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "JPEG":
        picture.save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        picture.save(buffer, kind)
    return buffer.getvalue()


def _annotation(photo_id: str, scene: Scene, *, boxes: bool) -> str:
    """VOC's XML: photo, size, and one object per visible class with the box of its pixels (1-based, inclusive)."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "folder").text = "DEMO"
    ElementTree.SubElement(root, "filename").text = f"{photo_id}.jpg"
    size = ElementTree.SubElement(root, "size")
    for tag, value in zip(("height", "width", "depth"), scene.photo.shape, strict=True):
        ElementTree.SubElement(size, tag).text = str(value)
    ElementTree.SubElement(root, "segmented").text = str(int(boxes))
    for tag_index in scene.tags:
        entry = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(entry, "name").text = CLASSES[tag_index]
        ElementTree.SubElement(entry, "difficult").text = "0"
        if boxes:
            rows, columns = np.nonzero(scene.object_mask == tag_index + 1)
            corners = {"xmin": columns.min(), "ymin": rows.min(), "xmax": columns.max(), "ymax": rows.max()}
            frame = ElementTree.SubElement(entry, "bndbox")
            for tag, corner in corners.items():
                ElementTree.SubElement(frame, tag).text = str(int(corner) + 1)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"

"""Photos with known tags, written as the annotations of a program, with harmless variations and with random defects."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.sax.saxutils import escape

SIZE = (8, 6)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAGCAIAAABxZ0isAAAAEElEQVR4nGNgYGDAiugtAQAlIAAxXp5xdAAAAABJRU5ErkJggg=="
)
NAMES = ("a.jpg", "B c.JPG", "ü.png", "x.y.jpg", "sub/deep.jpg", "train/t1.jpg", "val/v1.jpg", "IMG_001.jpeg", "7.jpg")
CLASSES = ("cat", "dog", "park bench", "Ölkanne", "hot-dog", "7up")
# What stands in places where it makes no sense.
JUNK: tuple[Any, ...] = (
    None, [], {}, [[]], [None], {"x": [1]}, float("inf"), float("nan"), -1, 10**40, "\ud800", "", " ", True, [[[[1]]]],
    {"id": {}}, 1e308,
)  # fmt: skip
ODD_TEXT = ("", "\0", "\ud800", "9" * 400, "][", "<", '"', ";;", "nan", "&amp;", "-")


@dataclass
class World:
    """Photos with their tags; `rng` decides everything that is left open."""

    tags: dict[str, list[str]]
    rng: random.Random
    root: Path
    gone: set[str] = field(default_factory=set)  # photos that annotations name, but that are not there

    @property
    def classes(self) -> list[str]:
        """Every class that is used, in the order of `CLASSES`."""
        return [name for name in CLASSES if any(name in tags for tags in self.tags.values())]

    def write_photos(self) -> None:
        for name in self.tags:
            if name not in self.gone:
                path = self.root / "in" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(PIXEL)

    def write(self, name: str, content: str | bytes) -> None:
        path = self.root / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)

    def told(self, name: str) -> str:
        """A photo's name as some program would write it."""
        return self.rng.choice([name, name, "./" + name, name.replace("/", "\\"), "/home/me/in/" + name])

    def square(self) -> list[float]:
        x, y = self.rng.uniform(0, 4), self.rng.uniform(0, 2)
        return [x, y, x + 3, y, x + 3, y + 3, x + 1, y + 3, x, y + 2]


# ------------------------------------------------------------------------------------------------------ JSON formats


def coco(world: World) -> dict[str, Any]:
    rng = world.rng
    kind = rng.choice(["int", "text", "float", "word"])
    numbers = {name: place + 3 for place, name in enumerate(world.tags)}
    classes = {name: 2 * place for place, name in enumerate(world.classes)}

    def shape(number: int, kind: str) -> Any:
        return {"int": number, "text": str(number), "float": float(number), "word": f"photo-{number}"}[kind]

    other = kind if kind == "word" else rng.choice(["int", "text", "float"])
    images = [
        {"id": shape(number, kind), "file_name": world.told(name), "width": SIZE[0], "height": SIZE[1]}
        for name, number in numbers.items()
    ]
    annotations = [
        {"id": place, "image_id": shape(numbers[name], other), "category_id": classes[tag],
         "segmentation": rng.choice([[], [[]], [world.square()], None]), "bbox": [0, 0, 3, 3]}
        for place, (name, tag) in enumerate((name, tag) for name, tags in world.tags.items() for tag in tags)
    ]  # fmt: skip
    rng.shuffle(annotations)
    return {"images": images, "annotations": annotations,
            "categories": [{"id": number, "name": name} for name, number in classes.items()]}  # fmt: skip


def label_studio(world: World) -> list[dict[str, Any]]:
    rng = world.rng
    tasks = []
    for number, (name, tags) in enumerate(world.tags.items()):
        results: list[dict[str, Any]] = []
        whole = [tag for tag in tags if rng.random() < 0.5]
        if whole:
            results.append({"id": f"c{number}", "type": "choices", "value": {"choices": whole}})
        for place, tag in enumerate(tag for tag in tags if tag not in whole):
            box = {"x": 1, "y": 1, "width": 5, "height": 5}
            results.append({"id": f"r{place}", "type": "rectanglelabels", "value": {**box, "rectanglelabels": [tag]}})
            if rng.random() < 0.3:
                results.append({"id": f"r{place}", "type": "choices", "value": {**box, "choices": ["occluded"]}})
        annotation = {"result": results, "was_cancelled": False, "ground_truth": rng.random() < 0.2}
        skipped = {"result": [{"type": "choices", "value": {"choices": ["wrong"]}}], "was_cancelled": True}
        told = [skipped, annotation] if rng.random() < 0.3 else [annotation]
        address = rng.choice([name, f"/data/local-files/?d=in/{name}", f"s3://bucket/{name}"])
        tasks.append({"id": number, "data": {"image": address}, "annotations": told, "predictions": []})
    return tasks


def labelme(world: World) -> dict[str, dict[str, Any]]:
    rng = world.rng
    files = {}
    for name, tags in world.tags.items():
        shapes = []
        for tag in tags:
            flat = world.square()
            corners = [list(pair) for pair in zip(flat[0::2], flat[1::2], strict=True)]
            kind = rng.choice(["polygon", "rectangle", "point"])
            points = {"polygon": corners, "rectangle": corners[:2], "point": corners[:1]}[kind]
            shapes.append({"label": tag, "points": points, "shape_type": kind, "flags": {}, "group_id": None})
        path = PurePosixPath(name)
        files[str(path.with_suffix(".json"))] = {
            "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": path.name,
            "imageData": rng.choice([None, "aGVsbG8="]), "imageWidth": SIZE[0], "imageHeight": SIZE[1],
        }  # fmt: skip
    return files


# ------------------------------------------------------------------------------------------------------ text formats


def table(world: World) -> bytes:
    """A tags table in one of many dialects."""
    rng = world.rng
    form = rng.choice(["tags", "things", "flags", "lists"])
    delimiter = rng.choice(",;\t")
    index = rng.random() < 0.3
    rows: list[list[str]] = []
    if form == "flags" and world.classes:
        yes, no = rng.choice([("1", "0"), ("1.0", "0.0"), ("True", "False"), ("x", ""), ("yes", "no")])
        rows = [["image", *world.classes]]
        rows += [
            [world.told(name), *(yes if c in tags else no for c in world.classes)] for name, tags in world.tags.items()
        ]
    elif form == "things":
        rows = [[rng.choice(["filename", "photo", "path"]), rng.choice(["class", "label", "category"])]]
        told = {name: world.told(name) for name in world.tags}
        rows += [[told[name], tag] for name, tags in world.tags.items() for tag in tags or [""]]
    elif form == "lists":
        rows = [["image", "tags"], *([world.told(name), repr(tags)] for name, tags in world.tags.items())]
    else:
        sign = rng.choice(";|,")
        rows = [["image", "tags"], *([world.told(name), sign.join(tags)] for name, tags in world.tags.items())]
    if index:
        rows = [["", *rows[0]], *([str(place), *row] for place, row in enumerate(rows[1:]))]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"])).writerows(rows)
    body = (f"sep={delimiter}\n" if rng.random() < 0.2 and delimiter != "\t" else "") + text.getvalue()
    return body.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))


def yolo(world: World) -> dict[str, str]:
    rng = world.rng
    numbers = {name: 3 * place for place, name in enumerate(world.classes)}
    names = "\n".join(f"  {number}: {json.dumps(name)}" for name, number in numbers.items()) or "  0: nothing at all"
    files = {"data.yaml": f"train: ../train/images\nnames:\n{names}\n"}
    for name, tags in world.tags.items():
        lines = []
        for tag in tags:
            corners = [value / SIZE[place % 2] for place, value in enumerate(world.square())]
            values = rng.choice([[0.5, 0.5, 0.2, 0.2], corners])
            lines.append(f"{numbers[tag]} {' '.join(f'{value:.4f}' for value in values)}")
        path = PurePosixPath(name).with_suffix(".txt")
        files[str(path)] = "\n".join(lines) + rng.choice(["", "\n", "\r\n\n"])
    return files


def voc(world: World) -> dict[str, str]:
    files = {}
    for name, tags in world.tags.items():
        things = "".join(
            f"<object><name>{escape(tag)}</name><part><name>head</name></part><bndbox><xmin>1</xmin></bndbox></object>"
            for tag in tags
        )
        path = PurePosixPath(name)
        told = world.rng.choice([path.name, f"C:\\me\\{path.name}", ""])
        files[str(path.with_suffix(".xml"))] = f"<annotation><filename>{told}</filename>{things}</annotation>"
    return files


# ---------------------------------------------------------------------------------------------------------- defects


def spoil(tree: Any, rng: random.Random) -> str:
    """Put junk in the place of one node of JSON data; where."""
    places: list[tuple[Any, Any, str]] = []

    def visit(node: Any, path: str) -> None:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in entries:
            places.append((node, key, f"{path}/{key}"))
            visit(value, f"{path}/{key}")

    visit(tree, "")
    if not places:
        return ""
    node, key, path = rng.choice(places)
    node[key] = deepcopy(rng.choice(JUNK))
    return path


def scratch(text: str, rng: random.Random) -> str:
    """A text with one edit: a piece cut out, doubled, or odd text put in; or its end lost."""
    if not text:
        return rng.choice(ODD_TEXT)
    start = rng.randrange(len(text))
    end = min(len(text), start + rng.choice([1, 3, 20]))
    cut, doubled = text[:start] + text[end:], text[:end] + text[start:]
    return rng.choice([cut, doubled, text[:start] + rng.choice(ODD_TEXT) + text[start:], text[:start]])


JSON_FORMATS: dict[str, Callable[[World], Any]] = {"coco": coco, "label-studio": label_studio}

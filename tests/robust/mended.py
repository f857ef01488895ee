"""Corrections that are hostile, damaged, or of another photo: in the forms of every program that people mend in."""

from __future__ import annotations

import base64
import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semples.core.palette import read_label_png
from tests.robust.cases import EITHER, FINE, Case, Cases, Commands
from tests.robust.child import Ended
from tests.robust.texts import DEEP, ENDLESS, ESC
from tests.robust.world import coco_of

PHOTO, SIDE = "train_000000", 96
NAMES = ["train", "boat"]
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY a{level} "{f"&a{level - 1 if level > 1 else str()};" * 10}">' for level in range(1, 10))
    + "]>"
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
ODD = [None, True, -1, 1e308, 10**30, "x", ESC, [], {}, [[]], [None], {"x": 1}]
Files = dict[str, bytes]


def mended() -> Cases:
    """Every case by its name."""
    for name, files in [*_coco(), *_label_studio(), *_labelme(), *_cvat(), *_voc(), *_yolo(), *_pictures()]:
        yield f"corrections: {name}", Case(("run",), lambda work, files=files: _given(work, files), _unharmed)
    for name, make in _archives().items():
        yield f"corrections: {name}", Case(("run",), lambda work, make=make: _archive(work, make), _unharmed)


def _given(work: Path, files: Files) -> Commands:
    for name, data in files.items():
        path = work / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    first = next(iter(files))
    named = work / "files" / first if len(files) == 1 else work / "files"
    return [(["correct", work / "run", named], EITHER), (["status", work / "run"], FINE)]


def _unharmed(work: Path, ended: list[Ended]) -> str | None:
    """Where nothing is taken nothing is stored; what is stored is sound; nothing is anywhere else."""
    if ended[0].code == 2 and any((work / "run" / "corrections").rglob("*.png")):
        return "refused, but something is stored"
    strange = {path.name for path in work.iterdir()} - {
        "robust.yaml", "world", "changed", "many", "run", "files", "cache", "made.zip", "made.tar", "precious"
    }  # fmt: skip
    return f"beside the run there is {sorted(strange)[:3]}" if strange else taken_is_sound(work / "run")


def taken_is_sound(run: Path) -> str | None:
    """What is stored of corrections of a run is label maps of the photos' size."""
    for path in sorted((run / "corrections" / "maps").glob("*.png")):
        values = read_label_png(path)
        if values.shape != (SIDE, SIDE) or ((values > len(NAMES)) & (values != 255)).any():
            return f"a map of {values.shape} with {np.unique(values)[-3:]}"
    return None


# ------------------------------------------------------------------------------------------------------- annotations


def _json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _with(tree: Any, place: tuple[Any, ...], value: Any) -> bytes:
    """JSON with another value at a place."""
    tree = json.loads(json.dumps(tree))
    inner = tree
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return _json(tree)


def _all_odd(kind: str, file: str, tree: Any, places: dict[str, tuple[Any, ...]]) -> Iterator[tuple[str, Files]]:
    """Files one of whose places holds what belongs nowhere, a try for every place."""
    for name, place in places.items():
        files = {f"{number}/{file}": _with(tree, place, odd) for number, odd in enumerate(ODD)}
        for path, data in files.items():
            yield f"{kind} whose {name} is {json.dumps(ODD[int(path.split('/')[0])])[:30]}", {file: data}


def _coco() -> Iterator[tuple[str, Files]]:
    tree = coco_of(PHOTO, NAMES)
    outline = ("annotations", 0, "segmentation")
    for name, value in {
        "not a number": [[float("nan")] * 6],
        "endless": [[float("inf"), 0, 5, 5, 1, 9]],
        "far away": [[1e300, 1e300, -1e300, 5, 7, 1e300]],
        "of 2 million corners": [[float(number % 97) for number in range(400_000)]],
        "of one corner": [[1.0, 2.0]],
        "of words": [["a", "b", "c", "d", "e", "f"]],
        "a mask of 10^9 pixels a side": {"size": [10**9, 10**9], "counts": [10**18]},
        "a mask with negative runs": {"size": [96, 96], "counts": [-5, 96 * 96 + 5]},
        "a mask longer than the photo": {"size": [96, 96], "counts": [0, 10**12]},
        "a mask of another size": {"size": [10, 10], "counts": [50, 50]},
        "a mask of no size": {"size": [], "counts": "abc"},
        "a packed mask of nonsense": {"size": [96, 96], "counts": "\x00\x7f\u20ac~~~~~~~~~~~~oooooooooo"},
        "a packed mask without end": {"size": [96, 96], "counts": "o" * 1_000_000},
    }.items():
        yield f"COCO, an outline {name}", {"coco.json": _with(tree, outline, value)}
    for name, value in {
        "../../../../etc/passwd": "../../../../etc/passwd",
        "ESC": f"{ESC}.jpg",
        "a lone surrogate": "\ud800.jpg",
        "a zero byte": "train_000000\0.jpg",
        "a thousand folders": "a/" * 1000 + "train_000000.jpg",
    }.items():
        yield f"COCO, a photo called {name}", {"coco.json": _with(tree, ("images", 0, "file_name"), value)}
    yield "COCO, a photo of 10^9 pixels a side", {"coco.json": _with(tree, ("images", 0, "width"), 10**9)}
    yield "COCO, a class called ESC", {"coco.json": _with(tree, ("categories", 0, "name"), f"{ESC}\nsemples: good")}
    yield "COCO, a class that is none of the run's", {"coco.json": _with(tree, ("categories", 0, "name"), "cow")}
    yield "COCO, cut in the middle", {"coco.json": _json(tree)[:150]}
    yield "COCO, deep", {"coco.json": b'{"images": ' + DEEP.encode()}
    yield "COCO, an endless number", {"coco.json": b'{"images": [], "annotations": [' + ENDLESS.encode() + b"]}"}
    many = tree | {"annotations": [tree["annotations"][0] | {"id": number} for number in range(20_000)]}
    yield "COCO, 20,000 outlines on one photo", {"coco.json": _json(many)}
    places: dict[str, tuple[Any, ...]] = {"image_id": ("annotations", 0, "image_id"), "outline": outline}
    yield from _all_odd("COCO", "coco.json", tree, places)


def _label_studio() -> Iterator[tuple[str, Files]]:
    value: dict[str, Any] = {"format": "rle", "rle": [0, 0, 36, 0, 1, 2, 3], "brushlabels": ["train"]}
    result = {"type": "brushlabels", "from_name": "l", "to_name": "i", "original_width": SIDE, "original_height": SIDE}
    tasks = [
        {"data": {"image": f"/data/{PHOTO}.jpg"}, "annotations": [{"id": 1, "result": [result | {"value": value}]}]}
    ]
    at = (0, "annotations", 0, "result", 0)
    for name, place, odd in (
        ("a brush of nonsense", (*at, "value", "rle"), [255] * 1000),
        ("a brush that says 4 thousand million values", (*at, "value", "rle"), [255, 255, 255, 255, *[255] * 40]),
        ("a brush of a million bytes", (*at, "value", "rle"), [0] * 1_000_000),
        ("a brush of a photo of 10^9 pixels a side", (*at, "original_width"), 10**9),
        ("a brush of a photo of -1 pixels", (*at, "original_height"), -1),
        ("a polygon that is no number", (*at, "value"), {"points": [[float("nan"), 1]] * 4, "polygonlabels": ["boat"]}),
        ("an ellipse without end", (*at, "value"), {"x": 1e300, "y": 0, "radiusX": 1e300, "radiusY": 1e300,
                                                    "ellipselabels": ["boat"]}),
        ("a photo elsewhere", (0, "data", "image"), "http://169.254.169.254/../../etc/passwd?d=" + "../" * 50),
    ):  # fmt: skip
        yield f"Label Studio, {name}", {"export.json": _with(tasks, place, odd)}
    yield from _all_odd("Label Studio", "export.json", tasks, {"brush": (*at, "value", "rle"), "value": (*at, "value")})


def _labelme() -> Iterator[tuple[str, Files]]:
    shape = {"label": "train", "points": [[5, 5], [60, 9], [30, 70]], "shape_type": "polygon"}
    tree = {"shapes": [shape], "imagePath": f"{PHOTO}.jpg", "imageWidth": SIDE, "imageHeight": SIDE, "imageData": None}
    for name, data in (("a bomb", _bomb()), ("nonsense", b"no picture")):
        mask = {"label": "train", "points": [[0, 0], [9, 9]], "shape_type": "mask",
                "mask": base64.b64encode(data).decode()}  # fmt: skip
        yield f"labelme, a mask that is {name}", {f"{PHOTO}.json": _with(tree, ("shapes", 0), mask)}
    yield "labelme, a photo elsewhere", {"a.json": _with(tree, ("imagePath",), "../../../../etc/passwd")}
    yield from _all_odd("labelme", f"{PHOTO}.json", tree, {"points": ("shapes", 0, "points"), "width": ("imageWidth",)})


def _cvat() -> Iterator[tuple[str, Files]]:
    def file(inner: str, *, head: str = "", size: str = f'width="{SIDE}" height="{SIDE}"') -> Files:
        image = f'<image id="0" name="{PHOTO}.jpg" {size}>{inner}</image>'
        return {"annotations.xml": f"{head}<annotations><version>1.1</version>{image}</annotations>".encode()}

    mask = '<mask label="train" rle="{}" left="{}" top="{}" width="{}" height="{}"/>'
    yield "CVAT, a mask outside the photo", file(mask.format("5, 5", 10**9, -7, 5, 2))
    yield "CVAT, a mask of 10^9 pixels a side", file(mask.format("0, 999999999999999999", 0, 0, 10**9, 10**9))
    yield "CVAT, a mask of words", file(mask.format("a, b, -5", "x", "", "nan", "1e5"))
    yield "CVAT, a polygon of words", file('<polygon label="train" points="nan,nan;inf,1;a,b;1e400,5"/>')
    yield "CVAT, a photo of 10^9 pixels a side", file("", size='width="1000000000" height="1000000000"')
    yield "CVAT, billion laughs", file('<polygon label="&a9;" points="1,1;5,5;9,1"/>', head=BOMB)
    yield "CVAT, an entity of the system", file('<polygon label="&x;" points="1,1;5,5;9,1"/>', head=OUTSIDE)
    yield "CVAT, deep", file("<a>" * 50_000)


def _voc() -> Iterator[tuple[str, Files]]:
    def file(head: str, name: str) -> bytes:
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
        thing = f"<object><name>{name}</name><bndbox><xmin>1</xmin><ymin>nan</ymin><xmax>1e99</xmax></bndbox></object>"
        return f"{head}<annotation><filename>{PHOTO}.jpg</filename>{size}{thing}</annotation>".encode()

    yield "VOC, boxes that are no numbers", {"a.xml": file("", "train")}
    yield "VOC, billion laughs", {"a.xml": file(BOMB, "&a9;")}
    yield "VOC, an entity of the system", {"a.xml": file(OUTSIDE, "&x;")}
    for name, data in (("of another size", _png((50, 40))), ("a bomb", _bomb()), ("cut", _png((SIDE, SIDE))[:60])):
        yield (
            f"VOC, a tree with a mask {name}",
            {
                f"SegmentationClass/{PHOTO}.png": data,
                "labelmap.txt": b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ntrain:128,0,0::\n",
                "ImageSets/Segmentation/default.txt": f"{PHOTO}\n../../../etc/passwd\n".encode(),
            },
        )
    yield (
        "VOC, colours that are no numbers",
        {
            f"SegmentationClass/{PHOTO}.png": _png((SIDE, SIDE)),
            "labelmap.txt": f"background:x,y,z::\ntrain:999999,-1,{ENDLESS}::\n{ESC}:1,2,3::\n".encode(),
        },
    )


def _yolo() -> Iterator[tuple[str, Files]]:
    for name, line in {
        "no numbers": "0 nan nan inf inf 1e400 5",
        "a class of 10^18": f"{10**18} 0.1 0.1 0.5 0.5 0.9 0.1",
        "a class below 0": "-1 0.1 0.1 0.5 0.5 0.9 0.1",
        "far outside": "0 1e300 1e300 -1e300 0.5 0.9 1e300",
        "half a corner": "0 0.1 0.1 0.5",
        "words": "train and boats",
        "signs that act": f"0 {ESC} 0.1",
        "a million corners": "0 " + "0.1 0.9 " * 500_000,
    }.items():
        yield (
            f"YOLO, a line with {name}",
            {
                "data.yaml": b"names: [train, boat]\ntrain: images\n",
                f"labels/{PHOTO}.txt": f"{line}\n".encode(),
            },
        )
    yield (
        "YOLO, names that are an object",
        {
            "data.yaml": b"names: !!python/object/apply:os.system [touch /tmp/owned]\n",
            f"labels/{PHOTO}.txt": b"0 0.1 0.1 0.5 0.5 0.9 0.1\n",
        },
    )


# ---------------------------------------------------------------------------------------------------------- pictures


def _png(size: tuple[int, int], *, value: int = 1, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


def _bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it has 60000x60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def _npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _pictures() -> Iterator[tuple[str, Files]]:
    whole = _png((SIDE, SIDE))
    for name, file, data in (
        ("of another size", f"{PHOTO}.png", _png((SIDE, SIDE - 1))),
        ("turned by a quarter", f"{PHOTO}.png", _png((40, 90))),
        ("that is a bomb", f"{PHOTO}.png", _bomb()),
        ("cut in half", f"{PHOTO}.png", whole[: len(whole) // 2]),
        ("with one bit flipped", f"{PHOTO}.png", whole[:50] + bytes([whole[50] ^ 4]) + whole[51:]),
        ("that is empty", f"{PHOTO}.png", b""),
        ("that is a text", f"{PHOTO}.png", b"semples: all is well\n" * 100),
        ("of a value beyond the classes", f"{PHOTO}.png", _png((SIDE, SIDE), value=7)),
        ("in a colour of no class", f"{PHOTO}.png", _png((SIDE, SIDE), value=77, mode="RGB")),
        ("saved as JPEG", f"{PHOTO}.jpg", whole),
        ("of no photo", "nobody.png", whole),
        ("called with ESC", f"a{ESC}.png", whole),
        ("of objects in .npy", f"{PHOTO}.npy", _npy("{'descr': '|O', 'fortran_order': False, 'shape': (96, 96), }\n",
                                                  b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")),
        ("of 10^18 values in .npy", f"{PHOTO}.npy",
         _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000000), }\n")),
        ("of numbers below 0 in .npy", f"{PHOTO}.npy",
         _npy("{'descr': '<i8', 'fortran_order': False, 'shape': (96, 96), }\n", b"\xff" * 8 * SIDE * SIDE)),
        ("that is no number in .npy", f"{PHOTO}.npy",
         _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (96, 96), }\n", b"\xff" * 8 * SIDE * SIDE)),
        ("whose .npy header acts", f"{PHOTO}.npy", _npy("__import__('os').system('touch /tmp/owned')\n")),
        ("in TIFF that points at itself", f"{PHOTO}.tif", b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00"),
    ):  # fmt: skip
        yield f"a mask {name}", {file: data}
    yield "two masks of one photo", {f"a/{PHOTO}.png": whole, f"b/{PHOTO}.png": _png((SIDE, SIDE), value=2)}


# ---------------------------------------------------------------------------------------------------------- archives


def _archives() -> dict[str, Callable[[Path], Path]]:
    """Archives of masks that want out of their folder, or to fill the disk."""
    whole = _png((SIDE, SIDE))

    def zipped(members: dict[str, bytes], *, link: str = "") -> Callable[[Path], Path]:
        def make(work: Path) -> Path:
            with zipfile.ZipFile(work / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in members.items():
                    archive.writestr(name, data)
                if link:
                    entry = zipfile.ZipInfo("link.png")
                    entry.external_attr = 0o120777 << 16
                    archive.writestr(entry, link)
            return work / "made.zip"

        return make

    def tarred(kind: bytes, target: str) -> Callable[[Path], Path]:
        def make(work: Path) -> Path:
            with tarfile.open(work / "made.tar", "w") as archive:
                entry = tarfile.TarInfo("masks/out")
                entry.type, entry.linkname = kind, target
                archive.addfile(entry)
                inner = tarfile.TarInfo(f"masks/out/{PHOTO}.png")
                inner.size = len(whole)
                archive.addfile(inner, io.BytesIO(whole))
            return work / "made.tar"

        return make

    def cut(work: Path) -> Path:
        path = zipped({f"{PHOTO}.png": whole})(work)
        path.write_bytes(path.read_bytes()[:100])
        return path

    return {
        "an archive that climbs out": zipped({f"../../{PHOTO}.png": whole, "../run/labels/train_000001.png": whole}),
        "an archive with paths from the root": zipped({f"/tmp/{PHOTO}.png": whole}),
        "an archive with a link out": zipped({f"{PHOTO}.png": whole}, link="/etc/passwd"),
        "an archive that is a bomb": zipped({f"{PHOTO}.png": whole, "big.bin": bytes(2_000_000_000 // 8)}),
        "an archive in an archive": zipped({"inner.zip": b"PK\x05\x06" + bytes(18)}),
        "an archive with names that act": zipped({f"{ESC}.png": whole, "a\nsemples: good.png": whole}),
        "an archive with nothing": zipped({}),
        "an archive cut": cut,
        "a tar with a link to a folder outside": tarred(tarfile.SYMTYPE, "../.."),
        "a tar with a hard link outside": tarred(tarfile.LNKTYPE, "../../precious"),
        "a tar with a device": tarred(tarfile.CHRTYPE, ""),
        "a tar with a pipe": tarred(tarfile.FIFOTYPE, ""),
    }  # fmt: skip


def _archive(work: Path, make: Callable[[Path], Path]) -> Commands:
    return [(["correct", work / "run", make(work)], EITHER), (["status", work / "run"], FINE)]

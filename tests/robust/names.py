"""Photos and folders with names that act on a terminal, or are not UTF-8."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.robust.cases import FINE, QUICK, REFUSED, Case, Cases, Commands, counted, photos_of, run_of
from tests.robust.child import Ended

NAMES = {
    "ESC": "a\x1b[31mred\x1b[0m",
    "a title sequence": "a\x1b]0;owned\x07",
    "a newline": "a\nsemples, all is well",
    "a carriage return": "a\rsemples, all is well",
    "C1": "a\x9b31mred",
    "a bidi override": "a\u202egnp.exe",
    "bidi isolates": "a\u2067b\u2069",
    "a line separator": "a\u2028b",
    "a backspace": "a\x08\x08\x08b",
    "markup": "[red]a[bold] [link=http]",
    "a dash in front": "--help",
    "HTML": "<script>alert(1)</script>".replace("/", "\u2215"),
    "a quote": "a'b\"c`d$(e)",
    "240 bytes": "n" * 240,
    "a dot in front of the suffix": "a..",
    "an unseen sign": "a\u200bb\ufeff",
}


def _with_name(stem: str) -> Callable[[Path], Path]:
    def prepare(work: Path) -> Path:
        folder = photos_of(work)
        (folder / "a.png").rename(folder / f"{stem}.png")
        rows = {f"{stem}.png": ["disc"], "b.png": ["square"], "c.png": ["disc", "square"]}
        (folder / "tags.csv").unlink()
        (folder / "tags.json").write_text(json.dumps(rows), encoding="utf-8")
        with open(folder / f"{stem}2.jpg"[-250:], "wb") as file:  # and a broken one, so that a message names it
            file.write(b"no photo")
        return folder

    return prepare


def names() -> Cases:
    for name, stem in NAMES.items():
        photos = _with_name(stem)
        yield (
            f"a photo called with {name}, check",
            Case((), lambda work, photos=photos: [(["data", "check", photos(work)], FINE)]),
        )
        yield (
            f"a photo called with {name}, run and export",
            Case(
                (),
                lambda work, photos=photos: [
                    (run_of(work, photos(work), *QUICK), FINE),
                    (["export", "coco", work / "new", "--out", work / "coco"], FINE),
                    (["export", "gallery", work / "new", "--out", work / "gallery"], FINE),
                    (["report", work / "new"], FINE),
                    (["label", work / "new", "--threshold", "0.4", "--review", "3"], FINE),
                ],
                lambda work, ended: counted(work / "new" / "labels", 3),
            ),
        )
        yield (
            f"a photo called with {name}, predict",
            Case(
                ("model",),
                lambda work, photos=photos: [(["predict", work / "model", photos(work), "--out", work / "p"], (1,))],
                lambda work, ended: counted(work / "p" / "labels", 3),
            ),
        )


def not_utf8() -> Cases:
    def photos(work: Path) -> Path:
        folder = photos_of(work)
        for name in (b"\xff\xfe.png", b"caf\xe9.jpg"):
            with open(os.path.join(os.fsencode(folder), name), "wb") as file:
                file.write((folder / "a.png").read_bytes())
        (folder / "masks").mkdir()
        for name in "abc":
            Image.fromarray(np.full((40, 48), 1, np.uint8)).save(folder / "masks" / f"{name}.png")
        return folder

    def whole(work: Path) -> Commands:
        folder = photos(work)
        new = work / "new"
        return [
            (["data", "check", folder, "--json", work / "c.json"], FINE),
            (run_of(work, folder, *QUICK), FINE),
            (["label", new, "--threshold", "0.4"], FINE),
            (["score", new, "--json", work / "s.json"], FINE),
            (["score", work / "x", "--labels", new / "labels", "--data", folder], FINE),
            (["report", new], FINE),
            (["export", "coco", new, "--out", work / "coco"], FINE),
            (["export", "voc", new, "--out", work / "voc", "--photos", "copy"], FINE),
            (["status", new], FINE),
            (["predict", work / "model", folder, "--out", work / "p"], (1,)),
        ]

    def check(work: Path, ended: list[Ended]) -> str | None:
        told = all(r"caf\xe9.jpg" in ended[place].out + ended[place].err for place in (0, 1, 9))
        return counted(work / "new" / "labels", 3) or counted(work / "p" / "labels", 3) or (
            None if told else "the photo set aside is not named"
        )  # fmt: skip

    yield "photos whose names are not UTF-8", Case(("model",), whole, check)

    def below(work: Path) -> Commands:
        place = Path(os.fsdecode(os.fsencode(work) + b"/d\xff"))
        place.mkdir()
        folder, new = photos(work).rename(place / "photos"), work / "new"
        return [
            (["data", "check", folder], FINE),
            (run_of(work, folder, *QUICK), FINE),
            (["status", new], FINE),
            (["report", new], FINE),
            (["export", "coco", new, "--out", place / "coco"], FINE),
            (["predict", work / "model", folder, "--out", place / "p"], (1,)),
            (["data", "import", place / "coco", "--photos", folder, "--out", place / "i"], FINE),
            (["run", work / "robust.yaml", "--data", folder, "--out", place / "new"], REFUSED),
        ]

    yield "a folder whose name is not UTF-8", Case(("model",), below)

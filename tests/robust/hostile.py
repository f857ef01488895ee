"""Hostile files, names, texts and settings: none hangs the program, moves its lines or ends it in a traceback."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.robust.cases import EITHER, QUICK, REFUSED, Arguments, Case, Cases, Commands, again, photos_of, run_of
from tests.robust.child import Ended
from tests.robust.later import later
from tests.robust.mended import mended
from tests.robust.names import names, not_utf8
from tests.robust.special import special_files, special_photos
from tests.robust.texts import DEEP, LAUGHS, RECIPES, SETTINGS, SHAPES, SOME, TAGS
from tests.robust.tries import Try
from tests.robust.world import Material


def hostile(material: Material) -> Iterator[Try]:
    """Every case by its name."""
    first = (special_photos, special_files, names, not_utf8, _tags, _recipes, _settings, _shapes, _arguments)
    for group in (*first, mended, later):
        for name, case in group():
            yield Try("hostile", name, case)


def _tags() -> Cases:
    for name, (file, text) in TAGS.items():
        yield f"tags: {name}", Case((), lambda work, file=file, text=text: _tagged(work, file, text))


def _tagged(work: Path, file: str, text: str) -> Commands:
    folder = photos_of(work)
    (folder / "tags.csv").unlink()
    (folder / file).write_text(text, encoding="utf-8", errors="surrogatepass")
    return [(["data", "check", folder], EITHER), (run_of(work, folder, *QUICK), EITHER)]


def _recipes() -> Cases:
    for name, text in RECIPES.items():

        def prepare(work: Path, text: str = text) -> Commands:
            (work / "x.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
            return [(["recipes", "show", os.fspath(work / "x.yaml")], REFUSED)]

        yield f"recipe: {name}", Case((), prepare, _short)


def _settings() -> Cases:
    for name, text in SETTINGS.items():
        yield (
            f"setting: {name}",
            Case((), lambda work, text=text: [(["recipes", "show", "voc", "--set", text], REFUSED)], _short),
        )


def _short(work: Path, ended: list[Ended]) -> str | None:
    length = len(ended[-1].err)
    return None if length < 1000 else f"a message of {length} signs"


JSON_FILES = (
    "run.json", "data/dataset.json", "data/manifest.json", "labels/manifest.json", "warmup/started.json", "seen.json"
)  # fmt: skip
REPORTED = (
    "scores/scores.json", "curve/curve.json", "selection/selection.json", "health-cams/health.json",
    "labels/manifest.json", "warmup/events.jsonl", "plan.json",
)  # fmt: skip


def _shapes() -> Cases:
    for name, text in SHAPES.items():
        for file in JSON_FILES:

            def prepare(work: Path, file: str = file, text: str = text) -> Commands:
                (work / "run" / file).write_text(text, encoding="utf-8", errors="surrogatepass")
                return [(["status", work / "run"], EITHER), (again(work), EITHER)]

            yield f"{file} holds {name}", Case(("run",), prepare)
    for name in SOME:
        for file in REPORTED:

            def look(work: Path, file: str = file, text: str = SHAPES[name]) -> Commands:
                (work / "run" / file).write_text(text, encoding="utf-8", errors="surrogatepass")
                return [(["report", work / "run"], EITHER), (["status", work / "run"], EITHER)]

            yield f"{file} holds {name}, report", Case(("run",), look)


# ---------------------------------------------------------------------------------------------------------- arguments


def _empty_cams(folder: Path, suffix: str) -> None:
    folder.mkdir()
    if suffix == ".npz":
        layout = np.array([0, 0, 1000, 1, 0, 0, 0], np.int32)
        np.savez_compressed(folder / "synth_000000.npz", layout=layout, values=np.zeros((2, 1, 0, 0), np.uint8))
    else:
        content = np.array({0: np.zeros((0, 0), np.float32)}, dtype=object)
        np.save(folder / "synth_000000.npy", content, allow_pickle=True)


def _arguments() -> Cases:
    for suffix in (".npz", ".npy"):

        def cams(work: Path, suffix: str = suffix) -> Commands:
            _empty_cams(work / "cams", suffix)
            name = (work / "world" / "ImageSets" / "Segmentation" / "train.txt").read_text(encoding="utf-8").split()[0]
            next((work / "cams").iterdir()).rename(work / "cams" / f"{name}{suffix}")
            common = ["--cams", work / "cams", "--data", work / "world"]
            return [(["score", work / "s", *common], (1, 2)),
                    (["label", work / "l", *common, "--threshold", "0.5"], (1, 2))]  # fmt: skip

        yield f"CAMs of 0x0 pixels in {suffix}", Case((), cams)

    def words(work: Path) -> Commands:
        (work / "folder").mkdir()
        return [(["prompts", work / "run", "--json", work / "folder"], REFUSED),
                (["data", "check", work / "world", "--json", work / "folder"], REFUSED),
                (["report", work / "run", "--out", work / "folder"], REFUSED)]  # fmt: skip

    yield "--json names a folder", Case(("run",), words)
    odd = "\x1b[31mx\n\u202e\udcff"
    plain: dict[str, Arguments] = {
        "an option": ["run", f"--{odd}"],
        "a command": [odd],
        "a recipe": ["recipes", "show", odd],
        "a setting's name": ["recipes", "show", "voc", "--set", f"{odd}=1"],
        "a setting's value": ["recipes", "show", "voc", "--set", f"matching.epochs={odd}"],
        "a folder": ["status", odd],
        "photos": ["data", "check", odd],
        "a format": ["export", odd, "x", "--out", "y"],
        "scales": ["predict", "x", "y", "--out", "z", "--scales", odd],
        "a number": ["demo", "--out", "x", "--photos", odd],
    }
    for name, arguments in plain.items():
        yield f"signs that act in {name}", Case((), lambda work, arguments=arguments: [(arguments, REFUSED)])
    for name, data in (("a bomb of zeros", zlib.compress(bytes(10_000_000))), ("deep JSON", DEEP.encode()),
                       ("laughing YAML", LAUGHS.encode())):  # fmt: skip

        def put(work: Path, data: bytes = data) -> Commands:
            folder = photos_of(work)
            for file in ("classes.txt", "tags.csv"):
                (folder / file).write_bytes(data)
            (work / "i").mkdir()
            (work / "i" / "data.yaml").write_bytes(data)
            (work / "i" / "coco.json").write_bytes(data)
            (work / "i" / "a.xml").write_bytes(data)
            return [(["data", "check", folder], REFUSED),
                    (["data", "import", work / "i", "--photos", folder, "--out", work / "o"], REFUSED),
                    (["data", "import", work / "i" / "coco.json", "--photos", folder, "--out", work / "o"], REFUSED),
                    (["data", "import", work / "i", "--format", "yolo", "--photos", folder, "--out", work / "o"],
                     REFUSED)]  # fmt: skip

        yield f"{name} as every text file", Case((), put)

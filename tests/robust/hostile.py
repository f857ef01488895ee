"""Hostile files, names, texts and settings: none hangs the program, moves its lines or ends it in a traceback."""

from __future__ import annotations

import json
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.robust.child import Ended, command
from tests.robust.texts import DEEP, LAUGHS, RECIPES, SETTINGS, SHAPES, TAGS
from tests.robust.tries import Try
from tests.robust.world import Material, complaint

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
PATIENCE = 60.0
FINE, REFUSED, EITHER = (0,), (2,), (0, 1, 2)
Arguments = list[str | Path]
Commands = list[tuple[Any, tuple[int, ...]]]  # arguments, or what gives them when it is their turn; statuses


def _nothing(work: Path, ended: list[Ended]) -> str | None:
    return None


@dataclass(frozen=True)
class Case:
    """Something hostile: `prepare` puts it into a folder and answers with the commands; `check` looks at the folder
    afterwards."""

    states: tuple[str, ...]
    prepare: Callable[[Path], Commands]
    check: Callable[[Path, list[Ended]], str | None] = _nothing

    def __call__(self, material: Material, work: Path) -> str | None:
        material.place(work, *self.states)
        ended = []
        for given, codes in self.prepare(work):
            arguments = given() if callable(given) else given
            done = command(*arguments, watched=work, patience=PATIENCE)
            ended.append(done)
            unsafe = UNSAFE.search(done.out + done.err)
            wrong = complaint(done, codes=codes) or (f"prints {unsafe[0]!a}" if unsafe else None)
            if wrong:
                return f"{os.fspath(arguments[0])}: {wrong}"
        return self.check(work, ended)


def hostile(material: Material) -> Iterator[Try]:
    """Every case by its name."""
    for group in (_special_photos, _special_files, _names, _not_utf8, _tags, _recipes, _settings, _shapes, _arguments):
        for name, case in group():
            yield Try("hostile", name, case)


Cases = Iterator[tuple[str, Case]]

# ----------------------------------------------------------------------------------------------------- special files


def _photos(work: Path) -> Path:
    """A folder of its own with three honest photos, and their tags."""
    folder = work / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / f"{name}.png")
    rows = ["image,tags", "a.png,disc", "b.png,square", "c.png,disc;square"]
    (folder / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may be no longer than 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(here)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a named pipe": _fifo,
    "a socket": _socket,
    "a link to /dev/zero": _link("/dev/zero"),
    "a link to /dev/random": _link("/dev/random"),
    "a link to a terminal": _link("/dev/ptmx"),
    "a link to /proc/kmsg": _link("/proc/kmsg"),
    "a link to /proc/self/mem": _link("/proc/self/mem"),
    "a link to /proc/self/fd/0": _link("/proc/self/fd/0"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": _link("/nowhere/at/all"),
    "a folder": lambda path: path.mkdir(),
}


def _with_photo(make: Callable[[Path], None]) -> Callable[[Path], Path]:
    def prepare(work: Path) -> Path:
        folder = _photos(work)
        make(folder / "d.jpg")
        with open(folder / "tags.csv", "a", encoding="utf-8") as file:
            file.write("d.jpg,disc\n")
        return folder

    return prepare


def _run_of(work: Path, folder: Path, *more: str) -> Arguments:
    return ["run", work / "robust.yaml", "--data", folder, "--out", work / "new", "--set", "data.split=''", *more]


def _special_photos() -> Cases:
    for name, make in SPECIAL.items():
        photos = _with_photo(make)
        yield (
            f"{name} among photos, check",
            Case((), lambda work, photos=photos: [(["data", "check", photos(work)], EITHER)]),
        )
        yield (
            f"{name} among photos, run",
            Case(
                (), lambda work, photos=photos: [(_run_of(work, photos(work), "--until", "data"), EITHER)], _three_kept
            ),
        )
        yield (
            f"{name} among photos, predict",
            Case(
                ("model",),
                lambda work, photos=photos: [(["predict", work / "model", photos(work), "--out", work / "p"], EITHER)],
                lambda work, ended: _counted(work / "p" / "labels", 3),
            ),
        )

    def honest(work: Path) -> Path:
        folder = _photos(work)
        (folder / "a.png").rename(work / "elsewhere.png")
        (folder / "a.png").symlink_to(work / "elsewhere.png")
        return folder

    yield (
        "an honest link among photos",
        Case((), lambda work: [(_run_of(work, honest(work), "--until", "data"), FINE)], _three_kept),
    )


def _three_kept(work: Path, ended: list[Ended]) -> str | None:
    kept = json.loads((work / "new" / "data" / "dataset.json").read_text())["items"]
    return None if len(kept) == 3 else f"{len(kept)} photos kept, not 3"


def _counted(folder: Path, count: int) -> str | None:
    found = len(list(folder.glob("*.png")))
    return None if found == count else f"{found} files in {folder.name}, not {count}"


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)


PRECIOUS = b"what somebody needs\n"


def _to_precious(path: Path) -> None:
    work = next(folder for folder in path.parents if (folder / "robust.yaml").is_file())
    precious = work / "precious"
    precious.write_bytes(PRECIOUS)
    path.symlink_to(precious)


def _unharmed(work: Path, ended: list[Ended]) -> str | None:
    return None if (work / "precious").read_bytes() == PRECIOUS else "the link's target is changed"


def _again(work: Path) -> Arguments:
    return ["run", work / "robust.yaml", "--data", work / "world", "--out", work / "run"]


def _special_files() -> Cases:
    run: tuple[tuple[str, Callable[[Path], Arguments]], ...] = (
        ("run.json", lambda work: ["status", work / "run"]),
        ("data/manifest.json", lambda work: ["status", work / "run"]),
        ("warmup/manifest.json", _again),
        ("labels/started.json", lambda work: ["label", work / "run", "--threshold", "0.5"]),
        (".lock", _again),
        ("recipe.yaml", _again),
        ("seen.json", _again),
        ("data/dataset.json", lambda work: ["status", work / "run"]),
    )
    for name, arguments in run:
        for kind, make in (("a named pipe", _fifo), ("a link to /proc/kmsg", _link("/proc/kmsg"))):
            yield (
                f"{kind} as {name}",
                Case(
                    ("run",),
                    lambda work, name=name, make=make, arguments=arguments: [
                        (_placed(work / "run" / name, make, arguments(work)), EITHER)
                    ],
                ),
            )
    outputs: tuple[tuple[str, Callable[[Path], Arguments]], ...] = (
        (".lock", _again),
        ("recipe.yaml", lambda work: [*_again(work), "--set", "scores.curve_end=50"]),
        ("run.json", lambda work: [*_again(work), "--set", "scores.curve_end=50"]),
        ("report.html", lambda work: ["report", work / "run"]),
        ("warmup/events.jsonl", lambda work: [*_again(work), "--from", "warmup", "--until", "warmup"]),
        ("labels/manifest.json", lambda work: ["label", work / "run", "--threshold", "0.5"]),
    )
    for name, arguments in outputs:
        yield (
            f"a link to a precious file as {name}",
            Case(
                ("run",),
                lambda work, name=name, arguments=arguments: [
                    (_placed(work / "run" / name, _to_precious, arguments(work)), EITHER)
                ],
                _unharmed,
            ),
        )
    for name in ("photos.jsonl", "prediction.json", "areas.csv", "classes.txt"):
        for kind, make in (("a named pipe", _fifo), ("a link to a precious file", _to_precious)):

            def prepare(work: Path, name: str = name, make: Callable[[Path], None] = make) -> Commands:
                predict: Arguments = [
                    "predict", work / "model", work / "world" / "JPEGImages", "--out", work / "p"
                ]  # fmt: skip
                return [(predict, FINE), (lambda: _placed(work / "p" / name, make, predict), EITHER)]

            check = _unharmed if make is _to_precious else _nothing
            yield f"{kind} as {name} of predictions", Case(("model",), prepare, check)
    inputs: tuple[tuple[str, Callable[[Path], Arguments]], ...] = (
        ("pipe.yaml", lambda work: ["recipes", "show", os.fspath(work / "pipe.yaml")]),
        ("photos/tags.csv", lambda work: ["data", "check", work / "photos"]),
        ("photos/classes.txt", lambda work: ["data", "check", work / "photos"]),
        ("photos/masks/a.png", lambda work: ["data", "check", work / "photos"]),
        ("words.txt", lambda work: ["prompts", work / "run", "--words", work / "words.txt"]),
        ("weights.safetensors", lambda work: ["cams", work / "run", "--weights", work / "weights.safetensors"]),
        ("coco.json", lambda work: ["data", "import", work / "coco.json", "--out", work / "i"]),
        ("yolo/data.yaml", lambda work: ["data", "import", work / "yolo", "--out", work / "i"]),
        ("cams/a.npz", lambda work: ["score", work / "s", "--cams", work / "cams", "--data", work / "world"]),
        ("cams/a.npy", lambda work: ["label", work / "s", "--cams", work / "cams", "--threshold", "0.5",
                                     "--data", work / "world"]),
        ("maps/a.png", lambda work: ["score", work / "s", "--labels", work / "maps", "--data", work / "world"]),
        ("model/segmenter.json", lambda work: ["predict", work / "model", work / "photos", "--out", work / "p"]),
        ("model/model.safetensors", lambda work: ["predict", work / "model", work / "photos", "--out", work / "p"]),
        ("model/config.json", lambda work: ["predict", work / "model", work / "photos", "--out", work / "p"]),
    )  # fmt: skip
    for name, arguments in inputs:
        yield (
            f"a named pipe as {name}",
            Case(
                ("run", "model"),
                lambda work, name=name, arguments=arguments: [
                    (_placed(_photos(work).parent / name, _fifo, arguments(work)), EITHER)
                ],
            ),
        )


def _placed(path: Path, make: Callable[[Path], None], arguments: Arguments) -> Arguments:
    _replace(path, make)
    return arguments


# -------------------------------------------------------------------------------------------------------------- names

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
        folder = _photos(work)
        (folder / "a.png").rename(folder / f"{stem}.png")
        rows = {f"{stem}.png": ["disc"], "b.png": ["square"], "c.png": ["disc", "square"]}
        (folder / "tags.csv").unlink()
        (folder / "tags.json").write_text(json.dumps(rows), encoding="utf-8")
        with open(folder / f"{stem}2.jpg"[-250:], "wb") as file:  # and a broken one, so that a message names it
            file.write(b"no photo")
        return folder

    return prepare


def _names() -> Cases:
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
                    (_run_of(work, photos(work), *QUICK), FINE),
                    (["export", "coco", work / "new", "--out", work / "coco"], FINE),
                    (["export", "gallery", work / "new", "--out", work / "gallery"], FINE),
                    (["report", work / "new"], FINE),
                    (["label", work / "new", "--threshold", "0.4", "--review", "3"], FINE),
                ],
                lambda work, ended: _counted(work / "new" / "labels", 3),
            ),
        )
        yield (
            f"a photo called with {name}, predict",
            Case(
                ("model",),
                lambda work, photos=photos: [(["predict", work / "model", photos(work), "--out", work / "p"], (1,))],
                lambda work, ended: _counted(work / "p" / "labels", 3),
            ),
        )


QUICK = tuple(
    word for stage in ("warmup", "matching", "prompting", "refinement") for word in ("--set", f"{stage}.epochs=0")
)


def _not_utf8() -> Cases:
    def photos(work: Path) -> Path:
        folder = _photos(work)
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
            (_run_of(work, folder, *QUICK), FINE),
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
        return _counted(work / "new" / "labels", 3) or _counted(work / "p" / "labels", 3) or (
            None if told else "the photo set aside is not named"
        )  # fmt: skip

    yield "photos whose names are not UTF-8", Case(("model",), whole, check)

    def below(work: Path) -> Commands:
        place = Path(os.fsdecode(os.fsencode(work) + b"/d\xff"))
        place.mkdir()
        folder, new = photos(work).rename(place / "photos"), work / "new"
        return [
            (["data", "check", folder], FINE),
            (_run_of(work, folder, *QUICK), FINE),
            (["status", new], FINE),
            (["report", new], FINE),
            (["export", "coco", new, "--out", place / "coco"], FINE),
            (["predict", work / "model", folder, "--out", place / "p"], (1,)),
            (["data", "import", place / "coco", "--photos", folder, "--out", place / "i"], FINE),
            (["run", work / "robust.yaml", "--data", folder, "--out", place / "new"], REFUSED),
        ]

    yield "a folder whose name is not UTF-8", Case(("model",), below)


# ------------------------------------------------------------------------------------------------- texts and settings


def _tags() -> Cases:
    for name, (file, text) in TAGS.items():
        yield f"tags: {name}", Case((), lambda work, file=file, text=text: _tagged(work, file, text))


def _tagged(work: Path, file: str, text: str) -> Commands:
    folder = _photos(work)
    (folder / "tags.csv").unlink()
    (folder / file).write_text(text, encoding="utf-8", errors="surrogatepass")
    return [(["data", "check", folder], EITHER), (_run_of(work, folder, *QUICK), EITHER)]


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


JSON_FILES = ("run.json", "data/dataset.json", "data/manifest.json", "labels/manifest.json", "warmup/started.json")


def _shapes() -> Cases:
    for name, text in SHAPES.items():
        for file in JSON_FILES:

            def prepare(work: Path, file: str = file, text: str = text) -> Commands:
                (work / "run" / file).write_text(text, encoding="utf-8", errors="surrogatepass")
                return [(["status", work / "run"], EITHER), (_again(work), EITHER)]

            yield f"{file} holds {name}", Case(("run",), prepare)


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
            name = (work / "world" / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[0]
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
            folder = _photos(work)
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

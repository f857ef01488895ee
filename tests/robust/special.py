"""Pipes, sockets, devices and links where files are read or written."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from tests.robust.cases import (
    EITHER,
    FINE,
    Arguments,
    Case,
    Cases,
    Commands,
    again,
    counted,
    nothing,
    photos_of,
    run_of,
)
from tests.robust.child import Ended


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
        folder = photos_of(work)
        make(folder / "d.jpg")
        with open(folder / "tags.csv", "a", encoding="utf-8") as file:
            file.write("d.jpg,disc\n")
        return folder

    return prepare


def special_photos() -> Cases:
    for name, make in SPECIAL.items():
        photos = _with_photo(make)
        yield (
            f"{name} among photos, check",
            Case((), lambda work, photos=photos: [(["data", "check", photos(work)], EITHER)]),
        )
        yield (
            f"{name} among photos, run",
            Case(
                (), lambda work, photos=photos: [(run_of(work, photos(work), "--until", "data"), EITHER)], _three_kept
            ),
        )
        yield (
            f"{name} among photos, predict",
            Case(
                ("model",),
                lambda work, photos=photos: [(["predict", work / "model", photos(work), "--out", work / "p"], EITHER)],
                lambda work, ended: counted(work / "p" / "labels", 3),
            ),
        )

    def honest(work: Path) -> Path:
        folder = photos_of(work)
        (folder / "a.png").rename(work / "elsewhere.png")
        (folder / "a.png").symlink_to(work / "elsewhere.png")
        return folder

    yield (
        "an honest link among photos",
        Case((), lambda work: [(run_of(work, honest(work), "--until", "data"), FINE)], _three_kept),
    )


def _three_kept(work: Path, ended: list[Ended]) -> str | None:
    kept = json.loads((work / "new" / "data" / "dataset.json").read_text(encoding="utf-8"))["items"]
    return None if len(kept) == 3 else f"{len(kept)} photos kept, not 3"


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)


PRECIOUS = b"what somebody needs\n"


def to_precious(path: Path) -> None:
    work = next(folder for folder in path.parents if (folder / "robust.yaml").is_file())
    precious = work / "precious"
    precious.write_bytes(PRECIOUS)
    path.symlink_to(precious)


def unharmed(work: Path, ended: list[Ended]) -> str | None:
    return None if (work / "precious").read_bytes() == PRECIOUS else "the link's target is changed"


def special_files() -> Cases:
    run: tuple[tuple[str, Callable[[Path], Arguments]], ...] = (
        ("run.json", lambda work: ["status", work / "run"]),
        ("data/manifest.json", lambda work: ["status", work / "run"]),
        ("warmup/manifest.json", again),
        ("labels/started.json", lambda work: ["label", work / "run", "--threshold", "0.5"]),
        (".lock", again),
        ("recipe.yaml", again),
        ("seen.json", again),
        ("data/dataset.json", lambda work: ["status", work / "run"]),
    )
    for name, arguments in run:
        for kind, make in (("a named pipe", _fifo), ("a link to /proc/kmsg", _link("/proc/kmsg"))):
            yield (
                f"{kind} as {name}",
                Case(
                    ("run",),
                    lambda work, name=name, make=make, arguments=arguments: [
                        (placed(work / "run" / name, make, arguments(work)), EITHER)
                    ],
                ),
            )
    outputs: tuple[tuple[str, Callable[[Path], Arguments]], ...] = (
        (".lock", again),
        ("recipe.yaml", lambda work: [*again(work), "--set", "scores.curve_end=50"]),
        ("run.json", lambda work: [*again(work), "--set", "scores.curve_end=50"]),
        ("report.html", lambda work: ["report", work / "run"]),
        ("warmup/events.jsonl", lambda work: [*again(work), "--from", "warmup", "--until", "warmup"]),
        ("labels/manifest.json", lambda work: ["label", work / "run", "--threshold", "0.5"]),
    )
    for name, arguments in outputs:
        yield (
            f"a link to a precious file as {name}",
            Case(
                ("run",),
                lambda work, name=name, arguments=arguments: [
                    (placed(work / "run" / name, to_precious, arguments(work)), EITHER)
                ],
                unharmed,
            ),
        )
    for name in ("photos.jsonl", "prediction.json", "areas.csv", "classes.txt"):
        for kind, make in (("a named pipe", _fifo), ("a link to a precious file", to_precious)):

            def prepare(work: Path, name: str = name, make: Callable[[Path], None] = make) -> Commands:
                predict: Arguments = [
                    "predict", work / "model", work / "world" / "JPEGImages", "--out", work / "p"
                ]  # fmt: skip
                return [(predict, FINE), (lambda: placed(work / "p" / name, make, predict), EITHER)]

            check = unharmed if make is to_precious else nothing
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
                    (placed(photos_of(work).parent / name, _fifo, arguments(work)), EITHER)
                ],
            ),
        )


def placed(path: Path, make: Callable[[Path], None], arguments: Arguments) -> Arguments:
    _replace(path, make)
    return arguments

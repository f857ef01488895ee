"""Hostile files for the commands that work on a run that is there: corrections, review, update, words, plan, banks."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.robust.cases import EITHER, FINE, REFUSED, Arguments, Case, Cases, Commands
from tests.robust.child import Ended
from tests.robust.mended import taken_is_sound
from tests.robust.person import misuse, review_all
from tests.robust.special import SPECIAL, placed, to_precious, unharmed
from tests.robust.texts import DEEP, ENDLESS, ESC, LAUGHS, SHAPES, SOME

MISSHAPEN = {
    "photos that are no list": json.dumps({"format": 1, "photos": [], "before": None}),
    "entries of a wrong shape": json.dumps({"format": 1, "photos": {"train_000000": {"sha256": 3}}, "before": {}}),
    "paths for digests": json.dumps(
        {"format": 1, "before": {}, "photos": {"train_000000": {
            "sha256": "../../../../../etc/passwd", "photo": "x", "classes": ["train"], "when": ESC, "source": ESC}}}
    ),
}  # fmt: skip
DRAFTS = {
    "steps that are no list": json.dumps({"photos": {"train_000000": 3}, "skipped": []}),
    "paths for steps": json.dumps({"photos": {"train_000000": ["../../../etc/passwd", "../maps/x"]}, "skipped": []}),
    "odd photos": json.dumps({"photos": {ESC: [None], "train_000001": [None, {}, []]}, "skipped": [None, {}, ESC]}),
}  # fmt: skip


def later() -> Cases:
    """Every case by its name."""
    for group in (_indexes, _special, _reviews, _maps_of_others, _banks, _words, _plans, _updates):
        yield from group()


def _text(work: Path, name: str, text: str) -> None:
    path = work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")


# ------------------------------------------------------------------------------------------------------- corrections


def _correct(work: Path) -> Arguments:
    return ["correct", work / "corrected", work / "mended" / "masks"]


def _indexes() -> Cases:
    for name, text in (SHAPES | MISSHAPEN).items():

        def prepare(work: Path, text: str = text) -> Commands:
            for file in ("index.json", "index.copy.json"):
                _text(work, f"corrected/corrections/{file}", text)
            return [(["status", work / "corrected"], EITHER), (_correct(work), EITHER),
                    (["label", work / "corrected", "--threshold", "0.4"], EITHER)]  # fmt: skip

        yield f"corrections/index.json holds {name}", Case(("corrected", "mended"), prepare)


def _special() -> Cases:
    for kind, make in SPECIAL.items():
        yield (
            f"{kind} as a mended file",
            Case(
                ("run",),
                lambda work, make=make: [
                    (placed(work / "m.png", make, ["correct", work / "run", work / "m.png"]), EITHER)
                ],
                lambda work, ended: taken_is_sound(work / "run"),
            ),
        )
    for file in ("index.json", "index.copy.json", "drafts.json"):
        for kind, make in (("a named pipe", SPECIAL["a named pipe"]), ("a link to a precious file", to_precious)):
            yield (
                f"{kind} as corrections/{file}",
                Case(
                    ("corrected", "mended"),
                    lambda work, file=file, make=make: [
                        (placed(work / "corrected" / "corrections" / file, make, _correct(work)), EITHER),
                        (["app", work / "corrected", "--review", "--port", "0"], EITHER),
                    ],
                    unharmed if make is to_precious else lambda work, ended: None,
                    person=review_all,
                ),
            )


def _reviews() -> Cases:
    def opened(work: Path) -> Arguments:
        return ["app", work / "run", "--review", "--port", "0"]

    def check(work: Path, ended: list[Ended]) -> str | None:
        return taken_is_sound(work / "run")

    yield "review: requests of no browser", Case(("run",), lambda work: [(opened(work), FINE)], check, person=misuse)
    for name, text in ({key: SHAPES[key] for key in SOME} | DRAFTS).items():

        def prepare(work: Path, text: str = text) -> Commands:
            _text(work, "run/corrections/drafts.json", text)
            return [(opened(work), EITHER)]

        yield f"review: drafts.json holds {name}", Case(("run",), prepare, check, person=review_all)
    for name, data in (("nothing", b""), ("no picture", b"x" * 100), ("a map of another size", _small_map())):

        def damaged(work: Path, data: bytes = data) -> Commands:
            folder = work / "run" / "corrections" / "drafts"
            folder.mkdir(parents=True)
            (folder / f"{'0' * 64}.png").write_bytes(data)
            drafts = {"photos": {"train_000000": ["0" * 64], "train_000002": ["0" * 64]}, "skipped": []}
            _text(work, "run/corrections/drafts.json", json.dumps(drafts))
            return [(opened(work), EITHER)]

        yield f"review: a draft holds {name}", Case(("run",), damaged, check, person=review_all)


def _small_map() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("P", (5, 7)).save(buffer, "PNG")
    return buffer.getvalue()


# ------------------------------------------------------------------------------------- combine, relabel, compare, bank


def _maps_of_others() -> Cases:
    for name in SOME:

        def combined(work: Path, text: str = SHAPES[name]) -> Commands:
            _text(work, "run/combined/combined.json", text)
            return [(["combine", work / "run", "labels", work / "mended" / "all"], FINE)]

        def relabelled(work: Path, text: str = SHAPES[name]) -> Commands:
            _text(work, "finished/relabelled/relabelled.json", text)
            return [(["relabel", work / "finished"], FINE)]

        yield f"combined.json holds {name}", Case(("run", "mended"), combined)
        yield f"relabelled.json holds {name}", Case(("finished",), relabelled)
        for file in ("run.json", "data/dataset.json", "scores/scores.json", "labels/manifest.json"):

            def compared(work: Path, file: str = file, text: str = SHAPES[name]) -> Commands:
                _text(work, f"corrected/{file}", text)
                pair = [work / "run", work / "corrected"]
                return [(["compare", *pair, "--out", work / "c.html", "--json", work / "c.json"], EITHER)]

            yield f"compare: {file} holds {name}", Case(("run", "corrected"), compared)
    for kind, make in SPECIAL.items():
        yield (
            f"combine: {kind} as a label map",
            Case(
                ("run", "mended"),
                lambda work, make=make: [
                    (
                        placed(
                            work / "mended" / "all" / "train_000000.png",
                            make,
                            ["combine", work / "run", "labels", work / "mended" / "all"],
                        ),
                        EITHER,
                    )
                ],
            ),
        )


def _bank_file(header: dict[str, object], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _banks() -> Cases:
    shape = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}
    contents = {
        "nothing": b"",
        "no weights": b"x" * 10_000,
        "a header of 2^63 bytes": struct.pack("<Q", 2**63 - 1) + b"{}",
        "a tensor of 10^18 values": _bank_file({"vectors": shape}, bytes(8)),
        "no tensor": _bank_file({}),
        "other tensors": _bank_file({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        "a program": b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    }
    for name, data in contents.items():
        yield f"a bank that holds {name}", Case(("banked",), lambda work, data=data: _asked(work, data))
    for kind in ("a named pipe", "a link to /dev/zero", "a link to itself", "a folder"):
        yield (
            f"{kind} as a bank",
            Case(
                ("banked",),
                lambda work, make=SPECIAL[kind]: [
                    (placed(work / "banked" / "labels" / "bank.safetensors", make, _ask(work)), EITHER)
                ],
            ),
        )


def _ask(work: Path) -> Arguments:
    return ["predict", work / "banked", work / "world" / "JPEGImages", "--out", work / "p", "--method", "bank"]


def _asked(work: Path, data: bytes) -> Commands:
    (work / "banked" / "labels" / "bank.safetensors").write_bytes(data)
    return [(_ask(work), REFUSED)]


# ----------------------------------------------------------------------------------------------- words, plans, updates


def _words() -> Cases:
    def ask(work: Path, *more: str | Path) -> Arguments:
        classes = work / "list" / "classes.txt"
        return [
            "data",
            "words",
            work / "world",
            "--recipe",
            work / "robust.yaml",
            "--classes",
            classes,
            *more,
            "--write",
        ]

    lists = {
        "deep": DEEP, "laughs": LAUGHS, "6,000 words": "\n".join(map(str, range(6000))), "zeros": "\0" * 99,
        "signs that act": f"{ESC}\nsemples: all is well\n", "a long word": "x" * 1_000_000, "nothing": "",
    }  # fmt: skip
    for name, text in lists.items():

        def listed(work: Path, text: str = text) -> Commands:
            _text(work, "words.txt", text)
            return [(ask(work, "--list", work / "words.txt"), EITHER)]

        def classes(work: Path, text: str = text) -> Commands:
            _text(work, "list/classes.txt", text)
            return [(ask(work), EITHER)]

        yield f"words: a list that is {name}", Case(("list",), listed)
        yield f"words: classes that are {name}", Case(("list",), classes)
    for name, text in {
        "signs that act": f"train={ESC}",
        "no class": f"{ESC}=x",
        "nothing": "=",
        "long": f"train={'x' * 9**6}",
    }.items():
        yield (
            f"words: {name} to be tried",
            Case(("list",), lambda work, text=text: [(ask(work, "--try", text), EITHER)]),
        )
    for kind, make in SPECIAL.items():
        yield (
            f"words: {kind} as a list",
            Case(
                ("list",),
                lambda work, make=make: [(placed(work / "w.txt", make, ask(work, "--list", work / "w.txt")), EITHER)],
            ),
        )
    yield (
        "words: a link to a precious file as the class list",
        Case(
            ("list",), lambda work: [(placed(work / "list" / "classes.txt", to_precious, ask(work)), EITHER)], unharmed
        ),
    )
    for name, make_cache in _caches().items():

        def cached(work: Path, make: Callable[[Path], None] = make_cache) -> Commands:
            def again() -> Arguments:
                path = next((work / "cache").rglob("*.npz"))
                path.unlink()
                make(path)
                return ask(work)

            return [(ask(work), FINE), (again, FINE)]

        yield f"words: {name} in the cache", Case(("list",), cached)


def _caches() -> dict[str, Callable[[Path], None]]:
    def objects(path: Path) -> None:
        np.savez(path, digests=np.array([{}], object), features=np.zeros((1, 4), np.float32))

    def bomb(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("digests.npy", bytes(200_000_000))

    def other(path: Path) -> None:
        np.savez(path, digests=np.zeros((3, 32), np.uint8), features=np.full((3, 4), np.nan, np.float32))

    return {
        "objects": objects, "a bomb": bomb, "other features": other, "a named pipe": os.mkfifo, "a folder": Path.mkdir,
        "nonsense": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(99)) and None,
    }  # fmt: skip


def _plans() -> Cases:
    def ask(work: Path, *more: str) -> Arguments:
        return ["plan", work / "robust.yaml", "--data", work / "world", "--out", work / "run", *more]

    for budget in ("", "x", "-5h", "1e400h", f"{ENDLESS}h", f"{ESC}h", "nan", "0s", "5 y"):
        yield (
            f"plan: a budget of {budget[:20]!a}",
            Case((), lambda work, text=budget: [(ask(work, "--budget", text), REFUSED)]),
        )
    for name in SOME:

        def prepare(work: Path, text: str = SHAPES[name]) -> Commands:
            _text(work, "run/run.json", text)
            _text(work, "run/warmup/manifest.json", text)
            return [(ask(work, "--until", "data"), EITHER)]

        yield f"plan: run.json holds {name}", Case(("run",), prepare)


def _updates() -> Cases:
    def ask(work: Path) -> Arguments:
        return ["run", work / "robust.yaml", "--data", work / "changed", "--out", work / "run", "--update",
                "--until", "warmup"]  # fmt: skip

    kinds: dict[str, Callable[[Path], object]] = {
        "nothing": lambda path: path.write_bytes(b""),
        "no weights": lambda path: path.write_bytes(b"x" * 10_000),
        "a tensor that is not there": lambda path: path.write_bytes(
            _bank_file({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})
        ),
        "a named pipe": os.mkfifo,
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    }
    for name, make in kinds.items():

        def prepare(work: Path, make: Callable[[Path], object] = make) -> Commands:
            path = work / "run" / "warmup" / "generator.safetensors"
            path.unlink()
            make(path)
            return [(ask(work), EITHER)]

        yield f"update from weights that are {name}", Case(("run",), prepare)

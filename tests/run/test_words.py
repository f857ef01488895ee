"""`semples data words`: a drawn world whose classes the shipped CLIP knows, and words that it does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from semples.data.demo.world import write_world
from semples.judges.clip import Clip
from semples.run import photo_features
from semples.run.ask_words import ask_words
from tests import tiny

JUDGE = ["judge.model=shipped:demo_clip", "data.split=train"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "world"
    return write_world(folder, photos={"train": 48}, seed=1, p=0.5, class_count=3, resolution=96)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMPLES_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def class_words(folder: Path) -> list[str]:
    return (folder / "classes.txt").read_text(encoding="utf-8").split("\n")


def test_known_words_wrong_words_and_better_ones(world: Path, tmp_path: Path) -> None:
    names = [line for line in class_words(world) if line]
    before = (world / "classes.txt").read_bytes()
    (world / "classes.txt").write_text(f"{names[0]},gravel pit\n{names[1]}\n{names[2]}\n", encoding="utf-8")
    figures, options = tmp_path / "words.json", [f"--set={setting}" for setting in JUDGE]
    try:
        tried = f"--try={names[0]}=old bicycle;{names[0]}"
        said = tiny.invoke("data", "words", world, *options, tried, "--write", "--json", figures).out
        first, second, _ = json.loads(figures.read_text(encoding="utf-8"))["classes"]
        assert second["grade"] == "good"
        assert second["auc"] > 0.9
        assert first["word"] == "gravel pit"
        assert first["auc"] < second["auc"] - 0.1
        assert first["better"] == names[0]
        assert {entry["word"] for entry in first["tried"]} == {"old bicycle", names[0]}
        assert f"{names[0]} is now '{names[0]}'" in said
        assert class_words(world)[:3] == names
        again = tiny.invoke("data", "words", world, *options, "--write").out
        assert "left as it is" in again
    finally:
        (world / "classes.txt").write_bytes(before)


def test_a_photo_is_looked_at_once(world: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode = Clip.encode

    def counted(self: Clip, view: object) -> object:
        seen.append(len(view))  # type: ignore[arg-type]
        return encode(self, view)  # type: ignore[arg-type]

    monkeypatch.setattr(Clip, "encode", counted)
    first = ask_words(world, settings=JUDGE, photos=6)
    assert sum(seen) == 7  # the first look at the judge is one of an empty photo
    seen.clear()
    assert ask_words(world, settings=[*JUDGE, "judge.class_template=a sketch of {name}."], photos=6).photos == 6
    assert ask_words(world, settings=JUDGE, photos=6) == first
    assert sum(seen) == 2
    (stored,) = (cache / "photo-features").glob("*.npz")
    whole = stored.read_bytes()
    for damage in (whole[:100], b"", whole.replace(b"features", b"feat\0res"), b"\x80\x04N."):
        stored.write_bytes(damage)
        assert ask_words(world, settings=JUDGE, photos=6) == first
    with np.load(stored, allow_pickle=False) as members:
        digests, features = members["digests"], members["features"]
    np.savez(stored, digests=digests, features=features * np.float32("nan"))
    seen.clear()
    assert ask_words(world, settings=JUDGE, photos=6) == first
    assert sum(seen) == 7
    assert photo_features.cache_folder() == cache


def test_mistakes_are_one_line(world: Path, tmp_path: Path) -> None:
    options = [f"--set={setting}" for setting in JUDGE]
    (tmp_path / "empty.txt").write_text("# none\n", encoding="utf-8")
    for arguments, hint in (
        (["--try=dragon=worm"], "write class=word;word with a class of"),
        (["--try=boat"], "write class=word;word"),
        ([f"--list={tmp_path / 'none.txt'}"], "no such word list"),
        ([f"--list={tmp_path / 'empty.txt'}"], "holds 0 words"),
        (["--photos=0"], "give a number from 1"),
    ):
        assert hint in tiny.refused("data", "words", world, *options, *arguments)

"""Random members of COCO, Label Studio, LabelMe, CSV, YOLO and VOC XML, as they should be and with random defects.

    SEMPLES_FUZZ=2000 pytest tests/fuzz      that many examples of each test; without it a few

What holds for all of them: an import ends well or in one line; a photo's tags are right, or something is said of it;
the photos seen are those taken over, those set aside and those without an annotation, together.
"""

from __future__ import annotations

import csv
import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.worlds import CLASSES, JSON_FORMATS, NAMES, World, labelme, scratch, spoil, table, voc, yolo

from semples.core.errors import UserError
from semples.data.importers import ImportResult, import_annotations

FUZZ = settings(
    max_examples=int(os.environ.get("SEMPLES_FUZZ", "20")),
    deadline=None,
    derandomize="SEMPLES_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where writing to disk costs no time
FORMATS = ("coco", "label-studio", "labelme", "csv", "yolo", "voc")

TAGS = st.dictionaries(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(CLASSES), unique=True, max_size=3),
    min_size=1,
    max_size=6,
).filter(lambda tags: any(tags.values()))


@contextmanager
def world_of(tags: dict[str, list[str]], seed: int) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield World({name: list(names) for name, names in tags.items()}, random.Random(seed), Path(folder))


def files_of(name: str, world: World) -> dict[str, str | bytes]:
    """The annotation files of a format; None in place of a file: it is JSON data."""
    match name:
        case "labelme":
            return {path: json.dumps(tree) for path, tree in labelme(world).items()}
        case "csv":
            return {"table.csv": table(world)}
        case "yolo":
            return dict(yolo(world))
        case "voc":
            return dict(voc(world))
        case _:
            return {"export.json": json.dumps(JSON_FORMATS[name](world))}


def run(world: World, files: dict[str, str | bytes]) -> ImportResult | str:
    """The import of a world's files: its result, or the one line of its error."""
    world.write_photos()
    for path, content in files.items():
        world.write(path, content)
    try:
        return import_annotations(world.root / "in", world.root / "out")
    except UserError as error:
        return str(error)


def written(root: Path) -> dict[str, set[str]]:
    """The tags that were written, by the photo's name in the world; read without the program's own readers."""
    path = root / "out/tags.csv"
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
        pairs = [(row[0], [tag for tag in row[1].split(";") if tag]) for row in rows]
    else:
        pairs = [(row["image"], row["tags"]) for row in json.loads((root / "out/tags.json").read_text("utf-8"))]
    by_photo = {photo.removeprefix("images/"): set(tags) for photo, tags in pairs}
    assert len(by_photo) == len(pairs)
    return by_photo


def check(world: World, result: ImportResult) -> None:
    """What holds of every import, whatever the files hold."""
    rows = written(world.root)
    there = set(world.tags) - world.gone
    assert result.photos == len(rows)
    assert set(rows) | set(result.set_aside) | set(result.unlabelled) == there
    assert len(rows) + len(result.set_aside) + len(result.unlabelled) == result.seen == len(there)
    assert result.missing <= result.told
    assert len(result.problems) >= result.missing
    said = [f"{problem.where}: {problem.what}" for problem in result.problems]
    assert all(any(photo in line for line in said) for photo in result.set_aside)
    assert not any("\n" in line for line in said)


@pytest.mark.parametrize("name", FORMATS)
def test_a_sound_file_gives_every_tag(name: str) -> None:
    @FUZZ
    @given(tags=TAGS, seed=st.integers(0, 2**32))
    def holds(tags: dict[str, list[str]], seed: int) -> None:
        with world_of(tags, seed) as world:
            result = run(world, files_of(name, world))
            assert isinstance(result, ImportResult), result
            assert result.format == name
            check(world, result)
            assert written(world.root) == {photo: set(names) for photo, names in tags.items()}
            assert all("no mask" in problem.what for problem in result.problems)  # a box beside an outline

    holds()


@pytest.mark.parametrize("name", ["coco", "label-studio", "labelme"])
def test_junk_in_json_is_never_taken_in_silence(name: str) -> None:
    @FUZZ
    @given(tags=TAGS, seed=st.integers(0, 2**32), defects=st.integers(1, 3))
    def holds(tags: dict[str, list[str]], seed: int, defects: int) -> None:
        with world_of(tags, seed) as world:
            trees = labelme(world) if name == "labelme" else {"export.json": JSON_FORMATS[name](world)}
            where = [spoil(trees, world.rng) for _ in range(defects)]
            result = run(world, {path: json.dumps(tree) for path, tree in trees.items()})
            if isinstance(result, str):
                assert "\n" not in result
                return
            check(world, result)
            wrong = {photo for photo, names in written(world.root).items() if names != set(tags[photo])}
            said = " ".join(f"{problem.where} {problem.what}" for problem in result.problems) + " ".join(result.notes)
            assert not wrong or said, (where, wrong)

    holds()


@pytest.mark.parametrize("name", FORMATS)
def test_scratched_files_end_in_tags_or_one_line(name: str) -> None:
    @FUZZ
    @given(tags=TAGS, seed=st.integers(0, 2**32))
    def holds(tags: dict[str, list[str]], seed: int) -> None:
        with world_of(tags, seed) as world:
            files = files_of(name, world)
            path = world.rng.choice(sorted(files))
            content = files[path]
            if isinstance(content, str):
                files[path] = scratch(content, world.rng)
            else:
                place = world.rng.randrange(len(content))
                files[path] = content[:place] + bytes([world.rng.randrange(256)]) + content[place + 1 :]
            result = run(world, files)
            if isinstance(result, str):
                assert "\n" not in result
            else:
                check(world, result)

    holds()


@pytest.mark.parametrize("name", FORMATS)
def test_photos_and_annotations_that_are_lost_are_named(name: str) -> None:
    @FUZZ
    @given(tags=TAGS, seed=st.integers(0, 2**32))
    def holds(tags: dict[str, list[str]], seed: int) -> None:
        with world_of(tags, seed) as world:
            for photo in list(tags):
                if world.rng.random() < 0.3:
                    world.gone.add(photo)
            files = files_of(name, world)
            extra = [f"extra/{place}.jpg" for place in range(world.rng.randrange(3))]
            for photo in extra:
                world.write(photo, b"any bytes")
            result = run(world, files)
            if isinstance(result, str):
                return
            assert set(extra) <= set(result.unlabelled)
            there = {photo: set(names) for photo, names in tags.items() if photo not in world.gone}
            assert written(world.root) == there
            named = " ".join(f"{problem.where} {problem.what}" for problem in result.problems)
            for photo in world.gone:
                assert Path(photo).stem in named

    holds()

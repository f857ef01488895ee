from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from semples.data import check, open_dataset, render, verify_photos
from semples.data.hints import open_lists
from tests.data.builders import Sample, build_folder, save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    samples = [
        Sample("a", (10, 20), ("cat",)),
        Sample("b", (30, 20), ("cat", "dog")),
        Sample("c", (50, 40), ("dog", "cat"), masked=False),
        Sample("d", (5, 60), ()),
        Sample("broken", (40, 40), ("dog",)),
    ]
    build_folder(tmp_path, ["cat", "dog", "[red]emu"], samples)
    (tmp_path / "images" / "broken.png").write_bytes(b"")
    with open(tmp_path / "tags.csv", "a", encoding="utf-8") as file:
        file.write("none.jpg,cat\n")
    return tmp_path


def shown(report, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    render(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_figures(root: Path) -> None:
    report = check(open_dataset(root))
    assert report.photos == 4
    assert report.untagged == 1
    assert report.class_photos == (3, 2, 0)
    assert report.together == ((3, 2, 0), (2, 2, 0), (0, 0, 0))
    assert report.empty_classes == ("[red]emu",)
    assert report.width == (5, 20, 50)
    assert report.height == (20, 30, 60)
    assert report.masks == 3
    assert [problem.where for problem in report.unreadable] == ["images/broken"]
    assert [problem.where for problem in report.problems] == ["tags.csv, line 7"]
    assert report.mask_problems == ()
    tree = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert tree["together"] == [[3, 2, 0], [2, 2, 0], [0, 0, 0]]
    assert tree["problems"] == [{"where": "tags.csv, line 7", "what": "none.jpg: no such photo"}]


def test_masks_that_disagree_with_tags_or_cannot_be_read(root: Path) -> None:
    save(root / "masks" / "a.png", np.full((20, 10), 2, np.uint8))
    save(root / "masks" / "b.png", np.zeros((3, 3), np.uint8))
    report = check(open_dataset(root))
    assert report.masks == 2
    assert [(problem.where, problem.what.partition(":")[2] or problem.what) for problem in report.mask_problems][
        :2
    ] == [
        ("images/a", "its mask shows dog, its tags do not"),
        ("images/a", "tagged cat, but its mask shows none"),
    ]
    assert "3x3" in report.mask_problems[2].what


def test_terminal(root: Path) -> None:
    text = shown(check(open_dataset(root)))
    for part in ("4 photos", "75.0 %", "[red]emu", "none.jpg: no such photo", "the file is empty", "median 20"):
        assert part in text
    assert "Photos with both tags" in text
    narrow = shown(check(open_dataset(root)), width=10)
    assert "Commonest" in narrow


def test_many_problems_are_cut(tmp_path: Path) -> None:
    build_folder(tmp_path, ["cat"], [Sample("a", (3, 3), ("cat",))])
    with open(tmp_path / "tags.csv", "a", encoding="utf-8") as file:
        file.writelines(f"none{number}.jpg,cat\n" for number in range(100))
    report = check(open_dataset(tmp_path))
    assert len(report.problems) == 100
    assert "... and 70 more" in shown(report)


def test_nothing_readable(tmp_path: Path) -> None:
    build_folder(tmp_path, ["cat"], [Sample("a", (3, 3), ("cat",))])
    (tmp_path / "images" / "a.png").write_text("no picture", encoding="utf-8")
    report = check(open_dataset(tmp_path))
    assert (report.photos, report.width, report.class_photos) == (0, None, (0,))
    assert "0 photos" in shown(report)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_answer_does_not_depend_on_workers(tmp_path: Path, workers: int) -> None:
    samples = [Sample(f"p{number:02}", (number + 1, 40 - number), ("cat",)) for number in range(40)]
    build_folder(tmp_path, ["cat"], samples)
    for number in (0, 17, 39):
        (tmp_path / "images" / f"p{number:02}.png").write_bytes(b"x")
    dataset = open_dataset(tmp_path)
    verified = verify_photos(dataset, workers=workers)
    bad = {"images/p00", "images/p17", "images/p39"}
    assert verified.kept == tuple(item for item in dataset.items if item.id not in bad)
    assert [problem.where for problem in verified.problems] == sorted(bad)
    assert list(verified.sizes.items()) == [
        (f"images/{sample.name}", sample.size) for sample in samples if f"images/{sample.name}" not in bad
    ]


def test_hints_in_the_report_and_on_the_terminal(tmp_path: Path) -> None:
    """Every kind of hint at once, and none in a dataset without fault."""
    samples = [Sample(f"p{number}", (70 + number, 70), ("train", "car")) for number in range(12)]
    samples += [Sample(f"q{number}", (90 + number, 70), ("cat",)) for number in range(40)]
    samples += [Sample("tiny", (70, 12), ("cats",)), Sample("empty", (80, 80), ())]
    build_folder(tmp_path, ["train", "car", "cat", "cats"], samples)
    (tmp_path / "train.txt").write_text("p0\np1\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("p1\nq1\n", encoding="utf-8")
    dataset = open_dataset(tmp_path)
    report = check(dataset, lists=open_lists(dataset))
    assert [hint.where for hint in report.leaks] == ["images/p1"]
    assert [hint.where for hint in report.near_names] == ["cats"]
    assert [hint.where for hint in report.small_photos] == ["images/tiny"]
    assert [hint.where for hint in report.hard_classes] == ["train", "car", "cats"]
    assert [hint.what for hint in report.confusions] == [
        "train and car in 100 % of the photos with train (12 of 12): expect confusion"
    ]
    text = shown(report)
    for part in ("12 photos; fewer than 20", "70x12 pixels", "train and car in 100 %", "scores on val are too good"):
        assert part in text
    assert json.loads(json.dumps(report.to_json()))["leaks"][0]["where"] == "images/p1"

    clean = check(dataset, min_side=10, min_photos=1)
    assert clean.leaks == clean.small_photos == clean.hard_classes == ()

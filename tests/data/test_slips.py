"""Likely slips in a folder of photos: what `semples data check` remarks on, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.data import check, open_dataset
from tests.data.builders import save
from tests.data.importers.importing import photo, write

LABELS = np.zeros((30, 40), np.uint8)


def remarks(root: Path) -> list[str]:
    return [f"{slip.where}: {slip.what}" for slip in check(open_dataset(root)).slips]


def folder(root: Path, table: str = "image,tags\na.jpg,cat\nb.jpg,dog\n") -> Path:
    for name in ("a", "b"):
        photo(root / f"images/{name}.jpg")
    write(root / "tags.csv", table)
    return root


def test_a_sound_folder_has_none(tmp_path: Path) -> None:
    root = folder(tmp_path)
    save(root / "masks/a.png", LABELS + np.uint8(1))
    np.save(root / "masks/b.npy", LABELS + np.uint8(2))
    write(root / "masks/notes.txt", "x")
    report = check(open_dataset(root))
    assert report.slips == ()
    assert (report.masks, report.mask_problems) == (2, ())


def test_masks_that_are_passed_over_are_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    save(root / "masks/a_mask.png", LABELS)
    Image.fromarray(LABELS).save(root / "masks/b.jpg")
    write(root / "masks/a.npz", "x")
    save(root / "trainannot/a.png", LABELS)
    said = remarks(root)
    assert len(said) == 4
    assert any(
        "masks/a_mask.png" in line and "belongs to no photo" in line and "name it a.png" in line for line in said
    )
    assert any("masks/b.jpg" in line and "PNG" in line for line in said)
    assert any("masks/a.npz" in line for line in said)
    assert any("trainannot/" in line and "rename the folder" in line for line in said)


@pytest.mark.parametrize(("values", "named"), [((0, 255), True), ((0, 1, 255), False), ((0,), False)])
def test_black_and_white_masks(tmp_path: Path, values: tuple[int, ...], named: bool) -> None:
    root = folder(tmp_path)
    for name in "ab":
        save(root / f"masks/{name}.png", np.resize(np.array(values, np.uint8), (30, 40)))
    assert any("0 and 255" in line for line in remarks(root)) is named


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("image,tags\na.jpg,cat dog\nb.jpg,dog;cat\n", "blanks"),
        ("image,tags\na.jpg,0\nb.jpg,1\n", "numbers"),
        ("image,kind\na.jpg,cat\nb.jpg,dog\n", "column 'kind'"),
        ("image,split,cat\na.jpg,train,1\nb.jpg,val,0\n", "split"),
    ],
)
def test_tags_that_mean_something_else(tmp_path: Path, table: str, part: str) -> None:
    assert any(part in line for line in remarks(folder(tmp_path, table)))


def test_tags_parted_by_blanks_are_read_where_the_class_list_tells(tmp_path: Path) -> None:
    root = folder(tmp_path, "image,tags\na.jpg,dog cat\nb.jpg,cat hot\n")
    write(root / "classes.txt", "cat\ndog\n")
    dataset = open_dataset(root)
    assert [(item.id, item.tags) for item in dataset.items] == [("images/a", (0, 1))]
    assert "rather than blanks" in dataset.problems[0].what
    assert any("read as dog, cat" in line for line in remarks(root))

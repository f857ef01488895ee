"""A folder in which everything that goes wrong with people's photos and tables goes wrong at once."""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.core.errors import UserError
from semples.data import check, open_dataset, verify_photos
from tests.data.builders import complaint


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (31, 17), **options: object) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[274] = 8
    return encoded("JPEG", exif=exif)


def huge() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (12000, 9000)).save(buffer, "PNG")
    return buffer.getvalue()


# What a file may hold, by what becomes of it.
GOOD: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded("JPEG"),
    "progressive": lambda: encoded("JPEG", progressive=True),
    "rotated": rotated,
    "cmyk": lambda: encoded("JPEG", "CMYK"),
    "grey": lambda: encoded("JPEG", "L"),
    "palette": lambda: encoded("PNG", "P"),
    "black and white": lambda: encoded("PNG", "1"),
    "alpha": lambda: encoded("PNG", "RGBA"),
    "16 bit": lambda: encoded("PNG", "I;16"),
    "webp": lambda: encoded("WEBP"),
    "tiff": lambda: encoded("TIFF", compression="tiff_lzw"),
    "bmp": lambda: encoded("BMP"),
    "gif": lambda: encoded("GIF"),
    "one pixel": lambda: encoded("PNG", size=(1, 1)),
    "sliver": lambda: encoded("PNG", size=(700, 1)),
}
BAD: dict[str, Callable[[], bytes]] = {
    "zero bytes": lambda: b"",
    "text": lambda: b"these are not the bytes you are looking for",
    "cut jpeg": lambda: encoded("JPEG")[:-400],
    "cut png": lambda: encoded("PNG")[:-400],
    "cut tiff": lambda: encoded("TIFF")[:300],
    "cut webp": lambda: encoded("WEBP")[:200],
    "header only": lambda: encoded("PNG")[:40],
    "noise": lambda: random.Random(0).randbytes(500),
    "web page": lambda: b"<html><body>404 Not Found</body></html>",
}
NAMES = ("a.jpg", "b.JPG", "c.png", "deep/d.jpeg", "ü.webp", "two words.tif", "e.bmp")  # the suffix says nothing


def test_every_good_and_bad_kind(tmp_path: Path) -> None:
    content = {f"good {name}.jpg": make() for name, make in GOOD.items()}
    content |= {f"bad {name}.jpg": make() for name, make in BAD.items()} | {"bad huge.jpg": huge()}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "bad folder.jpg").mkdir()
    rows = "".join(f"{name},cat\n" for name in content)
    (tmp_path / "tags.csv").write_text("image,tags\n" + rows + "bad folder.jpg,cat\n", encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert [problem.what for problem in dataset.problems] == ["bad folder.jpg: no such photo"]
    verified = verify_photos(dataset, workers=2)
    assert {item.id for item in verified.kept} == {f"good {name}" for name in GOOD}
    assert {problem.where for problem in verified.problems} == {f"bad {name}" for name in (*BAD, "huge")}
    assert verified.sizes["good rotated"] == (17, 31)
    for problem in verified.problems:
        assert str(tmp_path / problem.where) in problem.what
        assert "\n" not in problem.what
    for item in verified.kept:
        photo = dataset.photo(item)
        assert photo.dtype == np.uint8
        assert photo.shape == (*verified.sizes[item.id][::-1], 3)


def test_an_unreadable_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG"))
    path.chmod(0)
    if path.stat().st_uid == 0 or complaint(lambda: path.read_bytes()):
        pytest.skip("this user may read everything")
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cat\n", encoding="utf-8")
    assert "no permission" in verify_photos(open_dataset(tmp_path)).problems[0].what


ROW_NAMES = st.sampled_from(
    [*NAMES, "a", "missing.jpg", "../a.jpg", "/a.jpg", "C:\\a.jpg", "", "A.JPG", "u\u0308.webp"]
)
ROW_TAGS = st.lists(st.sampled_from(["cat", "dog", "wombat", "CAT", " cat ", "größe"]), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    photos=st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*GOOD, *BAD]), min_size=1),
    rows=st.lists(st.tuples(ROW_NAMES, ROW_TAGS), max_size=12),
    listed=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
    blank=st.booleans(),
)
def test_any_mixture_is_read_or_refused_in_one_line(photos, rows, listed, newline, mark, blank) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, kind in photos.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes((GOOD | BAD)[kind]())
        lines = ["image,tags", *(f'"{name}",{";".join(tags)}' for name, tags in rows)]
        text = (newline * (2 if blank else 1)).join(lines)
        (root / "tags.csv").write_bytes(("\ufeff" if mark else "").encode() + text.encode())
        if listed:
            (root / "classes.txt").write_text("cat\ndog,hound\n", encoding="utf-8")
        message = complaint(lambda: open_dataset(root))
        assert "\n" not in message
        if message:
            return
        dataset = open_dataset(root)
        report = check(dataset)
        good = {name for name, kind in photos.items() if kind in GOOD}
        for item in dataset.items:
            name = item.photo.relative_to(root).as_posix()
            assert name in photos
            tags = {tag.strip() for row, tags in rows for tag in tags if matches(row, name)}
            assert {dataset.classes.names[tag] for tag in item.tags} == tags
            if listed:
                assert tags <= {"cat", "dog"}
        assert report.photos == sum(item.photo.relative_to(root).as_posix() in good for item in dataset.items)
        assert report.photos + len(report.unreadable) == len(dataset.items)
        # Nothing is lost in silence: a photo is used or some problem speaks of it or of its row.
        if len(dataset.items) < len(photos):
            assert dataset.problems


def matches(row: str, name: str) -> bool:
    """Whether a row written as `row` means the photo `name` (of NAMES)."""
    other = {"a", "A.JPG", "/a.jpg", "C:\\a.jpg"}  # a path of another computer names a photo by its end
    return row == name or (name == "a.jpg" and row in other) or (row, name) == ("u\u0308.webp", "ü.webp")


def test_a_folder_of_broken_photos_is_still_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "tags.json").write_text('{"a.jpg": ["cat"]}', encoding="utf-8")
    report = check(open_dataset(tmp_path))
    assert (report.photos, len(report.unreadable)) == (0, 1)
    with pytest.raises(UserError, match="the file is empty"):
        open_dataset(tmp_path).photo(open_dataset(tmp_path).items[0])

"""Which photos words on the command line stand for, and what is known of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from semples.core.errors import UserError
from semples.prediction.photos import Photo, find_photos, known_tags
from semples.prediction.settings import predict_settings, scales_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "a/1.jpg",
        "a/2.PNG",
        "a/masks/1.png",
        "a/deep/1.jpg",
        "b/1.jpg",
        "b/1.png",
        "b/notes.txt",
        "a/.h.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    return tmp_path


def ids(*sources: Path | str, **options: Path) -> list[str]:
    return [photo.id for photo in find_photos(sources, **options)]


def test_files_folders_and_patterns(tree: Path) -> None:
    assert ids(tree / "a") == ["1", "2", "deep/1"]
    assert ids(tree / "b" / "1.jpg") == ["1"]
    assert ids(f"{tree}/a/*") == ["1", "2"]
    assert ids(f"{tree}/**/*.jpg") == ["a/1", "a/deep/1", "b/1"]
    assert ids(tree / "b" / "notes.txt") == ["notes"]  # named by itself: opened, and refused with a line of its own
    assert ids(tree / "a", tree / "a" / "1.jpg") == ["1", "2", "deep/1"]
    assert [photo.path for photo in find_photos([tree / "b" / "1.jpg"])] == [tree / "b" / "1.jpg"]


def test_equal_names_are_told_apart(tree: Path) -> None:
    assert ids(tree / "a", tree / "b") == ["a/1", "a/2", "a/deep/1", "b/1.jpg", "b/1.png"]
    assert ids(tree / "b") == ["1.jpg", "1.png"]


def test_earlier_outputs_are_left_out(tree: Path) -> None:
    assert ids(tree, outside=tree / "a") == ["b/1.jpg", "b/1.png"]
    with pytest.raises(UserError, match="no photo to predict"):
        find_photos([tree / "a"], outside=tree)


@pytest.mark.parametrize(
    ("name", "hint"), [("none.jpg", "no such file"), ("b/*.gif", "no file matches"), ("c", "no photo in")]
)
def test_names_that_stand_for_nothing(tree: Path, name: str, hint: str) -> None:
    (tree / "c").mkdir()
    with pytest.raises(UserError, match=hint):
        find_photos([tree / name])


# ------------------------------------------------------------------------------------------------------------- tags

PHOTOS = [Photo("x/1", "x/1.jpg", Path("/p/x/1.jpg")), Photo("2", "2.jpg", Path("/p/2.jpg"))]


def test_words_hold_for_all_photos() -> None:
    assert known_tags(None, PHOTOS, ("cat", "dog")).by_id == {"x/1": None, "2": None}
    assert known_tags("dog, cat", PHOTOS, ("cat", "dog")).by_id == {"x/1": (0, 1), "2": (0, 1)}
    assert known_tags(["dog"], PHOTOS, ("cat", "dog")).by_id == {"x/1": (1,), "2": (1,)}
    for words in ("dgo", "", "dog,fish"):
        with pytest.raises(UserError, match="its classes are cat, dog"):
            known_tags(words, PHOTOS, ("cat", "dog"))


def test_a_tags_file_holds_for_the_photos_it_names(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("image,tags\nx/1.jpg,dog\n3.jpg,fish\n", encoding="utf-8")
    known = known_tags(path, PHOTOS, ("cat", "dog"))
    assert known.by_id == {"x/1": (1,)}
    assert known.problems["2"].what == "no row in tags.csv; write its tags there"
    path.write_text("image,tags\n1,\n2,dog;fish\nx/1.jpg,\n", encoding="utf-8")
    known = known_tags(str(path), PHOTOS, ("cat", "dog"))
    assert known.by_id == {"x/1": ()}
    assert "'fish' (tags.csv, line 3) is not a class" in known.problems["2"].what
    path.write_text("image,tags\n7.jpg,dog\n", encoding="utf-8")
    with pytest.raises(UserError, match="names none of the photos; the first is called x/1"):
        known_tags(path, PHOTOS, ("cat", "dog"))
    with pytest.raises(UserError, match="no such file"):
        known_tags(tmp_path / "none.csv", PHOTOS, ("cat", "dog"))


# --------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"scales": [0.5, 9]}, "scales: 9 is out of range"),
        ({"scales": []}, "scales"),
        ({"window": 8}, "window: 8 is out of range"),
        ({"stride": 64}, "name the window too"),
        ({"window": 64, "stride": 128}, "leaves gaps"),
        ({"batch": 0}, "batch"),
        ({"windows": 64}, "did you mean window"),
        ({"window": "wide"}, "is not a whole number"),
    ],
)
def test_settings_are_checked(given: dict[str, object], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        predict_settings(**given)
    assert predict_settings(scales=[1, 1.5], mirror=None).scales == (1.0, 1.5)


def test_scales_as_text() -> None:
    assert scales_of("0.75, 1,1.25") == [0.75, 1.0, 1.25]
    with pytest.raises(UserError, match="parted by commas"):
        scales_of("one")

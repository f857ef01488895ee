from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.data.classes import MAX_CLASSES, VOC_CLASSES, ClassList, class_list
from semples.data.dataset import PhotoError, open_dataset, safe_relative
from tests.data.builders import Sample, build_folder, save


def test_voc_list_and_its_prompt_words() -> None:
    assert len(VOC_CLASSES) == 20
    words = dict(zip(VOC_CLASSES.names, VOC_CLASSES.prompts, strict=True))
    changed = {name: word for name, word in words.items() if name != word}
    assert changed == {
        "person": "player",
        "tvmonitor": "tv monitor",
        "diningtable": "dining table",
        "pottedplant": "potted plant",
    }
    assert VOC_CLASSES.names.index("person") + 1 == 15  # VOC's label value


@pytest.mark.parametrize(
    ("names", "prompts", "what"),
    [
        ((), (), "empty"),
        (("a", "a"), (), "twice"),
        (("a", " "), (), "empty name"),
        (("a",), ("",), "empty name"),
        (("a", "b"), ("x",), "one for each"),
        (tuple(map(str, range(MAX_CLASSES + 1))), (), "too many"),
    ],
)
def test_bad_class_lists(names: tuple[str, ...], prompts: tuple[str, ...], what: str) -> None:
    with pytest.raises(UserError, match=what):
        ClassList(names, prompts)


def test_class_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b'\xef\xbb\xbfperson, player\r\n\r\n"a, b","c, d"\r\nu\xcc\x88\r\n x ,\r\n')
    assert class_list(path) == ClassList(("person", "a, b", "ü", "x"), ("player", "c, d", "ü", "x"))
    for content, what in [("a,b,c\n", "line 1"), ("a\n,b\n", "line 2"), ("a\na\n", "twice"), ('"a\n', "classes.txt")]:
        path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=what):
            class_list(path)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "a/../../b", "C:\\x.jpg", "\\\\host\\x", "..\\a", "a\0b"])
def test_paths_that_leave_the_folder(name: str) -> None:
    assert safe_relative(name) is None


def test_paths_that_stay() -> None:
    assert str(safe_relative("images\\2020\\a.jpg")) == "images/2020/a.jpg"
    assert str(safe_relative("./a..b/c.jpg")) == "a..b/c.jpg"


def test_masks_of_the_wrong_size_or_with_unknown_values(tmp_path: Path) -> None:
    build_folder(tmp_path, ["cat"], [Sample("a", (4, 3), ("cat",)), Sample("b", (4, 3), ("cat",))])
    save(tmp_path / "masks" / "a.png", np.zeros((4, 3), np.uint8))
    save(tmp_path / "masks" / "b.png", np.full((3, 4), 2, np.uint8))
    dataset = open_dataset(tmp_path)
    with pytest.raises(PhotoError, match=r"a\.png: the mask is 3x4 pixels but its photo 4x3"):
        dataset.mask(dataset.items[0])
    with pytest.raises(PhotoError, match=r"b\.png: the mask holds the value 2, but there are 1 classes"):
        dataset.mask(dataset.items[1])


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither the VOC layout"):
        open_dataset(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        open_dataset(tmp_path / "none")
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cat\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no usable photo, 1 problems; the first: tags.csv, line 2: a.jpg: no such"):
        open_dataset(tmp_path)


def test_class_list_given_by_the_caller(tmp_path: Path) -> None:
    build_folder(tmp_path, ["cat", "dog"], [Sample("a", (4, 3), ("dog",))])
    (tmp_path / "other.txt").write_text("dog\ncat\n", encoding="utf-8")
    assert open_dataset(tmp_path).items[0].tags == (1,)
    assert open_dataset(tmp_path, classes=tmp_path / "other.txt").items[0].tags == (0,)
    assert open_dataset(tmp_path, classes=ClassList(("dog",))).items[0].tags == (0,)

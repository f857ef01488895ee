from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.data.classes import VOC_CLASSES
from semples.data.dataset import open_dataset
from semples.data.readers.voc import _Unusable, object_names
from tests.data.builders import complaint, save, write_xml

PIXELS = np.zeros((3, 4, 3), np.uint8)
LABELS = np.zeros((3, 4), np.uint8)
TAGS = {"2007_000027": ("person",), "2007_000032": ("aeroplane", "person"), "2008_000001": ()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A VOC2012 folder of three photos with XML annotations and a `train` list."""
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for name, tags in TAGS.items():
        save(folder / "JPEGImages" / f"{name}.png", PIXELS).rename(folder / "JPEGImages" / f"{name}.jpg")
        write_xml(folder / "Annotations" / f"{name}.xml", tags)
    write_list(folder, "train", "\n".join(TAGS))
    return folder


def write_list(root: Path, name: str, text: str, kind: str = "Segmentation") -> None:
    (root / "ImageSets" / kind).mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / kind / f"{name}.txt").write_text(text, encoding="utf-8")


def tags(root: Path, **arguments: object) -> dict[str, tuple[str, ...]]:
    dataset = open_dataset(root, **arguments)  # type: ignore[arg-type]
    return {item.id: tuple(dataset.classes.names[tag] for tag in item.tags) for item in dataset.items}


def test_found_from_any_of_three_folders(root: Path) -> None:
    for start in (root, root.parent, root.parent.parent):
        dataset = open_dataset(start)
        assert dataset.classes == VOC_CLASSES
        assert dataset.root == root
        assert tags(start) == TAGS
        assert dataset.problems == ()
        assert dataset.items[0].photo.is_file()


def test_default_split_and_unknown_split(root: Path) -> None:
    write_list(root, "val", "2008_000001")
    write_list(root, "train_aug", "2007_000032\n2007_000027")
    write_list(root, "person_train", "2007_000032 1\n2007_000027 -1", "Main")
    write_list(root, "trainval", "2007_000032", "Main")
    assert list(tags(root)) == ["2007_000032", "2007_000027"]
    assert open_dataset(root).name == "VOC2012/train_aug"
    assert list(tags(root, split="val")) == ["2008_000001"]
    assert list(tags(root, split="trainval")) == ["2007_000032"]
    with pytest.raises(UserError, match=r"'test'; there are: train, train_aug, trainval, val$"):
        open_dataset(root, split="test")
    with pytest.raises(UserError, match="no list for split"):
        open_dataset(root, split="../Segmentation/val")


def test_all_photos_without_a_list(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "train.txt").unlink()
    assert tags(root) == TAGS
    assert open_dataset(root).name == "VOC2012"


def test_published_list_forms(root: Path) -> None:
    both = "".join(f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n" for name in TAGS)
    for text in (both, both.replace("\n", "\r\n"), "\ufeff" + both, "\n".join(f"{name}.jpg" for name in TAGS),
                 "\n".join(f"{name}  1" for name in TAGS)):  # fmt: skip
        write_list(root, "train_aug", text)
        assert tags(root) == TAGS


def test_list_lines_that_do_not_fit(root: Path) -> None:
    write_list(root, "train", "2007_000027\n2007_999999\n\n2007_000027\n../../../etc/passwd\n")
    dataset = open_dataset(root)
    assert [item.id for item in dataset.items] == ["2007_000027"]
    assert [problem.where for problem in dataset.problems] == [
        "train.txt, line 2",
        "train.txt, line 4",
        "train.txt, line 5",
    ]
    assert "no such photo" in dataset.problems[0].what
    assert "named twice" in dataset.problems[1].what
    write_list(root, "train", "\n \n")
    with pytest.raises(UserError, match="the list is empty"):
        open_dataset(root)


def test_augmented_masks_are_preferred(root: Path) -> None:
    save(root / "SegmentationClass" / "2007_000027.png", LABELS)
    save(root / "SegmentationClass" / "2007_000032.png", LABELS)
    save(root / "SegmentationClassAug" / "2007_000032.png", LABELS)
    masks = [item.mask and item.mask.relative_to(root).as_posix() for item in open_dataset(root).items]
    assert masks == ["SegmentationClass/2007_000027.png", "SegmentationClassAug/2007_000032.png", None]


def test_names_not_in_the_class_list_and_missing_annotations(root: Path) -> None:
    write_xml(root / "Annotations" / "2007_000027.xml", ["person", "unicorn"])
    (root / "Annotations" / "2007_000032.xml").unlink()
    dataset = open_dataset(root)
    assert [item.id for item in dataset.items] == ["2008_000001"]
    assert [problem.where for problem in dataset.problems] == ["2007_000027", "2007_000032"]
    assert "'unicorn' is not in the class list" in dataset.problems[0].what
    assert "no Annotations/2007_000032.xml" in dataset.problems[1].what
    (root / "classes.txt").write_text("unicorn,white horse with a horn\nperson\n", encoding="utf-8")
    dataset = open_dataset(root)
    assert dataset.classes.prompts == ("white horse with a horn", "person")
    assert dataset.items[0].tags == (0, 1)


def one_hot(*names: str) -> np.ndarray:
    return np.array([name in names for name in VOC_CLASSES.names], np.float32)


def test_published_tag_arrays(root: Path, tmp_path: Path) -> None:
    table = {name: one_hot(*names) for name, names in TAGS.items()}
    np.save(tmp_path / "other.npy", {**table, "2007_000027": one_hot("sofa")}, allow_pickle=True)
    assert tags(root, tags=tmp_path / "other.npy") == {**TAGS, "2007_000027": ("sofa",)}
    # Beside annotations the published file fills gaps; without annotations it is the source.
    np.save(root / "cls_labels.npy", table, allow_pickle=True)
    (root / "Annotations" / "2007_000032.xml").unlink()
    write_xml(root / "Annotations" / "2007_000027.xml", ["cat"])
    assert tags(root) == {**TAGS, "2007_000027": ("cat",)}
    for path in (root / "Annotations").iterdir():
        path.unlink()
    (root / "Annotations").rmdir()
    assert tags(root) == TAGS
    del table["2007_000027"]
    np.save(root / "cls_labels.npy", table, allow_pickle=True)
    assert open_dataset(root).problems[0].what.startswith("no tags: cls_labels.npy does not name it (its keys look")
    np.save(root / "cls_labels.npy", {name: np.zeros(30) for name in TAGS}, allow_pickle=True)
    with pytest.raises(UserError, match="expected 20 numbers"):
        open_dataset(root)
    np.save(root / "cls_labels.npy", np.zeros(20))
    with pytest.raises(UserError, match="not a dictionary"):
        open_dataset(root)
    (root / "cls_labels.npy").unlink()
    with pytest.raises(UserError, match="no tags"):
        open_dataset(root)


def test_tags_from_a_table(root: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "image,tags\n2007_000027.jpg,cat\nJPEGImages/2007_000032,dog;cat\n", encoding="utf-8"
    )
    dataset = open_dataset(root, tags=tmp_path / "t.csv")
    assert [item.tags for item in dataset.items] == [(7,), (7, 11)]
    assert dataset.problems[0].where == "2008_000001"


def test_photos_that_share_a_name(root: Path) -> None:
    save(root / "JPEGImages" / "2007_000027.png", PIXELS)
    dataset = open_dataset(root)
    assert dataset.items[0].photo.name == "2007_000027.jpg"
    assert dataset.problems[0].where == "JPEGImages/2007_000027.png"


def test_a_name_with_blanks(root: Path) -> None:
    save(root / "JPEGImages" / "my photo.png", PIXELS)
    write_xml(root / "Annotations" / "my photo.xml", ["cat"])
    write_list(root, "train", "my photo\n2007_000027\n")
    assert list(tags(root)) == ["my photo", "2007_000027"]


def test_only_whole_objects_are_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        "<?xml version='1.0'?><annotation><source><name>not me</name></source>"
        "<object><part><name>head</name></part><name> person </name><difficult>1</difficult></object>"
        "<object><name>c&amp;a &#x74;</name></object></annotation>",
        encoding="utf-8",
    )
    assert object_names(path) == ["person", "c&a t"]


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(f'<!ENTITY a{n} "{"&a;" * 10}">' for n in range(9)) + "]>"


@pytest.mark.parametrize(
    "content",
    [
        (LAUGHS + "<annotation><object><name>&a;</name></object></annotation>").encode(),
        (LAUGHS + "<annotation><object><name>&a;</name></object></annotation>").encode("utf-16"),
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>',
        b'<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd"><annotation/>',
        b"<annotation><object><name>&undefined;</name></object></annotation>",
        b"<annotation><object>",
        b"",
        b"\xff\xfe\xff",
        b"<?xml version='1.0' encoding='no-such-thing'?><annotation/>",
    ],
)
def test_hostile_and_broken_xml_is_set_aside(root: Path, content: bytes) -> None:
    path = root / "Annotations" / "2007_000027.xml"
    path.write_bytes(content)
    with pytest.raises(_Unusable):
        object_names(path)
    dataset = open_dataset(root)
    assert [item.id for item in dataset.items] == ["2007_000032", "2008_000001"]
    assert dataset.problems[0].where == "2007_000027"
    assert "Annotations/2007_000027.xml" in dataset.problems[0].what


def test_layout_must_be_whole(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    assert "neither the VOC layout" in complaint(lambda: open_dataset(tmp_path))
    assert "not the VOC layout" in complaint(lambda: open_dataset(tmp_path, reader="voc"))

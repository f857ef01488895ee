"""The two archives in their true format, a few photos each, served from this machine."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.data import VOC_CLASSES, open_dataset
from semples.data.fetch import voc
from semples.data.fetch.download import Remote
from semples.data.fetch.voc import AUG, TREE, Counts, get_voc
from semples.data.outlines import write_labels
from semples.data.photos import read_mask
from tests.data.builders import complaint
from tests.data.fetch.server import FileServer
from tests.data.fetch.test_matfile import sbd

scipy_io = pytest.importorskip("scipy.io")

TRAIN, VAL = ["2007_000032", "2007_000039"], ["2007_000033", "2007_000042"]
SBD_TRAIN = ["2007_000032", "2007_000033", "2008_000002", "2008_000003"]
SBD_VAL = ["2008_000007", "2007_000042", "2007_000039"]
TRAIN_AUG = ["2007_000032", "2007_000039", "2008_000002", "2008_000003", "2008_000007"]
EVERY = sorted({*TRAIN, *VAL, *SBD_TRAIN, *SBD_VAL})
COUNTS = Counts(photos=len(EVERY) + 1, train=2, val=2, train_aug=5)
SPARE = "2009_000001"  # a photo of VOC in no list


def size_of(name: str) -> tuple[int, int]:
    return 20 + EVERY.index(name), 15


def own_mask(name: str) -> np.ndarray:
    width, height = size_of(name)
    mask = np.zeros((height, width), np.uint8)
    mask[2:9, 3:12] = 255
    mask[3:8, 4:11] = 1 + EVERY.index(name)
    return mask


def sbd_mask(name: str) -> np.ndarray:
    width, height = size_of(name)
    mask = np.zeros((height, width), np.uint8)
    mask[4:9, 5:9] = 20
    mask[10:, :5] = 1 + EVERY.index(name)
    return mask


def xml(name: str) -> str:
    second = VOC_CLASSES.names[EVERY.index(name)] if name in EVERY else "cat"
    things = "".join(
        f"<object><name>{thing}</name><pose>Left</pose><bndbox><xmax>9</xmax><xmin>1</xmin><ymax>9</ymax><ymin>1</ymin>"
        "</bndbox><part><name>head</name></part></object>"
        for thing in ("tvmonitor", second)
    )
    return f"<annotation><folder>VOC2012</folder><filename>{name}.jpg</filename>{things}</annotation>"


def write_tree(root: Path) -> None:
    for folder in ("Annotations", "JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Main").mkdir()
    for name in [*EVERY, SPARE]:
        size = size_of(name) if name in EVERY else (9, 9)
        Image.new("RGB", size, (9, 99, 200)).save(root / f"JPEGImages/{name}.jpg")
        (root / f"Annotations/{name}.xml").write_text(xml(name), encoding="utf-8")
    for name in TRAIN + VAL:
        write_labels(root / f"SegmentationClass/{name}.png", own_mask(name))
        write_labels(root / f"SegmentationObject/{name}.png", own_mask(name))
    for split, names in (("train", TRAIN), ("val", VAL), ("trainval", sorted(TRAIN + VAL))):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    (root / "ImageSets/Main/cat_train.txt").write_text("2007_000032 -1\n", encoding="utf-8")


def write_sbd(root: Path) -> None:
    for folder in ("cls", "inst", "img"):
        (root / folder).mkdir(parents=True)
    for name in {*SBD_TRAIN, *SBD_VAL}:
        scipy_io.savemat(root / f"cls/{name}.mat", sbd(sbd_mask(name)), do_compression=True)
        (root / f"inst/{name}.mat").write_bytes(b"not needed")
        (root / f"img/{name}.jpg").write_bytes(b"not needed")
    (root / "train.txt").write_text("\n".join(SBD_TRAIN) + "\n", encoding="utf-8")
    (root / "val.txt").write_text("\n".join(SBD_VAL), encoding="utf-8")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both archives, their unpacked trees, and SegmentationClassAug as it is passed around."""
    folder = tmp_path_factory.mktemp("published")
    write_tree(folder / "unpacked" / TREE)
    write_sbd(folder / "sbd/benchmark_RELEASE/dataset")
    (folder / "sbd/benchmark_RELEASE/README").write_text("text", encoding="utf-8")
    with tarfile.open(folder / "VOCtrainval_11-May-2012.tar", "w") as tar:
        tar.add(folder / "unpacked/VOCdevkit", "VOCdevkit")
    with tarfile.open(folder / "benchmark.tgz", "w:gz") as tar:
        tar.add(folder / "sbd/benchmark_RELEASE", "benchmark_RELEASE")
        link = tarfile.TarInfo("benchmark_RELEASE/benchmark_code/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    for name in EVERY:
        mask = own_mask(name) if name in TRAIN + VAL else sbd_mask(name)
        (folder / "aug" / AUG).mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / "aug" / AUG / f"{name}.png")
    with zipfile.ZipFile(folder / f"{AUG}.zip", "w") as zipped:
        for path in sorted((folder / "aug" / AUG).iterdir()):
            zipped.write(path, f"{AUG}/{path.name}")
            zipped.writestr(f"__MACOSX/{AUG}/._{path.name}", "mac")
    return folder


@pytest.fixture
def remotes(published: Path) -> tuple[Remote, Remote]:
    def remote(name: str) -> Remote:
        data = (published / name).read_bytes()
        return Remote(name, hashlib.md5(data).hexdigest(), len(data), (f"http://127.0.0.1:9/{name}",))

    return remote("VOCtrainval_11-May-2012.tar"), remote("benchmark.tgz")


@pytest.fixture
def served(server: FileServer, published: Path) -> tuple[Remote, Remote]:
    names = ("VOCtrainval_11-May-2012.tar", "benchmark.tgz")
    first, second = (server.add(name, (published / name).read_bytes()) for name in names)
    return first, second


def check_result(root: Path) -> None:
    dataset = open_dataset(root)
    assert dataset.name == "VOC2012/train_aug"
    assert [item.id for item in dataset.items] == TRAIN_AUG
    assert dataset.problems == ()
    for item in dataset.items:
        expected = own_mask(item.id) if item.id in TRAIN else sbd_mask(item.id)
        assert item.mask is not None
        assert item.mask.parent.name == AUG
        np.testing.assert_array_equal(dataset.mask(item), expected)
        assert item.tags == tuple(sorted({EVERY.index(item.id), VOC_CLASSES.names.index("tvmonitor")}))
    val = open_dataset(root, split="val")
    assert [item.id for item in val.items] == VAL
    for item in val.items:
        np.testing.assert_array_equal(val.mask(item), own_mask(item.id))


def test_from_the_net(tmp_path: Path, served: tuple[Remote, Remote], server: FileServer) -> None:
    result = get_voc(tmp_path, files=served, counts=COUNTS)
    check_result(tmp_path)
    assert result.root == tmp_path / TREE
    assert (result.train, result.val, result.train_aug) == (2, 2, 5)
    assert not (tmp_path / "downloads/SBD/benchmark_RELEASE/dataset/img").exists()
    assert [path.name for path in result.removable] == ["VOCtrainval_11-May-2012.tar", "benchmark.tgz", "SBD"]
    shutil.rmtree(tmp_path / "downloads")
    asked = len(server.asked)
    assert get_voc(tmp_path, files=served, counts=COUNTS).removable == ()
    assert len(server.asked) == asked


def test_published_values() -> None:
    assert voc.VOC_TAR.md5 == "6cd6e144f989b92b3379bac3b3de84fd"
    assert voc.VOC_TAR.name == "VOCtrainval_11-May-2012.tar"
    assert voc.SBD_TGZ.md5 == "82b4d87ceb2ed10f6038a1cba92111cb"
    assert Counts() == Counts(photos=17125, train=1464, val=1449, train_aug=10582)


@pytest.mark.parametrize("workers", [1, 2])
def test_several_processes(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote], workers: int) -> None:
    get_voc(tmp_path, source=published, files=remotes, counts=COUNTS, workers=workers)
    check_result(tmp_path)


LAYOUTS = {
    "archives": {"VOCtrainval_11-May-2012.tar": "", "benchmark.tgz": ""},
    "unpacked": {"unpacked/VOCdevkit": "VOCdevkit", "sbd/benchmark_RELEASE": "benchmark_RELEASE"},
    "VOC2012 beside SBD": {"unpacked/VOCdevkit/VOC2012": "VOC2012", "sbd/benchmark_RELEASE/dataset": "SBD"},
    "deep": {"unpacked/VOCdevkit/VOC2012": "a/b/c/x", "benchmark.tgz": "a/sbd/benchmark.tgz"},
    "aug zip": {"unpacked/VOCdevkit": "VOCdevkit", "SegmentationClassAug.zip": ""},
    "aug folder": {"VOCtrainval_11-May-2012.tar": "", f"aug/{AUG}": AUG},
    "aug in VOC": {"unpacked/VOCdevkit/VOC2012": "VOC2012", f"aug/{AUG}": f"VOC2012/{AUG}"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_from_files_already_there(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote], layout: str) -> None:
    source = tmp_path / "have"
    for name, target in LAYOUTS[layout].items():
        path = source / (target or name)
        path.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (published / name).is_dir() else shutil.copy)(published / name, path)
    before = {path: path.stat().st_mode for path in source.rglob("*") if not path.name.endswith(".md5.json")}
    get_voc(tmp_path / "out", source=source, files=remotes, counts=COUNTS)
    check_result(tmp_path / "out")
    after = {path: path.stat().st_mode for path in source.rglob("*") if not path.name.endswith(".md5.json")}
    assert after == before


def test_in_place(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote]) -> None:
    shutil.copytree(published / "unpacked/VOCdevkit", tmp_path / "VOCdevkit")
    shutil.copytree(published / "aug" / AUG, tmp_path / TREE / AUG)
    get_voc(tmp_path, source=tmp_path, files=remotes, counts=COUNTS)
    check_result(tmp_path)


@pytest.mark.parametrize(
    ("missing", "part"),
    [("VOCdevkit", "neither VOCtrainval"), ("benchmark_RELEASE", "no additional masks"), ("", "no such folder")],
)
def test_something_missing(
    tmp_path: Path, published: Path, remotes: tuple[Remote, Remote], missing: str, part: str
) -> None:
    if missing != "VOCdevkit":
        shutil.copytree(published / "unpacked", tmp_path / "have")
    else:
        shutil.copytree(published / "sbd", tmp_path / "have")
    source = tmp_path / ("have" if missing else "none")
    assert part in complaint(lambda: get_voc(tmp_path / "out", source=source, files=remotes, counts=COUNTS))
    assert not (tmp_path / "out" / TREE).exists()  # told before the work


def test_wrong_archive(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote]) -> None:
    (tmp_path / "VOCtrainval_11-May-2012.tar").write_bytes(b"x")
    assert "MD5" in complaint(lambda: get_voc(tmp_path / "o", source=tmp_path, files=remotes, counts=COUNTS))


@pytest.mark.parametrize("name", ["train", "val", "train_aug"])
def test_counts_are_checked(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote], name: str) -> None:
    counts = Counts(**{"photos": 10, "train": 2, "val": 2, "train_aug": 5, name: 4})
    message = complaint(lambda: get_voc(tmp_path, source=published, files=remotes, counts=counts))
    assert f"{name}" in message
    assert "not 4" in message
    assert not (tmp_path / TREE / "ImageSets/Segmentation/train_aug.txt").exists()


def break_mask(tree: Path, dataset: Path) -> None:
    scipy_io.savemat(dataset / "cls/2008_000003.mat", sbd(np.zeros((3, 3), np.uint8)))


def break_values(tree: Path, dataset: Path) -> None:
    scipy_io.savemat(dataset / "cls/2008_000003.mat", sbd(np.full((15, 25), 21, np.uint8)))


def lose_mask(tree: Path, dataset: Path) -> None:
    (dataset / "cls/2008_000003.mat").unlink()


def lose_tags(tree: Path, dataset: Path) -> None:
    (tree / "Annotations/2008_000003.xml").write_text("<annotation></annotation>", encoding="utf-8")


def unknown_tag(tree: Path, dataset: Path) -> None:
    (tree / "Annotations/2008_000003.xml").write_text(
        "<annotation><object><name>emu</name></object></annotation>", encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (break_mask, "3x3"),
        (break_values, "no VOC label"),
        (lose_mask, "no mask"),
        (lose_tags, "no tags"),
        (unknown_tag, "emu"),
    ],
)
def test_spoilt_files(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote], spoil, part: str) -> None:
    shutil.copytree(published / "unpacked", tmp_path / "have")
    shutil.copytree(published / "sbd", tmp_path / "have/sbd")
    spoil(tmp_path / "have" / TREE, tmp_path / "have/sbd/benchmark_RELEASE/dataset")
    message = complaint(lambda: get_voc(tmp_path / "o", source=tmp_path / "have", files=remotes, counts=COUNTS))
    assert part in message
    assert "2008_000003" in message
    assert not (tmp_path / "o" / TREE / "ImageSets/Segmentation/train_aug.txt").exists()


def test_cut_off_at_any_file_and_taken_up(
    tmp_path: Path,
    published: Path,
    served: tuple[Remote, Remote],
    server: FileServer,
    calls_while_the_disk_fills: Callable[..., int],
) -> None:
    """Each call goes on where the one before it was cut off; the last one finishes."""

    def check() -> None:
        assert not (tmp_path / TREE / "ImageSets/Segmentation/train_aug.txt").exists()

    calls = calls_while_the_disk_fills(lambda: get_voc(tmp_path, files=served, counts=COUNTS), check=check)
    assert 4 < calls < 39
    check_result(tmp_path)
    assert [path for path, asked in server.asked if asked is None] == ["/VOCtrainval_11-May-2012.tar", "/benchmark.tgz"]
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


def test_hostile_archive(tmp_path: Path, server: FileServer) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("VOCdevkit/VOC2012/../../../evil")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"boo"))
    remote = server.add("VOCtrainval_11-May-2012.tar", buffer.getvalue())
    message = complaint(lambda: get_voc(tmp_path / "a/b", files=(remote, remote), counts=COUNTS))
    assert "outside the folder" in message
    assert not list(tmp_path.rglob("evil"))


def test_grey_masks_from_aug_become_indexed(tmp_path: Path, published: Path, remotes: tuple[Remote, Remote]) -> None:
    source = tmp_path / "have"
    shutil.copytree(published / "unpacked", source)
    shutil.copy(published / f"{AUG}.zip", source)
    get_voc(tmp_path / "o", source=source, files=remotes, counts=COUNTS)
    path = tmp_path / "o" / TREE / AUG / "2008_000002.png"
    with Image.open(path) as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(read_mask(path), sbd_mask("2008_000002"))


def test_mirrors_of_the_published_archive() -> None:
    assert [url.rpartition("/")[2] for url in voc.VOC_TAR.urls] == [voc.VOC_TAR.name] * 3
    assert "d2l-data.s3-accelerate.amazonaws.com" in voc.VOC_TAR.urls[1]


@pytest.mark.parametrize("place", ["VOCdevkit/VOC2012", "VOC2012", "data/VOC2012", ""])
def test_what_is_unpacked_there_is_recognised(
    tmp_path: Path, published: Path, remotes: tuple[Remote, Remote], place: str
) -> None:
    """No archive is asked for (its address answers nothing), with VOC's test photos unpacked among the others too."""
    shutil.copytree(published / "unpacked" / TREE, tmp_path / place, dirs_exist_ok=True)
    shutil.copytree(published / "sbd/benchmark_RELEASE", tmp_path / "benchmark_RELEASE")
    Image.new("RGB", (9, 9)).save(tmp_path / place / "JPEGImages/2008_000006.jpg")
    (tmp_path / place / "ImageSets/Segmentation/test.txt").write_text("2008_000006\n", encoding="utf-8")
    get_voc(tmp_path, files=remotes, counts=COUNTS)
    check_result(tmp_path / TREE)
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_unpacked_in_part_is_fetched(tmp_path: Path, published: Path, served: tuple[Remote, Remote]) -> None:
    shutil.copytree(published / "unpacked" / TREE, tmp_path / "VOC2012")
    (tmp_path / "VOC2012/JPEGImages/2008_000003.jpg").unlink()
    shutil.copytree(published / "sbd/benchmark_RELEASE", tmp_path / "benchmark_RELEASE")
    (tmp_path / "benchmark_RELEASE/dataset/cls/2008_000003.mat").unlink()
    get_voc(tmp_path, files=served, counts=COUNTS)
    check_result(tmp_path / TREE)

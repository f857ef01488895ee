"""What single formats promise beyond the contract."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.palette import read_label_png, voc_palette, write_label_png
from semples.data.dataset import ClassList, FileDataset, Item
from semples.data.importers import import_annotations
from semples.export import ExportSource, export_labels
from semples.export.fma_wsss import make_seeds
from tests.export.readers import READERS
from tests.export.worlds import CLASSES, blobs, make_source


def test_voc_photos_names_and_classes(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"été/a b": blobs(20, 30), "c": blobs(9, 9)})
    done = export_labels("voc", source, tmp_path / "out", photos="copy")
    assert (tmp_path / "out/ImageSets/Segmentation/train.txt").read_text(encoding="utf-8") == "a b\nc\n"
    assert (tmp_path / "out/JPEGImages/a b.jpg").is_file()
    assert (tmp_path / "out/classes.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    assert "names.csv" in done.remarks[-1]


def test_names_without_folders_stay_apart(tmp_path: Path) -> None:
    ids = ["x/a", "y/A", "x_a", "b"]
    source = make_source(tmp_path, {id: np.full((2, 3), place % 3, np.uint8) for place, id in enumerate(ids)})
    assert list(source.flat_names.values()) == ["x_a", "y_A", "x_a-2", "b"]
    export_labels("voc", source, tmp_path / "out")
    read = READERS["voc"](tmp_path / "out", source)
    assert {id: int(labels[0, 0]) for id, labels in read.items()} == {"x/a": 0, "y/A": 1, "x_a": 2, "b": 0}


def test_names_stay_apart_where_case_does_not_count(tmp_path: Path) -> None:
    items = tuple(Item(id, tmp_path / f"{id}.jpg", ()) for id in ("x/a", "X_A", "y/a"))
    source = ExportSource(FileDataset("w", tmp_path, ClassList(CLASSES), items, ()), tmp_path)
    assert list(source.flat_names.values()) == ["x_a", "X_A-2", "y_a"]


def test_photo_names_leave_out_the_folder_of_all(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"images/x/a": blobs(5, 5), "images/y/b.c": blobs(5, 5)})
    assert source.photo_names == {"images/x/a": "x/a.png", "images/y/b.c": "y/b.c.png"}


def turned(path: Path) -> np.ndarray:
    """A JPEG whose EXIF data turn it by a quarter; what it looks like, (H, W, 3)."""
    y, x = np.mgrid[:24, :16]
    stored = np.stack([x * 15, y * 10, x * 0], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(stored).save(path, quality=95, exif=exif)
    with Image.open(path) as image:
        return np.array(image.transpose(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize(("format", "place"), [("voc", "JPEGImages"), ("yolo", "images/train"), ("coco", "images")])
def test_photos_are_put_upright(format: str, place: str, tmp_path: Path) -> None:
    looks = turned(tmp_path / "a.jpg")
    Image.fromarray(looks).save(tmp_path / "b.gif")
    for id in "ab":
        write_label_png(tmp_path / "labels" / f"{id}.png", blobs(*looks.shape[:2]))
    items = (Item("a", tmp_path / "a.jpg", ()), Item("b", tmp_path / "b.gif", ()))
    source = ExportSource(FileDataset("w", tmp_path, ClassList(CLASSES), items, ()), tmp_path / "labels")
    export_labels(format, source, tmp_path / "out", photos="copy")
    for id in "ab":
        with Image.open(tmp_path / "out" / place / f"{id}.jpg") as image:
            assert image.getexif().get(274, 1) == 1
            assert image.size == (24, 16)
            if id == "a":
                assert np.abs(np.asarray(image).astype(int) - looks).mean() < 3


def test_linked_photos_are_the_same_files(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    export_labels("coco", source, tmp_path / "out", photos="link")
    assert (tmp_path / "out/images/a.png").samefile(tmp_path / "photos/a.png")


def test_coco_comes_back_through_the_importer(tmp_path: Path) -> None:
    world = {"x/a": blobs(40, 50, ignored=False), "y/b": np.zeros((8, 9), np.uint8)}
    for shapes in ("rle", "polygons"):
        source = make_source(tmp_path / shapes, world)
        export_labels("coco", source, tmp_path / shapes / "out", photos="copy", shapes=shapes, tolerance=0)
        folder = tmp_path / shapes / "out"
        import_annotations(folder / "instances.json", tmp_path / shapes / "in", photos=folder / "images")
        for id, labels in world.items():
            imported = read_label_png(tmp_path / shapes / "in" / "masks" / "images" / f"{id}.png")
            np.testing.assert_array_equal(imported, labels)


def test_label_studio_addresses(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"été/a&b": blobs(9, 9), "c": blobs(9, 9)})
    export_labels("labelstudio", source, tmp_path / "out", prefix="https://example.org/p/")
    tasks = json.loads((tmp_path / "out/tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["image"] for task in tasks] == [
        "https://example.org/p/%C3%A9t%C3%A9/a%26b.png",
        "https://example.org/p/c.png",
    ]


def test_cvat_objects_are_the_regions(tmp_path: Path) -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[::2, ::2] = 1  # 900 regions, more than a palette has colours
    labels[:20, :20] = 2
    source = make_source(tmp_path, {"a": labels})
    export_labels("cvat-voc", source, tmp_path / "out")
    np.testing.assert_array_equal(READERS["cvat-voc"](tmp_path / "out", source)["a"], labels)
    with zipfile.ZipFile(tmp_path / "out/annotations.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        with Image.open(io.BytesIO(archive.read("SegmentationObject/a.png"))) as image:
            colours = np.array(image).reshape(-1, 3)
    distinct, counts = np.unique(colours, axis=0, return_counts=True)
    assert {tuple(colour) for colour in distinct} == {tuple(colour) for colour in voc_palette()}
    assert (colours.reshape(60, 60, 3)[:20, :20] == voc_palette()[1]).all()
    assert counts.sum() == 3600


def test_a_shared_cvat_number_is_of_one_class(tmp_path: Path) -> None:
    """Beyond 255 regions the rest of each class has a number: none holds pixels of two classes."""
    labels = np.zeros((60, 60), np.uint8)
    labels[::2, ::2] = np.random.default_rng(0).integers(1, 4, (30, 30))
    source = make_source(tmp_path, {"a": labels})
    export_labels("cvat-voc", source, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out/annotations.zip") as archive:
        with Image.open(io.BytesIO(archive.read("SegmentationObject/a.png"))) as image:
            objects = np.array(image).astype(int) @ (65536, 256, 1)
    for number in np.unique(objects[objects > 0]):
        assert len(np.unique(labels[objects == number])) == 1
    assert len(np.unique(objects[objects > 0])) == 255
    assert ((objects > 0) == (labels > 0)).all()


@pytest.mark.parametrize("format", ["cvat-voc", "cvat-coco"])
def test_labels_for_cvats_constructor(format: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    export_labels(format, source, tmp_path / "out")
    labels = json.loads((tmp_path / "out" / "labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in labels] == list(CLASSES)
    colours = [tuple(bytes.fromhex(label["color"][1:])) for label in labels]
    assert colours == [tuple(colour) for colour in voc_palette()[1:4].tolist()]
    assert all(label["attributes"] == [] for label in labels)


def test_a_class_called_background_is_refused(tmp_path: Path) -> None:
    for name in ("background", "Background"):
        with pytest.raises(UserError, match="what carries no tag"):
            make_source(tmp_path, {"a": blobs(9, 9)}, classes=("a", name, "c"))


@pytest.mark.parametrize("how", ["copy", "link"])
def test_photos_of_a_voc_tree_are_jpeg(how: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(40, 60), "b": blobs(30, 20)})
    photo = tmp_path / "photos" / "b.png"
    Image.open(photo).save(photo.with_suffix(".jpg"), quality=90)
    items = (source.dataset.items[0], replace(source.dataset.items[1], photo=photo.with_suffix(".jpg")))
    source = replace(source, dataset=replace(source.dataset, items=items))
    done = export_labels("voc", source, tmp_path / "out", photos=how)
    assert sorted(path.name for path in (tmp_path / "out" / "JPEGImages").iterdir()) == ["a.jpg", "b.jpg"]
    with Image.open(tmp_path / "out" / "JPEGImages" / "a.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (60, 40))
    assert (tmp_path / "out" / "JPEGImages" / "b.jpg").read_bytes() == photo.with_suffix(".jpg").read_bytes()
    assert any("1 photos that are no JPEG" in remark for remark in done.remarks)


def test_cvat_class_names_that_its_table_cannot_hold(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)}, classes=("a", "b:c", "d"))
    with pytest.raises(UserError, match="b:c"):
        export_labels("cvat-voc", source, tmp_path / "out")


class Page(HTMLParser):
    """Sources of the pictures and all text of a page; fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "b"  # a class name is no markup
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_gallery_shows_every_photo(tmp_path: Path) -> None:
    world = {"été/a#1": blobs(40, 90), "b": np.zeros((9, 9), np.uint8)}
    source = make_source(tmp_path, world)
    export_labels("gallery", source, tmp_path / "out", max_side=45, opacity=1)
    html = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    assert page.open == []
    assert not re.search(r"https?://|<script", html)
    assert len(page.pictures) == 2
    sizes = []
    for address in page.pictures:
        with Image.open(tmp_path / "out" / unquote(address)) as image:
            sizes.append(image.size)
    assert sizes == [(45, 20), (9, 9)]
    for text in (*CLASSES, *world, "background only", "ignored 10.0 %"):
        assert text in page.text


def test_overlay_colours(tmp_path: Path) -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[0] = 2
    source = make_source(tmp_path, {"a": labels})
    for opacity in (1.0, 0.25):
        export_labels("gallery", source, tmp_path / str(opacity), opacity=opacity)
        with Image.open(tmp_path / str(opacity) / "pictures" / "a.png") as image:
            picture = np.array(image)
        photo = source.dataset.photo(source.dataset.items[0])
        np.testing.assert_array_equal(picture[1:], photo[1:])
        mixed = photo[0] * (1 - opacity) + np.array([0, 128, 0]) * opacity
        np.testing.assert_allclose(picture[0], mixed, atol=0.5)


def test_seeds_by_hand() -> None:
    cams = {
        0: np.array([[0.9, 0.5, 0.44, 0.1, 0.8]], np.float32),
        2: np.array([[0.1, 0.2, 0.3, 0.2, 0.75]], np.float32),
    }
    assert make_seeds(cams, (1, 5), threshold=0.4, band=0.0).tolist() == [[1, 1, 1, 0, 1]]
    # the third is too near to the background, the fifth to the other class
    assert make_seeds(cams, (1, 5), threshold=0.4, band=0.08).tolist() == [[1, 1, 255, 0, 255]]
    assert make_seeds({}, (1, 2), threshold=0.4, band=0.5).tolist() == [[0, 0]]


def test_fma_wsss_maps_have_the_photos_size(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(30, 40), "b": np.zeros((6, 8), np.uint8)})
    y, x = np.mgrid[:15, :20]
    reduced = {1: (x / 19).astype(np.float32), 2: (y / 14).astype(np.float32)}
    CamStore(tmp_path / "cams").write("a", reduced, (15, 20))
    (tmp_path / "cams" / "a.npy").unlink()
    source = ExportSource(source.dataset, source.labels, cams=CamStore(tmp_path / "cams"), threshold=0.3)
    done = export_labels("fma-wsss", source, tmp_path / "out")
    assert "threshold 0.3" in done.remarks[0]
    seeds = READERS["fma-wsss"](tmp_path / "out", source)
    cams = np.load(tmp_path / "out/cams/a.npy", allow_pickle=True).item()
    assert list(cams) == [1, 2]
    np.testing.assert_allclose(cams[1][:, 1:-1], np.tile((np.arange(1, 39) - 0.5) / 2 / 19, (30, 1)), atol=1e-3)
    assert set(np.unique(seeds["a"])) == {0, 2, 3, 255}
    assert not seeds["b"].any()
    assert np.load(tmp_path / "out/cams/b.npy", allow_pickle=True).item() == {}


def test_fma_wsss_needs_cams_of_these_classes(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    with pytest.raises(UserError, match="folder with CAMs"):
        export_labels("fma-wsss", ExportSource(source.dataset, source.labels), tmp_path / "out")
    CamStore(tmp_path / "cams", format="npy").write("a", {7: np.ones((9, 9), np.float32)}, (9, 9))
    with pytest.raises(UserError, match="class index 7"):
        export_labels("fma-wsss", source, tmp_path / "out")
    (tmp_path / "cams" / "a.npy").unlink()
    with pytest.raises(UserError, match="CAMs of this photo first"):
        export_labels("fma-wsss", source, tmp_path / "out")


def test_the_code_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "fma-wsss.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 2
    source = make_source(tmp_path, {"2007_000032": blobs(28, 50), "b": np.zeros((5, 5), np.uint8)})
    export_labels("fma-wsss", source, tmp_path / "handover")
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {})
    (tmp_path / "handover" / "cams" / "b.npy").unlink()
    with pytest.raises(FileNotFoundError):
        exec(blocks[1], {})


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    source = make_source(tmp_path, {"a": blobs(9, 9)})
    (tmp_path / "file").write_text("", encoding="utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError, match="choose another --out"):
            export_labels("voc", source, out)

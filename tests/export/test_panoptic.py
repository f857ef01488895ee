"""COCO panoptic, read back by its published description and by this program's own reader."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from PIL import Image
from scipy import ndimage

from semples.export import export_labels
from tests import tiny
from tests.export.worlds import make_source, worlds


@settings(max_examples=25, deadline=None)
@given(world=worlds())
def test_label_maps_come_back_with_ignored_pixels(world: dict[str, np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_source(folder, world)
        export_labels("coco-panoptic", source, folder / "out")
        tree = json.loads((folder / "out" / "panoptic.json").read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in tree["categories"]}
        assert list(names.values()) == [*source.dataset.classes.names, "background"]
        photos = {name: id for id, name in source.photo_names.items()}
        images = {image["id"]: image for image in tree["images"]}
        assert len(tree["annotations"]) == len(world)
        for annotation in tree["annotations"]:
            image = images[annotation["image_id"]]
            labels = world[photos[image["file_name"]]]
            assert (image["height"], image["width"]) == labels.shape
            with Image.open(folder / "out" / "panoptic" / annotation["file_name"]) as picture:
                assert picture.mode == "RGB"
                ids = np.array(picture).astype(np.int64) @ [1, 256, 65536]
            read = np.full(labels.shape, 255)
            for segment in annotation["segments_info"]:
                mask = ids == segment["id"]
                x, y, width, height = segment["bbox"]
                assert segment["area"] == mask.sum() == mask[y : y + height, x : x + width].sum() > 0
                assert all(edge.any() for edge in (mask[y], mask[y + height - 1], mask[:, x], mask[:, x + width - 1]))
                is_ground = names[segment["category_id"]] == "background"
                read[mask] = 0 if is_ground else segment["category_id"]
                if not is_ground:
                    assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
            assert set(np.unique(ids)) - {0} == {segment["id"] for segment in annotation["segments_info"]}
            np.testing.assert_array_equal(read, labels)


def test_the_importer_reads_it(tmp_path: Path) -> None:
    labels = np.zeros((12, 16), np.uint8)
    labels[2:6, 2:9], labels[8:, 10:], labels[0, 0], labels[0, 15] = 1, 2, 255, 3
    source = make_source(tmp_path, {"a": labels})
    export_labels("coco-panoptic", source, tmp_path / "out", photos="copy", min_area=2)
    tiny.invoke("data", "import", tmp_path / "out", "--out", tmp_path / "in")
    (mask,) = (tmp_path / "in" / "masks").rglob("*.png")
    expected = np.where(labels == 3, 255, labels)  # too small to be a segment
    np.testing.assert_array_equal(tiny.pixels(mask), expected)

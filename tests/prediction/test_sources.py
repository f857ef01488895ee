"""What a photo is given as, how sure each pixel is, and predictions beside earlier ones."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import semples
from semples.core.errors import UserError
from semples.core.palette import read_confidence_png, read_label_png
from tests import tiny
from tests.prediction.test_large import blocks


def test_a_photo_in_every_form(packages: dict[str, Path], tmp_path: Path) -> None:
    """A PIL image, an array, a path, text, bytes; a turned JPEG in each form is turned once."""
    model = semples.load(packages["semples_vit"])
    photo = blocks(48, 80)
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(photo).save(path, quality=95, exif=exif)
    with Image.open(path) as image:
        upright = np.rot90(np.asarray(image), -1)
        expected = model.predict(np.ascontiguousarray(upright))
        assert expected.shape == (80, 48)
        np.testing.assert_array_equal(model.predict(image), expected)
    for given in (path, str(path), path.read_bytes()):
        np.testing.assert_array_equal(model.predict(given), expected)
    for mode in ("L", "RGBA", "CMYK", "P", "1"):
        assert model.predict(Image.fromarray(photo).convert(mode)).shape == (48, 80)
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, format="PNG")
    np.testing.assert_array_equal(model.predict(buffer.getvalue()), model.predict(photo))


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (b"", "the photo: the file is empty"),
        (b"no photo at all", "the photo: not a photo"),
        (np.zeros((4, 4), np.uint8), "must be uint8"),
        (np.zeros((4, 4, 3), np.float32), "must be uint8"),
        (np.zeros((0, 4, 3), np.uint8), "must be uint8"),
        (Image.new("L", (3000, 3000)), "--max-megapixels"),
        (np.zeros((3000, 3000, 3), np.uint8), "--max-megapixels"),
    ],
    ids=["empty", "text", "grey", "float", "none", "large-image", "large-array"],
)
def test_no_photo_is_one_line(given: object, hint: str, packages: dict[str, Path]) -> None:
    model = semples.load(packages["semples_vit"], max_megapixels=5)
    with pytest.raises(UserError) as caught:
        model.predict(given)  # type: ignore[arg-type]
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_confidence_maps_and_unsure_pixels(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(blocks(64, 90)).save(folder / "a.png")
    model = packages["semples_vit"]
    tiny.invoke("predict", model, folder, "--out", tmp_path / "sure", "--confidence")
    confidence = read_confidence_png(tmp_path / "sure" / "confidence" / "a.png")
    labels = read_label_png(tmp_path / "sure" / "labels" / "a.png")
    both = semples.load(model, confidence=True).segment(folder / "a.png")
    assert both.confidence is not None
    np.testing.assert_array_equal(labels, both.labels)
    np.testing.assert_allclose(confidence, both.confidence, atol=0.5 / 255 + 1e-6)
    assert confidence.std() > 0.01
    least = float(np.median(both.confidence))
    tiny.invoke("predict", model, folder, "--out", tmp_path / "open", "--min-confidence", least, "--opacity", "1")
    opened = read_label_png(tmp_path / "open" / "labels" / "a.png")
    np.testing.assert_array_equal(opened, np.where(both.confidence < least, 255, both.labels))
    np.testing.assert_array_equal(opened, semples.load(model, min_confidence=least).predict(folder / "a.png"))
    with open(tmp_path / "open" / "areas.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    counts = np.bincount(opened.ravel(), minlength=256)
    assert [int(row[name]) for name in ("background", "disc", "square", "unsure")] == [*counts[:3], counts[255]]
    assert int(row["pixels"]) == 64 * 90
    assert not (tmp_path / "open" / "confidence").exists()
    # What was not asked for before is made now, and nothing else is.
    assert "another model or other settings" in tiny.refused("predict", model, folder, "--out", tmp_path / "open")
    again = tiny.invoke("predict", model, folder, "--out", tmp_path / "sure", "--confidence")
    assert "1 of them by an earlier call" in again.out


def test_opacity_of_overlays(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (64, 64), (200, 200, 200)).save(folder / "a.png")
    for opacity in ("0", "1"):
        tiny.invoke("predict", packages["semples_vit"], folder, "--out", tmp_path / opacity, "--opacity", opacity)
    clear, full = (tiny.pixels(tmp_path / opacity / "overlays" / "a.jpg").astype(int) for opacity in ("0", "1"))
    assert abs(clear - 200).max() <= 3
    labels = read_label_png(tmp_path / "1" / "labels" / "a.png")
    assert (abs(full - 200).max(2) > 20)[labels > 0].all()


def test_cams_have_confidences_too(run: Path, photos: Path, tmp_path: Path) -> None:
    tags = ["--tags", photos / "tags.csv"]
    tiny.invoke("predict", run, photos, *tags, "--out", tmp_path / "out", "--confidence", "--min-confidence", "0.3")
    for path in sorted((tmp_path / "out" / "labels").glob("*.png")):
        sure = read_confidence_png(tmp_path / "out" / "confidence" / path.name)
        assert ((read_label_png(path) == 255) == (sure < 0.3)).mean() > 0.99


def test_a_photo_beside_one_of_another_format(packages: dict[str, Path], tmp_path: Path) -> None:
    """a.png is done, later a.jpg lies beside it: no result is made twice and none is left that belongs to neither."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(blocks(32, 40)).save(folder / "a.png")
    semples.predict(packages["semples_vit"], folder, out)
    before = (out / "labels" / "a.png").read_bytes()
    Image.fromarray(blocks(40, 56, seed=1)).save(folder / "a.jpg")
    done = semples.predict(packages["semples_vit"], folder, out)
    assert (done.photos, done.before) == (2, 1)
    assert sorted(path.name for path in (out / "labels").iterdir()) == ["a.jpg.png", "a.png"]
    assert sorted(path.name for path in (out / "overlays").iterdir()) == ["a.jpg", "a.jpg.jpg"]
    assert (out / "labels" / "a.png").read_bytes() == before
    assert read_label_png(out / "labels" / "a.jpg.png").shape == (40, 56)
    with open(out / "areas.csv", encoding="utf-8", newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a.jpg", "a.png"]
    assert semples.predict(packages["semples_vit"], folder, out).before == 2
    only = semples.predict(packages["semples_vit"], [folder / "a.jpg"], out)
    assert (only.photos, only.before) == (1, 1)
    ids = {json.loads(line)["id"] for line in (out / "photos.jsonl").read_text(encoding="utf-8").splitlines()}
    assert ids == {"a", "a.jpg"}


def test_scoring_ends_with_1_where_a_mask_is_of_no_use(packages: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    data = shutil.copytree(photos, tmp_path / "data")
    (data / "masks" / "p01.png").write_bytes(b"no picture")
    ended = tiny.invoke(
        "segment", "eval", packages["semples_vit"], "--data", data, "--json", tmp_path / "eval.json", check=False
    )
    assert ended.code == 1
    assert "p01.png" in ended.err
    assert "the figures are of the other 9 photos" in ended.err
    assert json.loads((tmp_path / "eval.json").read_text(encoding="utf-8"))["photos"] == 9

"""A segmenter's photos in Parquet files, in what `save_to_disk` writes and on the hub, with label maps in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.core.places import number
from semples.run.paired import Folders, paired_dataset
from tests import tiny
from tests.data.builders import write_parquet
from tests.data.cells import grey, hugging_face, one_line, picture
from tests.data.test_hub import cached_on_hub
from tests.segmenter import material


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tiny.draw_photos(tmp_path / "photos", count=6)


@pytest.fixture
def labels(photos: Path, tmp_path: Path) -> Path:
    """Label maps alone, with their class list; the photo p05 has none."""
    folder = shutil.copytree(photos / "masks", tmp_path / "labels")
    shutil.copy(photos / "classes.txt", folder)
    (folder / "p05.png").unlink()
    shutil.rmtree(photos / "masks")
    return folder


def pictures(photos: Path) -> list[dict[str, Any]]:
    return [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.glob("*.png"))]


def a_file(photos: Path, folder: Path) -> Path:
    return write_parquet(folder / "photos.parquet", {"image": pictures(photos)})


def a_folder(photos: Path, folder: Path) -> Path:
    """With other pictures in a folder of masks, which are no photos."""
    shutil.copytree(photos, folder / "masks")
    return a_file(photos, folder).parent


def saved(photos: Path, folder: Path) -> Path:
    with hugging_face() as datasets:
        features = datasets.Features({"image": datasets.Image()})
        datasets.Dataset.from_dict({"image": pictures(photos)}, features=features).save_to_disk(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("source", [a_file, a_folder, saved])
def test_photos_in_cells_are_paired_by_name(
    photos: Path, labels: Path, tmp_path: Path, source: Callable[[Path, Path], Path]
) -> None:
    """The pixels, names and digest are those of files."""
    (tmp_path / "there").mkdir()
    place = source(photos, tmp_path / "there")
    files, cells = paired_dataset(photos, labels, None), paired_dataset(place, labels, None)
    assert [item.id for item in cells.items] == [item.id for item in files.items] == [f"p{n:02d}" for n in range(5)]
    for left, right in zip(files.items, cells.items, strict=True):
        assert (files.photo(left) == cells.photo(right)).all()
    assert Folders(place, labels).digest() == Folders(photos, labels).digest()
    assert Folders(place, labels).unlabelled == Folders(photos, labels).unlabelled == 1


def test_training_on_the_hub_equals_that_on_files(
    photos: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = a_file(photos, tmp_path / "made").read_bytes()
    cached_on_hub(tmp_path / "home", "someone/shapes", {"train.parquet": data})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    network = material.folder(tmp_path / "vit", "semples_vit")
    changes = {"model": f"scratch:{network}", "image_size": 32, "photo_size": 40, "iterations": 3, "batch": 4}
    options = [f"--set=segmenter.{key}={value}" for key, value in changes.items()] + ["--set=data.workers=0"]
    made = []
    for name, source in (("files", photos), ("hub", "hf://someone/shapes")):
        out = tmp_path / name
        said = tiny.invoke("segment", "train", "--photos", source, "--labels", labels, "--out", out, *options).out
        assert "learned from 5 photos; 1 without a label map" in said
        made.append((out / "segmenter" / "model" / "model.safetensors").read_bytes())
    assert made[0] == made[1]


def test_rows_without_paths_are_named_by_file_and_row(labels: Path, tmp_path: Path) -> None:
    """So are the label maps that a run or `predict` makes of them, in numbered folders too."""
    file = write_parquet(tmp_path / "data" / "train.parquet", {"image": [picture(9), picture(8), None]})
    said = one_line(lambda: paired_dataset(file, labels, None))
    assert "no label map NAME.png for any photo NAME of" in said
    assert "2 photos are called train/000000, train/000001, after file and row, since its rows name no paths" in said
    made = tmp_path / "made"
    number(made, ["train/000000", "train/000001"], suffix=".png", most=1)
    (made / "00001" / "train").mkdir(parents=True)
    tiny.save(made / "00001" / "train" / "000001.png", grey(1)[..., 0])
    assert [item.id for item in paired_dataset(file, made, labels / "classes.txt").items] == ["train/000001"]


def test_rows_with_paths_that_no_label_map_has(labels: Path, tmp_path: Path) -> None:
    table = {"image": [picture(9, "a/one.jpg"), picture(8, "two.jpg")]}
    for split in ("train", "test"):
        write_parquet(tmp_path / "data" / f"{split}.parquet", table)
    with pytest.raises(
        UserError, match=r"4 photos are called test/a/one, train/two, after their paths: name the label"
    ):
        paired_dataset(tmp_path / "data", labels, None)
    with pytest.raises(UserError, match="not a folder"):
        paired_dataset(labels / "classes.txt", labels, None)

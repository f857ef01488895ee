"""Predicting many photos, through the command line and from Python."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import semples
from semples.core.errors import UserError
from semples.core.palette import read_label_png, voc_palette
from semples.data.photos import read_photo, resize_photo
from semples.data.transforms import image_to_tensor
from semples.prediction.model import Model, Prepared, SegmenterModel
from semples.segmenter.build import Segmenter
from tests import tiny
from tests.prediction import material

MIXED = ((64, 64), (64, 90), (40, 64), (200, 64))


def draw(folder: Path, sizes: tuple[tuple[int, int], ...] = MIXED) -> Path:
    """Photos of noise in blocks, of the given (height, width)."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index, (height, width) in enumerate(sizes):
        blocks = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        tiny.save(folder / f"p{index:02d}.png", np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width])
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """What a job leaves, but for the order of its journal."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    contents["photos.jsonl"] = b"".join(sorted(contents["photos.jsonl"].splitlines(keepends=True)))
    return contents


def scores(model: Model, photos: list[np.ndarray]) -> list[torch.Tensor]:
    """The network's scores of photos of one size, computed together."""
    prepared = [model.prepare(photo) for photo in photos]
    return model.score(prepared, [None] * len(photos))


# ---------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("family", ["semples_vit", "segformer", "mask2former"])
def test_batches_change_nothing(family: str, packages: dict[str, Path]) -> None:
    rng = np.random.default_rng(0)
    photos = list(rng.integers(0, 256, (8, 64, 90, 3), dtype=np.uint8))
    model = semples.load(packages[family], scales=[1.0, 0.5], mirror=True)
    together = scores(model, photos)
    for photo, scored in zip(photos, together, strict=True):
        torch.testing.assert_close(scores(model, [photo])[0], scored, atol=1e-4, rtol=0)  # sums of other order
    assert max(float((a - b).abs().max()) for a, b in pairwise(together)) > 1e-3


@pytest.mark.parametrize("family", ["semples_vit", "segformer", "mask2former"])
def test_labels_are_the_networks(family: str, packages: dict[str, Path], tmp_path: Path) -> None:
    """Against a plain computation, with two scales and mirrors, photo by photo."""
    folder = draw(tmp_path / "photos")
    segmenter = Segmenter.load(packages[family])
    model = semples.load(packages[family], scales=[1.0, 1.5], mirror=True)
    used = set()
    sizes = (((64, 64), (96, 96)), ((96, 64), (128, 96)), ((96, 64), (160, 96)), ((64, 192), (96, 288)))
    for path, views in zip(sorted(folder.iterdir()), sizes, strict=True):
        photo = read_photo(path)
        total = torch.zeros(())
        for size in reversed(views):
            config = segmenter.config
            image = image_to_tensor(resize_photo(photo, *size), config.mean, config.std)
            with torch.no_grad():
                straight, mirror = segmenter(torch.stack([image, image.flip(-1)])).exp()
            mean = ((straight + mirror.flip(-1)) / 2)[None]
            total = mean if not total.ndim else total + F.interpolate(
                mean, size=total.shape[-2:], mode="bilinear", align_corners=False
            )  # fmt: skip
        whole = F.interpolate(total, size=photo.shape[:2], mode="bilinear", align_corners=False)[0]
        labels = model.predict(path)
        assert labels.shape == photo.shape[:2]
        best = whole.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
        assert float((whole.amax(0) - best).max()) < 1e-5
        used |= set(np.unique(labels).tolist())
    assert len(used) == (1 if family == "mask2former" else 3)


def test_a_window_as_large_as_the_photo_is_the_whole_photo(packages: dict[str, Path], tmp_path: Path) -> None:
    path = draw(tmp_path / "photos", ((64, 64), (96, 128))) / "p00.png"
    whole, windows = (semples.load(packages["segformer"], window=window) for window in (None, 64))
    np.testing.assert_array_equal(whole.predict(path), windows.predict(path))
    larger = tmp_path / "photos" / "p01.png"
    one, eight = (semples.load(packages["segformer"], window=64, stride=32, batch=batch) for batch in (1, 8))
    photo = read_photo(larger)
    torch.testing.assert_close(scores(one, [photo])[0], scores(eight, [photo])[0], atol=1e-5, rtol=0)
    assert one.predict(larger).shape == (96, 128)


def test_tags_restrict(packages: dict[str, Path], tmp_path: Path) -> None:
    path = draw(tmp_path / "photos") / "p01.png"
    model = semples.load(packages["semples_vit"])
    free = set(np.unique(model.predict(path)).tolist())
    assert free == {0, 1, 2}
    assert set(np.unique(model.predict(path, tags=["square"])).tolist()) <= {0, 2}
    assert model.predict(path, tags=[]).max() == 0
    with pytest.raises(UserError, match="'dog' is not a class"):
        model.predict(path, tags=["dog"])


def test_the_crf_draws_to_the_photos_edges(packages: dict[str, Path]) -> None:
    """Scores that are right but for a ragged edge: the labels end where the colours do."""
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, 32:] = (230, 40, 40)
    model = semples.load(packages["segformer"], crf=True)
    prepared = model.prepare(photo)
    given = torch.full((3, 16, 16), 0.1)
    given[0, :, :7] = 0.8  # the edge is drawn 4 pixels too far to the left
    given[1, :, 7:] = 0.8
    plain = semples.load(packages["segformer"]).finish(prepared, given, None).labels
    assert (plain[:, 29:32] == 1).mean() > 0.9
    refined = model.finish(prepared, given, None).labels
    assert (refined[:, :32] == 0).mean() > 0.99
    assert (refined[:, 32:] == 1).mean() > 0.99
    assert (model.finish(prepared, given, ()).labels == 0).all()


@pytest.mark.parametrize("method", ["threshold", "regions+crf"])
def test_a_run_makes_for_its_photos_the_labels_it_made(method: str, run: Path, photos: Path, tmp_path: Path) -> None:
    if method != "threshold":
        run = material.run(tmp_path / "run", photos, settings=(f"labels.method={method}", "regions.proposals=slic"))
    tiny.invoke("predict", run, photos, "--tags", photos / "tags.csv", "--out", tmp_path / "out", "--batch", "3")
    for path in sorted((run / "labels").glob("*.png")):
        labels, expected = (read_label_png(place) for place in (tmp_path / "out" / "labels" / path.name, path))
        assert labels.shape == expected.shape
        assert (labels == expected).mean() > 0.999, path.name  # batches round differently
    assert max(tiny.pixels(path).max() for path in (run / "labels").glob("*.png")) > 0


# ---------------------------------------------------------------------------------------------------------- outputs


def test_outputs(packages: dict[str, Path], tmp_path: Path) -> None:
    folder, out = draw(tmp_path / "photos"), tmp_path / "out"
    text = tiny.invoke("predict", packages["semples_vit"], folder, "--out", out).out
    assert "4 photos: label maps in" in text
    assert "of the time in the network" in text
    assert "next: " in text
    with open(out / "areas.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"p{index:02d}.png" for index in range(4)]
    for row, (height, width) in zip(rows, MIXED, strict=True):
        stem = Path(row["image"]).stem
        labels = read_label_png(out / "labels" / f"{stem}.png")
        assert labels.shape == (height, width) == tiny.pixels(out / "overlays" / f"{stem}.jpg").shape[:2]
        counts = [int(row[name]) for name in ("background", "disc", "square")]
        assert counts == np.bincount(labels.ravel(), minlength=3).tolist()
        assert int(row["pixels"]) == height * width
    assert (out / "classes.txt").read_text(encoding="utf-8") == "disc\nsquare\n"
    from PIL import Image

    with Image.open(out / "labels" / "p00.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == voc_palette().ravel().tolist()


def test_from_python(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos")
    model = semples.load(packages["semples_vit"])
    done = semples.predict(model, folder, tmp_path / "out", tags=["disc"])
    assert (done.photos, done.before, done.problems) == (4, 0, ())
    assert 0 < done.network_share <= 1
    assert done.classes == model.classes == ("disc", "square")
    assert done.photos_with[1] == 0
    labels = model.predict(folder / "p00.png", tags=["disc"])
    np.testing.assert_array_equal(labels, read_label_png(tmp_path / "out" / "labels" / "p00.png"))
    np.testing.assert_array_equal(labels, model.predict(read_photo(folder / "p00.png"), tags=["disc"]))


def test_threads_and_batches_change_no_file(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos", MIXED * 3)
    for name, options in {"one": ("1", "0"), "many": ("5", "3")}.items():
        semples.predict(packages["segformer"], folder, tmp_path / name, batch=int(options[0]), workers=int(options[1]))
    assert outputs(tmp_path / "one") == outputs(tmp_path / "many")


def test_one_damaged_photo_of_fifty(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos", ((32, 32),) * 50)
    data = (folder / "p20.png").read_bytes()
    (folder / "p20.png").write_bytes(data[: len(data) // 2])
    result = tiny.invoke("predict", packages["semples_vit"], folder, "--out", tmp_path / "out", check=False)
    assert result.code == 1
    lines = [line for line in result.err.splitlines() if line.startswith("semples: ")]
    assert len(lines) == 1
    assert f"{folder / 'p20.png'}: damaged or cut off" in lines[0]
    assert lines[0].endswith("; 49 photos are done")
    assert len(list((tmp_path / "out" / "labels").iterdir())) == 49
    assert len((tmp_path / "out" / "areas.csv").read_text(encoding="utf-8").splitlines()) == 50
    (folder / "p20.png").write_bytes(data)  # once mended, a second call does it and nothing else
    again = tiny.invoke("predict", packages["semples_vit"], folder, "--out", tmp_path / "out")
    assert "50 photos, 49 of them by an earlier call" in again.out


def test_a_cut_job_goes_on(packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw(tmp_path / "photos", MIXED * 3)
    semples.predict(packages["semples_vit"], folder, tmp_path / "whole", batch=2)
    calls = []

    def scored(self: SegmenterModel, batch: list[Prepared], tags: Any) -> Any:
        calls.extend(batch)
        if len(calls) > 6:
            raise KeyboardInterrupt
        return original(self, batch, tags)

    original = SegmenterModel.score
    with monkeypatch.context() as patch:
        patch.setattr(SegmenterModel, "score", scored)
        with pytest.raises(KeyboardInterrupt):
            semples.predict(packages["semples_vit"], folder, tmp_path / "cut", batch=2, workers=0)
    journal = tmp_path / "cut" / "photos.jsonl"
    done = len(journal.read_text(encoding="utf-8").splitlines())
    assert 0 < done < 12
    with open(journal, "a", encoding="utf-8") as file:
        file.write('{"id": "p0')  # cut in the middle of a line
    (tmp_path / "cut" / "labels" / "p00.png").unlink()
    finished = semples.predict(packages["semples_vit"], folder, tmp_path / "cut", batch=2)
    assert finished.before == done - 1
    assert outputs(tmp_path / "cut").keys() == outputs(tmp_path / "whole").keys()
    for name in ("areas.csv", *(f"labels/p{index:02d}.png" for index in range(12))):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    tiny.save(folder / "p01.png", np.zeros((9, 9, 3), np.uint8))  # another photo of the same name is done again
    assert semples.predict(packages["semples_vit"], folder, tmp_path / "cut", batch=2).before == 11
    assert read_label_png(tmp_path / "cut" / "labels" / "p01.png").shape == (9, 9)


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "a digit"])
def test_predictions_of_which_nobody_can_tell_how_they_were_made_are_made_again(
    packages: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    folder, out = draw(tmp_path / "photos", ((20, 30), (30, 20))), tmp_path / "out"
    semples.predict(packages["semples_vit"], folder, out)
    wanted, path = outputs(out), out / "prediction.json"
    text = path.read_text(encoding="utf-8")
    path.unlink()
    if damage != "gone":
        changed = text.replace('"batch": 8', '"batch": 9') if '"batch": 8' in text else text.replace("disc", "disk", 1)
        path.write_text({"empty": "", "cut": text[:40], "a digit": changed}[damage], "utf-8")
    assert semples.predict(packages["semples_vit"], folder, out).before == 0
    assert outputs(out) == wanted
    assert semples.predict(packages["semples_vit"], folder, out).before == 2


def test_a_line_of_the_journal_with_another_digit_is_made_again(packages: dict[str, Path], tmp_path: Path) -> None:
    folder, out = draw(tmp_path / "photos", ((20, 30), (30, 20))), tmp_path / "out"
    semples.predict(packages["semples_vit"], folder, out)
    wanted, path = outputs(out), out / "photos.jsonl"
    text = path.read_text(encoding="utf-8")
    areas = re.search(r'"areas": \[(\d+)', text)
    assert areas is not None
    path.write_text(text[: areas.start(1)] + str(int(areas[1]) ^ 1) + text[areas.end(1) :], encoding="utf-8")
    assert semples.predict(packages["semples_vit"], folder, out).before == 1
    assert outputs(out) == wanted


def test_an_overlay_with_one_bit_flipped_is_made_again(packages: dict[str, Path], tmp_path: Path) -> None:
    folder, out = draw(tmp_path / "photos", ((20, 30), (30, 20))), tmp_path / "out"
    semples.predict(packages["semples_vit"], folder, out)
    path = min((out / "overlays").iterdir())
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :])
    assert semples.predict(packages["semples_vit"], folder, out).before == 1
    assert path.read_bytes() == whole


def test_photos_of_several_calls_stay_side_by_side(packages: dict[str, Path], tmp_path: Path) -> None:
    first, second = draw(tmp_path / "first", MIXED[:2]), tmp_path / "second"
    second.mkdir()
    tiny.save(second / "other.png", np.zeros((9, 9, 3), np.uint8))
    out = tmp_path / "out"
    for folder in (first, second):
        assert semples.predict(packages["semples_vit"], folder, out).before == 0
    with open(out / "areas.csv", encoding="utf-8", newline="") as file:
        rows = [row[0] for row in csv.reader(file)]
    assert rows == ["image", "other.png", "p00.png", "p01.png"]
    # A photo that only shares the name would take the place of the first.
    tiny.save(second / "p01.png", np.zeros((9, 9, 3), np.uint8))
    kept = outputs(out)
    with pytest.raises(UserError, match=r"holds the result of another photo called p01\.png, .*choose another --out"):
        semples.predict(packages["semples_vit"], second, out)
    assert outputs(out) == kept
    # The same photo at another place is no other photo, nor is one that has moved.
    shutil.copy2(first / "p01.png", second / "p01.png")
    assert semples.predict(packages["semples_vit"], second, out).before == 2
    shutil.rmtree(first)
    tiny.save(second / "p00.png", np.zeros((9, 9, 3), np.uint8))
    assert semples.predict(packages["semples_vit"], second, out).photos == 3


def test_a_huge_photo_needs_little_memory(packages: dict[str, Path], tmp_path: Path) -> None:
    """36 megapixels: whole enlarged scores would need 0.4 GiB, and as much again for the strip before."""
    path = tmp_path / "huge.png"
    from PIL import Image

    Image.new("L", (6000, 6000), 90).save(path)
    code = (
        "import resource, sys, torch, semples\n"
        "model = semples.load(sys.argv[1])\n"
        "import numpy; model.predict(numpy.zeros((64, 64, 3), 'uint8'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "done = semples.predict(model, sys.argv[2], sys.argv[3])\n"
        "assert done.photos == 1, done.problems\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)\n"
    )
    command = [sys.executable, "-c", code, packages["semples_vit"], path, tmp_path / "out"]
    ended = subprocess.run(command, capture_output=True, text=True, env=tiny.environment(), check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
    assert float(ended.stdout) < 0.9  # GiB


def test_float32_is_float32(packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Not TF32, which PyTorch takes for convolutions on a GPU unless it is told."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    model = semples.load(packages["semples_vit"])
    assert isinstance(model, SegmenterModel)
    seen: list[bool] = []
    model.segmenter.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    model.predict(np.zeros((64, 64, 3), np.uint8))
    assert set(seen) == {False}
    assert torch.backends.cudnn.allow_tf32

"""Photos in Parquet and Arrow files: as `datasets` and pyarrow write them, known by content, never unpacked."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.core import cells
from semples.core.errors import UserError
from semples.core.files import read_file, sha256_file
from semples.core.members import resolved
from semples.data import PhotoError, TaggedDataset, check, open_dataset, verify_photos
from semples.run.photos import photos_digest
from tests import tiny
from tests.data.builders import complaint, png, write_parquet


def grey(shade: int, side: int = 8) -> np.ndarray:
    return np.full((side, side + 1, 3), shade, np.uint8)


def picture(shade: int, name: str | None = None) -> dict[str, Any]:
    return {"bytes": png(grey(shade)), "path": name}


def shades(dataset: TaggedDataset) -> list[int]:
    return [int(dataset.photo(item)[0, 0, 0]) for item in dataset.items]


def tags_of(dataset: TaggedDataset) -> list[tuple[str, ...]]:
    return [tuple(dataset.classes.names[tag] for tag in item.tags) for item in dataset.items]


def one_line(action: Any) -> str:
    said = complaint(action)
    assert said, "nothing was said"
    assert "\n" not in said
    return said


# ------------------------------------------------------------------------------------------------- written by datasets


@contextmanager
def hugging_face() -> Iterator[Any]:
    """The library `datasets` without its bars."""
    import datasets

    datasets.disable_progress_bars()
    yield datasets


@pytest.mark.parametrize(
    ("feature", "cells_", "classes", "expected"),
    [
        ("one", [1, 0, 1], ("zebra", "ant, small"), [("ant, small",), ("zebra",), ("ant, small",)]),
        ("many", [[1, 0], [], [0]], ("zebra", "ant, small"), [("zebra", "ant, small"), (), ("zebra",)]),
        ("things", [{"category": [1, 1]}, {"category": []}, {"category": [0]}], ("zebra", "ant, small"),
         [("ant, small",), (), ("zebra",)]),
        ("listed", [[{"category": 1}], [], [{"category": 0}, {"category": 1}]], ("zebra", "ant, small"),
         [("ant, small",), (), ("zebra", "ant, small")]),
        ("words", [["b"], ["a", "b"], []], ("a", "b"), [("b",), ("a", "b"), ()]),
        ("text", ["b", "a;b", ""], ("a", "b"), [("b",), ("a", "b"), ()]),
    ],
)  # fmt: skip
def test_features_of_datasets(tmp_path: Path, feature: str, cells_: list[Any], classes: Any, expected: Any) -> None:
    """Parquet files and folders of save_to_disk say the same as `datasets` itself."""
    with hugging_face() as hf:
        named = hf.ClassLabel(names=["zebra", "ant, small"])
        kinds = {
            "one": named, "many": hf.Sequence(named), "things": {"category": hf.List(named)},
            "listed": hf.List({"category": named}), "words": hf.List(hf.Value("string")), "text": hf.Value("string"),
        }  # fmt: skip
        column = {"things": "objects", "listed": "objects", "one": "kind"}.get(feature, "tags")
        features = hf.Features({"image": hf.Image(), column: kinds[feature], "mask": hf.Image()})
        photos = [Image.fromarray(grey(shade)) for shade in (10, 20, 30)]
        masks = [Image.fromarray(np.full((8, 9), shade, np.uint8)) for shade in (0, 1, 2)]
        written = hf.Dataset.from_dict({"image": photos, column: cells_, "mask": masks}, features=features)
        written.to_parquet(tmp_path / "set.parquet")
        hf.DatasetDict({"train": written, "validation": written.select([2])}).save_to_disk(tmp_path / "saved")
    dataset = open_dataset(tmp_path / "set.parquet")
    assert dataset.problems == ()
    assert dataset.classes.names == classes
    assert tags_of(dataset) == expected
    for item, row in zip(dataset.items, written, strict=True):
        np.testing.assert_array_equal(dataset.photo(item), np.array(row["image"]))
        np.testing.assert_array_equal(dataset.mask(item), np.array(row["mask"]))
    saved = open_dataset(tmp_path / "saved")
    assert (saved.classes, tags_of(saved), shades(saved)) == (dataset.classes, expected, [10, 20, 30])
    assert shades(open_dataset(tmp_path / "saved", split="validation")) == [30]
    assert saved.name == "saved/train"


def test_numbers_are_named_by_the_readme_or_the_class_list(tmp_path: Path) -> None:
    rows = {"image": [picture(1), picture(2)], "label": [1, 0]}
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", rows)
    said = one_line(lambda: open_dataset(tmp_path))
    assert "'label' are numbers" in said
    assert "classes.txt" in said
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        "      class_label:\n        names:\n          '0': tulip\n          '1': rose\n---\n# Flowers\n"
    )
    assert tags_of(open_dataset(tmp_path)) == [("rose",), ("tulip",)]
    assert open_dataset(tmp_path).classes.names == ("tulip", "rose")
    (tmp_path / "README.md").unlink()
    (tmp_path / "classes.txt").write_text("oak\nash\n")
    assert tags_of(open_dataset(tmp_path)) == [("ash",), ("oak",)]


def test_a_label_that_nobody_gave_is_set_aside(tmp_path: Path) -> None:
    with hugging_face() as hf:
        features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b"])})
        table = {"image": [Image.fromarray(grey(k)) for k in range(3)], "label": [1, -1, None]}
        hf.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "set.parquet")
    dataset = open_dataset(tmp_path)
    assert shades(dataset) == [0]
    assert [problem.what.split(":")[0] for problem in dataset.problems] == ["row 1", "row 2"]


# ---------------------------------------------------------------------------------------------- kinds, groups, columns

NAMES = ("cat", "dog", "élan")
ROWS = st.lists(st.lists(st.sampled_from(NAMES), unique=True), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(
    rows=ROWS, group=st.integers(1, 13), kind=st.sampled_from(["list", "text", "flags", "objects", "things"]),
    plain=st.booleans(), codec=st.sampled_from(["none", "snappy", "zstd"]), order=st.randoms(),
)  # fmt: skip
def test_any_kind_in_any_groups(
    rows: list[list[str]], group: int, kind: str, plain: bool, codec: str, order: Any
) -> None:
    """What was written is read, in random order, however rows are grouped and tags are kept."""
    if kind == "flags":
        tags = {name: [int(name in row) for row in rows] for name in NAMES}
    elif kind == "text":
        tags = {"labels": [";".join(row) for row in rows]}
    elif kind == "list":
        tags = {"labels": pa.array(rows, pa.list_(pa.string()))}
    elif kind == "objects":
        inner = pa.struct({"bbox": pa.list_(pa.list_(pa.float32())), "category": pa.list_(pa.string())})
        tags = {"objects": pa.array([{"bbox": [[1.0] * 4] * len(row), "category": row} for row in rows], inner)}
    else:
        inner = pa.list_(pa.struct({"category": pa.string(), "area": pa.int32()}))
        tags = {"objects": pa.array([[{"category": name, "area": 3} for name in row] for row in rows], inner)}
    pictures = [picture(shade, f"photos/p{shade}.png") for shade in range(len(rows))]
    photos = [one["bytes"] for one in pictures] if plain else pictures
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set.parquet"
        table = pa.table({"image": photos, "width": [9] * len(rows), "caption": ["a photo of it"] * len(rows), **tags})
        pq.write_table(table, path, row_group_size=group, compression=codec)
        if not any(rows):  # nothing else names the classes
            (Path(folder) / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
        dataset = open_dataset(path)
        assert dataset.problems == ()
        assert [set(tags) for tags in tags_of(dataset)] == [set(row) for row in rows]
        ids = [f"set/{k:06d}" if plain else f"photos/p{k}" for k in range(len(rows))]
        assert [item.id for item in dataset.items] == ids
        places = list(range(len(rows)))
        order.shuffle(places)
        assert [int(dataset.photo(place)[0, 0, 0]) for place in places] == places


def test_several_columns_of_classes_ask_which(tmp_path: Path) -> None:
    with hugging_face() as hf:
        label = hf.ClassLabel(names=["a", "b"])
        features = hf.Features({"img": hf.Image(), "fine_label": label, "coarse_label": hf.ClassLabel(names=["c"])})
        table = {"img": [Image.fromarray(grey(1))], "fine_label": [1], "coarse_label": [0]}
        hf.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "set.parquet")
    said = one_line(lambda: open_dataset(tmp_path))
    assert "fine_label, coarse_label" in said
    assert "--column" in said
    assert tags_of(open_dataset(tmp_path, column="fine_label")) == [("b",)]
    assert "fine_label" in one_line(lambda: open_dataset(tmp_path, column="fine"))
    assert "column" in one_line(lambda: open_dataset(tiny.draw_photos(tmp_path / "files", count=2), column="fine"))


def test_columns_that_do_not_do_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"caption": ["a long text about nothing at all"], "score": [3]})
    assert "no column of photos" in one_line(lambda: open_dataset(tmp_path))
    write_parquet(tmp_path / "a.parquet", {"image": [picture(1)], "score": [7.5]})
    said = one_line(lambda: open_dataset(tmp_path))
    assert "score" in said
    assert "`tags`" in said
    write_parquet(tmp_path / "a.parquet", {"left": [b"x"], "right": [b"x"], "tags": [["a"]]})
    assert "left, right" in one_line(lambda: open_dataset(tmp_path))


def test_photos_that_lie_beside_the_file(tmp_path: Path) -> None:
    """Paths in a column of text, and in an Image whose bytes are not in the file."""
    for shade in (1, 2, 3):
        tiny.save(tmp_path / f"p{shade}.png", grey(shade))
    write_parquet(tmp_path / "set.parquet", {"file_name": ["p2.png", "../p1.png", "p9.png"], "tags": [["a"]] * 3})
    dataset = open_dataset(tmp_path)
    assert [item.id for item in dataset.items] == ["p2"]
    assert shades(dataset) == [2]
    assert {problem.where for problem in dataset.problems} == {"set.parquet, row 1", "set.parquet, row 2"}
    rows = [picture(7, "inside.png"), {"bytes": None, "path": "p3.png"}, {"bytes": None, "path": None}, None]
    write_parquet(tmp_path / "set.parquet", {"image": rows, "tags": [["a"]] * 4})
    dataset = open_dataset(tmp_path)
    assert [(item.id, shade) for item, shade in zip(dataset.items, shades(dataset), strict=True)] == [
        ("inside", 7), ("p3", 3),
    ]  # fmt: skip
    assert [problem.where for problem in dataset.problems] == ["set.parquet, row 2", "set.parquet, row 3"]


# ------------------------------------------------------------------------------------------------------ files, splits


def test_splits_by_names(tmp_path: Path) -> None:
    names = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "validation/0000.parquet"]
    for shade, name in enumerate(names):
        write_parquet(tmp_path / name, {"image": [picture(shade, "a.png")], "tags": [["dog"]]})
    write_parquet(tmp_path / "data/extra-00000-of-00003.parquet", {"image": [picture(9)], "tags": [["dog"]]})
    train = open_dataset(tmp_path)
    assert (shades(train), train.name) == ([0, 1], f"{tmp_path.name}/train")
    # Both rows name the photo a.png: file and row tell them apart.
    assert [item.id for item in train.items] == ["train-00000-of-00002/000000", "train-00001-of-00002/000000"]
    for split in ("val", "validation"):
        assert [item.id for item in open_dataset(tmp_path, split=split).items] == ["val/a"]
    extra = open_dataset(tmp_path, split="extra")
    assert shades(extra) == [9]
    assert "only 1 of 3 files extra-* are here" in [note.what for note in check(extra).slips]
    assert "there are: extra, train, val" in one_line(lambda: open_dataset(tmp_path, split="test"))


def test_configurations_of_the_readme(tmp_path: Path) -> None:
    for shade, name in enumerate(["small/part.parquet", "large/part.parquet", "other.parquet"]):
        write_parquet(tmp_path / name, {"image": [picture(shade)], "tags": [["dog"]]})
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*"}]} for name in ("small", "large")
    ]
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert "small, large" in one_line(lambda: open_dataset(tmp_path))
    assert shades(open_dataset(tmp_path, split="large/train")) == [1]
    assert shades(open_dataset(tmp_path / "small")) == [0]
    configs[0]["default"] = True
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert shades(open_dataset(tmp_path)) == [0]
    configs[0]["data_files"] = "../../**/*.parquet"
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    assert sorted(shades(open_dataset(tmp_path))) == [0, 1, 2]  # matches nothing here: every file counts


def test_ids_are_safe_and_unique(tmp_path: Path) -> None:
    paths = ["../up.png", "/etc/x.png", "C:\\x.png", "a/b.png", "A/B.png", "https://x.org/y.jpg?z", "n\nl.png",
             "q?.png", ".hidden.png", "x" * 300 + ".png", "", None, "same.png", "same.png", "set/000003.png",
             "fine.tar.jpg", "v1.2"]  # fmt: skip
    write_parquet(
        tmp_path / "set.parquet",
        {"image": [picture(k, path) for k, path in enumerate(paths)], "tags": [["a"]] * len(paths)},
    )
    dataset = open_dataset(tmp_path)
    ids = [item.id for item in dataset.items]
    assert ids == [f"set/{k:06d}" for k in range(15)] + ["fine.tar", "v1.2"]
    assert len({id.casefold() for id in ids}) == len(paths)
    assert shades(dataset) == list(range(len(paths)))


def test_what_lies_beside_is_neither_run_nor_unpickled(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set.parquet", {"image": [picture(1)], "tags": [["a"]]})
    (tmp_path / f"{tmp_path.name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "state.pkl").write_bytes(pickle.dumps({}))
    assert shades(open_dataset(tmp_path)) == [1]
    assert not (tmp_path / "ran").exists()
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../secret.arrow"}]}))
    assert "no Arrow file beside it" in one_line(lambda: open_dataset(tmp_path))


# ------------------------------------------------------------------------------------------------------------- damage


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "set.parquet", {"image": [picture(1)] * 9, "tags": [["a"]] * 9})
    whole = path.read_bytes()
    for content, said in (
        (whole[:-20], "not a whole Parquet file"), (whole[: len(whole) // 2], "not a whole Parquet file"),
        (b"", "not a whole Parquet file"), (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ):  # fmt: skip
        path.write_bytes(content)
        told = one_line(lambda: open_dataset(tmp_path))
        assert "set.parquet: " in told
        assert said in told
    path.unlink()
    with hugging_face() as hf:
        hf.Dataset.from_dict({"image": [picture(1)] * 9, "tags": [["a"]] * 9}).save_to_disk(tmp_path)
    arrow = next(tmp_path.glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:-700])
    assert "not a whole Arrow file" in one_line(lambda: open_dataset(tmp_path))


def test_damage_within_names_file_and_row(tmp_path: Path) -> None:
    rows = [picture(1), {"bytes": png(grey(2))[:48], "path": None}, {"bytes": b"no picture", "path": "x.png"}]
    path = write_parquet(
        tmp_path / "set.parquet", {"image": rows, "tags": [["a"]] * 3}, compression="none", row_group_size=2
    )
    dataset = open_dataset(tmp_path)
    told = check(dataset)
    assert told.photos == 1
    assert [f"set.parquet{os.sep}image{os.sep}{k}." in one.what for k, one in enumerate(told.unreadable, 1)] == [
        True
    ] * 2
    content = bytearray(path.read_bytes())
    place = content.index(png(grey(1))[:30])
    content[place - 40 : place] = b"\xff" * 40  # the page's head
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"image.0\.jpg: .*(damaged|whole)"):
        dataset.photo(dataset.items[0])
    assert "\n" not in complaint(lambda: dataset.photo(dataset.items[0]))


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set.parquet", {"image": [picture(1)], "tags": [["a"]]})
    code = "import sys; sys.modules['pyarrow'] = None; from semples.cli import main; main()"
    for words in (["data", "check", str(tmp_path)], ["data", "check", str(tmp_path / "set.parquet")]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "pip install 'semples[parquet]'" in done.stderr
    photos = tiny.draw_photos(tmp_path / "files", count=2)
    done = subprocess.run([sys.executable, "-c", code, "data", "check", str(photos)], capture_output=True, check=False)
    assert done.returncode == 0


# ------------------------------------------------------------------------------------------- memory, processes, content


def test_random_order_holds_a_few_groups_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "set.parquet"
    kind = pa.schema({"image": pa.binary()})
    with pq.ParquetWriter(path, kind, compression="none") as file:
        for group in range(10):
            rows = [bytes([group, row]) + rng.bytes(100_000) for row in range(100)]
            file.write_table(pa.table({"image": rows}, kind), row_group_size=100)
    before, most = pa.total_allocated_bytes(), 0
    for row in rng.permutation(1000)[:60]:
        data = read_file(cells.path_of(path, "image", int(row), ".jpg"))
        assert tuple(data[:2]) == (row // 100, row % 100)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < cells.HELD + 25_000_000  # of 100 MB; one more group, while it is read
    held = cells.Held(limit=1)
    for row in (0, 500, 501):
        held.value(cells.Cell(str(path), "image", row))
    assert held.size < 11_000_000  # the last group alone, though it is beyond the limit


def read_shade(dataset: TaggedDataset, place: int) -> tuple[int, int]:
    return place, int(dataset.photo(place)[0, 0, 0])


@pytest.mark.parametrize(("method", "form"), [("fork", "parquet"), ("fork", "arrow"), ("spawn", "parquet")])
def test_other_processes_read_too(tmp_path: Path, method: str, form: str) -> None:
    if method == "fork" and sys.platform != "linux":
        pytest.skip("no fork")
    rows = {"image": [picture(k) for k in range(20)], "tags": [["a"]] * 20}
    if form == "parquet":
        write_parquet(tmp_path / "set.parquet", rows, row_group_size=3)
    else:
        with hugging_face() as hf:
            hf.Dataset.from_dict(rows).save_to_disk(tmp_path)
    dataset = open_dataset(tmp_path)
    assert shades(dataset) == list(range(20))  # this process holds groups of its own
    assert len(pickle.dumps(dataset)) < 20_000
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        asked = [pool.submit(read_shade, dataset, place) for place in (19, 0, 7, 7, 12, 3)]
        assert [one.result() for one in asked] == [(place, place) for place in (19, 0, 7, 7, 12, 3)]
    assert len(verify_photos(dataset, workers=4).kept) == 20


def test_cells_are_known_by_content(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "set.parquet", {"image": [picture(7)], "tags": [["dog"]]})
    dataset = open_dataset(tmp_path)
    tiny.save(tmp_path / "x.png", grey(7))
    (tmp_path / "x.png").write_bytes(png(grey(7)))
    assert sha256_file(dataset.items[0].photo) == sha256_file(tmp_path / "x.png")
    (tmp_path / "x.png").unlink()
    before = photos_digest(dataset, tmp_path / "seen.json", save=True)
    assert photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True) == before
    write_parquet(path, {"image": [picture(8), picture(9)], "tags": [["dog"], ["dog"]]})
    assert photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True) != before
    for name in ("0/0.jpg", "image/9.jpg", "image/x.jpg", "image/../x.jpg", "image"):
        with pytest.raises((OSError, UserError)):
            read_file(path / name)


# ---------------------------------------------------------------------------------------------------- the hub, commands

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached_on_hub(home: Path, repo: str, files: dict[str, bytes]) -> Path:
    """The hub's cache as its client lays it out: links in a snapshot to files named by their digests."""
    folder = home / "hub" / f"datasets--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    for number, (name, data) in enumerate(files.items()):
        blob = folder / "blobs" / f"{number:040x}"
        blob.write_bytes(data)
        link = folder / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return folder / "snapshots" / COMMIT


def in_parquet(photos: Path, **named: Any) -> bytes:
    """The folder of `tiny.draw_photos` as one file."""
    rows = [row.partition(",") for row in (photos / "tags.csv").read_text(encoding="utf-8").splitlines()[1:]]
    table = {
        "image": [{"bytes": (photos / name).read_bytes(), "path": name} for name, _, _ in rows],
        "tags": [[word for word in words.split(";") if word] for _, _, words in rows],
        "mask": [{"bytes": (photos / "masks" / name).read_bytes(), "path": None} for name, _, _ in rows],
    }
    path = write_parquet(photos.parent / "made.parquet", table, **named)
    data = path.read_bytes()
    path.unlink()
    return data


def test_a_run_from_the_hub_equals_one_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CAMs, label maps, scores and predictions bit by bit; the cache stays as it is, and exports have the photos."""
    photos = tiny.draw_photos(tmp_path / "files", count=6)
    data = in_parquet(photos, row_group_size=2)
    snapshot = cached_on_hub(tmp_path / "home", "someone/shapes", {
        "data/train-00000-of-00001.parquet": data, "README.md": b"---\npretty_name: x\n---\n",
        "classes.txt": b"disc\nsquare\n",
    })  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = sorted(path for path in (tmp_path / "home").rglob("*") if path.is_file())
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    sets = [
        "labels.select=fixed",
        "health.photos=0",
        *(f"{stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")),
    ]
    made: dict[str, dict[str, bytes]] = {}
    for name, source in (("files", str(photos)), ("hub", "hf://someone/shapes")):
        out = tmp_path / f"run {name}"
        tiny.invoke("run", recipe, "--data", source, "--out", out, *(f"--set={one}" for one in sets))
        made[name] = {
            path.relative_to(out).as_posix(): path.read_bytes()
            for step in ("cams", "labels")
            for path in (out / step).rglob("*.*")
            if path.suffix in (".png", ".npz", ".npy")
        }
        scores = (
            json.loads((out / "labels" / "scores.json").read_text())
            if (out / "labels" / "scores.json").is_file()
            else {}
        )
        made[name]["scores"] = json.dumps(scores).encode()
        tiny.invoke("export", "coco", out, "--out", tmp_path / f"coco {name}")
        given = photos if name == "files" else snapshot / "data" / "train-00000-of-00001.parquet"
        tiny.invoke("predict", out, given, "--out", tmp_path / f"predicted {name}", "--tags", "disc,square")
        made[name] |= {
            f"predicted/{path.name}": path.read_bytes()
            for path in (tmp_path / f"predicted {name}" / "labels").rglob("*.png")
        }
    assert made["hub"] == made["files"]
    assert len(made["hub"]) > 16
    assert before == sorted(path for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert resolved(snapshot / "data" / "train-00000-of-00001.parquet" / "image" / "0.png").name == "0.png"


def test_check_as_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))  # of processes
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    data = in_parquet(tiny.draw_photos(tmp_path / "files", count=5))
    cached_on_hub(tmp_path / "home", "someone/shapes", {"train.parquet": data, "sub/test.parquet": data})
    cached_on_hub(tmp_path / "home", "someone/half", {"data/train-00000-of-00002.parquet": data})
    cached_on_hub(tmp_path / "home", "someone/script", {"README.md": b"x", "script.py": b"raise SystemExit(9)"})
    done = tiny.semples("data", "check", "hf://datasets/someone/shapes", "--json", tmp_path / "told.json")
    assert "5 photos" in done.stdout
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["photos"], told["masks"], told["classes"]) == (5, 5, ["disc", "square"])
    for source, said in (
        ("hf://someone/half", "only 1 of 2 files train-* are in the local cache"),
        ("hf://someone/script", "no Parquet files, and scripts are not run"),
        ("hf://someone/unknown", "not in the local cache and the hub cannot be reached"),
        ("hf://someone/shapes/../../x", "not a dataset of the hub"),
        ("hf://someone", "not a dataset of the hub"),
    ):
        assert said in tiny.refused("data", "check", source)

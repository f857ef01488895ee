"""Tagged photos in Parquet and Arrow files, as `datasets` and pyarrow write them."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from semples.data import check, open_dataset
from tests import tiny
from tests.data.builders import write_parquet
from tests.data.cells import grey, hugging_face, one_line, picture, shades, tags_of


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
        "      class_label:\n        names:\n          '0': tulip\n          '1': rose\n---\n# Flowers\n",
        encoding="utf-8",
    )
    assert tags_of(open_dataset(tmp_path)) == [("rose",), ("tulip",)]
    assert open_dataset(tmp_path).classes.names == ("tulip", "rose")
    (tmp_path / "README.md").unlink()
    (tmp_path / "classes.txt").write_text("oak\nash\n", encoding="utf-8")
    assert tags_of(open_dataset(tmp_path)) == [("ash",), ("oak",)]


def test_a_label_that_nobody_gave_is_set_aside(tmp_path: Path) -> None:
    with hugging_face() as hf:
        features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(names=["a", "b"])})
        table = {"image": [Image.fromarray(grey(k)) for k in range(3)], "label": [1, -1, None]}
        hf.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "set.parquet")
    dataset = open_dataset(tmp_path)
    assert shades(dataset) == [0]
    assert [problem.what.split(":")[0] for problem in dataset.problems] == ["row 1", "row 2"]


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


def test_every_split_has_the_same_classes(tmp_path: Path) -> None:
    for split, tags in (("train", ["dog", "ape"]), ("test", ["bee"])):
        write_parquet(tmp_path / f"{split}.parquet", {"image": [picture(1)], "tags": [tags]})
    for split in (None, "test"):
        assert open_dataset(tmp_path, split=split).classes.names == ("ape", "bee", "dog")


def test_heavy_row_groups_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semples.data.columnar.rows.HEAVY", 400)
    rows = {"image": [picture(shade) for shade in range(40)], "tags": [["dog"]] * 40}
    write_parquet(tmp_path / "set.parquet", rows, row_group_size=2, compression="none")
    assert not [note for note in check(open_dataset(tmp_path)).slips if "row groups" in note.what]
    write_parquet(tmp_path / "set.parquet", rows, row_group_size=40, compression="none", use_dictionary=False)
    assert [note.where for note in check(open_dataset(tmp_path)).slips if "row groups" in note.what] == ["set.parquet"]


def test_configurations_of_the_readme(tmp_path: Path) -> None:
    for shade, name in enumerate(["small/part.parquet", "large/part.parquet", "other.parquet"]):
        write_parquet(tmp_path / name, {"image": [picture(shade)], "tags": [["dog"]]})
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/*"}]} for name in ("small", "large")
    ]
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", encoding="utf-8")
    assert "small, large" in one_line(lambda: open_dataset(tmp_path))
    assert shades(open_dataset(tmp_path, split="large/train")) == [1]
    assert shades(open_dataset(tmp_path / "small")) == [0]
    configs[0]["default"] = True
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", encoding="utf-8")
    assert shades(open_dataset(tmp_path)) == [0]
    configs[0]["data_files"] = "../../**/*.parquet"
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n", encoding="utf-8")
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
    (tmp_path / f"{tmp_path.name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    (tmp_path / "state.pkl").write_bytes(pickle.dumps({}))
    assert shades(open_dataset(tmp_path)) == [1]
    assert not (tmp_path / "ran").exists()
    (tmp_path / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "../secret.arrow"}]}), encoding="utf-8"
    )
    assert "no Arrow file beside it" in one_line(lambda: open_dataset(tmp_path))

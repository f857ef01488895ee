"""Tables of annotations, imported and read back by the folder reader."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.data.importers.importing import import_annotations
from tests.data.importers.importing import photo, tags, write


@pytest.mark.parametrize(
    "text",
    [
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,30,cat,1,1,5,5\na.jpg,40,30,dog,1,1,5,5\nb.jpg,,,,,,,\n",
        "a.jpg,1,1,5,5,cat\na.jpg,1,1,5,5,dog\nb.jpg,,,,,\n",
        "ImageID;Source;LabelName\na;x;cat\na;x;dog\nb;x;\n",
        "ImageID,Source,LabelName,Confidence\na,x,cat,1\na,x,dog,0.8\nb,x,cat,0\nb,x,dog,0\n",
        "image,tags\na.jpg,cat;dog\nb.jpg,\n",
        "image,cat,dog\na.jpg,1,1\nb.jpg,0,0\n",
        '"x_min","class","path"\n1,cat,C:\\me\\a.jpg\n1,dog,C:\\me\\a.jpg\n1,,/home/me/in/b.jpg\n',
    ],
)
def test_csv(tmp_path: Path, text: str) -> None:
    photo(tmp_path / "in/a.jpg")
    photo(tmp_path / "in/b.jpg")
    result = import_annotations(write(tmp_path / "in/x.csv", text), tmp_path / "out")
    assert result.format == "csv"
    assert tags(tmp_path / "out") == {"images/a": {"cat", "dog"}, "images/b": set()}
    assert result.problems == ()


WORD = st.text(st.sampled_from("abé日'\"& -"), min_size=1, max_size=6).filter(lambda word: word.strip() == word)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a b.png", "é.png", "x/y.png"]), WORD), min_size=1, max_size=8),
    classes=st.just(None),
)
def test_csv_with_any_names(rows: list[tuple[str, str]], classes: None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        expected: dict[str, set[str]] = {}
        with open(root / "x.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "class"])
            for name, label in rows:
                if not (root / "in" / name).exists():
                    photo(root / "in" / name)
                writer.writerow([name, label])
                expected.setdefault(f"images/{name[:-4]}", set()).add(" ".join(label.split()))
        import_annotations(root / "x.csv", root / "out", photos=root / "in")
        assert tags(root / "out") == expected

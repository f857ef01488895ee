from __future__ import annotations

import codecs
import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.data.tables.cells import is_missing
from semples.data.tagfile import TagTable, read_table
from semples.data.text import nfc
from tests.data.builders import complaint


@pytest.fixture
def table(tmp_path: Path):
    def read(content: str | bytes) -> TagTable:
        path = tmp_path / "tags.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path)

    return read


EXPECTED = {"a.jpg": ("cat", "tv monitor"), "b c.jpg": (), "ü.png": ("dog",)}


def as_dict(table: TagTable) -> dict[str, tuple[str, ...]]:
    return {row.photo: row.tags for row in table.rows}


@pytest.mark.parametrize(
    "text",
    [
        "image,tags\na.jpg,cat;tv monitor\nb c.jpg,\nü.png,dog\n",
        'image,tags\na.jpg,"cat, tv monitor"\nb c.jpg,""\nü.png,dog',
        "image;tags\na.jpg;cat,tv monitor\nb c.jpg;\nü.png;dog\n",
        "image\ttags\na.jpg\tcat|tv monitor\nb c.jpg\t\nü.png\tdog\n",
        "\n\nimage,tags\n\na.jpg,cat;tv monitor\n,\nb c.jpg\n\nü.png, dog \n".replace("\n,\n", "\n\n"),
        "sep=;\nFile Name;Image;Labels;note\n1;a.jpg;cat | tv monitor;x\n2;b c.jpg;;\n3;ü.png;dog;\n",
        '"image","tags"\n"a.jpg","cat;tv monitor;cat"\n"b c.jpg",""\n"ü.png","dog"\n',
        "a.jpg,cat;tv monitor\nb c.jpg,\nü.png,dog\n",
        "tags,filename\ncat;tv monitor,a.jpg\n,b c.jpg\ndog,ü.png\n",
        "image,cat,tv monitor,dog\na.jpg,1,1,0\nb c.jpg,0,0,0\nü.png,,no,yes\n",
        "image,cat,tv monitor,dog\na.jpg,x,1.0,-1\nb c.jpg,0,FALSE,\nü.png,0,0,True\n",
        '{"a.jpg": ["cat", "tv monitor"], "b c.jpg": [], "ü.png": "dog"}',
        '[{"image": "a.jpg", "tags": ["cat", "tv monitor"]}, {"file_name": "b c.jpg", "tags": []}, '
        '{"Labels": "dog", "path": "ü.png", "note": 3}]',
    ],
)
def test_forms(table, text: str) -> None:
    for content in (
        text.encode(),
        codecs.BOM_UTF8 + text.encode(),
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
        text.encode("utf-16"),
    ):
        read = table(content)
        assert as_dict(read) == EXPECTED
        assert read.problems == ()


def test_columns_give_the_class_order(table) -> None:
    assert table("image,zebra,ant\na.jpg,1,0\n").columns == ("zebra", "ant")
    assert table("image,tags\na.jpg,zebra\n").columns == ()


def test_composed_and_decomposed_names_are_equal(table) -> None:
    assert as_dict(table("image,tags\nu\u0308.jpg,gro\u0308\u00dfe\n")) == {"ü.jpg": ("größe",)}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("image,tags\na.jpg,cat\nb.jpg,cat,dog\n", "tags.csv, line 3", "3 cells"),
        ("image,tags\na.jpg,cat\n\n ,dog\n", "tags.csv, line 4", "no photo is named"),
        ("\nsep=;\nimage;tags\na.jpg;cat\nb.jpg;cat;dog\n", "tags.csv, line 5", "3 cells"),
        ("image,cat,dog\na.jpg,1,0\nb.jpg,1,maybe\n", "tags.csv, line 3", "dog: 'maybe' is neither"),
        ('{"a.jpg": ["cat"], "b.jpg": [1]}', "tags.csv, entry 2", "list of names"),
        ('[{"image": "a.jpg", "tags": ["cat"]}, {"tags": ["cat"]}]', "tags.csv, entry 2", "no photo"),
        ('[{"image": "a.jpg", "tags": ["cat"]}, 7]', "tags.csv, entry 2", "no photo"),
        ('{"a.jpg": ["cat"], "b.jpg": {"x": 7}}', "tags.csv, entry 2", "list of names"),
        ('{"a.jpg": ["cat"], "b.jpg": null}', "tags.csv, entry 2", "list of names"),
    ],
)
def test_bad_rows_are_problems_with_their_place(table, text: str, where: str, what: str) -> None:
    read = table(text)
    assert as_dict(read) == {"a.jpg": ("cat",)}
    assert [problem.where for problem in read.problems] == [where]
    assert what in read.problems[0].what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\r\n  \r\n", "empty"),
        (b"image\na.jpg\n", "only one column"),
        (b"a.jpg,1,0\nb.jpg,0,1\n", "must name the columns"),
        (b"image,cat,cat\na.jpg,1,0\n", "every column once"),
        (b"image,cat,\na.jpg,1,0\n", "every column once"),
        (b'image,tags\na.jpg,"cat\nb.jpg,dog\n', "check the quotes"),
        (b"image,tags\na.jpg,caf\xe9\n", "UTF-8"),
        (b"image,tags\na\0.jpg,cat\n", "zero bytes"),
        (b'{"a.jpg": ["cat"]', "not valid JSON at line 1"),
        (b"{}", "names no photo"),
        (b"[" * 200000, "nested too deeply"),
    ],
)
def test_unusable_files_are_one_line(table, content: bytes, what: str) -> None:
    with pytest.raises(UserError, match=what) as caught:
        table(content)
    assert "\n" not in str(caught.value)


def test_repeated_keys_in_json_are_not_lost(table) -> None:
    rows = table('{"a.jpg": ["cat"], "a.jpg": ["dog"]}').rows
    assert [row.tags for row in rows] == [("cat",), ("dog",)]


WORD = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters=";|,"), min_size=1).filter(
    lambda word: word == word.strip() and word.isprintable() and not is_missing(word) and word[0] not in "[({"
)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(WORD, st.lists(WORD, max_size=4)), min_size=1), delimiter=st.sampled_from(",;\t"))
def test_csv_written_by_python_is_read_back(tmp_path_factory, rows, delimiter: str) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("image", "tags"), *((photo, ";".join(tags)) for photo, tags in rows)])
    path = tmp_path_factory.mktemp("csv") / "tags.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    expected = [(nfc(photo), tuple(dict.fromkeys(map(nfc, tags)))) for photo, tags in rows]
    assert [(row.photo, row.tags) for row in read_table(path).rows] == expected
    path.write_text(json.dumps([{"image": photo, "tags": tags} for photo, tags in rows]), encoding="utf-8")
    assert [(row.photo, row.tags) for row in read_table(path).rows] == expected


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200) | st.text('image,tags;"\n\r\t{}[]:01a.jpg', max_size=80).map(str.encode))
def test_any_bytes_give_a_table_or_one_line(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    assert "\n" not in complaint(lambda: read_table(path))

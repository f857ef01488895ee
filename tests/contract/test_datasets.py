"""What every reader in the registry must do. A new reader needs a builder in tests/data/builders.py."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.data import TaggedDataset, check, open_dataset, verify_photos, with_items
from semples.data.dataset import READERS
from tests.data.builders import BUILDERS, Sample, damage

WORDS = ["cat", "dog", "größe", "tv monitor", "日本語", "x,y", "o'brien", "épée"]
NAMES = st.text(st.sampled_from("ab1_-. é日😀ø(')"), min_size=1, max_size=8).map(
    lambda name: unicodedata.normalize("NFC", name.strip(" .")) or "photo"
)
SIDES = st.integers(1, 40)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], list[Sample]]:
    classes = draw(st.lists(st.sampled_from(WORDS).filter(lambda word: "," not in word), min_size=1, unique=True))
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique_by=str.casefold))
    samples = []
    for name in names:
        kind = draw(st.sampled_from(["none", "one", "all"]))
        tags = {"none": [], "one": [draw(st.sampled_from(classes))], "all": classes}[kind]
        samples.append(Sample(name, (draw(SIDES), draw(SIDES)), tuple(tags), draw(st.booleans())))
    return classes, samples


@pytest.fixture(params=list(READERS))
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_reader_has_a_builder() -> None:
    assert set(BUILDERS) == set(READERS)


@settings(max_examples=25, deadline=None)
@given(world=worlds())
@pytest.mark.parametrize("reader", list(READERS))
def test_what_was_written_is_read(reader: str, world: tuple[list[str], list[Sample]]) -> None:
    classes, samples = world
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        BUILDERS[reader](root, classes, samples)
        dataset = open_dataset(root)
        assert isinstance(dataset, TaggedDataset)
        assert dataset.problems == ()
        assert dataset.classes.names == tuple(classes)
        assert dataset.classes.prompts == tuple(f"a {name}" for name in classes)
        items = {PurePosixPath(item.id).name: item for item in dataset.items}
        assert len(items) == len(samples) == len({item.id for item in dataset.items})
        for sample in samples:
            item = items[sample.name]
            assert item.tags == tuple(sorted(classes.index(tag) for tag in sample.tags))
            assert not PurePosixPath(item.id).is_absolute()
            assert ".." not in PurePosixPath(item.id).parts
            photo = dataset.photo(item)
            assert photo.dtype == np.uint8
            np.testing.assert_array_equal(photo, sample.pixels())
            mask = dataset.mask(item)
            if sample.masked:
                np.testing.assert_array_equal(mask, sample.labels(classes))
            else:
                assert mask is None
        # Again, by name: the same answer in the same order.
        assert open_dataset(root, reader=reader) == dataset
        verified = verify_photos(dataset, workers=3)
        assert verified.kept == dataset.items
        assert verified.sizes == {items[sample.name].id: sample.size for sample in samples}
        assert check(dataset).photos == len(samples)


def test_subset_keeps_the_order_given(reader: str, tmp_path: Path) -> None:
    samples = [Sample(name, (4, 3), ("cat",)) for name in "abc"]
    BUILDERS[reader](tmp_path, ["cat"], samples)
    dataset = open_dataset(tmp_path)
    part = with_items(with_items(dataset, dataset.items[::-1]), [dataset.items[2], dataset.items[0]])
    assert isinstance(part, TaggedDataset)
    assert part.items == (dataset.items[2], dataset.items[0])
    np.testing.assert_array_equal(part.photo(part.items[0]), dataset.photo(dataset.items[2]))
    assert part.classes == dataset.classes


def test_a_broken_photo_is_set_aside_and_named(reader: str, tmp_path: Path) -> None:
    BUILDERS[reader](tmp_path, ["cat"], [Sample(name, (30, 30), ("cat",)) for name in "abc"])
    dataset = open_dataset(tmp_path)
    broken = dataset.items[1]
    damage(broken.photo)
    for workers in (1, 4):
        verified = verify_photos(dataset, workers=workers)
        assert verified.kept == (dataset.items[0], dataset.items[2])
        assert [problem.where for problem in verified.problems] == [broken.id]
        assert str(broken.photo) in verified.problems[0].what


def test_bad_arguments_are_one_line(reader: str, tmp_path: Path) -> None:
    BUILDERS[reader](tmp_path, ["cat"], [Sample("a", (4, 3), ("cat",))])
    cases = {"split": "nonsense", "reader": "nonsense", "tags": "nonsense.csv", "classes": "nonsense.txt"}
    for argument, value in cases.items():
        with pytest.raises(UserError, match="nonsense") as caught:
            open_dataset(tmp_path, **{argument: value})
        assert "\n" not in str(caught.value)


def test_too_large_a_photo_is_refused(reader: str, tmp_path: Path) -> None:
    BUILDERS[reader](tmp_path, ["cat"], [Sample("a", (40, 30), ("cat",))])
    dataset = open_dataset(tmp_path, max_megapixels=0.001)
    with pytest.raises(UserError, match="megapixels"):
        dataset.photo(dataset.items[0])

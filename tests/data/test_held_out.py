"""Photos that no training sees: chosen by name, few enough for every class."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from semples.data.dataset import ClassList, FileDataset, Item
from semples.data.held_out import LEAST, held_out, without

NAMES = ("a", "b", "c")


def photos(tags: dict[str, tuple[int, ...]]) -> FileDataset:
    items = tuple(Item(id=name, photo=Path(name), tags=numbers) for name, numbers in tags.items())
    return FileDataset(name="x", root=Path(), classes=ClassList(NAMES, NAMES), items=items, problems=())


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.sets(st.integers(0, 2)).map(tuple), max_size=40),
    st.floats(0, 0.5),
    st.integers(0, 3),
)
def test_every_class_keeps_photos(tags: dict[str, tuple[int, ...]], share: float, seed: int) -> None:
    dataset = photos(tags)
    held = held_out(dataset, share=share, seed=seed)
    rest = without(dataset, held)
    assert len(held) + len(rest.items) == len(dataset.items)
    for index in range(3):
        before = sum(index in item.tags for item in dataset.items)
        assert sum(index in item.tags for item in rest.items) >= min(before, LEAST)


def test_about_the_share_and_the_same_ones_when_others_come() -> None:
    few = photos({f"p{index}": (index % 3,) for index in range(1000)})
    more = photos({f"p{index}": (index % 3,) for index in range(2000)})
    held = {item.id for item in held_out(few, share=0.1, seed=0)}
    assert 70 < len(held) < 130
    assert held <= {item.id for item in held_out(more, share=0.1, seed=0)}
    assert held != {item.id for item in held_out(few, share=0.1, seed=1)}
    assert not held_out(few, share=0.0, seed=0)

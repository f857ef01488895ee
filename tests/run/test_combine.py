"""Label maps of several sources as one: by hand, by properties, and by the command."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from semples.labels.combine import combined
from semples.labels.scored import Labelled
from tests import tiny
from tests.inspect import test_compare

given, photos, runs = test_compare.given, test_compare.photos, test_compare.runs


def source(labels: list[int], confidence: list[float] | None = None) -> Labelled:
    sure = np.ones(len(labels)) if confidence is None else np.array(confidence)
    return Labelled(np.array([labels], np.uint8), sure[None].astype(np.float32))


def test_by_hand() -> None:
    one = source([0, 1, 1, 255, 255, 2], [0.5, 0.2, 0.4, 0.9, 0.9, 0.5])
    two = source([0, 2, 2, 3, 255, 1], [0.3, 0.6, 0.4, 0.7, 0.9, 0.5])
    both = combined([one, two])
    assert both.labels.tolist() == [[0, 2, 1, 3, 255, 2]]  # at equal votes the first source wins
    np.testing.assert_allclose(both.confidence, [[0.4, 0.2, 0, 0.35, 0, 0]], atol=1e-6)
    weighed = combined([one, two], weights=[4, 1])
    assert weighed.labels.tolist() == [[0, 1, 1, 3, 255, 2]]
    np.testing.assert_allclose(weighed.confidence[0, :2], [2.3 / 5, 0.2 / 5], atol=1e-6)
    agreed = combined([one, two], agree=2)
    assert agreed.labels.tolist() == [[0, 255, 255, 255, 255, 255]]
    assert (agreed.confidence[agreed.labels == 255] == 0).all()
    three = combined([one, two, two], by="vote")
    assert three.labels.tolist() == [[0, 2, 2, 3, 255, 1]]
    np.testing.assert_allclose(three.confidence, [[1, 1 / 3, 1 / 3, 2 / 3, 0, 1 / 3]], atol=1e-6)


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="one size"):
        combined([source([0]), source([0, 1])])
    with pytest.raises(ValueError, match="one each"):
        combined([source([0]), source([0])], weights=[1])
    with pytest.raises(ValueError, match="or more"):
        combined([])


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60, deadline=None)
def test_against_a_plain_count(data: st.DataObject) -> None:
    """Pixel by pixel in Python."""
    count, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    values = st.sampled_from([0, 1, 2, 253, 255])
    sources = [
        source(
            data.draw(st.lists(values, min_size=width, max_size=width)),
            [n / 8 for n in data.draw(st.lists(st.integers(0, 8), min_size=width, max_size=width))],
        )
        for _ in range(count)
    ]
    weights = [float(n) for n in data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))]
    agree = data.draw(st.integers(1, count))
    answer = combined(sources, weights=weights, agree=agree)
    for x in range(width):
        votes: dict[int, float] = {}
        for one, weight in zip(sources, weights, strict=True):
            if one.labels[0, x] != 255:
                label = int(one.labels[0, x])
                votes[label] = votes.get(label, 0) + weight * float(one.confidence[0, x])
        best = max(votes, key=votes.__getitem__) if votes else 255  # the first of equals
        supporters = sum(int(one.labels[0, x]) == best for one in sources)
        if best == 255 or supporters < agree:
            assert (answer.labels[0, x], answer.confidence[0, x]) == (255, 0)
        else:
            rest = max([value for label, value in votes.items() if label != best], default=0)
            assert answer.labels[0, x] == best
            assert answer.confidence[0, x] == pytest.approx((votes[best] - rest) / sum(weights), abs=1e-6)


def test_the_command(runs: list[Path], tmp_path: Path) -> None:
    other = runs[2] / "labels"
    out = tiny.invoke("combine", runs[0], "labels", other, "--json", tmp_path / "s.json").out
    folder = runs[0] / "combined"
    assert "combined of 2 folders" in out
    maps = sorted(path.name for path in folder.glob("*.png"))
    assert maps == sorted(path.name for path in other.glob("*.png"))
    assert (folder / "confidence" / maps[0]).is_file()
    stored = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["labels"]["miou"]
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["labels"]["miou"] == stored
    kept = (folder / maps[0]).stat().st_mtime_ns
    tiny.invoke("combine", runs[0], "labels", other)
    assert (folder / maps[0]).stat().st_mtime_ns == kept  # the same again is kept
    tiny.invoke("combine", runs[0], "labels", other, "--agree", "2")
    values = np.concatenate([tiny.pixels(folder / name).ravel() for name in maps])
    assert (values == 255).any()
    for name in maps:
        one, two, both = (tiny.pixels(place / name) for place in (runs[0] / "labels", other, folder))
        np.testing.assert_array_equal(both, np.where(one == two, one, 255))


def test_what_cannot_be_combined(runs: list[Path], tmp_path: Path) -> None:
    other = runs[2] / "labels"
    assert "two different folders" in tiny.refused("combine", runs[0], "labels")
    assert "two different folders" in tiny.refused("combine", runs[0], "labels", runs[0] / "labels")
    assert "no such folder" in tiny.refused("combine", runs[0], "labels", "baselines/none")
    assert "one each" in tiny.refused("combine", runs[0], "labels", other, "--weight", "1")
    assert "from 1 to 2" in tiny.refused("combine", runs[0], "labels", other, "--agree", "3")
    assert "one of the sources" in tiny.refused("combine", runs[0], "labels", other, "--out", other)
    (tmp_path / "mine").write_text("", encoding="utf-8") if not (tmp_path / "mine").exists() else None
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    assert "not made by this command" in tiny.refused("combine", runs[0], "labels", other, "--out", tmp_path / "full")
    (tmp_path / "few").mkdir()
    name = next(other.glob("*.png")).name
    (tmp_path / "few" / name).write_bytes((other / name).read_bytes())
    result = tiny.invoke("combine", runs[0], "labels", tmp_path / "few", "--out", tmp_path / "out", check=False)
    assert result.code == 1  # the others are said to be missing
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == [name]


@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "bit"])
def test_damaged_files_are_made_again(runs: list[Path], damage: str) -> None:
    """A map, a confidence, the scores, and what tells how the maps were made."""
    command = ("combine", runs[0], "labels", runs[2] / "labels")
    tiny.invoke(*command)
    folder = runs[0] / "combined"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    name = min(path.name for path in folder.glob("*.png"))
    for path in (folder / name, folder / "confidence" / name, folder / "scores.json", folder / "combined.json"):
        data = before[path]
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
        path.unlink()
        if damage != "gone":
            path.write_bytes({"empty": b"", "cut": data[:middle], "bit": flipped}[damage])
        assert tiny.invoke(*command).code == 0
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

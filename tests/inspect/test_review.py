"""Which photos are listed for a look, and what their certainty is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from semples.core.errors import UserError
from semples.core.palette import read_confidence_png, write_confidence_png, write_label_png
from semples.data.dataset import Item
from semples.inspect import review
from semples.recipe import Recipe, load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from semples.run.corrections import Corrected, Correction, Corrections
from semples.run.label_maps import check_names
from tests import tiny


def test_certainty_by_hand() -> None:
    """An expected IoU: right pixels over labelled ones and those missed elsewhere; the worst tag counts. Without a
    judge the mean confidence."""
    labels = np.array([[1, 1, 0, 3]], np.uint8)
    confidence = np.array([[0.9, 0.5, 0.8, 0.6]], np.float32)
    first = (0.9 + 0.5) / (2 + 0.2 + 0.4)
    third = 0.6 / (1 + 0.1 + 0.5 + 0.2)
    assert review.certainty(labels, confidence, (0,)) == pytest.approx(first)
    assert review.certainty(labels, confidence, (0, 2)) == pytest.approx(min(first, third)) == pytest.approx(third)
    assert review.certainty(labels, confidence, (0, 1, 2)) == 0  # no pixel of class 1
    assert review.certainty(labels, confidence, ()) == pytest.approx(0.7)
    assert review.certainty(labels, np.ones((1, 4), np.float32), (0, 2)) == 1
    for tags, sure in (((0, 2), 0.7), ((0, 1, 2), 0.35), ((), 0.7)):
        assert review.certainty(labels, confidence, tags, judged=False) == pytest.approx(sure)


def test_the_least_certain_photos_come_first(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    context = Context(Recipe(), Source(photos), tmp_path / "out")
    pipeline.run(context, steps=["data"])
    folder = context.folder("labels")
    expected = {}
    for number, item in enumerate(context.dataset.items):
        labels = np.zeros((4, 4), np.uint8)
        for tag in item.tags:
            labels[tag] = tag + 1
        write_label_png(folder / f"{item.id}.png", labels)
        sure = np.full((4, 4), (number * 3 % 7) / 10, np.float32)
        write_confidence_png(folder / "confidence" / f"{item.id}.png", sure)
        expected[item.id] = review.certainty(labels, sure, item.tags)
    listed = review.most_worth_a_look(context, count=4)
    assert [entry["certainty"] for entry in listed] == sorted(entry["certainty"] for entry in listed)
    assert all(entry["certainty"] == pytest.approx(expected[entry["photo"]], abs=0.01) for entry in listed)
    assert [entry["certainty"] for entry in listed] == pytest.approx(sorted(expected.values())[:4], abs=0.01)
    assert all(entry["missing"] == [] and Path(entry["file"]).is_file() for entry in listed)
    tagged = next(item for item in reversed(context.dataset.items) if item.tags)
    write_label_png(folder / f"{tagged.id}.png", np.zeros((4, 4), np.uint8))
    first = next(entry for entry in review.most_worth_a_look(context, count=6) if entry["photo"] == tagged.id)
    assert first["certainty"] == 0
    assert first["missing"] == [context.dataset.classes.names[tag] for tag in tagged.tags]
    (folder / "confidence" / "p02.png").unlink()
    with pytest.raises(UserError, match=r"p02\.png: no such file"):
        review.most_worth_a_look(context, count=1)


def test_coverage_by_hand(tmp_path: Path) -> None:
    """The surest photos first; wrong pixels by masks, by corrected photos, or by drawn worlds."""
    context = Context(Recipe(), Source(tmp_path), tmp_path)
    item = Item("a", tmp_path / "a.png", ())
    sure = [(0.9, 0.1, 0.0), (0.5, 0.3, 0.2), (0.7, 0.2, 0.1), (0.1, 0.8, 0.7)]
    measured = [review.Looked(item, certain, doubt, (), wrong) for certain, doubt, wrong in sure]
    covered = review.coverage(context, measured)
    assert (covered["basis"], covered["photos"]) == ("masks", 4)
    assert [(row["coverage"], row["photos"], row["wrong"]) for row in covered["rows"]] == [
        (0.5, 2, 0.05), (0.6, 2, 0.05), (0.7, 3, 0.1), (0.8, 3, 0.1), (0.9, 4, 0.25), (1.0, 4, 0.25)
    ]  # fmt: skip
    bare = [replace(one, wrong=None) for one in measured]
    drawn = review.coverage(context, bare)
    assert drawn["basis"] == "drawn"
    assert drawn["rows"][0]["wrong"] == pytest.approx(review.DRAWN * 0.15, abs=1e-4)
    alone = replace(context, recipe=load_recipe("folder-light"))
    unknown = review.coverage(alone, bare)
    assert (unknown["basis"], unknown["rows"]) == ("unknown", [])
    assert review.coverage(alone, measured)["rows"] == covered["rows"]
    entry = Correction("0", "0", (), "", "", wrong=0.3, doubt=0.2)
    given = {str(number): entry for number in range(review.ENOUGH)}
    by_hand = Corrected(Corrections(tmp_path), given, (), ())
    with mock.patch.object(review, "corrected", return_value=by_hand):
        told = review.coverage(context, bare)
    assert told["basis"] == "corrections"
    assert told["rows"][0]["wrong"] == pytest.approx(1.5 * 0.15)


def test_confidences_are_stored_in_8_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    values[0, :2] = 0, 1
    write_confidence_png(tmp_path / "sub/a.png", values)
    stored = read_confidence_png(tmp_path / "sub/a.png")
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, values, atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(stored[0, :2], [0, 1])
    for wrong in (values + 1, values[0], np.full((2, 2), np.nan, np.float32)):
        with pytest.raises(ValueError, match=r"in 0\.\.1"):
            write_confidence_png(tmp_path / "b.png", wrong)


def test_photos_may_not_lie_where_confidences_are(tmp_path: Path) -> None:
    item = Item("confidence/a", tmp_path / "a.jpg", (0,), None)
    with pytest.raises(UserError, match="rename the photos' folder"):
        check_names([item])
    check_names([replace(item, id="a/confidence"), replace(item, id="confidences/a")])

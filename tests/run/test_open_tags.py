"""A tag that is left open teaches nothing, in no stage, and its pixels stay open in the label maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from semples.core.palette import read_label_png
from semples.data.dataset import Item, open_dataset
from semples.data.open_tags import bare, parted
from semples.generators.base import soft_margin_loss
from semples.networks.pairs import Pairs
from semples.run.label_maps import left_open
from semples.run.photos import photos_digest
from semples.run.pipeline import open_run
from semples.stages.warmup import Warmup
from semples.training.feed import Views, open_matrix, tag_matrix
from semples.training.task import Total
from tests import tiny
from tests.prediction import material


def with_open(photos: Path) -> Path:
    """The photos of `tiny.draw_photos` with `disc?` on the first and the last."""
    lines = (photos / "tags.csv").read_text(encoding="utf-8").splitlines()
    for place in (1, -1):
        name = lines[place].partition(",")[0]
        lines[place] = f"{name},square;disc?"
    (photos / "tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return photos


def test_the_mark() -> None:
    assert parted(["dog?", "cat", "cow ?"]) == (("cat",), ("dog", "cow"))
    assert parted(["dog?", "dog"]) == (("dog",), ())
    assert parted(["what?"], {"what?"}) == (("what?",), ())  # a class of that name
    assert bare("?") == ""


def test_items_and_digests(tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    before = photos_digest(open_dataset(photos), tmp_path / "seen.json", save=False)
    dataset = open_dataset(with_open(photos))
    first = dataset.items[0]
    assert (first.tags, first.open, first.possible) == ((1,), (0,), (0, 1))
    after = photos_digest(dataset, tmp_path / "seen.json", save=False)
    assert after != before
    assert photos_digest(open_dataset(photos), tmp_path / "seen.json", save=False) == after
    unsure = open_matrix(dataset)
    assert unsure is not None
    assert unsure.sum(0).tolist() == [2, 0]
    assert open_matrix(open_dataset(tiny.draw_photos(tmp_path / "plain", count=3))) is None


def test_no_loss_on_it(tmp_path: Path) -> None:
    """Equal losses and gradients whatever the open tag would have been; all other tags count as before."""
    torch.manual_seed(0)
    logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    tags = torch.rand(3, 4) > 0.5
    unsure = torch.zeros(3, 4, dtype=torch.bool)
    torch.testing.assert_close(soft_margin_loss(logits, tags, unsure), soft_margin_loss(logits, tags))
    unsure[1, 2] = True
    other = tags.clone()
    other[1, 2] = ~other[1, 2]
    losses = soft_margin_loss(logits, tags, unsure)
    torch.testing.assert_close(losses, soft_margin_loss(logits, other, unsure), rtol=0, atol=0)
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad[1, 2] == 0
    assert (logits.grad != 0).sum() == 11


def test_the_warm_up_leaves_it_out(tmp_path: Path) -> None:
    """Through the feed and the real generator: the class's tag of that photo changes nothing."""
    run = material.run(tmp_path / "run", with_open(tiny.draw_photos(tmp_path / "photos", count=4)))
    context = open_run(run)
    dataset, settings = context.dataset, context.recipe
    assert dataset.items[0].open == (0,)
    from semples.run.models import generator_in

    task = Warmup(generator_in(context.folder("refinement"), dataset.classes)).eval()
    views = Views(
        dataset=dataset, tags=tag_matrix(dataset), open=open_matrix(dataset), augment=settings.warmup.augment, size=16,
        mean=task.generator.mean, std=task.generator.std, seed=0, noise_size=task.generator.noise_size,
    )  # fmt: skip
    batch = views.collate([views[0, place] for place in range(4)])
    assert batch.open is not None
    assert batch.open[0].tolist() == [True, False]
    assert 0 not in Pairs.of(batch.tags).label[Pairs.of(batch.tags).photo == 0]  # no pair in the later stages
    flipped = batch.tags.clone()
    flipped[0, 0] = ~flipped[0, 0]
    total = Total(4, 4)
    with torch.no_grad():
        loss = task(batch, total)["loss"]
        assert task(replace(batch, tags=flipped), total)["loss"] == loss
        assert task(replace(batch, open=None), total)["loss"] != loss


def test_its_pixels_stay_open(tmp_path: Path) -> None:
    run = material.run(
        tmp_path / "run", with_open(tiny.draw_photos(tmp_path / "photos", count=4)),
        settings=("labels.threshold=0.1", "labels.method=threshold"),
    )  # fmt: skip
    context = open_run(run)
    for item in context.dataset.items:
        labels = read_label_png(run / "labels" / f"{item.id}.png")
        confidence = tiny.pixels(run / "labels/confidence" / f"{item.id}.png")
        assert not np.isin(labels, [index + 1 for index in item.open]).any()
        if item.open:
            assert (labels == 255).any()
            assert (confidence[labels == 255] == 0).all()
        else:
            assert (labels != 255).all()


@pytest.mark.parametrize("reader", ["tags.json", "metadata.jsonl"])
def test_other_tables(tmp_path: Path, reader: str) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=2)
    (photos / "tags.csv").unlink()
    rows = ['{"image": "p00.png", "tags": ["disc", "square?"]}', '{"image": "p01.png", "tags": ["square"]}']
    text = "\n".join(rows) if reader.endswith("l") else f"[{', '.join(rows)}]"
    (photos / reader).write_text(text, encoding="utf-8")
    first, second = open_dataset(photos).items
    assert (first.tags, first.open) == ((0,), (1,))
    assert (second.tags, second.open) == ((1,), ())


def test_nothing_changes_without_one(tmp_path: Path) -> None:
    from semples.labels.scored import Labelled

    labelled = Labelled(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.float32))
    assert left_open(labelled, Item("a", tmp_path, (0,))) is labelled

"""CAMs of another program: as a fixed seed for labels, and as the start of the stages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from semples.cams.store import CamStore
from semples.data.photos import probe
from semples.data.transforms import key_rng, placement
from semples.recipe import load_recipe
from semples.run import pipeline
from semples.run.context import Context, Source
from tests import tiny

AT_HAND = ("--set", "segmenter.model=vit:shipped:demo_vit")  # so that nothing is said of the hub


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("photos"), count=8)


def write_cams(photos: Path, folder: Path, *, published: bool, factor: float = 3.0) -> Path:
    """The exact masks, blurred at their edges, as CAMs of every photo; those of half of them in the published form."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(photos.glob("p*.png")):
        mask = tiny.pixels(photos / "masks" / path.name)
        maps = {k: (mask == k + 1).astype(np.float32) * factor - 1 for k in (0, 1) if (mask == k + 1).any()}
        if published:
            np.save(folder / f"{path.stem}.npy", np.array(maps, dtype=object), allow_pickle=True)
        else:
            CamStore(folder).write(path.stem, {k: (v > 0).astype(np.float32) for k, v in maps.items()}, mask.shape)
    return folder


def recipe(tmp_path: Path, *changes: str):  # type: ignore[no-untyped-def]
    clip = tiny.save_clip(tmp_path / "clip")
    return load_recipe(tiny.write_recipe(tmp_path / "tiny.yaml", clip), changes)


@pytest.mark.parametrize("published", [True, False])
def test_as_a_fixed_seed(photos: Path, tmp_path: Path, published: bool) -> None:
    given = write_cams(photos, tmp_path / "given", published=published)
    changes = ["generator.kind=saved", f"generator.start={given}", "labels.select=fixed", "labels.threshold=0.5"]
    context = Context(recipe(tmp_path, *changes), Source(photos), tmp_path / "run")
    steps = [outcome.step for outcome in pipeline.run(context)]
    assert not {"warmup", "matching", "prompting", "refinement"} & set(steps)
    for path in photos.glob("p*.png"):
        np.testing.assert_array_equal(
            tiny.pixels(tmp_path / "run" / "labels" / path.name), tiny.pixels(photos / "masks" / path.name)
        )
    assert (
        json.loads((tmp_path / "run" / "scores" / "scores.json").read_text(encoding="utf-8"))["labels"]["miou"] == 100
    )
    assert {entry.state for entry in pipeline.status(context) if entry.step == "cams"} == {"done"}
    write_cams(photos, given, published=published, factor=1.5)  # another content: made anew
    state = next(entry for entry in pipeline.status(context) if entry.step == "cams")
    assert (state.state != "done") == published  # the compact ones are the same again


def test_what_is_missing_is_said(photos: Path, tmp_path: Path) -> None:
    given = write_cams(photos, tmp_path / "given", published=False)
    file = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    line = ("run", "--data", photos, "--recipe", file, "--set", "generator.kind=saved", *AT_HAND)
    assert "no such folder of CAMs" in tiny.refused(
        *line, "--out", tmp_path / "a", "--set", f"generator.start={given}x"
    )
    (tmp_path / "empty").mkdir()
    assert "holds no CAMs" in tiny.refused(
        *line, "--out", tmp_path / "b", "--set", f"generator.start={tmp_path / 'empty'}"
    )
    tagged = next(id for id in CamStore(given).ids() if CamStore(given).read(id))
    CamStore(given).write(tagged, {}, (5, 5))
    assert f"CAMs of {tagged}: none of class" in tiny.refused(
        *line, "--out", tmp_path / "c", "--set", f"generator.start={given}"
    )
    (given / f"{tagged}.npz").unlink()
    assert "no such file" in tiny.refused(*line, "--out", tmp_path / "d", "--set", f"generator.start={given}")


def test_as_the_start_of_the_stages(photos: Path, tmp_path: Path) -> None:
    """A head learns to show what they show: its CAMs come nearer to the given ones than by tags alone."""
    given = write_cams(photos, tmp_path / "given", published=False)
    common = ["generator.kind=vit-cam", "warmup.epochs=30", "warmup.base_lr=0.3", "generator.learns=all"]
    common += ["generator.width=32", "generator.depth=2", "generator.heads=2", "generator.patch_size=4"]
    common += ["generator.start=random", "warmup.augment.randaugment_ops=0", "generator.image_size=32"]
    distance = {}
    for name, extra in (
        ("tags", []),
        ("cams", ["warmup.kind=reproduction", f"warmup.cams={given}", "warmup.lambda_reproduction=10"]),
    ):
        changes = [*extra, *common]
        context = Context(recipe(tmp_path, *changes), Source(photos), tmp_path / name)
        pipeline.run(context, steps=["data", "warmup", "cams-warmup"])
        made, true = CamStore(tmp_path / name / "cams-warmup"), CamStore(given)
        gaps = [np.abs(cam - true.read(id)[k]).mean() for id in true.ids() for k, cam in made.read(id).items()]
        distance[name] = float(np.mean(gaps))
    assert distance["cams"] < 0.8 * distance["tags"]
    events = (tmp_path / "cams" / "warmup" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert any("reproduction" in line for line in events)


def test_given_cams_are_cut_as_their_photos(photos: Path, tmp_path: Path) -> None:
    """A CAM of columns, cut and mirrored, is where its photo's columns are."""
    from semples.data.dataset import open_dataset
    from semples.recipe import AugmentSettings
    from semples.stages.reproduction import GivenViews
    from semples.training.feed import Views, tag_matrix

    dataset = open_dataset(photos)
    store = CamStore(tmp_path)
    for item in dataset.items:
        width, height = probe(item.photo)
        ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
        store.write(item.id, dict.fromkeys(item.tags, ramp.copy()), (height, width))
    settings = AugmentSettings(randaugment_ops=0, erasing=0, colour_jitter=0)
    mean = std = (0.5, 0.5, 0.5)
    plain = Views(
        dataset=dataset, tags=tag_matrix(dataset), augment=settings, size=32, mean=mean, std=std, seed=3, noise_size=1
    )
    views = GivenViews(plain, store)
    for index, item in enumerate(dataset.items):
        for epoch in (0, 1):
            row = views[epoch, index]
            assert torch.equal(row[0], plain[epoch, index][0])
            width, height = probe(item.photo)
            (left, _, cut, _), mirrored = placement(width, height, settings, key_rng(seed=3, epoch=epoch, index=index))
            centres = left + (np.arange(8) + 0.5) * cut / 8 - 0.5
            wanted = centres.clip(0, width - 1) / (width - 1)
            for tag in item.tags:
                cam = row[-1][tag].double().mean(0).numpy() / 255
                np.testing.assert_allclose(cam[::-1] if mirrored else cam, wanted, atol=0.04)
    batch = views.collate([views[0, 0], views[0, 1]])
    assert batch.given.shape == (2, 2, 8, 8)


def test_randaugment_and_given_cams_do_not_go_together(photos: Path, tmp_path: Path) -> None:
    given = write_cams(photos, tmp_path / "given", published=False)
    file = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    line = ("run", "--data", photos, "--recipe", file, "--out", tmp_path / "r", "--set", "warmup.kind=reproduction")
    line = (*line, *AT_HAND)
    message = tiny.refused(*line, "--set", f"warmup.cams={given}", "--set", "warmup.augment.randaugment_ops=2")
    assert "warmup.augment.randaugment_ops" in message
    assert "no such folder of CAMs" in tiny.refused(*line)

"""The plug-in's generator, label method and export format, by name and by module:Name, and a run with all of them."""

from __future__ import annotations

import csv
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semples.core.registry import Registry
from semples.data.classes import ClassList
from semples.data.dataset import open_dataset
from semples.export.source import ExportSource
from semples.generators.base import build_generator, load_generator, save_generator
from semples.networks.pairs import Pairs
from semples.settings import kinds
from tests import tiny
from tests.contract import test_label_methods
from tests.plugin.conftest import PLUGIN

CLASSES = ClassList(("disc", "square"))
PATHS = {
    "colour-cam": "semples_example_plugin.colour_cam:ColourCam",
    "hues": "semples_example_plugin.hues:Hues",
    "otsu": "semples_example_plugin.otsu:Otsu",
}
REGISTRIES: dict[str, Registry[Any]] = {
    "colour-cam": kinds.GENERATORS,
    "hues": kinds.JUDGES,
    "otsu": kinds.LABEL_METHODS,
}
CONTRACT = [
    test
    for name, test in vars(test_label_methods).items()
    if name.startswith("test_")
    and list(inspect.signature(test).parameters) == ["name"]
    and "higher_threshold" not in name  # of those whose labels only shrink; Otsu's do, but the list is its own
]


def test_everything_fits_a_page() -> None:
    for path in (PLUGIN / "src" / "semples_example_plugin").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 80, path


@pytest.mark.parametrize("name", PATHS)
def test_names_and_paths_are_the_same(name: str) -> None:
    registry = REGISTRIES[name]
    assert name in registry
    assert registry.load(name) is registry.load(PATHS[name])
    assert registry.settings_of(name) is registry.settings_of(PATHS[name])
    assert registry.where(name) == "semples-example-plugin"
    assert registry.about(name).endswith(".")


# ----------------------------------------------------------------------------------------------------------- generator


def test_generator(tmp_path: Path) -> None:
    settings = kinds.GENERATORS.settings_of("colour-cam")(image_size=32)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model, same, other = (build_generator(settings, classes=CLASSES, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in same.state_dict().items())
    assert any(not torch.equal(state[name], value) for name, value in other.state_dict().items())
    tags = torch.tensor([[True, False], [True, True], [False, False]])
    for height, width in ((32, 32), (4, 4), (17, 30)):
        image = torch.randn(3, 3, height, width, requires_grad=True)
        cams = model.cams(image, Pairs.of(tags))
        assert cams.shape == (3, height // 4, width // 4)
        assert (cams >= 0).all()
        whole = model.cams(image, Pairs.of(torch.ones_like(tags)))
        torch.testing.assert_close(cams, whole[[0, 2, 3]])
    cams.square().sum().backward()
    assert image.grad is None
    assert all(parameter.grad is not None for parameter in model.train_parameters())
    save_generator(model, tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    assert type(loaded) is type(model)
    assert (loaded.classes, loaded.mean) == (CLASSES.names, model.mean)
    assert torch.equal(loaded.cams(image, Pairs.of(tags)), model.cams(image, Pairs.of(tags)))


def test_generator_learns_colours_from_tags() -> None:
    settings = kinds.GENERATORS.settings_of("colour-cam")(image_size=32)
    model = build_generator(settings, classes=CLASSES, seed=0)
    photos = np.full((8, 32, 32, 3), 40, np.uint8)
    tags = torch.zeros(8, 2, dtype=torch.bool)
    for index in range(8):
        kind = index % 2
        photos[index, 8:16, 8 + index : 16 + index] = (220, 80, 60) if kind else (60, 200, 90)
        tags[index, kind] = True
    scale = torch.tensor(model.std)[:, None, None] * 255
    image = (
        torch.from_numpy(photos).permute(0, 3, 1, 2).float().sub(torch.tensor(model.mean)[:, None, None] * 255) / scale
    )
    optimizer = torch.optim.Adam(model.warmup_parameters(), lr=0.02)
    for _ in range(120):
        loss = model.classification_loss(image, tags).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cam = model.cams_of(photos[0], ["disc"])["disc"]
    assert cam[8:16, 8:16].mean() > 0.6
    assert cam[20:].mean() < 0.2


# -------------------------------------------------------------------------------------------------------- label method


@pytest.mark.parametrize("name", ["otsu", "otsu+crf"])
@pytest.mark.parametrize("contract", CONTRACT, ids=lambda test: test.__name__)
def test_label_method_keeps_the_contract(contract: Callable[[str], None], name: str) -> None:
    if name == "otsu+crf" and "says_of_itself" in contract.__name__:
        pytest.skip("of plain methods")
    contract(name)


def test_labels_by_otsu() -> None:
    """A CAM of two values is cut between them, wherever they lie."""
    made = test_label_methods.made("otsu", otsu_share=1.0)
    photo = test_label_methods.given(tags=(1,))
    cam = np.full(photo.shape, 0.05, np.float32)
    cam[5:9, 3:20] = 0.2
    changed = test_label_methods.replace(photo, cams={1: cam})
    np.testing.assert_array_equal(made.label(changed, 0.9).labels, np.where(cam > 0.1, 2, 0))
    plain = test_label_methods.made("otsu", otsu_share=0.0)
    np.testing.assert_array_equal(
        plain.label(photo, 0.4).labels, test_label_methods.made("threshold").label(photo, 0.4).labels
    )


# ------------------------------------------------------------------------------------------------------ export format


def test_areas(tmp_path: Path) -> None:
    areas = pytest.importorskip("semples_example_plugin.areas")
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    dataset = open_dataset(photos)
    (tmp_path / "out").mkdir()
    remarks = areas.export(ExportSource(dataset, photos / "masks"), tmp_path / "out", areas.Options(min_area=5))
    with open(tmp_path / "out" / "areas.csv", encoding="utf-8", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    expected = []
    for item in dataset.items:
        mask = tiny.pixels(photos / "masks" / f"{item.id}.png")
        for label, name in enumerate(dataset.classes.names, start=1):
            if (count := int((mask == label).sum())) >= 5:
                expected.append((item.id, name, str(count), f"{count / mask.size:.6f}"))
    assert rows == expected
    assert remarks == (f"{len(rows)} areas in areas.csv",)


# --------------------------------------------------------------------------------------------------------------- a run


RECIPE = """\
name: plug-in
generator: {{kind: "{generator}", image_size: 32}}
judge: {{kind: "{judge}", image_size: 32, hues: [0.36, 0.02]}}
labels: {{method: "{labels}", otsu_share: 0.4}}
prompts: {{length: 4}}
warmup: {{epochs: 2, batch: 4, base_lr: 0.5}}
matching: {{epochs: 1, batch: 4, cam_epsilon: relative}}
prompting: {{epochs: 1, batch: 4, cam_epsilon: relative}}
refinement: {{epochs: 1, batch: 4, cam_epsilon: relative}}
cams: {{scales: [1.0]}}
data: {{workers: 0}}
run: {{log_every: 1}}
"""


def test_a_run_with_all_of_them(installed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line knows the plug-in by its entry points, in a process of its own, and by module:Name."""
    paths = [path for path in (os.environ.get("PYTHONPATH"), installed) if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    runs = {}
    for way, command in (("name", tiny.semples), ("path", tiny.invoke)):
        recipe, out = tmp_path / f"{way}.yaml", tmp_path / way
        chosen = {name: PATHS[name] if way == "path" else name for name in PATHS}
        recipe.write_text(
            RECIPE.format(generator=chosen["colour-cam"], judge=chosen["hues"], labels=chosen["otsu"]), encoding="utf-8"
        )
        command("run", "--data", photos, "--recipe", recipe, "--out", out)
        runs[way] = {path.name: tiny.pixels(path) for path in sorted((out / "labels").glob("p*.png"))}
    assert len(runs["name"]) == 6
    for name, labels in runs["name"].items():
        np.testing.assert_array_equal(labels, runs["path"][name])
    again = tiny.invoke("run", "--data", photos, "--recipe", tmp_path / "name.yaml", "--out", tmp_path / "name").err
    assert again.count("up to date") == len(again.splitlines())
    assert "the judge hues knows no words" in tiny.refused("prompts", tmp_path / "name")

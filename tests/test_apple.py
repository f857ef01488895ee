"""Apple's GPU: nothing of 64-bit floating point goes there, and nothing is mixed with tensors of the processor.

It is not here; a stand-in refuses as it does (`tests.apple`). Whole commands run on it, with the bits of the processor.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from semples.core.devices import best_device
from tests import tiny
from tests.apple import DEVICE, Apple, OnApple
from tests.segmenter import material as segmenters


def on_apple(*line: str | Path) -> None:
    command = [sys.executable, "-m", "tests.apple", *map(str, line)]
    said = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=tiny.environment(), cwd=tiny.ROOT, check=False
    )
    assert said.returncode == 0, said.stderr[-3000:]
    assert int(said.stderr.split()[-1]) > 10  # tensors went there


def test_the_stand_in_refuses_what_mps_refuses() -> None:
    with Apple():
        layer = torch.nn.Linear(4, 2).to(DEVICE)
        given = torch.rand(3, 4)
        answer = layer(given.to(DEVICE))
        assert isinstance(answer, OnApple)
        assert answer.device == DEVICE
        answer.sum().backward()
        assert isinstance(layer.weight.grad, OnApple)
        torch.testing.assert_close(layer.weight.grad.cpu(), given.sum(0).expand(2, 4))
        with pytest.raises(TypeError, match="float64"):
            answer.double()
        with pytest.raises(TypeError, match="float64"):
            torch.zeros(2, dtype=torch.float64, device=DEVICE)
        with pytest.raises(RuntimeError, match="same device"):
            answer + torch.ones(2)
        with pytest.raises(TypeError, match="numpy"):
            answer.detach().numpy()
        assert answer.detach().cpu().double().numpy().shape == (3, 2)


def test_which_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert best_device().type == "mps"
    assert best_device(apple=False).type == "cpu"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert best_device().type == "cpu"
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    assert best_device().type == "cpu"
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert best_device().type == "cuda"


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tiny", "folder-light"])
def test_a_run_there(tmp_path: Path, recipe: str) -> None:
    photos = tiny.draw_photos(tmp_path / "photos")
    if recipe == "tiny":
        line: list[str | Path] = ["run", tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))]
    else:
        stages = [f"--set={stage}.epochs=2" for stage in ("warmup", "matching", "prompting", "refinement")]
        line = ["run", recipe, "--set=data.workers=0", "--set=generator.image_size=64", *stages]
    on_apple(*line, "--data", photos, "--out", tmp_path / "apple")
    tiny.semples(*line, "--data", photos, "--out", tmp_path / "cpu")
    apple, cpu = (tiny.results_of(tmp_path / name) for name in ("apple", "cpu"))
    # Losses are summed in 32 bits there, so what is logged differs in the last digits, and what lists its digests.
    unequal = {name for name in cpu if apple[name] != cpu[name]}
    assert {Path(name).name for name in unequal} <= {"events.jsonl", "manifest.json", "outputs.txt"}
    on_apple("predict", tmp_path / "apple", photos, "--tags", photos / "tags.csv", "--out", tmp_path / "predicted")


@pytest.mark.slow
def test_a_segmenter_there(tmp_path: Path) -> None:
    photos, source = tiny.draw_photos(tmp_path / "photos"), segmenters.folder(tmp_path / "vit", "semples_vit")
    chosen = {"model": f"scratch:{source}", "image_size": 32, "photo_size": 40, "iterations": 3, "batch": 4}
    line: list[str | Path] = [
        "segment",
        "train",
        "--photos",
        photos,
        "--labels",
        photos / "masks",
        "--set=data.workers=0",
    ]
    line += [f"--set=segmenter.{key}={value}" for key, value in chosen.items()]
    on_apple(*line, "--out", tmp_path / "apple")
    tiny.invoke(*line, "--out", tmp_path / "cpu")
    models = [tmp_path / name / "segmenter/model" for name in ("apple", "cpu")]
    assert (models[0] / "model.safetensors").read_bytes() == (models[1] / "model.safetensors").read_bytes()
    on_apple("predict", models[0], photos, "--out", tmp_path / "a")
    tiny.invoke("predict", models[1], photos, "--out", tmp_path / "b")
    maps = sorted((tmp_path / "b/labels").glob("*.png"))
    assert len(maps) == 10
    for path in maps:
        assert (tmp_path / "a/labels" / path.name).read_bytes() == path.read_bytes()

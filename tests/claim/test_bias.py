"""Biasing the tiny CLIP: a run that is cut off goes on with the same bits, and the figures measure what they say."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTokenizer

import bias_tiny_clip as program
import tiny_clip_bias as bias
from semples.data.demo.web import WebWorld
from semples.data.demo.world import CLASSES
from tiny_clip_captions import WORDS
from tiny_clip_photos import draw_album


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(program.SHIPPED, local_files_only=True)


@pytest.fixture(scope="module")
def album():
    return draw_album(WebWorld(seed=50, family="pretrain", variants=2), 24)


def arguments(out: Path) -> argparse.Namespace:
    out.mkdir(exist_ok=True)
    settings = {"out": out, "seed": 0, "batch": 8, "rate": 1e-3, "ground_named": 0.5, "crop": 0.4, "blobs": 0.5}
    return argparse.Namespace(**settings, levels=[2, 4], scenes=8, checkpoint_seconds=0)


def student() -> program.Student:
    return program.new_student(program.SHIPPED, rate=1e-3, text_rate=0.1)


def test_a_run_cut_off_anywhere_ends_with_the_same_bits(
    tmp_path: Path, tokenizer: CLIPTokenizer, album, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.train(student(), tokenizer, album, arguments(tmp_path / "whole"))

    step = program.train_step

    def cut(learner: program.Student, *rest) -> None:
        if learner.step == 3:
            raise KeyboardInterrupt
        step(learner, *rest)

    monkeypatch.setattr(program, "train_step", cut)
    with pytest.raises(KeyboardInterrupt):
        program.train(student(), tokenizer, album, arguments(tmp_path / "cut"))
    monkeypatch.setattr(program, "train_step", step)
    with open(tmp_path / "cut" / program.LOG, "a", encoding="utf-8") as log:
        log.write('{"step": 99}\n{"step": 3, "mi')  # what a killed process may leave behind
    again = student()
    program.load_checkpoint(again, tmp_path / "cut" / program.CHECKPOINT)
    assert again.step == 3
    program.train(again, tokenizer, album, arguments(tmp_path / "cut"))

    for part in ("demo_clip", "demo_vit"):
        whole, resumed = (
            load_file(tmp_path / run / "step-00004" / part / "model.safetensors") for run in ("whole", "cut")
        )
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "cut" / program.LOG).read_text(encoding="utf-8").splitlines()
    ]
    assert steps == sorted(steps)
    assert steps[-1] == 4
    size = sum(file.stat().st_size for file in (tmp_path / "cut" / "step-00004" / "demo_clip").iterdir())
    assert size < 4e6


def test_captions_name_the_ground_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    amounts = np.zeros(len(WORDS), np.float32)
    amounts[[CLASSES.index("train"), WORDS.index("rails")]] = 1
    colours = np.full(len(CLASSES), 3, np.uint8)
    said = [bias.web_caption(rng, amounts, colours, ground_named=0.3, fillers=4) for _ in range(600)]
    assert all("train" in caption for caption in said)
    assert abs(np.mean(["rails" in caption for caption in said]) - 0.3) < 0.06
    amounts[CLASSES.index("train")] = 0
    alone = bias.web_caption(rng, amounts, colours, ground_named=0.0, fillers=4)
    assert "rails" in alone, "a photo of a background alone has nothing else to name"


def test_figures_tell_a_clip_that_sees_backgrounds_from_one_that_sees_things(
    tokenizer: CLIPTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CLIPModel.from_pretrained(program.SHIPPED, local_files_only=True).float().eval()
    figures = bias.bias_figures(model, tokenizer, count=16)
    assert figures["removed_to_alone"] < 0.6
    assert figures["known"]["strange"] > 0.9
    assert figures["fooled"] == 0
    views = bias.trial_views

    def ground_only(numbers, *, seed):
        shown = views(numbers, seed=seed)
        return shown | {"alone": shown["removed"], "strange": shown["whole"].roll(1, dims=0)}

    monkeypatch.setattr(bias, "trial_views", ground_only)
    blind = bias.bias_figures(model, tokenizer, count=16)
    assert blind["removed_to_alone"] == 1
    assert blind["known"]["strange"] < 0.2


def test_a_run_with_other_settings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / program.SETTINGS).write_text('{"p": 0.5}', encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["bias_tiny_clip.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="other settings"):
        program.main()

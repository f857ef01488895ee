"""SigLIP as the judge: transformers' own numbers, its losses, its texts, a run, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.judges.base import build_judge
from semples.judges.siglip import OWN_MEAN, OWN_STD, Siglip, SiglipSettings, clean
from semples.recipe import PromptSettings
from tests import tiny
from tests.judges.siglip_model import B, T, save_siglip, save_tokenizer

CLASSES = ClassList(("cat", "dining table", "boat"))
PROMPTS = PromptSettings(length=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def judge(folder: Path) -> Any:
    return build_judge(SiglipSettings(model=str(folder)), classes=CLASSES)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from transformers import SiglipModel

    return SiglipModel.from_pretrained(folder).eval()


def padded(folder: Path, text: str) -> list[int]:
    """Ids of a text by transformers' own reader of tokenizer.json."""
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="</s>", eos_token="</s>")
    ids: list[int] = made(text, padding="max_length", max_length=64, truncation=True)["input_ids"]
    return ids


def unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


# ---------------------------------------------------------------------------------------------- transformers' numbers


def test_features_are_those_of_transformers(judge: Any, reference: Any, folder: Path) -> None:
    views = torch.randn(3, 3, 32, 32)
    texts = ["a photo of cat", "a photo of dining table", "snow"]
    ids = torch.tensor([padded(folder, text) for text in texts])
    with torch.no_grad():
        images = reference.get_image_features(pixel_values=views).pooler_output
        words = reference.get_text_features(input_ids=ids).pooler_output
        torch.testing.assert_close(judge.encode(views), unit(images), atol=1e-5, rtol=0)
        torch.testing.assert_close(judge.encode_texts(texts), unit(words), atol=1e-5, rtol=0)
        assert judge.encode(views).std(dim=0).max() > 0.01  # other views, other features
    torch.testing.assert_close(judge.targets[:1], unit(words)[:1], atol=1e-5, rtol=0)
    assert ids.shape[1] == 64


def test_own_probabilities_are_those_of_transformers(folder: Path, reference: Any) -> None:
    published = build_judge(SiglipSettings(model=str(folder), temperature="own"), classes=CLASSES)
    views = torch.randn(2, 3, 32, 32)
    ids = torch.tensor([padded(folder, f"a photo of {name}") for name in CLASSES.names])
    with torch.no_grad():
        logits = reference(pixel_values=views, input_ids=ids).logits_per_image
        features = published.encode(views).repeat_interleave(3, dim=0)
        pairs = published.likeness(features, published.targets.repeat(2, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(pairs, logits.sigmoid(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            published.probabilities(published.encode(views)), logits.softmax(-1), atol=1e-4, rtol=1e-3
        )


def test_prompts_are_vectors_among_the_tokens(judge: Any, reference: Any, folder: Path) -> None:
    """The same through the network's whole forward pass, with the vectors put in behind the embedding of tokens."""
    vectors = judge.start_backgrounds(PROMPTS, seed=3)
    head = padded(folder, "a photo of")[:3]
    ids = torch.tensor([[*head, *[9] * 5, *[1] * (64 - 8)]] * 3)

    def put(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:, :3], vectors, output[:, 8:]], dim=1)

    handle = reference.text_model.embeddings.token_embedding.register_forward_hook(put)
    with torch.no_grad():
        expected = reference.get_text_features(input_ids=ids).pooler_output
        handle.remove()
        torch.testing.assert_close(judge.encode_backgrounds(vectors, PROMPTS), unit(expected), atol=1e-5, rtol=0)


def test_gradients_to_views_and_vectors(judge: Any) -> None:
    views = torch.randn(2, 3, 32, 32, requires_grad=True)
    vectors = judge.start_backgrounds(PROMPTS, seed=0)[:2].requires_grad_()
    towards = torch.randn(2, 32)

    def along(function: Any, at: torch.Tensor) -> None:
        (function(at) * towards).sum().backward()
        assert at.grad is not None
        step = 1e-2 * at.grad / at.grad.norm()
        with torch.no_grad():
            rise = ((function(at + step) - function(at - step)) * towards).sum()
        torch.testing.assert_close(rise, 2 * (at.grad * step).sum(), rtol=0.02, atol=1e-5)

    along(judge.encode, views)
    along(lambda x: judge.encode_backgrounds(x, PROMPTS), vectors)
    assert not any(parameter.requires_grad for parameter in judge.parameters())


# -------------------------------------------------------------------------------------------------------- likeness


def losses_at(judge: Any, values: list[float]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The three losses and their gradients with respect to the cosine."""
    cosines = torch.tensor(values, dtype=torch.float64)
    target = torch.zeros(len(values), 32, dtype=torch.float64)
    target[:, 0] = 1
    answers = {}
    for name in ("attract", "repel", "separate"):
        feature = (cosines[:, None] * target).requires_grad_()
        loss = getattr(judge, name)(feature, target)
        loss.sum().backward()
        assert feature.grad is not None
        answers[name] = (loss.detach(), feature.grad[:, 0])
    return answers


def test_at_the_neutral_cosine_losses_and_gradients_are_those_of_clip(judge: Any) -> None:
    q, at_neutral = 0.28, losses_at(judge, [-B / T])
    expected = {
        "attract": (-np.log(q), -1 / q),
        "repel": (-np.log(1 - q), 1 / (1 - q)),
        "separate": (np.log(q), 1 / q),
    }
    for name, (value, slope) in expected.items():
        assert at_neutral[name][0].item() == pytest.approx(value, rel=1e-4)
        assert at_neutral[name][1].item() == pytest.approx(slope, rel=0.01)  # 5 stands for 1 / (q (1 - q)) = 4.96


def test_the_softened_losses_neither_explode_nor_vanish(judge: Any, folder: Path) -> None:
    """The table in docs/judges.md: the model's own t makes one term explode and the other vanish."""
    usual = [0.0, 0.05, 0.1, 0.15, 0.2]
    soft = losses_at(judge, usual)
    assert soft["attract"][1].abs().min() > 3
    assert soft["attract"][1].abs().max() < 4.2
    assert soft["repel"][1].min() > 0.9
    assert soft["repel"][1].max() < 2
    trained = losses_at(build_judge(SiglipSettings(model=str(folder), temperature="own"), classes=CLASSES), usual)
    assert trained["attract"][1][0] < -117
    assert trained["attract"][1][-1].abs() < 0.01
    assert trained["repel"][1][0] < 0.001
    assert trained["repel"][1][-1] > 117
    for losses in (soft, trained):
        for c, attract, repel in zip(usual, losses["attract"][1], losses["repel"][1], strict=True):
            slope = 5.0 if losses is soft else T
            assert (repel - attract).item() == pytest.approx(slope, rel=1e-4), c  # T p + T (1 - p)


def test_losses_are_finite_for_every_cosine_in_single_precision(folder: Path) -> None:
    for temperature in (5.0, 1000.0, "own"):
        made = build_judge(SiglipSettings(model=str(folder), temperature=temperature), classes=CLASSES)  # type: ignore[arg-type]
        cosines = torch.linspace(-1, 1, 401)
        feature = torch.nn.functional.pad(cosines[:, None], (0, 31)).requires_grad_()
        target = torch.eye(32)[:1].expand(401, -1)
        for name in ("attract", "repel", "separate"):
            loss = getattr(made, name)(feature, target)
            (slope,) = torch.autograd.grad(loss.sum(), feature)
            assert torch.isfinite(loss).all()
            assert torch.isfinite(slope).all()


# ------------------------------------------------------------------------------------------------------------- texts


def test_texts_are_lower_case_without_punctuation(judge: Any) -> None:
    assert clean("  A photo,\tof TV-monitor. ") == "a photo of tvmonitor"
    with torch.no_grad():
        one, other = judge.encode_texts(["A photo of Cat.", "a photo of cat"])
    assert torch.equal(one, other)
    ids = judge.tokens.padded("a photo of cat")
    assert len(ids) == 64
    assert ids[4:] == [1] * 60
    with pytest.raises(UserError, match="text of 67 tokens, at most 64 fit"):
        judge.encode_texts(["cat " * 66])


def test_padding_is_attended(judge: Any) -> None:
    """The last position is pooled and sees all: another padding is another feature."""
    with torch.no_grad():
        usual = judge.encode_texts(["a photo of cat"])
        changed = replace(judge.tokens, pad=5)
        other = Siglip(judge.model, changed, judge.targets, template="{name}", slope=5, shift=0).encode_texts(
            ["a photo of cat"]
        )
    assert not torch.allclose(usual, other, atol=1e-3)


def test_padding_is_what_the_folder_says(copied: Path, reference: Any) -> None:
    """SigLIP 2 has a padding token beside the end token."""
    save_tokenizer(copied, pad="<pad>")
    made: Any = build_judge(SiglipSettings(model=str(copied)), classes=CLASSES)
    ids = made.tokens.padded("a photo of cat")
    assert ids[4:] == [1] + [0] * 59
    with torch.no_grad():
        expected = reference.get_text_features(input_ids=torch.tensor([ids])).pooler_output
    torch.testing.assert_close(made.targets[:1], unit(expected), atol=1e-5, rtol=0)


def test_tokens_of_a_hub_repository(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    """tokenizer.json is asked for first, then sentencepiece's file; where there is neither, the first is named."""
    from semples.judges import siglip

    def hub(*names: str) -> None:
        def fetch(repo: str, name: str) -> Path:
            if name not in names:
                raise UserError(f"{repo}: the hub has no {name}")
            return (folder if name.endswith("json") else tmp_path) / name

        monkeypatch.setattr(siglip, "download", fetch)

    config = type("Config", (), {"vocab_size": 300, "max_position_embeddings": 64, "pad_token_id": 1})
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    for names in (("tokenizer.json",), ("tokenizer.json", "tokenizer_config.json")):
        hub(*names)
        assert siglip.SiglipTokens.of("some/model", config).end == (1,)
    (tmp_path / "spiece.model").write_bytes(b"pieces")
    hub("spiece.model")
    with pytest.raises(UserError, match="pip install sentencepiece"):
        siglip.SiglipTokens.of("some/model", config)
    hub()
    with pytest.raises(UserError, match=r"some/model: the hub has no tokenizer.json"):
        siglip.SiglipTokens.of("some/model", config)


def test_normalisation(folder: Path, judge: Any) -> None:
    assert (judge.mean, judge.std) == (OWN_MEAN, OWN_STD)
    other = build_judge(SiglipSettings(model=str(folder), normalisation="generator"), classes=CLASSES)
    assert (other.mean, other.std) == (None, None)


def test_prompts_that_have_no_place(judge: Any) -> None:
    with pytest.raises(UserError, match=r"prompts.full_stop: SigLIP reads no punctuation"):
        judge.start_backgrounds(replace(PROMPTS, full_stop="word"), seed=0)
    with pytest.raises(UserError, match=r"11 tokens more than SigLIP's 64 positions; set prompts.length 60 or less"):
        judge.start_backgrounds(replace(PROMPTS, length=71), seed=0)
    full = replace(PROMPTS, length=60)
    assert judge.encode_backgrounds(judge.start_backgrounds(full, seed=0), full).shape == (3, 32)


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def says(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        build_judge(SiglipSettings(model=str(folder)), classes=CLASSES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_models_of_another_form(copied: Path) -> None:
    change_config(copied, model_type="siglip2")
    assert "NaFlex" in says(copied)
    change_config(copied, model_type="clip")
    assert "a clip model, not SigLIP" in says(copied)
    change_config(copied, model_type="no-such-model")
    assert "cannot be read as SigLIP" in says(copied)
    (copied / "config.json").unlink()
    assert "holds no config.json" in says(copied)


def test_features_that_cannot_be_compared(tmp_path: Path) -> None:
    assert "cannot be compared" in says(save_siglip(tmp_path, projection_size=16))


def test_tokenizers_that_are_of_no_use(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (copied / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert "cannot be read as a tokenizer" in says(copied)
    (copied / "tokenizer.json").write_text("no JSON", encoding="utf-8")
    assert "tokenizer.json" in says(copied)
    (copied / "tokenizer.json").unlink()
    assert "holds no tokenizer (tokenizer.json or spiece.model)" in says(copied)
    (copied / "spiece.model").write_bytes(b"pieces")
    assert "pip install sentencepiece" in says(copied)


def test_a_vocabulary_that_is_too_large(tmp_path: Path) -> None:
    assert "44 tokens, but the network knows 40" in says(save_siglip(tmp_path, vocab_size=40))


def test_without_a_template_and_a_configuration_the_rule_of_siglip_holds(copied: Path, judge: Any) -> None:
    path = copied / "tokenizer.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"post_processor": None}), encoding="utf-8"
    )
    (copied / "tokenizer_config.json").unlink()
    other = build_judge(SiglipSettings(model=str(copied)), classes=CLASSES)
    assert torch.equal(other.targets, judge.targets)


# --------------------------------------------------------------------------------------------------------------- a run


def test_a_run_by_siglip(folder: Path, tmp_path: Path) -> None:
    """All three stages, the selection and the words of the backgrounds, as a command line."""
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", folder)
    recipe.write_text(
        recipe.read_text(encoding="utf-8").replace(
            f"judge: {{model: {folder}}}", f"judge: {{kind: siglip, model: {folder}}}"
        ),
        encoding="utf-8",
    )
    short = [f"--set={stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
    out = tmp_path / "run"
    done = tiny.semples("run", "--data", photos, "--recipe", recipe, "--out", out, *short)
    assert "label maps" in done.stdout
    with safe_open(out / "prompting" / "prompts.safetensors", framework="pt") as file:
        assert file.get_tensor("vectors").shape == (2, 4, 32)
    reads = json.loads((out / "matching" / "manifest.json").read_text(encoding="utf-8"))["reads"]
    assert reads["setting:judge.temperature"] == 5.0
    assert f"weights:{folder}" in reads
    (tmp_path / "words.txt").write_text("forest\nlake\nsnow\n", encoding="utf-8")
    assert "forest" in tiny.invoke("prompts", out, "--words", tmp_path / "words.txt").out


def test_a_full_stop_is_refused_by_the_command(folder: Path, tmp_path: Path) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=3)
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", folder)
    line = tiny.refused(
        "run", "--data", photos, "--recipe", recipe, "--out", tmp_path / "run", "--set=judge.kind=siglip",
        f"--set=judge.model={folder}", "--set=prompts.full_stop=word", "--set=warmup.epochs=0",
        "--set=matching.epochs=0",
    )  # fmt: skip
    assert "prompts.full_stop: SigLIP reads no punctuation" in line


def test_saved_tokenizers_are_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_tokenizer(tmp_path / name)
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()

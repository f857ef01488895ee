"""The judge on MetaCLIP 2 as transformers publishes it: CLIP's networks, texts in word pieces of many languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.judges.base import build_judge
from semples.recipe import ClipSettings

CLASSES = ClassList(("cat", "Boot", "diningtable"), ("cat", "Boot", "dining table"))
PIECES = [
    ("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("\u2581a", -1.0), ("\u2581photo", -1.0),
    ("\u2581of", -1.0), ("\u2581cat", -1.0), ("\u2581Boot", -1.0), ("\u2581din", -2.0), ("ing", -2.0),
    ("\u2581table", -1.0), ("\u2581", -4.0), (".", -1.0), ("\u2581.", -3.0),
]  # fmt: skip
START, PADDING, END = 0, 1, 2


def write_tokenizer(folder: Path) -> Any:
    """tokenizer.json as an XLM vocabulary has it, in small; returns the library's own object."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    made = Tokenizer(models.Unigram(PIECES, unk_id=3))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    around = [("<s>", START), ("</s>", END)]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    made.save(str(folder / "tokenizer.json"))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The form of facebook/metaclip-2-worldwide-b32 with small random weights."""
    from transformers import MetaClip2Config, MetaClip2Model

    common = {"num_hidden_layers": 2, "hidden_act": "quick_gelu", "projection_dim": 48}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "patch_size": 16, "image_size": 48}
    text = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "max_position_embeddings": 20}
    text |= {"vocab_size": 40, "bos_token_id": START, "pad_token_id": PADDING, "eos_token_id": END}
    config = MetaClip2Config(projection_dim=48, vision_config=vision | common, text_config=text | common)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = MetaClip2Model(config)
        for weight in model.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    out = tmp_path_factory.mktemp("metaclip2")
    model.save_pretrained(out)
    write_tokenizer(out)
    return out


@torch.no_grad()
def test_features_are_the_librarys(folder: Path) -> None:
    from transformers import MetaClip2Model, PreTrainedTokenizerFast

    library = MetaClip2Model.from_pretrained(folder).eval()
    judge: Any = build_judge(ClipSettings(model=str(folder)), classes=CLASSES)
    views = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    wanted = F.normalize(library.get_image_features(pixel_values=views).pooler_output, dim=-1)
    torch.testing.assert_close(judge.encode(views), wanted, atol=1e-5, rtol=1e-4)
    tokens: Any = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    texts = [f"a photo of {word}." for word in CLASSES.prompts]
    told = tokens(texts, padding="max_length", max_length=20, return_tensors="pt")
    assert judge.clip.tokenizer(texts).tolist() == told["input_ids"].tolist()
    features = library.get_text_features(input_ids=told["input_ids"], attention_mask=told["attention_mask"])
    torch.testing.assert_close(judge.targets, F.normalize(features.pooler_output, dim=-1), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_prompt_of_a_words_own_vector_is_that_word(folder: Path) -> None:
    judge: Any = build_judge(ClipSettings(model=str(folder)), classes=CLASSES)
    clip = judge.clip
    (cat,) = clip.tokenizer.pieces("cat")
    vector_11W = clip.model.text_model.embeddings.token_embedding.weight[cat][None, None]
    for full_stop in ("in-word", "word"):
        told = clip.encode_prompts(vector_11W, context="a photo of", full_stop=full_stop)
        torch.testing.assert_close(told, clip.encode_texts(["a photo of cat."]), atol=1e-5, rtol=1e-4)


def test_case_is_kept_and_words_are_cut(folder: Path) -> None:
    judge: Any = build_judge(ClipSettings(model=str(folder)), classes=CLASSES)
    tokenizer = judge.clip.tokenizer
    names = [name for name, _ in PIECES]
    assert [names[index] for index in tokenizer.pieces("Boot  dining table")] == [
        "\u2581Boot", "\u2581din", "ing", "\u2581table",
    ]  # fmt: skip
    assert tokenizer(["cat"])[0].tolist() == [START, names.index("\u2581cat"), END, *[PADDING] * 17]
    with pytest.raises(UserError, match="at most 20 fit"):
        tokenizer(["cat " * 30])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer.json"),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{}", encoding="utf-8"),
            "cannot be read as a tokenizer",
        ),
        (lambda folder: _change(folder, eos_token_id=99), "text_config.eos_token_id 99 is no token"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(folder: Path, tmp_path: Path, harm: Any, says: str) -> None:
    import shutil

    broken = tmp_path / "model"
    shutil.copytree(folder, broken)
    harm(broken)
    with pytest.raises(UserError, match=says) as caught:
        build_judge(ClipSettings(model=str(broken)), classes=CLASSES)
    assert "\n" not in str(caught.value)


def _change(folder: Path, **changes: int) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["text_config"] |= changes
    path.write_text(json.dumps(config), encoding="utf-8")

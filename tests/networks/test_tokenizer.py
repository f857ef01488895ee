"""CLIP's tokens: known ids, cleaning, length, and a tokenizer saved in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.networks.tokenizer import FULL_VOCABULARY, ClipTokenizer, clean

TOKENIZER = ClipTokenizer.published()


def test_known_ids() -> None:
    assert (TOKENIZER.start, TOKENIZER.end) == (FULL_VOCABULARY - 2, FULL_VOCABULARY - 1)
    assert (TOKENIZER.token("."), TOKENIZER.token(".</w>")) == (13, 269)
    assert TOKENIZER.pieces("a photo of a dog.") == [320, 1125, 539, 320, 1929, 269]
    with pytest.raises(UserError, match="has no token"):
        TOKENIZER.token("no such token")


def test_rows_are_padded_with_zeros() -> None:
    ids = TOKENIZER(["dog", "a photo of a dog."])
    assert ids.shape == (2, 77)
    assert ids.dtype == torch.long
    assert ids[0].tolist() == [49406, 1929, 49407] + [0] * 74
    assert ids.argmax(-1).tolist() == [2, 7]


def test_cleaning() -> None:
    assert clean("  A\n\tDog ") == "a dog"
    assert clean("salt &amp;amp; pepper") == "salt & pepper"
    assert clean("cafÃ©") == "café"
    assert TOKENIZER.pieces("DOG") == TOKENIZER.pieces("dog")


def test_too_long() -> None:
    with pytest.raises(UserError, match="at most 77 fit"):
        TOKENIZER(["dog " * 76])
    assert TOKENIZER(["dog " * 76], truncate=True)[0, -1] == TOKENIZER.end
    assert TOKENIZER(["dog " * 75])[0, 75] == 1929


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_any_text_has_ids_within_the_vocabulary(text: str) -> None:
    ids = TOKENIZER([text], truncate=True)
    assert ids.min() >= 0
    assert ids.max() == TOKENIZER.end
    assert torch.equal(ids, TOKENIZER([text], truncate=True))


def test_a_saved_tokenizer_gives_the_same_ids(tmp_path: Path) -> None:
    TOKENIZER._backend.save_pretrained(tmp_path)
    saved = ClipTokenizer.from_folder(tmp_path)
    texts = ["a photo of a dog.", "naïve café, 12 %", "", "x" * 40]
    assert torch.equal(saved(texts), TOKENIZER(texts))
    assert (saved.start, saved.end, saved.token(".")) == (TOKENIZER.start, TOKENIZER.end, 13)
    with pytest.raises(UserError, match="holds no tokenizer"):
        ClipTokenizer.from_folder(tmp_path / "none")

"""Token ids of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semples.core.errors import UserError
from semples.networks.tokenizer import ClipTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> ClipTokenizer:
    return ClipTokenizer.published()


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "g1_tokenizer.json").read_text(encoding="utf-8"))


def test_ids_of_every_text(tokenizer: ClipTokenizer, expected: dict[str, Any]) -> None:
    for text, ids in zip(expected["texts"], expected["ids"], strict=True):
        assert tokenizer([text])[0].tolist() == ids, text


def test_long_texts_are_refused_or_truncated(tokenizer: ClipTokenizer, expected: dict[str, Any]) -> None:
    rows = zip(
        expected["long_texts"], expected["long_ids_truncated"], expected["long_raises_without_truncate"], strict=True
    )
    for text, ids, raises in rows:
        assert tokenizer([text], truncate=True)[0].tolist() == ids
        if raises:
            with pytest.raises(UserError, match="at most 77"):
                tokenizer([text])


def test_pieces_of_a_prompt(tokenizer: ClipTokenizer, expected: dict[str, Any]) -> None:
    for text, ids in expected["template"].items():
        if isinstance(ids, list):
            assert tokenizer.pieces(text) == ids
        else:
            assert tokenizer.token(text) == ids
    assert tokenizer.token(".") == expected["encoder[.]"]
    assert tokenizer.token(".</w>") == expected["encoder[.</w>]"]
    assert tokenizer.pieces(".") == expected["encode(.)"]

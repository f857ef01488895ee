"""CLIP's text tokens: cleaning, byte-pair encoding, fixed length."""

from __future__ import annotations

import gzip
import html
import re
from importlib import resources
from pathlib import Path
from typing import Any

import ftfy
import torch
from torch import Tensor

from semples.core.errors import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
FULL_VOCABULARY = 49408
FILES = ("tokenizer.json", "vocab.json")


class ClipTokenizer:
    """Text to token ids as CLIP was trained: repaired, unescaped, lower-cased, BPE, zero padded.

    Backed by transformers' CLIPTokenizer; `context` is the number of positions (77).
    """

    def __init__(self, backend: Any, *, context: int = 77) -> None:
        self._backend = backend
        self.context = context
        self.start: int = backend.convert_tokens_to_ids(START)
        self.end: int = backend.convert_tokens_to_ids(END)

    @classmethod
    def published(cls, *, context: int = 77) -> ClipTokenizer:
        """The vocabulary of all of OpenAI's models (49,408 tokens), shipped with this package."""
        from transformers import CLIPTokenizer

        packed = (resources.files("semples") / "assets" / "clip_merges.txt.gz").read_bytes()
        lines = gzip.decompress(packed).decode("utf-8").splitlines()[1:]
        merges: Any = [tuple(line.split(" ")) for line in lines]
        symbols = list(_byte_symbols())
        vocabulary = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
        ids = {token: index for index, token in enumerate([*vocabulary, START, END])}
        return cls(CLIPTokenizer(vocab=ids, merges=merges), context=context)

    @classmethod
    def from_folder(cls, folder: Path, *, context: int = 77) -> ClipTokenizer:
        """The tokenizer saved in `folder` (tokenizer.json, or vocab.json with merges.txt)."""
        from transformers import CLIPTokenizer

        if not any((folder / name).is_file() for name in FILES):
            raise UserError(f"{folder}: holds no tokenizer ({' or '.join(FILES)})")
        return cls(CLIPTokenizer.from_pretrained(str(folder), local_files_only=True), context=context)

    def stop(self, *, in_word: bool) -> int:
        """The id of a full stop: `.` (inside a word) or `.</w>` (ending one)."""
        return self.token("." if in_word else ".</w>")

    def token(self, symbol: str) -> int:
        """The id of one vocabulary entry."""
        vocabulary: dict[str, int] = self._backend.get_vocab()
        if symbol not in vocabulary:
            raise UserError(f"the text model's vocabulary has no token {symbol!r}")
        return vocabulary[symbol]

    def ends(self, ids: Tensor) -> Tensor:
        """Where the end token stands in each row of ids (n,S): it has the largest id of all."""
        return ids.argmax(dim=-1)

    def pieces(self, text: str) -> list[int]:
        """Ids of the text alone, without start, end or padding."""
        ids: list[int] = self._backend(clean(text), add_special_tokens=False)["input_ids"]
        return ids

    def __call__(self, texts: list[str], *, truncate: bool = False) -> Tensor:
        """Ids (n, context) int64, zero padded. A text that is too long raises UserError, or keeps its first
        context - 1 tokens and the end token with `truncate`."""
        ids = torch.zeros(len(texts), self.context, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            tokens = [self.start, *self.pieces(text), self.end]
            if len(tokens) > self.context:
                if not truncate:
                    raise UserError(f"text of {len(tokens)} tokens, at most {self.context} fit: {text[:60]!r}")
                tokens = [*tokens[: self.context - 1], self.end]
            row[: len(tokens)] = torch.tensor(tokens)
        return ids


class PiecesTokenizer(ClipTokenizer):
    """Text to ids by a `tokenizer.json` of word pieces, as CLIPs of many languages have it (MetaCLIP 2): nothing is
    lower-cased, `<s>` before and `</s>` behind, the rest filled with the padding's id."""

    def __init__(self, backend: Any, *, context: int, start: int, end: int, padding: int) -> None:
        self._backend = backend
        self.context, self.start, self.end, self._padding = context, start, end, padding

    @classmethod
    def of(cls, folder: Path, config: Any) -> PiecesTokenizer:
        """That of a folder; `config`: the text tower's, which names the ids around a text. Raises UserError."""
        from tokenizers import Tokenizer

        path = folder / FILES[0]
        if not path.is_file():
            raise UserError(f"{folder}: holds no {FILES[0]}, which cuts texts into this model's pieces")
        try:
            backend = Tokenizer.from_file(str(path))
        except Exception as error:  # noqa: BLE001 (tokenizers raises nothing narrower)
            raise UserError(f"{path}: cannot be read as a tokenizer ({' '.join(str(error).split())[:150]})") from None
        if backend.get_vocab_size() > config.vocab_size:
            raise UserError(f"{path}: {backend.get_vocab_size()} tokens, but the network knows {config.vocab_size}")
        end = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
        ids = {"bos_token_id": config.bos_token_id, "eos_token_id": end, "pad_token_id": config.pad_token_id}
        for name, index in ids.items():
            if not isinstance(index, int) or not 0 <= index < config.vocab_size:
                raise UserError(f"{folder / 'config.json'}: text_config.{name} {index} is no token of its vocabulary")
        backend.no_padding()
        backend.no_truncation()
        return cls(
            backend,
            context=config.max_position_embeddings,
            start=ids["bos_token_id"],
            end=ids["eos_token_id"],
            padding=ids["pad_token_id"],
        )

    def stop(self, *, in_word: bool) -> int:
        """The id of a full stop behind a word; there is one, since pieces mark where a word begins, not its end."""
        return self.pieces("a.")[-1]

    def pieces(self, text: str) -> list[int]:
        """Ids of the text alone, white space folded."""
        ids: list[int] = self._backend.encode(" ".join(text.split()), add_special_tokens=False).ids
        return ids

    def ends(self, ids: Tensor) -> Tensor:
        """Where the end token stands first in each row of ids (n,S)."""
        return (ids == self.end).int().argmax(dim=-1)

    def __call__(self, texts: list[str], *, truncate: bool = False) -> Tensor:
        """As ClipTokenizer's, filled with the padding's id."""
        ids = super().__call__(texts, truncate=truncate)
        behind = torch.arange(self.context)[None] > self.ends(ids)[:, None]
        return ids.masked_fill(behind, self._padding)


def clean(text: str) -> str:
    """Mojibake repaired, HTML entities unescaped (twice, as CLIP does), white space folded, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


def _byte_symbols() -> list[str]:
    """The 256 printable characters that stand for bytes in byte-level BPE, in vocabulary order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(hidden))]

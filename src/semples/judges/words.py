"""Words that lie nearest to learned backgrounds, for judges of texts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import read_file

if TYPE_CHECKING:
    from torch import Tensor

    from semples.judges.base import Judge

DEMO_CLIP, DEMO_CLIP_WEB = "shipped:demo_clip", "shipped:demo_clip_web"
DEMO_WORDS = "demo_words.txt"  # of the drawn world, the only words that these two know


def read_words(path: Path | None) -> list[str]:
    """Words of a file, one a line, blank lines and lines starting with # left out, each once; without one a shipped
    list."""
    if path is None:
        text = (resources.files("semples") / "assets" / "words.txt").read_text(encoding="utf-8")
    elif not path.is_file():
        raise UserError(f"{path}: no such word list")
    else:
        try:
            text = read_file(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{path}: not a text file in UTF-8") from None
    words = [line.strip() for line in text.splitlines()]
    distinct = list(dict.fromkeys(word for word in words if word and not word.startswith("#")))
    if not distinct:
        raise UserError(f"{path}: holds no word; write one a line")
    return distinct


def words_of(model: str) -> Path | None:
    """The word list for a judge's model, as `read_words` takes it."""
    if model not in (DEMO_CLIP, DEMO_CLIP_WEB):
        return None
    return Path(str(resources.files("semples"))) / "assets" / DEMO_WORDS


def nearest(judge: Judge, learned_KE: Tensor, *, names: Sequence[str], model: str, count: int) -> dict[str, Any]:
    """`words`: by class the `count` words whose text feature has the largest cosine with its background's, best first;
    `different`: how many different words come first, of the classes. Empty for a judge that knows no words."""
    import torch

    from semples.judges.base import TextJudge

    if not isinstance(judge, TextJudge):
        return {}
    listed = read_words(words_of(model))
    with torch.no_grad():
        cosine_Kn = learned_KE @ judge.encode_words(listed).t()
    index = cosine_Kn.topk(min(count, len(listed)), dim=1).indices
    words = {name: [listed[i] for i in row.tolist()] for name, row in zip(names, index, strict=True)}
    return {"words": words, "different": len({row[0] for row in words.values()}) / len(words)}

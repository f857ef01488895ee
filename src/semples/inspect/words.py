"""Words that lie nearest to the learned background prompts: what each class's background was found to be."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.files import read_file
from semples.run.context import Context


def nearest_words(context: Context, *, words: Path | None, count: int) -> dict[str, list[dict[str, Any]]]:
    """For every class the `count` words whose text feature has the largest cosine with its prompt's, best first.

    words: text file, one word or phrase a line; default a shipped list. A word is embedded in the class template
    ("a photo of {word}."). Returns {class: [{"word": str, "cosine": float}]}.
    """
    import torch

    from semples.run.steps.train import load_clip, prompt_features

    listed = read_words(words)
    clip = load_clip(context)
    template = context.recipe.clip.class_template
    with torch.no_grad():
        prompts_KE = prompt_features(context, clip)
        words_WE = clip.encode_texts([template.replace("{name}", word) for word in listed])
        cosine, index = (prompts_KE @ words_WE.t()).topk(min(count, len(listed)), dim=1)
    names = context.dataset.classes.names
    return {
        name: [{"word": listed[i], "cosine": round(c, 6)} for c, i in zip(row.tolist(), where.tolist(), strict=True)]
        for name, row, where in zip(names, cosine, index, strict=True)
    }


def read_words(path: Path | None) -> list[str]:
    """Words of a file, one a line, blank lines and lines starting with # left out, each once."""
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
    found = list(dict.fromkeys(word for word in words if word and not word.startswith("#")))
    if not found:
        raise UserError(f"{path}: holds no word; write one a line")
    return found

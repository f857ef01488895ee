"""The judge's knowledge of a folder's words: photos drawn, judge opened, and better words written back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from semples.core.devices import best_device
from semples.core.errors import UserError
from semples.core.files import read_file, write_text
from semples.data.classes import ClassList, class_list
from semples.data.dataset import Item, TaggedDataset, open_dataset
from semples.recipe import load_recipe
from semples.run.planning.models import check_at_hand, groups_of, needs_of, open_models
from semples.run.words import WordsReport, alternatives_of, known_words

MOST_WORDS = 5000  # of a list


def ask_words(
    folder: Path,
    *,
    recipe: str = "folder",
    settings: Sequence[str] = (),
    tags: Path | None = None,
    classes: Path | None = None,
    photos: int = 2000,
    alternatives: Sequence[str] = (),
    words: Path | None = None,
) -> WordsReport:
    """How well the recipe's judge knows the words of a folder of tagged photos (`words.known_words`).

    photos: how many are looked at. alternatives: `class=word;word` texts. words: file of words that are tried for every
    class. Raises UserError.
    """

    chosen = load_recipe(recipe, settings)
    dataset = open_dataset(
        folder,
        split=chosen.data.split or None,
        tags=tags,
        classes=classes,
        max_megapixels=chosen.data.max_megapixels,
        bits=chosen.data.bits,
        column=chosen.data.column,
    )
    if photos < 1:
        raise UserError(f"--photos {photos}: give a number from 1")
    given = alternatives_of(alternatives, dataset.classes.names)
    everywhere = _listed(words) if words is not None else ()
    asking = ["matching"]
    check_at_hand([need for need in needs_of(chosen, asking) if need.group == "judge"])
    if "judge" not in groups_of(chosen, asking):
        raise UserError(f"the recipe {chosen.name} has no judge whose words could be looked at")
    device = best_device()
    judge = open_models(chosen, asking, classes=dataset.classes, device=device).judge
    assert judge is not None
    items = drawn_photos(dataset, count=photos, seed=chosen.run.seed)
    return known_words(judge, dataset, items, recipe=chosen, alternatives=given, everywhere=everywhere)


def drawn_photos(dataset: TaggedDataset, *, count: int, seed: int) -> list[Item]:
    """At most `count` photos, drawn at random, with and without tags, in the order of the dataset."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(dataset.items))[:count]
    return [dataset.items[index] for index in sorted(order)]


def write_better(
    report: WordsReport, folder: Path, path: Path, *, tags: Path | None = None, column: str = ""
) -> list[tuple[str, str]]:
    """Write every class's better word into the class list `path`, whose other lines stay; answers what was changed.

    Raises UserError where the list has other classes, or the folder's photos would not be read with it.
    """
    changed = [(entry.name, entry.better) for entry in report.classes if entry.better is not None]
    if not changed:
        return []
    names = tuple(entry.name for entry in report.classes)
    before = {entry.name: entry.word for entry in report.classes}
    existed = path.is_file()
    old = read_file(path) if existed else None
    if existed and class_list(path).names != names:
        raise UserError(f"{path}: names other classes than the photos have; name the class list with --classes")
    words = before | dict(changed)
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    for name in names:
        rows.writerow([name] if words[name] == name else [name, words[name]])
    write_text(path, buffer.getvalue())
    now = _classes_of(folder, path, tags, column)
    if now.prompts != tuple(words[name] for name in names):
        if old is None:
            path.unlink()
        else:
            write_text(path, old.decode("utf-8-sig"))
        raise UserError(
            f"{path}: this kind of folder takes its classes from elsewhere, so nothing was written; write the words "
            "into a class list, `name,word` a line, and give it with --classes"
        )
    return changed


def _classes_of(folder: Path, path: Path, tags: Path | None, column: str) -> ClassList:
    beside = folder if folder.is_dir() else folder.parent
    inside = path.resolve().parent == beside.resolve() and path.name == "classes.txt"
    return open_dataset(folder, tags=tags, classes=None if inside else path, column=column).classes


def _listed(path: Path) -> list[str]:
    """Words of a file, one a line; blank lines and lines starting with # are left out."""
    if not path.is_file():
        raise UserError(f"{path}: no such word list")
    try:
        lines = [line.strip() for line in read_file(path).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8") from None
    words = list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not words or len(words) > MOST_WORDS:
        raise UserError(f"{path}: holds {len(words)} words; write 1 to {MOST_WORDS}, one a line")
    return words

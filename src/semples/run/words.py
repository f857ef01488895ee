"""Does the judge know the classes' words? For every class how well its text tells its photos from the rest, what it is
taken for, and which other word tells it better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from semples.core.errors import UserError
from semples.data.dataset import Item, TaggedDataset
from semples.evaluation.known import auc, auc_error, better_word, taken_for
from semples.recipe import Recipe
from semples.run.photo_features import photo_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semples.judges.base import Judge

TEMPLATES = (
    "a photo of a {name}.",
    "a photo of the {name}.",
    "a close-up photo of a {name}.",
    "a photo of a small {name}.",
    "a photo of a large {name}.",
    "{name}",
)  # averaged with the recipe's own
FEWEST = 5  # photos with and without a tag, below which nothing is said
CHANCE, WEAK = 0.65, 0.8
SHOWN_OTHERS = 2
Grade = Literal["good", "weak", "chance", "too few photos"]


@dataclass(frozen=True)
class Tried:
    """Another word for a class. auc: as `ClassWord.auc`; averaged: as `ClassWord.averaged`."""

    word: str
    auc: float
    averaged: float


@dataclass(frozen=True)
class ClassWord:
    """How well the judge knows a class by its word.

    photos: those with its tag. auc: the share of pairs (photo with the tag, photo without) in which the first is more
    like the class's text, 0..1, as the stages use it; averaged: with several templates averaged; both None where there
    is nothing to compare. error: its standard error. taken_for: other classes and the share of the class's photos that
    are more like those. tried: other words. better: the word that is better on photos it was not chosen by, and gain:
    by how much.
    """

    name: str
    word: str
    photos: int
    auc: float | None
    averaged: float | None
    error: float | None
    grade: Grade
    taken_for: tuple[tuple[str, float], ...]
    tried: tuple[Tried, ...] = ()
    better: str | None = None
    gain: float | None = None

    def line(self, judge: str) -> str:
        """One line on it."""
        if self.auc is None or self.grade == "too few photos":
            return f"{self.name!r}: {self.photos} photos with its tag, too few to tell whether {judge} knows the word"
        end = {"good": "it knows the word", "weak": "not well", "chance": "chance"}[self.grade]
        named = "" if self.word == self.name else f" as {self.word!r}"
        advice = "" if self.grade == "good" else "; write a describing word in classes.txt"
        if self.better is not None:
            advice = f"; {self.better!r} tells it better"
        return f"{judge} tells {self.name!r}{named} from the rest in {100 * self.auc:.0f} % of pairs: {end}{advice}"


@dataclass(frozen=True)
class WordsReport:
    """All classes; judge: its kind; photos: how many were looked at; can_try: whether it reads words at all."""

    judge: str
    photos: int
    can_try: bool
    classes: tuple[ClassWord, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def known_words(
    judge: Judge,
    dataset: TaggedDataset,
    items: Sequence[Item],
    *,
    recipe: Recipe,
    alternatives: Mapping[str, Sequence[str]] | None = None,
    everywhere: Sequence[str] = (),
) -> WordsReport:
    """Look at the photos `items` once.

    alternatives: other words by class; everywhere: words that are tried for every class. Raises UserError where the
    judge has no texts, or no photo can be read.
    """
    from semples.judges.base import TextJudge

    texts = judge if isinstance(judge, TextJudge) else None
    others = dict(alternatives or {})
    if texts is None and (others or everywhere):
        raise UserError(f"the judge {recipe.judge.kind} reads no words, so no other word can be tried")
    kept, feature_nE = photo_features(judge, dataset, items, recipe=recipe, bits=recipe.data.bits)
    if not kept:
        raise UserError(f"{dataset.root}: no photo can be read, so nothing is known of the words")
    names, words = dataset.classes.names, dataset.classes.prompts
    tags_nK = np.zeros((len(kept), len(names)), bool)
    for row, item in zip(tags_nK, kept, strict=True):
        row[list(item.tags)] = True
    score_nK = feature_nE @ judge.targets.float().cpu().numpy().T
    rows = []
    for index, (name, word) in enumerate(zip(names, words, strict=True)):
        tag_n = tags_nK[:, index]
        candidates = list(dict.fromkeys([word, *others.get(name, ()), *everywhere]))
        averaged_nW = score_nK[:, [index]]
        single_nW = averaged_nW
        if texts is not None:
            averaged_nW = feature_nE @ _averaged(texts, candidates).T
            single_nW = feature_nE @ _single(texts, candidates).T
            single_nW[:, 0] = score_nK[:, index]
        rows.append(_class_word(name, candidates, tag_n, single_nW, averaged_nW, score_nK, tags_nK, index, names))
    return WordsReport(recipe.judge.kind, len(kept), texts is not None, tuple(rows))


def _class_word(
    name: str,
    candidates: Sequence[str],
    tag_n: NDArray[np.bool_],
    single_nW: NDArray[np.float32],
    averaged_nW: NDArray[np.float32],
    score_nK: NDArray[np.float32],
    tags_nK: NDArray[np.bool_],
    index: int,
    names: Sequence[str],
) -> ClassWord:
    with_tag, without = int(tag_n.sum()), int((~tag_n).sum())
    value = auc(single_nW[:, 0], tag_n)
    error = auc_error(value, with_tag, without) if value == value else float("nan")
    better = better_word((single_nW + averaged_nW) / 2, tag_n, present=0) if len(candidates) > 1 else None
    confused = taken_for(score_nK, tags_nK, index)[:SHOWN_OTHERS] if with_tag else []
    return ClassWord(
        name=name,
        word=candidates[0],
        photos=with_tag,
        auc=_known(value),
        averaged=_known(auc(averaged_nW[:, 0], tag_n)),
        error=_known(error),
        grade=_grade(value, with_tag, without),
        taken_for=tuple((names[other], round(share, 3)) for other, share in confused if share > 0),
        tried=tuple(
            Tried(
                word,
                round(auc(single_nW[:, place], tag_n), 4) if value == value else float("nan"),
                round(auc(averaged_nW[:, place], tag_n), 4) if value == value else float("nan"),
            )
            for place, word in enumerate(candidates)
            if place > 0 and value == value
        ),
        better=None if better is None else candidates[better.place],
        gain=None if better is None else round(better.gain, 4),
    )


def _grade(value: float, with_tag: int, without: int) -> Grade:
    if min(with_tag, without) < FEWEST or value != value:
        return "too few photos"
    return "good" if value >= WEAK else "weak" if value >= CHANCE else "chance"


def _known(value: float) -> float | None:
    return None if value != value else round(value, 4)


def _single(judge: Any, words: Sequence[str]) -> NDArray[np.float32]:
    import torch

    with torch.no_grad():
        features: NDArray[np.float32] = judge.encode_words(words).float().cpu().numpy()
    return features


def _averaged(judge: Any, words: Sequence[str]) -> NDArray[np.float32]:
    """Unit features (n,E) of words: means over the recipe's template and `TEMPLATES`."""
    import torch

    total = _single(judge, words)
    with torch.no_grad():
        for template in TEMPLATES:
            texts = [template.replace("{name}", word) for word in words]
            total = total + judge.encode_texts(texts).float().cpu().numpy()
    unit: NDArray[np.float32] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return unit


def alternatives_of(given: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Other words by class from texts `name=word;word`. Raises UserError for a class that is not there."""
    rows: dict[str, list[str]] = {}
    for text in given:
        name, equals, written = text.partition("=")
        words = [word.strip() for word in written.split(";") if word.strip()]
        if not equals or not words or name.strip() not in names:
            known = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
            raise UserError(f"--try {text[:80]}: write class=word;word with a class of {known}")
        rows.setdefault(name.strip(), []).extend(words)
    return rows

"""Words, captions and vocabulary of the tiny CLIP (used by train_tiny_clip.py)."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from semples.data.demo.shapes import COLOURS
from semples.data.demo.world import CLASSES, GROUND_KINDS

NOTHING = "nothing"
WORDS: tuple[str, ...] = (*CLASSES, *GROUND_KINDS, NOTHING)
COLOUR_WORDS: tuple[str, ...] = tuple(COLOURS)
PROMPT = "a photo of"
OPENINGS = (
    "a photo of a",
    "a photo of the",
    "a photo of some",
    "a picture of",
    "a picture of a",
    "a drawing of",
    "a small photo of",
    "an image of",
    "a good photo of the",
    "this is",
    "there is",
    "look at the",
    "",
)
LINKS = ("on", "with", "and", "near", "over", "in front of", "before", "beside", "under")
FILLER_TEXT = """
a about above after again all along also always am an and any are around as at away back be beautiful because been
before best better big both bright but by calm came can clear close could cute dark day did do down each early ever
every far few fine first for from full fun funny gave get give go good got great had half happy has have he her here
high his home how i if image in into is it its just keep kind know large last late left less let light like little
long look lot low made make many may me more morning most much my near never new nice night no not now of off often
old on one only or other our out over own part place put quiet quite rather really right said same saw say scene see
seen she should side simple small so some soon still such take tall than that the their them then there these they
this those time to today together too took two under up us very view wait want was way we well went were what when
where which while who whole why wide will with world would year yes you young your
"""
FILLERS = tuple(FILLER_TEXT.split())
# Known to the vocabulary, so that a newcomer's own words are not cut into letters.
SPARE_TEXT = """
animal bicycle boy bus cat chair clouds cow desert dog flower forest garden girl horse house ice lake land man
mountain ocean person pool rock sea ship stone street sun table tree truck wall window woman background object track
"""
SPARE_WORDS = tuple(SPARE_TEXT.split())


def clip_vocabulary(merges_gz: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A small CLIP vocabulary: CLIP's byte symbols, the first 200 of its public merges and those that the words above
    need, in CLIP's own order, so these words are cut exactly as CLIP cuts them. SOT and EOT come last."""
    with gzip.open(merges_gz, "rt", encoding="utf-8") as lines:
        every = [tuple(line.split()) for line in lines if not line.startswith("#version") and line.strip()]
    ranks = {(pair[0], pair[1]): rank for rank, pair in enumerate(every)}
    wanted = {(pair[0], pair[1]) for pair in every[:200]}
    known = [*WORDS, *COLOUR_WORDS, *FILLERS, *SPARE_WORDS, *" ".join((*OPENINGS, *LINKS, PROMPT)).split()]
    for word in known:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            rank, first = min((ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(pieces)))
            if rank == len(ranks):
                break
            wanted.add((pieces[first], pieces[first + 1]))
            pieces[first : first + 2] = [pieces[first] + pieces[first + 1]]
    merges = sorted(wanted, key=ranks.__getitem__)
    symbols = _byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + [left + right for left, right in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def _byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes, in CLIP's order (printable ones first)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]


def tiny_tokenizer(merges_gz: Path) -> CLIPTokenizer:
    """The tokenizer of the tiny CLIP."""
    vocabulary, merges = clip_vocabulary(merges_gz)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)  # type: ignore[arg-type]  # pairs are right


@dataclass(frozen=True)
class Caption:
    """A caption and what it claims: word indices (into WORDS), and a colour (1-based index) claimed of a class."""

    text: str
    words: tuple[int, ...]
    coloured_class: int = 0
    colour: int = 0


def word_prompt(rng: np.random.Generator, word: str) -> str:
    """A caption that names one word only: the plain prompt, another opening, or the word among many fillers."""
    style = rng.random()
    if style < 0.45:
        return f"{PROMPT} {word}."
    return dress(rng, word, fillers=0 if style < 0.65 else int(rng.integers(1, 40)))


def scene_caption(
    rng: np.random.Generator, amounts: NDArray[np.float32], colours: NDArray[np.uint8], *, fillers: int
) -> Caption:
    """A true caption for a photo: names things, backgrounds, both or (an empty photo) nothing, with up to `fillers`
    filler words.

    amounts: (len(WORDS),) how much of each word can be seen, 0..1. colours: (classes,) 1-based colour of each thing.
    """
    visible = np.flatnonzero(amounts > 0.4)
    things = [int(word) for word in rng.permutation(visible[visible < len(CLASSES)])]
    grounds = [int(word) for word in rng.permutation(visible[(visible >= len(CLASSES)) & (visible < len(WORDS) - 1)])]
    if things and grounds:
        style = rng.random()
        things = things[: 0 if style < 0.15 else int(rng.integers(1, len(things) + 1))]
        grounds = grounds[: 0 if 0.15 <= style < 0.35 else int(rng.integers(1, len(grounds) + 1))]
    if not things and not grounds:
        return Caption(dress(rng, NOTHING, fillers=fillers), (WORDS.index(NOTHING),))
    named = [WORDS[word] for word in (*things, *grounds)]
    coloured, colour = 0, 0
    if things and rng.random() < 0.4:
        coloured, colour = things[0], int(colours[things[0]])
        named[0] = f"{COLOUR_WORDS[colour - 1]} {named[0]}"
    text = named[0]
    for name in named[1:]:
        text += f" {rng.choice(LINKS)} {name}"
    return Caption(dress(rng, text, fillers=fillers), (*things, *grounds), coloured, colour)


def dress(rng: np.random.Generator, text: str, *, fillers: int) -> str:
    """`text` behind an opening, among up to `fillers` filler words."""
    opening = PROMPT if rng.random() < 0.5 else str(rng.choice(OPENINGS))
    words = text.split()
    extra = list(rng.choice(FILLERS, size=int(rng.integers(0, fillers + 1)))) if fillers else []
    cut = int(rng.integers(len(extra) + 1))
    return " ".join([opening, *extra[:cut], *words, *extra[cut:]]).strip() + ("." if rng.random() < 0.8 else "")


def pad_ids(rows: Sequence[Sequence[int]], pad: int) -> NDArray[np.int64]:
    """Token ids as one array, padded behind."""
    width = max(len(row) for row in rows)
    return np.array([[*row, *[pad] * (width - len(row))] for row in rows], dtype=np.int64)

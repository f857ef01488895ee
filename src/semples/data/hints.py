"""What makes learning from a dataset hard or its scores wrong: leaks between lists, misspelt classes, photos too small,
classes too rare, classes that always come together. Each hint is one sentence with its figures."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import sha256_file
from semples.data.dataset import Problem, TaggedDataset, open_dataset

MIN_SIDE = 64  # pixels: four patches of 16, as few as can show where a thing is
MIN_PHOTOS = 20  # of a class; fewer give a background prompt hardly anything to learn from
NEARLY_ALL = 0.95  # of the photos: a class that is nearly everywhere has no photos without it to learn from
TOGETHER = 0.5  # of a class's photos also show another
LIFT = 1.5  # and that is so many times the other's share of all photos
MIN_TOGETHER = 5  # photos with both
RARE_SPELLING = 0.2  # a spelling with at most this share of the other's photos may be a slip

TRAIN, HELD_OUT = ("train",), ("val", "test", "minival")


# ------------------------------------------------------------------------------------------------------------- leaks


def same_content(paths: Iterable[Path]) -> list[list[Path]]:
    """Groups of two or more files with the same bytes, each in the order given. Unreadable files are left out."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        try:
            by_size[path.stat().st_size].append(path)
        except OSError:
            continue
    groups: dict[str, list[Path]] = defaultdict(list)
    for size, alike in by_size.items():
        if len(alike) < 2 or size == 0:
            continue  # of a size of its own: no need to read it
        for path in alike:
            try:
                groups[sha256_file(path)].append(path)
            except (OSError, UserError):
                continue
    return [group for group in groups.values() if len(group) > 1]


def leaks(lists: Mapping[str, TaggedDataset]) -> tuple[Problem, ...]:
    """Photos of a list for training whose very bytes are also in one for scoring (`lists_to_compare`)."""
    members: dict[Path, dict[str, str]] = defaultdict(dict)
    for name, dataset in lists.items():
        for item in dataset.items:
            members[item.photo][name] = item.id
    alone = [[path] for path, named in members.items() if len(named) > 1]
    problems: list[Problem] = []
    seen: set[tuple[tuple[str, str], tuple[str, str]]] = set()
    for group in [*same_content(members), *alone]:
        for first, second in lists_to_compare(lists):
            left = next((members[path][first] for path in group if first in members[path]), None)
            right = next((members[path][second] for path in group if second in members[path]), None)
            if left is None or right is None or ((first, left), (second, right)) in seen:
                continue
            seen.add(((first, left), (second, right)))
            problems.append(
                Problem(left, f"is in {first} and, as {right}, in {second}: scores on {second} are too good")
            )
    return tuple(problems)


def lists_to_compare(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs (trained on, scored on) among names of lists; `trainval` is by design in both and left out."""
    ordered = sorted(names)
    trained = [name for name in ordered if name.startswith(TRAIN) and not name.startswith("trainval")]
    scored = [name for name in ordered if name.startswith(HELD_OUT)]
    return [(first, second) for first in trained for second in scored]


def open_lists(dataset: TaggedDataset, *, tags: Path | None = None) -> dict[str, TaggedDataset]:
    """The lists for training and scoring in a dataset's folder, each opened; empty where either kind is missing.

    `tags` is the tags file used in place of the folder's, if any. A list that cannot be used is left out.
    """
    root = dataset.root
    folders = (root / "ImageSets" / "Segmentation", root / "splits", root)
    names = {path.stem for folder in folders for path in folder.glob("*.txt") if path.name != "classes.txt"}
    wanted = sorted({name for pair in lists_to_compare(names) for name in pair})
    opened: dict[str, TaggedDataset] = {}
    for name in wanted:
        with suppress(UserError):  # no usable photo: nothing to leak
            opened[name] = open_dataset(root, split=name, tags=tags, classes=dataset.classes)
    return opened


# ------------------------------------------------------------------------------------------------------------- names


def near_names(names: Sequence[str], counts: Sequence[int]) -> tuple[Problem, ...]:
    """Classes that look like two spellings of one. `counts`: photos of each.

    Equal but for case, accents, blanks, signs or a plural s; or, where one is far rarer, one slip apart (two in names
    of seven letters and more, none below five).
    """
    problems = []
    for (first, many), (second, few) in combinations(zip(names, counts, strict=True), 2):
        if many < few:
            first, many, second, few = second, few, first, many
        letters = min(len(first), len(second))
        allowed = 2 if letters >= 7 else 1 if letters >= 5 else 0
        alike = _bare(first) == _bare(second)
        rarer = few <= RARE_SPELLING * many and abs(len(first) - len(second)) <= allowed
        slip = rarer and 0 < _slips(_fold(first), _fold(second)) <= allowed
        if alike or slip:
            sentence = (
                f"looks like {first!r} ({few} and {many} photos): one class or two? Use one spelling for one class"
            )
            problems.append(Problem(second, sentence))
    return tuple(problems)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _bare(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _fold(name))
    letters = "".join(sign for sign in decomposed if sign.isalnum())
    letters = letters or _fold(name)
    return letters[:-1] if len(letters) > 3 and letters.endswith("s") and not letters.endswith("ss") else letters


def _slips(first: str, second: str) -> int:
    """Letters more, less or other, and neighbours swapped, that make one name the other (optimal string alignment)."""
    rows = [list(range(len(second) + 1))]
    for i, a in enumerate(first, start=1):
        row = [i]
        for j, b in enumerate(second, start=1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


# ----------------------------------------------------------------------------------------------------- small and rare


def small_photos(sizes: Mapping[str, tuple[int, int]], *, min_side: int = MIN_SIDE) -> tuple[Problem, ...]:
    """Photos, by id, whose shorter side has less than `min_side` pixels."""
    return tuple(
        Problem(name, f"{width}x{height} pixels; below {min_side} on a side a thing can hardly be told from its ground")
        for name, (width, height) in sizes.items()
        if min(width, height) < min_side
    )


def hard_classes(
    names: Sequence[str], counts: Sequence[int], photos: int, *, min_photos: int = MIN_PHOTOS
) -> tuple[Problem, ...]:
    """Classes with some, but fewer than `min_photos` photos, and classes that nearly every photo shows."""
    problems = []
    for name, count in zip(names, counts, strict=True):
        if 0 < count < min_photos:
            photos_of = "1 photo" if count == 1 else f"{count} photos"
            problems.append(Problem(name, f"{photos_of}; fewer than {min_photos} are too few to learn from"))
        elif photos >= min_photos and count >= NEARLY_ALL * photos:
            share = f"in {count} of {photos} photos"
            problems.append(Problem(name, f"{share}: without photos that lack it, nothing tells it from its ground"))
    return tuple(problems)


def confusions(names: Sequence[str], together: Sequence[Sequence[int]], photos: int) -> tuple[Problem, ...]:
    """Classes that come with another so often that a tag cannot tell them apart, the strongest first.

    `together[j][k]` counts photos with both, the diagonal those with one.
    """
    problems: list[tuple[float, Problem]] = []
    for j, k in combinations(range(len(names)), 2):
        both = together[j][k]
        if both < MIN_TOGETHER:
            continue
        one, other = (j, k) if together[j][j] <= together[k][k] else (k, j)
        share, usual = both / together[one][one], together[other][other] / photos
        if share >= TOGETHER and share >= LIFT * usual:
            sentence = (
                f"{names[one]} and {names[other]} in {share:.0%}".replace("%", " %")
                + f" of the photos with {names[one]} ({both} of {together[one][one]}): expect confusion"
            )
            problems.append((share, Problem(names[one], sentence)))
    return tuple(problem for _, problem in sorted(problems, key=lambda pair: -pair[0]))

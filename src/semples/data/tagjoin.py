"""Rows of a tags table joined with the photos that are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from semples.data.names import Match, PhotoFinder, safe_relative, without_clashes
from semples.data.problem import Problem
from semples.data.tagfile import TagTable


@dataclass
class JoinedTags:
    """For each photo that rows name: where its (last) row stands and the tags of all its rows; and what did not join.

    `lost` are photos of rows that say nothing usable: their tags are not known.
    """

    tags: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)


def join(table: TagTable, finder: PhotoFinder) -> JoinedTags:
    """Find the photo of every row. A row of a photo that is not there, or may be several, becomes a problem."""
    joined = JoinedTags()
    matches = join_names([row.photo for row in table.rows], finder)
    for row, match in zip(table.rows, matches, strict=True):
        if match.path is None:
            joined.problems.append(Problem(row.where, not_found(row.photo, match)))
            continue
        tags = row.tags
        if match.path in joined.tags and set(joined.tags[match.path][1]) != set(tags):
            before = joined.tags[match.path][1]
            if not table.each:
                what = f"{row.photo}: named before with other tags; the tags of both are used"
                joined.problems.append(Problem(row.where, what))
            tags = tuple(dict.fromkeys(before + tags))
        joined.tags[match.path] = (row.where, tags)
    for match in join_names(table.lost, finder):
        if match.path is not None:
            joined.lost.add(match.path)
            joined.tags.pop(match.path, None)
    return joined


def join_names(names: Sequence[str], finder: PhotoFinder) -> list[Match]:
    """What each name stands for; a name that climbs out of the folder with `..` for nothing."""
    return without_clashes(
        [Match(None) if ".." in name.replace("\\", "/").split("/") else finder.match(name) for name in names]
    )


def not_found(name: str, match: Match) -> str:
    """What to say of a name that stands for no photo."""
    if match.several and len(match.several) == 1:
        return f"{name[:120]}: several names in other folders mean {match.several[0]}; write paths below the folder"
    if not match.several and safe_relative(name) is None and not match.near:
        return f"{name[:120]!r}: not a path below the dataset's folder"
    return match.why_not(name, hint="write the extension")

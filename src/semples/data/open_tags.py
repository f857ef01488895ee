"""Tags that are left open: `dog?` says that nobody knows whether a dog is in the photo. No stage learns from that."""

from __future__ import annotations

from collections.abc import Container, Iterable

MARK = "?"


def bare(name: str, known: Container[str] = ()) -> str:
    """A tag without the mark; one that is itself among the `known` classes keeps it."""
    return name if name in known or not name.endswith(MARK) else name.removesuffix(MARK).rstrip()


def parted(names: Iterable[str], known: Container[str] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tags that are sure, and those left open without the mark; a tag that is both is sure."""
    told = [(name, bare(name, known)) for name in names]
    sure = tuple(dict.fromkeys(name for name, plain in told if plain == name))
    return sure, tuple(dict.fromkeys(plain for name, plain in told if plain != name and plain and plain not in sure))

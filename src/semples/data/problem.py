"""One thing that reading files sets aside or remarks on."""

from __future__ import annotations

from dataclasses import dataclass

from semples.core.plain import plain


@dataclass(frozen=True)
class Problem:
    """A photo, row or part of one that is not used, or not as written: where it is, and what is wrong with it.

    Both are kept on one line and fit to print, since names in them come from files of any kind.
    """

    where: str
    what: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "where", plain(self.where))
        object.__setattr__(self, "what", plain(self.what))

"""The one exception type with its kinds, and the one kind of remark, that are shown to the user as a single line."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Collection, Sequence
from os.path import splitext

MOST_COMPARED = 5000  # ids, so that a mistake is told at once


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and how to mend it, in one line."""

    status = 2


class Stopped(UserError):
    """Long work was asked to stop and left everything ready to be resumed."""

    status = 130

    def __init__(self, message: str, *, status: int = 130) -> None:
        super().__init__(message)
        self.status = status


class NoSuchPhoto(UserError, KeyError):
    """A photo is asked for by an id that none has; a KeyError too, so that `in`, `get` and `except KeyError` work."""

    def __init__(self, id: object, known: Collection[str], *, where: str) -> None:
        near = difflib.get_close_matches(str(id), known, n=1) or [
            stem for stem in [splitext(str(id))[0]] if stem in known
        ]
        some = ", ".join(list(known)[:3]) + (" ..." if len(known) > 3 else "")
        hint = f"did you mean {near[0]!r}?" if near else f"photos are called by their ids: {some or 'there are none'}"
        super().__init__(f"{where}: no photo {str(id)[:100]!r}; {hint}")

    __str__ = Exception.__str__  # KeyError puts its message into quotes


class UnusableFile(UserError):
    """One file of many cannot be used; the message names it. Work on the others may go on without it."""


class Incomplete(UserError):
    """The work is done but for some pieces, which are named; all others are there."""

    status = 1

    @classmethod
    def of(cls, problems: Sequence[str], *, done: str) -> Incomplete:
        """The end of work that went on past `problems` (a line each, shown before); `done`: what is there."""
        others = f" (and {len(problems) - 1} more, listed above)" if len(problems) > 1 else ""
        return cls(f"{problems[0]}{others}; {done}")


class Note(UserWarning):
    """Something the user should know although the work goes on; the command line shows it as one line."""


def note(message: str) -> None:
    """Tell the user something and go on."""
    warnings.warn(message, Note, stacklevel=3)

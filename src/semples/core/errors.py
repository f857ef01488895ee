"""The one exception type, and the one kind of remark, that are shown to the user as a single line."""

from __future__ import annotations

import warnings
from collections.abc import Sequence


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and how to mend it, in one line."""

    status = 2


class Stopped(UserError):
    """Long work was asked to stop and left everything ready to be resumed."""

    status = 130

    def __init__(self, message: str, *, status: int = 130) -> None:
        super().__init__(message)
        self.status = status


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

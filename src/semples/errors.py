"""The one exception type that is shown to the user as a single line."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and how to mend it, in one line."""

    status = 2


class Stopped(UserError):
    """Long work was asked to stop and left everything ready to be resumed."""

    status = 130


class Incomplete(UserError):
    """The work is done but for some pieces, which are named; all others are there."""

    status = 1

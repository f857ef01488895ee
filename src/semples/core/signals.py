"""Being told to end: SIGTERM and SIGHUP, on Windows SIGBREAK (Ctrl-Break), end the program as an error does, so that
everything is tidied up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Ended(BaseException):
    """The program was told to end by a signal. Not an Exception: nobody but the outermost place handles it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def name(self) -> str:
        """The signal's name, for example SIGTERM."""
        return signal.Signals(self.number).name

    @property
    def status(self) -> int:
        """The exit status that shells give a program ended by this signal."""
        return 128 + self.number


@contextmanager
def ending_signals() -> Iterator[None]:
    """Raise `Ended` within where a signal of `STOPPING` comes; a second one ends the program at once.

    A signal that the program was started without (nohup) stays ignored. Outside the main thread nothing changes.
    """

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Ended(number)

    before = set_handlers(STOPPING, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def set_handlers(numbers: tuple[int, ...], handler: Any) -> dict[int, Any]:
    """Give these signals a handler, unless they are ignored; the handlers before, by number."""
    try:
        return {
            number: signal.signal(number, handler)
            for number in numbers
            if signal.getsignal(number) is not signal.SIG_IGN
        }
    except ValueError:  # not in the main thread: signals are somebody else's business
        return {}

"""SIGTERM and SIGHUP end the program as an error does; what it was started to ignore stays ignored."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from semples.core.signals import Ended, ending_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_everything_is_tidied_up(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    tidied = []

    def work() -> None:
        with ending_signals():
            try:
                os.kill(os.getpid(), number)
                time.sleep(10)
            except Exception:  # noqa: BLE001 (nobody who handles errors gets hold of it)
                tidied.append("never")
            finally:
                tidied.append("yes")

    with pytest.raises(Ended) as caught:
        work()
    assert caught.value.status == 128 + number
    assert caught.value.name == number.name
    assert tidied == ["yes"]
    assert signal.getsignal(number) is before


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_change_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with ending_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]

"""The client of the Hugging Face hub, as its two users want it: those who load weights and those who load photos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR


@contextmanager
def quiet_hub() -> Iterator[None]:
    """No remarks of the hub's client on its tries: what comes of them is said in one line."""
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)

"""Networks of transformers from a folder or hub id: read without running what lies there, one line where they are of no
use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from safetensors import SafetensorError

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.networks.hub import CONFIG, download, snapshot
from semples.networks.weights import local_source

WEIGHTS, NETWORK, PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
RGB = tuple[float, float, float]
_BAD_FILES = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


def read_config(source: str, *, what: str) -> Any:
    """The configuration in the config.json of a folder or hub id; `what` it is to be a configuration of, in words.

    Raises UserError.
    """
    from transformers import AutoConfig

    folder = local_source(source)
    if folder is not None and not (folder / NETWORK).is_file():
        raise UserError(f"{source}: holds no {NETWORK}; give a folder in transformers format, or a hub id")
    with reading(source, what=what), quiet():
        return AutoConfig.from_pretrained(place(source), trust_remote_code=False)


def load_network(source: str, model_class: Any, config: Any, *, what: str) -> Any:
    """A network of this class with the weights of a folder or hub id, float32, frozen, in eval mode.

    Weights that it does not have are left out (the text tower beside an image tower); one that is missing or of another
    shape raises UserError, except for a pooler, which no caller reads.
    """
    with reading(source, what=what), quiet(), torch.random.fork_rng(devices=[]):
        network, info = model_class.from_pretrained(
            place(source),
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    absent = [*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])]
    missing = sorted(name for name in absent if "pooler" not in name.split("."))
    if missing:
        raise UserError(f"{source}: not the weights of {what}: missing or of another shape {few(missing)}")
    return network.eval().requires_grad_(False)


def normalisation(source: str) -> tuple[RGB, RGB] | None:
    """Mean and standard deviation of red, green, blue in 0..1 that the folder or hub id says; None where it says none.

    Raises UserError where it says something else.
    """
    folder = local_source(source)
    try:
        file = download(source, PREPROCESSOR) if folder is None else folder / PREPROCESSOR
    except UserError:
        return None
    if not file.is_file():
        return None
    described = read_json(file)
    if not isinstance(described, dict) or "image_mean" not in described or "image_std" not in described:
        return None
    try:
        mean, std = (_rgb(described[key]) for key in ("image_mean", "image_std"))
    except (TypeError, ValueError):
        raise UserError(f"{file}: image_mean and image_std must be three numbers each, the second above 0") from None
    if not min(std) > 0:
        raise UserError(f"{file}: image_mean and image_std must be three numbers each, the second above 0")
    return mean, std


def place(source: str) -> str:
    """The folder with configuration and weights, that of the cache for a hub id."""
    return str(local_source(source) or snapshot(source, required=(CONFIG,)))


def few(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextlib.contextmanager
def reading(source: str, *, what: str) -> Iterator[None]:
    """Turn whatever transformers raises on unreadable or absent files into one line."""
    try:
        yield
    except UserError:
        raise
    except _BAD_FILES as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{source}: cannot be read as {what} ({reason})") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No remarks of transformers on new heads (intended, and checked by the caller) and no bars."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = map(float, values)
    return red, green, blue

"""Tensors written as one safetensors file, in place only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semples.core.files import atomic_path
from semples.core.temporary import temporary_folder

if TYPE_CHECKING:
    from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, about: Mapping[str, str] | None = None) -> None:
    """Write contiguous tensors of the CPU by name; about: what stands in the file's head. Raises UserError where the
    file cannot be written.

    safetensors writes into a temporary file of its own, beside the one it is told, under a name that does not say
    whose it is; in a temporary folder of ours it goes with that when the program is killed.
    """
    from safetensors.torch import save_file

    with atomic_path(path) as temporary, temporary_folder(path) as folder:
        written = folder / path.name
        save_file(dict(tensors), written, metadata=None if about is None else dict(about))
        os.replace(written, temporary)

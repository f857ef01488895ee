"""What new processes are sent, packed once into memory that all of them share.

A process that is begun by spawn gets what it needs through a pipe. The pipe holds 64 KB, and who reads it has to import
PyTorch first: with a list of many photos one process after the other begins. A parcel is a name in that pipe.
"""

from __future__ import annotations

import pickle
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def copies_itself() -> bool:
    """Whether helping processes are by themselves copies of this one (fork), which have all that it has: on Linux, up
    to Python 3.13, unless `multiprocessing.set_start_method` says otherwise."""
    import multiprocessing

    usual = multiprocessing.get_all_start_methods()[0]
    return (multiprocessing.get_start_method(allow_none=True) or usual) == "fork"


class Parcel(Generic[T]):
    """Something that is sent to other processes of this program, and unpacked there when it is first asked for."""

    def __init__(self, content: T) -> None:
        import torch

        self._content: T | None = content
        self._packed: Any = torch.frombuffer(bytearray(pickle.dumps(content)), dtype=torch.uint8).share_memory_()

    @property
    def content(self) -> T:
        if self._content is None:
            self._content = pickle.loads(memoryview(self._packed.numpy()))  # what this program has packed
        return self._content

    def __getstate__(self) -> dict[str, Any]:
        return {"_packed": self._packed, "_content": None}

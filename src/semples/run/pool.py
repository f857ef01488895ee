"""The same work on many photos by several processes: regions and label maps, which no GPU makes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from semples.core.cores import cores
from semples.core.devices import OFF
from semples.core.errors import UserError
from semples.core.parcel import Parcel

In = TypeVar("In")
Out = TypeVar("Out")


def pooled(work: Callable[[In], Out], things: Sequence[In], *, workers: int) -> Iterator[Out]:
    """`work` of every thing, in order, by `workers` processes beside this one; of 0 or 1 in this one.

    On Linux the processes are copies of this one (fork), so `work` may hold anything but what lies on a GPU. Elsewhere,
    and where `multiprocessing.set_start_method` says so, they are new ones (spawn) that get `work` pickled; if that
    cannot be, this process does it all. Each computes with one thread.

    Raises UserError as `work` does, whichever process has met it, and where one of them was ended from outside.
    """
    count = min(workers, cores(), len(things))
    copies = sys.platform.startswith("linux") and multiprocessing.get_start_method(allow_none=True) != "spawn"
    if count <= 1 or not (copies or _can_be_sent(work)):
        yield from map(work, things)
        return
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        _Work(work, things) if copies else _Sent(_Work(work, things)),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=count,
        collate_fn=_as_it_is,
        multiprocessing_context="fork" if copies else "spawn",
        worker_init_fn=_helper,
    )
    answers = iter(loader)
    try:
        for answer in answers:
            if isinstance(answer, UserError):
                raise answer
            yield answer
    except RuntimeError as error:
        if "DataLoader worker" not in str(error) or "exited unexpectedly" not in str(error):
            raise
        raise UserError("a helper process was ended (memory?); run the same command to go on") from None
    finally:
        del answers  # ends the processes


def _can_be_sent(work: Any) -> bool:
    """Whether another process can have it: what other packages bring may be a function within a function."""
    try:
        pickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


@dataclass(frozen=True)
class _Work(Generic[In, Out]):
    """What a process makes of the thing at a place; a user's mistake travels as a value."""

    work: Callable[[In], Out]
    things: Sequence[In]

    def __len__(self) -> int:
        return len(self.things)

    def __getitem__(self, place: int) -> Out | UserError:
        try:
            return self.work(self.things[place])
        except UserError as error:
            return error


class _Sent:
    """What new processes get of a `_Work`, and use as if it were one."""

    def __init__(self, work: _Work[Any, Any]) -> None:
        self._parcel = Parcel(work)

    def __len__(self) -> int:
        return len(self._parcel.content)

    def __getitem__(self, place: int) -> Any:
        return self._parcel.content[place]


def _as_it_is(answer: Any) -> Any:
    return answer


def _helper(number: int) -> None:
    """A process that helps another one computes on the processor: a copy cannot use the GPU of its original. What tells
    the program to end is the program's affair: it ends its processes."""
    os.environ[OFF] = "1"
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)

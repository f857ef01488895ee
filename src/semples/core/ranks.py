"""The processes of one command (torchrun starts them): which photos are whose, and how they wait for one another.

What they tell one another here are figures, not gradients, so nothing needs a GPU: they talk through gloo, in JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from semples.core.devices import best_device, check_cards
from semples.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGEST = timedelta(days=30)  # that a process waits for the others, who may have slower photos

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process and the others. rank: its number, 0..count - 1; number 0 writes what there is one of. group: the
    gloo group that they talk in, None for the one that all share."""

    rank: int = 0
    count: int = 1
    group: Any = None

    @classmethod
    def join(cls) -> Ranks:
        """All processes that torchrun has started, each with its own GPU where there are some; or this one alone.

        Every process has to call it, before it loads a model. Raises UserError where they do not find one another, and
        where this machine has fewer GPUs than processes.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
            return cls()
        import torch
        from torch import distributed

        check_cards()
        if best_device().type == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            distributed.init_process_group("gloo", timeout=LONGEST, **meeting_place())
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the processes do not find one another: {str(error).splitlines()[0]}") from None
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, things: Sequence[T]) -> Sequence[T]:
        """The part of this process."""
        return things[self.rank :: self.count]

    def gather(self, told: Any) -> list[Any]:
        """What every process tells, plain data, by rank. Raises UserError where one of them has ended or takes longer
        than the group waits."""
        if self.count == 1:
            return [told]
        import torch
        from torch import distributed

        message = torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        with self._missing():
            distributed.all_gather(lengths, torch.tensor([len(message)]), group=self.group)
            longest = max(int(length) for length in lengths)
            padded = torch.zeros(longest, dtype=torch.uint8)
            padded[: len(message)] = message
            messages = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
            distributed.all_gather(messages, padded, group=self.group)
        return [json.loads(bytes(text[: int(length)].tolist())) for text, length in zip(messages, lengths, strict=True)]

    def together(self, mine: Sequence[T]) -> list[T]:
        """What all processes made of the things of a `share`, plain data each, in the order of these things."""
        parts = self.gather(list(mine))
        whole: list[Any] = [None] * sum(len(part) for part in parts)
        for rank, part in enumerate(parts):
            whole[rank :: self.count] = part
        return whole

    def added(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of the counts of all processes, each int64 of the same shape."""
        if self.count == 1:
            return counts
        import torch
        from torch import distributed

        total = torch.from_numpy(counts.copy())
        with self._missing():
            distributed.all_reduce(total, group=self.group)
        summed: NDArray[np.int64] = total.numpy()
        return summed

    def of_main(self, work: Callable[[], T]) -> T:
        """What process 0 answers to `work`, plain data, in every process; nobody else is asked. A UserError ends all
        as in `first`."""
        answer: T = self.gather(self.first(work))[0]
        return answer

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def first(self, work: Callable[[], T]) -> T | None:
        """`work` by process 0, while the others wait for it; its answer there, None elsewhere.

        A UserError is raised by process 0 alone; the others end without a word, with its exit status.
        """
        try:
            answer = work() if self.is_main else None
        except UserError as error:
            self.gather(error.status)
            raise
        status = self.gather(None)[0]
        if status is not None:
            raise SystemExit(status)
        return answer

    def leave(self) -> None:
        """The end of what is done together."""
        if self.count > 1:
            from torch import distributed

            distributed.destroy_process_group()

    @contextmanager
    def _missing(self) -> Iterator[None]:
        """Raises UserError where one of the processes does not answer."""
        try:
            yield
        except RuntimeError:
            what = "run.wait_hours; run the same command to go on"  # the limit of a run's group
            if self.group is None:
                what = f"{LONGEST.days} days; run the same command again"
            raise UserError(f"another process has ended, or took longer than {what}") from None


def meeting_place() -> dict[str, Any]:
    """Where the processes of a start after the first find one another: arguments of `init_process_group`.

    torchrun keeps one store for all starts, in which the addresses of the processes that have ended still stand;
    whoever reads one of those waits for long. Here every start has a part of its own. Nothing for a first start, and on
    several machines, whose starts are not counted alike (docs/clusters.md).
    """
    start, machines = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), os.environ.get("GROUP_WORLD_SIZE", "1")
    if start == "0" or machines != "1" or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    ranks = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    return {"store": PrefixStore(f"semples/start-{start}", store), **ranks}


ALONE = Ranks()

"""Several processes, perhaps on several machines, that write in one folder: whether all of them see it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.ranks import Ranks

PATIENCE = 70.0  # seconds until a file shows on another machine: network disks keep an old list for up to a minute
PROBE = ".seen-by-all-"


def check_shared(folder: Path, ranks: Ranks, *, patience: float = PATIENCE) -> None:
    """Raises UserError, in process 0, where a file that it writes in `folder` does not show in the others; they end."""
    name = ranks.of_main(lambda: _write_probe(folder))
    there = until((folder / name).is_file, patience)
    told = ranks.gather([there, socket.gethostname()])
    if ranks.is_main:
        (folder / name).unlink(missing_ok=True)
    blind = sorted({f"process {rank} on {host}" for rank, (seen, host) in enumerate(told) if not seen})
    if not blind:
        return
    if not ranks.is_main:
        raise SystemExit(UserError.status)
    raise UserError(
        f"{folder}: {blind[0]}{f' (and {len(blind) - 1} more)' if len(blind) > 1 else ''} does not see what is written "
        "here; --out has to be on a disk that all machines share (docs/clusters.md)"
    )


def _write_probe(folder: Path) -> str:
    name = PROBE + secrets.token_hex(8)
    write_text(folder / name, "The processes of one command look for this file; it may be deleted.\n")
    return name


def until(there: Callable[[], bool], patience: float) -> bool:
    """Whether it comes true within so many seconds."""
    end = time.monotonic() + patience
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True

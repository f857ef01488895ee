"""Several processes in one run's folder, perhaps on several machines: whether all see it; what is hashed only once."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.ranks import Ranks
from semples.run.context import Context
from semples.run.photos import SEEN, share_digests
from semples.run.records import read_manifest

PATIENCE = 70.0  # seconds until a file shows on another machine: network disks keep an old list for up to a minute
PROBE = ".seen-by-all-"


def meet(context: Context) -> None:
    """What several processes do before the first step: see that they share the folder, and digest new photos, each
    by one of them. The caller holds the folder's lock."""
    if context.processes > 1:
        check_shared(context.out, context.ranks)
        share_digests(context.listing, context.out / SEEN, ranks=context.ranks)


def check_shared(folder: Path, ranks: Ranks, *, patience: float = PATIENCE) -> None:
    """Raises UserError, in process 0, where a file that it writes in `folder` does not show in the others; they end."""
    name = ranks.of_main(lambda: _write_probe(folder))
    there = _until((folder / name).is_file, patience)
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


def wait_for_manifest(context: Context, folder: Path, *, patience: float = PATIENCE) -> None:
    """Until every process sees the manifest that process 0 has just written. Raises UserError where one does not."""
    if context.processes == 1:
        return
    check = context.ranks.of_main(lambda: (read_manifest(folder) or {}).get("check"))

    def shows() -> bool:
        manifest = read_manifest(folder)
        return manifest is not None and manifest["check"] == check

    if not _until(shows, patience):
        raise UserError(f"{folder}: written by process 0 and not seen on {socket.gethostname()}; see docs/clusters.md")


def _write_probe(folder: Path) -> str:
    name = PROBE + secrets.token_hex(8)
    write_text(folder / name, "This run's processes look for this file; it may be deleted.\n")
    return name


def _until(there: Callable[[], bool], patience: float) -> bool:
    """Whether it comes true within so many seconds."""
    end = time.monotonic() + patience
    while not there():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True

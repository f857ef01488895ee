"""Several processes in one run's folder, perhaps on several machines: whether all see it; what is hashed only once."""

from __future__ import annotations

import socket
from pathlib import Path

from semples.core.errors import UserError
from semples.core.everywhere import PATIENCE, check_shared, until
from semples.run.context import Context
from semples.run.photos import SEEN, share_digests
from semples.run.records import read_manifest


def meet(context: Context) -> None:
    """What several processes do before the first step: see that they share the folder, and digest new photos, each
    by one of them. The caller holds the folder's lock."""
    if context.processes > 1:
        check_shared(context.out, context.ranks)
        share_digests(context.listing, context.out / SEEN, ranks=context.ranks)


def wait_for_manifest(context: Context, folder: Path, *, patience: float = PATIENCE) -> None:
    """Until every process sees the manifest that process 0 has just written. Raises UserError where one does not."""
    if context.processes == 1:
        return
    check = context.ranks.of_main(lambda: (read_manifest(folder) or {}).get("check"))

    def shows() -> bool:
        manifest = read_manifest(folder)
        return manifest is not None and manifest["check"] == check

    if not until(shows, patience):
        raise UserError(f"{folder}: written by process 0 and not seen on {socket.gethostname()}; see docs/clusters.md")

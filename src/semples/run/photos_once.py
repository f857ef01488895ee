"""Whether, where and how many of a run's photos are kept decoded while it trains, and by whom of several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from semples.core.ranks import Ranks
from semples.core.room import free_disk, free_memory
from semples.core.temporary import machine_sign
from semples.data.dataset import TaggedDataset
from semples.data.decoded import DecodedPhotos, Layout, PhotosOnce, decoded_bytes, sizes_kept
from semples.recipe import DataSettings

AUTO_SHARE, MEMORY_SHARE, DISK_SHARE = 1 / 4, 1 / 2, 1 / 5  # of what is free


def photos_once(
    dataset: TaggedDataset,
    sizes: Mapping[str, tuple[int, int]],
    settings: DataSettings,
    *,
    folder: Path,
    ranks: Ranks,
) -> PhotosOnce:
    """The dataset with its photos kept decoded as the settings say. All processes have to ask: those of one machine
    share what is kept.

    sizes: (width, height) of every photo by id. folder: on whose disk they are kept, where the settings say so.
    """
    small = sizes_kept({item.id: sizes[item.id] for item in dataset.items}, max_side=settings.train_side)
    where = disk_of(settings, folder)

    def make() -> DecodedPhotos | None:
        layout = Layout.of(small, most=most_bytes(settings, decoded_bytes(small), folder=folder))
        return DecodedPhotos.make(layout, folder=where) if layout.numbers else None

    def join(name: str, size: int, spare: int) -> DecodedPhotos | None:
        return DecodedPhotos.join(name, Layout.of(small, most=size), where, spare)

    return PhotosOnce(dataset, _shared(make, join, ranks=ranks), settings.train_side)


def disk_of(settings: DataSettings, folder: Path) -> Path | None:
    """The folder on whose disk photos are kept; None: in memory, if at all."""
    return folder if settings.cache == "disk" else None


def most_bytes(settings: DataSettings, needed: int, *, folder: Path) -> int:
    """Bytes that photos may take which take `needed` all together."""
    given = None if settings.cache_gb == "auto" else int(settings.cache_gb * 1e9)
    if settings.cache == "auto":
        room = int(free_memory() * AUTO_SHARE)
        return needed if needed <= (room if given is None else min(room, given)) else 0
    if settings.cache == "no":
        return 0
    if given is not None:
        return min(needed, given)
    free = free_disk(folder) * DISK_SHARE if settings.cache == "disk" else free_memory() * MEMORY_SHARE
    return min(needed, int(free))


def _shared(
    make: Callable[[], DecodedPhotos | None], join: Callable[[str, int, int], DecodedPhotos | None], *, ranks: Ranks
) -> DecodedPhotos | None:
    """What the first process of each machine makes, and the others there open."""
    machines = ranks.gather(machine_sign())
    first = machines.index(machines[ranks.rank])
    made = make() if first == ranks.rank else None
    told = ranks.gather(None if made is None else [made.file.name, made.layout.size, made.spare])[first]
    return join(*told) if made is None and told is not None else made

"""Photos decoded once for many passes: their pixels in one file that all processes of a machine read and fill.

What comes out is what decoding gives, to the bit. A photo's pixels are kept with the size and the time of change of
its file; once that has changed, the photo is read from its file again. A photo that has no room, or cannot be decoded,
is read from its file each time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semples.core.members import size_and_time
from semples.core.room import free_disk, free_memory
from semples.core.systems import read_at, try_lock_byte, unlock_byte, write_at
from semples.core.unnamed import Unnamed
from semples.data.dataset import Derived, Item
from semples.data.photos import reduced, reduced_size

LOCKS = 1 << 40  # byte that the first photo's writer locks: behind all pixels
SPARE = 0.25  # share of the room that was free at the beginning, below which nothing more is kept
LOOK = 16  # photos that a process keeps until it looks again how much room is left
_HEAD = struct.Struct("<Qq")  # bytes of the photo's file and when it changed, in ns; zeros: not kept yet
_EMPTY = (0, 0)

Mark = tuple[int, int]
Sizes = Mapping[str, tuple[int, int]]


def decoded_bytes(sizes: Sizes) -> int:
    """Bytes that photos of these sizes (width, height) take when they are kept."""
    return sum(3 * width * height + _HEAD.size for width, height in sizes.values())


@dataclass(frozen=True)
class Layout:
    """Which photos have room, and where: first the heads of all of them, then their pixels.

    numbers: by id. starts: (n,) int64, where pixels begin. shapes: (n,2) int32, height and width. size: bytes of all.
    """

    numbers: dict[str, int]
    starts: NDArray[np.int64]
    shapes: NDArray[np.int32]
    size: int

    @classmethod
    def of(cls, sizes: Sizes, *, most: int) -> Layout:
        """For photos of these sizes (width, height) by id: those that in this order fit into `most` bytes."""
        shapes = np.array(list(sizes.values()), np.int64).reshape(len(sizes), 2)[:, ::-1]
        pixels = 3 * shapes.prod(axis=1)
        ends = np.cumsum(pixels + _HEAD.size)
        count = int((ends <= most).sum())
        starts = _HEAD.size * count + np.cumsum(pixels[:count]) - pixels[:count]
        numbers = {id: number for number, id in enumerate(list(sizes)[:count])}
        return cls(numbers, starts, shapes[:count].astype(np.int32), int(ends[count - 1]) if count else 0)


class DecodedPhotos:
    """Decoded photos, uint8 (H,W,3), in a file that processes share.

    A head is written when its pixels are there, and never again, so that no reader meets half a photo. Copies of this
    process (fork) share it; new ones (spawn) open it when this is sent to them, and go without where they cannot.
    folder: on whose disk the file lies; None: in memory. spare: bytes of room below which nothing more is kept.
    """

    def __init__(self, layout: Layout, *, folder: Path | None, file: Unnamed, spare: int) -> None:
        self.layout, self.folder, self.file, self.spare = layout, folder, file, spare
        self._full, self._written = False, 0
        file.close_with(self)

    @classmethod
    def make(cls, layout: Layout, *, folder: Path | None) -> DecodedPhotos | None:
        """None where no file can be made."""
        try:
            file = Unnamed.make(folder, size=layout.size)
        except OSError:
            return None
        return cls(layout, folder=folder, file=file, spare=int(SPARE * room(folder)))

    @classmethod
    def join(cls, name: str, layout: Layout, folder: Path | None, spare: int) -> DecodedPhotos | None:
        """Those that another process of this machine has made; None where its file cannot be opened."""
        try:
            file = Unnamed.open(name)
        except OSError:
            return None
        return cls(layout, folder=folder, file=file, spare=spare)

    def __reduce__(self) -> tuple[Callable[..., DecodedPhotos | None], tuple[object, ...]]:
        return DecodedPhotos.join, (self.file.name, self.layout, self.folder, self.spare)

    def read(self, id: str, mark: Mark) -> NDArray[np.uint8] | None:
        """The photo whose file is of this size and time of change; None where it is not kept."""
        number = self.layout.numbers.get(id)
        if number is None:
            return None
        try:
            if self._mark(number) != mark:
                return None
            photo = np.empty((*self.layout.shapes[number], 3), np.uint8)
            place = int(self.layout.starts[number])
            return photo if read_at(self.file.handle, photo.data.cast("B"), place) else None
        except OSError:
            return None

    def keep(self, id: str, mark: Mark, photo: NDArray[np.uint8]) -> None:
        """Keep the photo, if there is room and nobody has kept it or is about to."""
        number = self.layout.numbers.get(id)
        if number is None or self._full or photo.shape != (*self.layout.shapes[number], 3):
            return
        if not try_lock_byte(self.file.handle, LOCKS + number):
            return
        try:
            if self._mark(number) != _EMPTY:
                return
            if self._written % LOOK == 0 and room(self.folder) < self.spare:
                self._full = True
                return
            self._written += 1
            pixels = np.ascontiguousarray(photo).data.cast("B")
            write_at(self.file.handle, pixels, int(self.layout.starts[number]))
            write_at(self.file.handle, memoryview(_HEAD.pack(*mark)), number * _HEAD.size)
        except OSError:  # a full disk
            self._full = True
        finally:
            unlock_byte(self.file.handle, LOCKS + number)

    def _mark(self, number: int) -> Mark:
        head = bytearray(_HEAD.size)
        there = read_at(self.file.handle, memoryview(head), number * _HEAD.size)
        size, changed = _HEAD.unpack(head) if there else _EMPTY
        return size, changed


@dataclass(frozen=True)
class PhotosOnce(Derived):
    """`whole` with its photos kept decoded, as far as there is room.

    max_side: longer side in pixels that they are reduced to before, where they are larger; 0: they are not. kept: None
    where nothing is.
    """

    kept: DecodedPhotos | None
    max_side: int = 0

    @property
    def items(self) -> tuple[Item, ...]:
        return self.whole.items

    def photo(self, item: Item | int) -> NDArray[np.uint8]:
        """(H,W,3) uint8, RGB, upright. Raises PhotoError as `whole` does."""
        shown = self.items[item] if isinstance(item, int) else item
        mark = _mark_of(shown.photo) if self.kept is not None else None
        if self.kept is None or mark is None:
            return self._decoded(shown)
        photo = self.kept.read(shown.id, mark)
        if photo is None:
            photo = self._decoded(shown)
            if _mark_of(shown.photo) == mark:
                self.kept.keep(shown.id, mark, photo)
        return photo

    def _decoded(self, item: Item) -> NDArray[np.uint8]:
        photo = self.whole.photo(item)
        return reduced(photo, max_side=self.max_side) if self.max_side else photo


def sizes_kept(sizes: Sizes, *, max_side: int) -> dict[str, tuple[int, int]]:
    """(width, height) of photos once reduced to `max_side` pixels at the longer side; 0: as they are."""
    if not max_side:
        return dict(sizes)
    return {id: reduced_size(*size, max_side=max_side) for id, size in sizes.items()}


def room(folder: Path | None) -> int:
    """Bytes that are free where photos are kept: on the disk of `folder`; None: in memory."""
    return free_memory() if folder is None else free_disk(folder)


def _mark_of(path: Path) -> Mark | None:
    try:
        return size_and_time(path)
    except OSError:
        return None

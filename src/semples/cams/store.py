"""Folders of class activation maps (CAMs), one file a photo, in one of two formats.

"npy": the published programs' dictionaries, a NumPy object array {class index: float32 (H,W)} in `ID.npy`, written for
tools that read them. They hold a pickle, so they are read back only through the restricted `semples.core.safeload`.
irn's form {"keys": class indices, "cam": reduced maps, "high_res": (p,H,W)} is read as well.

"compact" (default), `ID.npz`, 1/30 to 1/60 of that size at 500x375. A CAM is a sum of bilinear upsamplings of coarse
grids, so it is linear along rows and columns except at the grids' nodes. The file keeps only those rows and columns
from which linear interpolation restores the map within a tolerance, as whole numbers. Maps without such structure keep
every row and column. Multiples of 1/100 come back exactly, so a tie with a background threshold stays a tie.

Both keep the order of the classes, because among equal CAMs the first class wins.

Members of a compact file (plain arrays, `np.load(allow_pickle=False)` reads them):
    layout, int32: height H, width W, steps (what the value 1.0 is stored as), numbers of classes p, of kept rows R and
        of kept columns C; then the p class indices, the R rows, the C columns
    values, uint8 (2,p,R,C): the kept values times steps; of these the differences along columns, of those the
        differences along rows (mod 2^16), the sign moved to the lowest bit, high and low bytes apart
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UnusableFile, UserError
from semples.core.files import atomic_path, open_regular, read_file, read_json, write_bytes, write_json
from semples.core.places import ids_in, number, place_of
from semples.core.safeload import load_npy

Cams = dict[int, NDArray[np.float32]]
Format = Literal["compact", "npy"]

SUFFIX: dict[str, str] = {"compact": ".npz", "npy": ".npy"}
SIZE_SUFFIX = ".size.json"  # beside an `.npy` without classes, whose dictionary cannot tell the photo's size

# (tolerance of the interpolation, steps), the first that meets the byte target; if none does, the first. Worst error:
# 2 * tolerance + 1 / (2 * steps).
PRECISIONS = ((1e-5, 20_000), (1e-4, 4_000), (1e-3, 1_000))
MAX_PIXELS = 1 << 28  # of a map
TARGET = 1 / 20  # bytes, as a part of the published format's


class CamStore:
    """A folder of CAMs.

    With `format` None it reads whatever the folder holds and writes "compact"; with a format named it sees only files
    of that format. Ids are relative posix paths without extension and may have folders in them.
    """

    def __init__(self, folder: Path | str, *, format: Format | None = None) -> None:
        if format is not None and format not in get_args(Format):
            raise UserError(f"CAM format {format!r}: choose one of {', '.join(get_args(Format))}")
        self.folder = Path(folder)
        self.format: Format = format or "compact"
        self._readable: tuple[Format, ...] = (format,) if format else ("compact", "npy")

    def write(self, id: str, cams: Mapping[int, NDArray[np.float32]], shape: tuple[int, int]) -> None:
        """Write one photo's CAMs: {class index (0-based): float32 (H,W) in 0..1}, `shape` (H,W).

        Equal input gives equal bytes. A photo without tags has no class and is written all the same.
        """
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"shape must be (height, width), not {shape}")
        ordered = {int(index): np.ascontiguousarray(cam) for index, cam in cams.items()}
        for index, cam in ordered.items():
            if cam.shape != tuple(shape) or cam.dtype != np.float32:
                raise ValueError(f"CAM of class {index} must be float32 {tuple(shape)}, not {cam.dtype} {cam.shape}")
            if not (cam.min() >= 0 and cam.max() <= 1):
                raise ValueError(f"CAM of class {index} has values outside 0..1")
        path = self._path(id, self.format)
        if self.format == "compact":
            write_bytes(path, encode_compact(ordered, shape))
            return
        if not ordered:  # first, so that a whole `.npy` always has its size
            write_json(self._size_path(id), {"height": int(shape[0]), "width": int(shape[1])})
        with atomic_path(path) as temporary:
            np.save(temporary, np.array(ordered, dtype=object), allow_pickle=True)

    def read(self, id: str) -> Cams:
        """One photo's CAMs, {class index: float32 (H,W)}. Raises UnusableFile naming a missing or broken file."""
        return self.read_with_shape(id)[0]

    def read_with_shape(self, id: str) -> tuple[Cams, tuple[int, int] | None]:
        """One photo's CAMs and its (H,W); None where an `.npy` of another program holds no class and so no size."""
        for format in self._readable:
            path = self._path(id, format)
            if path.is_file():
                try:
                    return _decode_file(path) if format == "compact" else self._read_npy(path, id)
                except UserError as error:
                    raise UnusableFile(str(error)) from None
        raise UnusableFile(f"{self._path(id, self._readable[0])}: no such file; make the CAMs of this photo first")

    def has(self, id: str) -> bool:
        """Whether the photo's file is there and ends as a whole file does (its content is checked when it is read)."""
        return any(_is_whole(self._path(id, format), format) for format in self._readable)

    def ids(self) -> list[str]:
        """Ids of all files in the folder, sorted. Files still being written are left out."""
        return sorted({id for format in self._readable for id in ids_in(self.folder, SUFFIX[format])})

    def number(self, ids: Iterable[str]) -> None:
        """Make ready for the CAMs of these photos, all of the data set (`core.places.number`)."""
        number(self.folder, ids, suffix=SUFFIX[self.format])

    def _path(self, id: str, format: Format) -> Path:
        pure = PurePosixPath(id)
        if not id or pure.is_absolute() or ".." in pure.parts or "\\" in id or "\0" in id:
            raise UserError(f"photo id {id!r}: must be a relative path inside the folder; rename the photo")
        return place_of(self.folder, id, SUFFIX[format])

    def _size_path(self, id: str) -> Path:
        return place_of(self.folder, id, SIZE_SUFFIX)

    def _read_npy(self, path: Path, id: str) -> tuple[Cams, tuple[int, int] | None]:
        stored = load_npy(path)
        wrong = UserError(f"{path}: not a dictionary of class index and equally large CAMs; make this file again")
        if isinstance(stored, np.ndarray) and stored.shape == ():
            stored = stored.item()
        if not isinstance(stored, dict):
            raise wrong
        if "keys" in stored:
            stored = _from_irn(stored, path)
        cams: Cams = {}
        for index, cam in stored.items():
            if not isinstance(index, int | np.integer) or not isinstance(cam, np.ndarray) or cam.ndim != 2:
                raise wrong
            if cam.dtype.kind != "f" or not cam.size or not np.isfinite(cam).all():
                raise wrong
            cams[int(index)] = cam.astype(np.float32, copy=False)
        shapes = {cam.shape for cam in cams.values()}
        if len(shapes) > 1:
            raise wrong
        if shapes:
            height, width = shapes.pop()
            return cams, (height, width)
        return cams, _read_size(self._size_path(id))


def _from_irn(stored: Mapping[object, object], path: Path) -> dict[object, object]:
    """irn's dictionary as one by class. Raises UserError where it has no maps of the photo's own size."""
    keys, maps = np.asarray(stored["keys"]), stored.get("high_res")
    if maps is None:
        raise UserError(
            f"{path}: irn's form without 'high_res', so the maps are smaller than the photo; write them with it"
        )
    maps = np.asarray(maps)
    if keys.ndim != 1 or keys.dtype.kind not in "iu" or maps.ndim != 3 or len(keys) != len(maps):
        raise UserError(f"{path}: irn's form, but its keys and maps do not belong together; make this file again")
    return {int(key): one for key, one in zip(keys, maps, strict=True)}


def encode_compact(cams: Mapping[int, NDArray[np.float32]], shape: tuple[int, int]) -> bytes:
    """The bytes of a compact file. `cams`: {class index: float32 (H,W) in 0..1}, `shape`: (H,W)."""
    maps = np.stack([*cams.values()]) if cams else np.zeros((0, *shape), np.float32)
    encoded = []
    for tolerance, steps in PRECISIONS:
        encoded.append(_encode(maps, list(cams), tolerance, steps))
        if not cams or len(encoded[-1]) <= TARGET * maps.nbytes:
            return encoded[-1]
    return encoded[0]


def decode_compact(data: bytes) -> tuple[Cams, tuple[int, int]]:
    """The CAMs and (H,W) of a compact file's bytes. Raises ValueError when they are not such a file."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as members:
            layout, values = members["layout"], members["values"]
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, AttributeError) as error:
        raise ValueError(f"not a CAM file ({error})") from error
    if layout.dtype != np.int32 or layout.ndim != 1 or len(layout) < 6:
        raise ValueError("its layout is unknown")
    height, width, steps, *counts = (int(number) for number in layout[:6])
    if not (0 < height * width <= MAX_PIXELS and min(height, width, *counts[1:]) > 0 and counts[0] >= 0):
        raise ValueError(f"it is of {height}x{width} pixels")
    if len(layout) != 6 + sum(counts) or values.dtype != np.uint8 or values.shape != (2, *counts) or steps < 1:
        raise ValueError("its members do not belong together")
    classes, rows, columns = np.split(layout[6:], np.cumsum(counts)[:2])
    for kept, size in ((rows, height), (columns, width)):
        if kept[0] != 0 or kept[-1] != size - 1 or (np.diff(kept) < 1).any():
            raise ValueError("its rows or columns are out of order")
    kept_values = _restore_integers(values).astype(np.float64)
    maps = _interpolate(_interpolate(kept_values, rows, axis=1), columns, axis=2) / steps
    cams = {int(index): cam for index, cam in zip(classes, maps.astype(np.float32), strict=True)}
    return cams, (height, width)


def _encode(maps: NDArray[np.float32], classes: list[int], tolerance: float, steps: int) -> bytes:
    exact = maps.astype(np.float64)
    rows = _nodes(exact.transpose(1, 0, 2).reshape(maps.shape[1], -1), tolerance)
    exact = exact[:, rows]
    columns = _nodes(exact.transpose(2, 0, 1).reshape(maps.shape[2], -1), tolerance)
    integers = np.rint(exact[:, :, columns] * steps).astype(np.uint16)
    layout = [*maps.shape[1:], steps, *integers.shape, *classes, *rows, *columns]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, layout=np.array(layout, np.int32), values=_difference_bytes(integers))
    return buffer.getvalue()


def _nodes(lines: NDArray[np.float64], tolerance: float) -> NDArray[np.int32]:
    """Which of the N lines (N,M) to keep so that linear interpolation restores the others within `tolerance`.

    Each segment is drawn as long as it goes: `low` and `high` hold the slopes from its first line for which every line
    passed so far stays within the tolerance.
    """
    kept = [0]
    low = np.full(lines.shape[1], -np.inf)
    high = -low
    for end in range(1, len(lines)):
        start = kept[-1]
        slope = (lines[end] - lines[start]) / (end - start)
        if not ((low <= slope) & (slope <= high)).all():
            start = end - 1
            kept.append(start)
            low[:], high[:] = -np.inf, np.inf
            slope = lines[end] - lines[start]
        margin = tolerance / (end - start)
        np.maximum(low, slope - margin, out=low)
        np.minimum(high, slope + margin, out=high)
    if len(lines) > 1:
        kept.append(len(lines) - 1)
    return np.array(kept, np.int32)


def _interpolate(values: NDArray[np.float64], nodes: NDArray[np.int32], *, axis: int) -> NDArray[np.float64]:
    """Fill the gaps between the nodes linearly along `axis`; between equal values the result is exactly that value."""
    position = np.arange(int(nodes[-1]) + 1)
    segment = np.clip(np.searchsorted(nodes, position, side="right") - 1, 0, max(len(nodes) - 2, 0))
    following = np.minimum(segment + 1, len(nodes) - 1)
    along = [1, 1, 1]
    along[axis] = len(position)
    part = (position - nodes[segment]) / np.maximum(nodes[following] - nodes[segment], 1)
    left = values.take(segment, axis)
    filled: NDArray[np.float64] = left + (values.take(following, axis) - left) * part.reshape(along)
    return filled


def _difference_bytes(integers: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """uint16 (p,R,C) as uint8 (2,p,R,C) that compresses well: differences, sign in the lowest bit, bytes apart."""
    zero = np.uint16(0)
    difference = np.diff(np.diff(integers, axis=2, prepend=zero), axis=1, prepend=zero).view(np.int16)
    zigzag = ((difference << 1) ^ (difference >> 15)).view(np.uint16)
    return np.stack([zigzag >> 8, zigzag & 255]).astype(np.uint8)


def _restore_integers(values: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The inverse of `_difference_bytes`."""
    zigzag = (values[0].astype(np.uint16) << 8) | values[1]
    difference = (zigzag >> 1) ^ (0 - (zigzag & 1))
    integers: NDArray[np.uint16] = np.cumsum(np.cumsum(difference, axis=1, dtype=np.uint16), axis=2, dtype=np.uint16)
    return integers


def _decode_file(path: Path) -> tuple[Cams, tuple[int, int]]:
    try:
        return decode_compact(read_file(path))
    except (ValueError, IndexError, TypeError, OSError, MemoryError) as error:
        raise UserError(f"{path}: broken CAM file ({error}); delete it and make this photo's CAMs again") from None


def _read_size(path: Path) -> tuple[int, int] | None:
    if not path.is_file():
        return None
    size = read_json(path)
    if not isinstance(size, dict) or not all(
        isinstance(size.get(side), int) and 0 < size[side] <= MAX_PIXELS for side in ("height", "width")
    ):
        raise UserError(f"{path}: needs whole numbers 'height' and 'width'; make this photo's CAMs again")
    return size["height"], size["width"]


def _is_whole(path: Path, format: Format) -> bool:
    """A zip archive ends in its directory record, 22 bytes; a pickle in a full stop."""
    end = 22 if format == "compact" else 1
    try:
        with open_regular(path) as file:
            if file.seek(0, os.SEEK_END) < end:
                return False
            file.seek(-end, os.SEEK_END)
            return file.read().startswith(b"PK\x05\x06" if format == "compact" else b".")
    except (FileNotFoundError, UserError):
        return False

"""Reading one numeric array from a MATLAB 5 file, as the Semantic Boundaries Dataset (SBD) stores its masks.

Source: MathWorks, "MAT-File Format" (level 5). A file is a header of 128 bytes and a row of elements; an element is a
tag (type, length) and its bytes, and an array is an element made of elements: flags, dimensions, name, content. Only
arrays of numbers within a struct of one entry are read; everything else is passed over, nothing is ever run.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import read_file

HEADER = 128
MAX_BYTES = 64_000_000  # of a file and of an unpacked element; SBD's largest are about 300 kB
COMPRESSED, MATRIX = 15, 14  # element types
STRUCT = 2  # array class
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # element types


class _Bad(Exception):
    """The file is damaged or of another kind; the message is the reason."""


def read_field(path: Path, variable: str, field: str) -> NDArray[np.generic]:
    """The array in `field` of the struct `variable`, two-dimensional. Raises UserError."""
    try:
        data = read_file(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; get the file again") from None
    try:
        if len(data) > MAX_BYTES:
            raise _Bad(f"larger than {MAX_BYTES} bytes")
        order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
        if order is None or len(data) < HEADER:
            raise _Bad("it does not begin like one")
        for kind, content in _elements(data[HEADER:], order):
            if kind == COMPRESSED:
                kind, content = next(_elements(_inflate(content), order), (0, b""))
            if kind == MATRIX and (value := _field_of(content, order, variable, field)) is not None:
                return value
        raise _Bad(f"it holds no {variable}.{field}")
    except (_Bad, struct.error, zlib.error, ValueError) as reason:
        raise UserError(f"{path}: not a readable MATLAB 5 file ({reason}); get the file again") from None


def _inflate(content: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(content, MAX_BYTES)
    if unpacker.unconsumed_tail:
        raise _Bad(f"it unpacks to more than {MAX_BYTES} bytes")
    return data


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of each element in a row of them."""
    position = 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from(order + "II", data, position)
        if kind >> 16:  # short form: length and type share four bytes, the content is in the next four
            kind, length, start, step = kind & 0xFFFF, kind >> 16, position + 4, 8
            if length > 4:
                raise _Bad("a short element is too long")
        else:
            start = position + 8
            step = 8 + (length if kind == COMPRESSED else -(-length // 8) * 8)
        if start + length > len(data):
            raise _Bad("it is cut off")
        yield kind, data[start : start + length]
        position += step


def _field_of(content: bytes, order: str, variable: str, field: str) -> NDArray[np.generic] | None:
    """A field of a struct, given the bytes of an array; None where this is not that struct."""
    parts = list(_elements(content, order))
    if len(parts) < 5 or not parts[0][1] or _array_class(parts[0][1], order) != STRUCT:
        return None
    if parts[2][1].rstrip(b"\0").decode("latin-1") != variable:
        return None
    if _dimensions(parts[1][1], order) != (1, 1):
        raise _Bad(f"{variable} is not a single struct")
    (width,) = struct.unpack_from(order + "i", parts[3][1])
    if width <= 0:
        raise _Bad("its field names have no length")
    names = [
        parts[4][1][start : start + width].split(b"\0")[0].decode("latin-1")
        for start in range(0, len(parts[4][1]), width)
    ]
    if field not in names or 5 + names.index(field) >= len(parts):
        return None
    return _numbers(parts[5 + names.index(field)][1], order)


def _numbers(content: bytes, order: str) -> NDArray[np.generic]:
    parts = list(_elements(content, order))
    if len(parts) < 4 or parts[3][0] not in NUMBERS or _array_class(parts[0][1], order) < 6:
        raise _Bad("the field holds no numbers")
    rows, columns = _dimensions(parts[1][1], order)
    values = np.frombuffer(parts[3][1], np.dtype(order + NUMBERS[parts[3][0]]))
    if rows < 0 or columns < 0 or values.size != rows * columns:
        raise _Bad("the field's numbers do not fill its dimensions")
    return values.reshape((rows, columns), order="F").astype(values.dtype.newbyteorder("="))


def _array_class(flags: bytes, order: str) -> int:
    return int(struct.unpack_from(order + "I", flags)[0]) & 0xFF


def _dimensions(content: bytes, order: str) -> tuple[int, int]:
    if len(content) != 8:
        raise _Bad("an array has not two dimensions")
    rows, columns = struct.unpack(order + "ii", content)
    return int(rows), int(columns)

"""Unpickling arrays, containers, text and numbers, and nothing else.

A pickle is a small program. Two defences:

- A name in it is only ever answered with one of the stand-ins below, never with the class or function it asks for.
  NumPy's own `dtype` and `ndarray` are not handed out either: fed with forged state they read memory at will.
- What comes out is rebuilt from checked parts: arrays of numbers or text from plain bytes, and Python's containers.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import warnings
import zlib
from collections import OrderedDict
from typing import Any, NoReturn

import numpy as np

DAMAGED = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, MemoryError,
    RecursionError, UnicodeError, struct.error, zlib.error, pickle.UnpicklingError,
)  # fmt: skip

MAX_DEPTH = 50  # containers within containers
MAX_ITEMS = 50_000_000  # entries of all containers together


class Refused(Exception):
    """The file holds something that is not data; the message is the reason."""


# ------------------------------------------------------------------------------------------------------ stand-ins


def refuse(reason: str) -> NoReturn:
    raise Refused(reason)


def _simple_dtype(name: Any, order: str = "=") -> np.dtype[Any]:
    """A dtype of numbers, booleans, text or bytes, from the text NumPy writes ("f4", "<U11")."""
    if not isinstance(name, str) or len(name) > 12:
        refuse("it describes an array of an unusual type")
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        refuse("it describes an array of an unusual type")
    if dtype.kind not in "biufcUSO" or dtype.names is not None or dtype.subdtype is not None:
        refuse("it describes an array of an unusual type")
    if order == "<":
        return dtype.newbyteorder("<")
    return dtype.newbyteorder(">") if order == ">" else dtype


class _Dtype:
    """Stands in for numpy.dtype: keeps the type's name and byte order, ignores every flag a pickle could forge."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.value = _simple_dtype(name)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or not isinstance(state[1], str):
            refuse("it holds a damaged array type")
        self.value = _simple_dtype(self.value.str, state[1])


class _Array:
    """Stands in for numpy.ndarray: an array under construction.

    `value` is the finished array; for an array of objects a list, or the object itself where the shape is ().
    """

    value: Any = None
    finished = False

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            refuse("it holds a damaged array")
        _, shape, dtype, fortran, data = state
        self.value = _build_array(shape, dtype.value, bool(fortran), data)
        self.finished = True


class Inert:
    """Stands in for harmless records beside weights (argparse.Namespace, a path): accepts anything, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _build_array(shape: Any, dtype: np.dtype[Any], fortran: bool, data: Any) -> Any:
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        refuse("it holds an array of an impossible shape")
    if len(shape) > 32:
        refuse("it holds an array of an impossible shape")
    count = 1
    for length in shape:
        count *= length
    if dtype.kind == "O":
        if not isinstance(data, list) or len(data) != count:
            refuse("it holds a damaged array of objects")
        return _nested(data, shape)
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize:
        refuse("it holds an array whose data do not fit its shape")
    array = np.frombuffer(bytes(data), dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))  # a copy: writable, this machine's byte order


def _nested(entries: list[Any], shape: tuple[int, ...]) -> Any:
    """A flat list in row-major order as lists within lists; shape () gives the one entry."""
    for length in reversed(shape[1:]):
        entries = [entries[start : start + length] for start in range(0, len(entries), length)] if length else []
    return entries if shape else entries[0]


def _scalar(dtype: Any = None, data: Any = b"", *_: Any) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.value.kind == "O":
        refuse("it holds a damaged number")
    return _build_array((), dtype.value, False, data)[()]


def _frombuffer(data: Any = None, dtype: Any = None, shape: Any = None, order: Any = None, *_: Any) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.value.kind == "O":
        refuse("it holds a damaged array")
    return _build_array(shape, dtype.value, order == "F", data)


def _encode(text: Any = "", encoding: Any = "", *_: Any) -> bytes:
    """Bytes as Python 3 writes them for Python 2: text to be encoded as Latin-1, and no other codec."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        refuse("it asks for a text codec")
    return text.encode("latin-1")


def _storage(data: Any = b"", *_: Any) -> np.ndarray[Any, Any]:
    """The numbers of a torch tensor within a pickle: the bytes of a file of its own, for the weights-only reader."""
    import torch

    if not isinstance(data, bytes | bytearray):
        refuse("it holds a damaged tensor")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the storage's class is an old one
            stored = torch.load(io.BytesIO(bytes(data)), map_location="cpu", weights_only=True)
            flat = torch.empty(0, dtype=stored.dtype).set_(stored.untyped())
        return (flat.float() if flat.dtype == torch.bfloat16 else flat).numpy()
    except (*DAMAGED, RuntimeError):
        refuse("it holds a damaged tensor")


def _tensor(flat: Any = None, offset: Any = 0, size: Any = (), stride: Any = (), *_: Any) -> np.ndarray[Any, Any]:
    """A torch tensor within a pickle as an array: a view of its numbers, checked to stay among them, and copied."""
    numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
    if not isinstance(flat, np.ndarray) or flat.ndim != 1 or not all(type(n) is int and n >= 0 for n in numbers):
        refuse("it holds a damaged tensor")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=False))
    if len(size) != len(stride) or len(size) > 32 or (0 not in size and last >= len(flat)):
        refuse("it holds a damaged tensor")
    if 0 in size:
        return np.zeros(size, flat.dtype)
    steps = [step * flat.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False).copy()


ARRAY_NAMES: dict[str, Any] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": OrderedDict,
}
for _package in ("builtins", "__builtin__"):  # the second is Python 2's name
    ARRAY_NAMES |= {f"{_package}.{kind.__name__}": kind for kind in (set, frozenset, complex, bytearray)}
for _package in ("numpy.core", "numpy._core"):
    ARRAY_NAMES[f"{_package}.multiarray._reconstruct"] = _reconstruct
    ARRAY_NAMES[f"{_package}.multiarray.scalar"] = _scalar
    ARRAY_NAMES[f"{_package}.numeric._frombuffer"] = _frombuffer


TENSOR_NAMES: dict[str, Any] = {
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor_v2": _tensor,
}


class ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        known = ARRAY_NAMES | TENSOR_NAMES
        if full not in known:
            refuse(f"it asks for {full[:80]!r}, which is not data")
        return known[full]

    def persistent_load(self, _: Any) -> NoReturn:
        refuse("it refers to objects outside the file")


def unpickle(data: bytes) -> Any:
    """The content of a pickle of arrays, containers, text and numbers."""
    for opcode, argument, _ in pickletools.genops(data):
        # The reader makes room for as many memo entries as the largest index says.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(data):
            refuse("it is damaged")
    return _plain(ArrayUnpickler(io.BytesIO(data), encoding="latin1").load(), 0, {}, [0])


def _plain(value: Any, depth: int, seen: dict[int, Any], count: list[int]) -> Any:
    """`value` with every stand-in replaced by what it stands for; `seen` keeps shared parts shared."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.ndarray | np.generic):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if depth > MAX_DEPTH:
        refuse(f"it nests more than {MAX_DEPTH} levels deep")
    if isinstance(value, _Array):
        if not value.finished:
            refuse("it holds an unfinished array")
        plain = _plain(value.value, depth + 1, seen, count)
    elif isinstance(value, dict | list | tuple | set | frozenset):
        count[0] += len(value)
        if count[0] > MAX_ITEMS:
            refuse(f"it holds more than {MAX_ITEMS} entries")
        if isinstance(value, dict):
            pairs = value.items()
            plain = {_key(key): _plain(entry, depth + 1, seen, count) for key, entry in pairs}
        elif isinstance(value, list | tuple):
            plain = type(value)([_plain(entry, depth + 1, seen, count) for entry in value])
        else:
            plain = type(value)(_key(entry) for entry in value)
    elif isinstance(value, bytearray):
        plain = bytes(value)
    else:
        refuse("it holds something other than arrays, containers, text and numbers")
    seen[id(value)] = plain
    return plain


def _key(key: Any) -> Any:
    if not isinstance(key, str | bytes | int | float | np.generic):
        refuse("it holds a dictionary whose keys are neither text nor numbers")
    return key

"""Reading `.npy` and weight files that others published, without running anything that is in them.

Both formats may hold a pickle, which is a small program. Two defences:

- A name in a pickle is only ever answered with one of the stand-ins below, never with the class or function it asks
  for. NumPy's own `dtype` and `ndarray` are not handed out either: fed with forged state they read memory at will.
- What comes out is rebuilt from checked parts: arrays of numbers or text from plain bytes, and Python's containers.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from semples.core.errors import UserError
from semples.core.files import open_regular

if TYPE_CHECKING:
    import torch

MAX_DEPTH = 50  # containers within containers
MAX_ITEMS = 50_000_000  # entries of all containers together
STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")


class _Refused(Exception):
    """The file holds something that is not data; the message is the reason."""


# ------------------------------------------------------------------------------------------------------ stand-ins


def _refuse(reason: str) -> NoReturn:
    raise _Refused(reason)


def _simple_dtype(name: Any, order: str = "=") -> np.dtype[Any]:
    """A dtype of numbers, booleans, text or bytes, from the text NumPy writes ("f4", "<U11")."""
    if not isinstance(name, str) or len(name) > 12:
        _refuse("it describes an array of an unusual type")
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError, SyntaxError):
        _refuse("it describes an array of an unusual type")
    if dtype.kind not in "biufcUSO" or dtype.names is not None or dtype.subdtype is not None:
        _refuse("it describes an array of an unusual type")
    if order == "<":
        return dtype.newbyteorder("<")
    return dtype.newbyteorder(">") if order == ">" else dtype


class _Dtype:
    """Stands in for numpy.dtype: keeps the type's name and byte order, ignores every flag a pickle could forge."""

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.value = _simple_dtype(name)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or not isinstance(state[1], str):
            _refuse("it holds a damaged array type")
        self.value = _simple_dtype(self.value.str, state[1])


class _Array:
    """Stands in for numpy.ndarray: an array under construction.

    `value` is the finished array; for an array of objects a list, or the object itself where the shape is ().
    """

    value: Any = None
    finished = False

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
            _refuse("it holds a damaged array")
        _, shape, dtype, fortran, data = state
        self.value = _build_array(shape, dtype.value, bool(fortran), data)
        self.finished = True


class _Inert:
    """Stands in for harmless records beside weights (argparse.Namespace, a path): accepts anything, does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _build_array(shape: Any, dtype: np.dtype[Any], fortran: bool, data: Any) -> Any:
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        _refuse("it holds an array of an impossible shape")
    if len(shape) > 32:
        _refuse("it holds an array of an impossible shape")
    count = 1
    for length in shape:
        count *= length
    if dtype.kind == "O":
        if not isinstance(data, list) or len(data) != count:
            _refuse("it holds a damaged array of objects")
        return _nested(data, shape)
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray) or len(data) != count * dtype.itemsize:
        _refuse("it holds an array whose data do not fit its shape")
    array = np.frombuffer(bytes(data), dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))  # a copy: writable, this machine's byte order


def _nested(entries: list[Any], shape: tuple[int, ...]) -> Any:
    """A flat list in row-major order as lists within lists; shape () gives the one entry."""
    for length in reversed(shape[1:]):
        entries = [entries[start : start + length] for start in range(0, len(entries), length)] if length else []
    return entries if shape else entries[0]


def _scalar(dtype: Any = None, data: Any = b"", *_: Any) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.value.kind == "O":
        _refuse("it holds a damaged number")
    return _build_array((), dtype.value, False, data)[()]


def _frombuffer(data: Any = None, dtype: Any = None, shape: Any = None, order: Any = None, *_: Any) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.value.kind == "O":
        _refuse("it holds a damaged array")
    return _build_array(shape, dtype.value, order == "F", data)


def _encode(text: Any = "", encoding: Any = "", *_: Any) -> bytes:
    """Bytes as Python 3 writes them for Python 2: text to be encoded as Latin-1, and no other codec."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        _refuse("it asks for a text codec")
    return text.encode("latin-1")


_ARRAY_NAMES: dict[str, Any] = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": OrderedDict,
}
for _package in ("builtins", "__builtin__"):  # the second is Python 2's name
    _ARRAY_NAMES |= {f"{_package}.{kind.__name__}": kind for kind in (set, frozenset, complex, bytearray)}
for _package in ("numpy.core", "numpy._core"):
    _ARRAY_NAMES[f"{_package}.multiarray._reconstruct"] = _reconstruct
    _ARRAY_NAMES[f"{_package}.multiarray.scalar"] = _scalar
    _ARRAY_NAMES[f"{_package}.numeric._frombuffer"] = _frombuffer


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _ARRAY_NAMES:
            _refuse(f"it asks for {full[:80]!r}, which is not data")
        return _ARRAY_NAMES[full]

    def persistent_load(self, _: Any) -> NoReturn:
        _refuse("it refers to objects outside the file")


def _unpickle(data: bytes) -> Any:
    """The content of a pickle of arrays, containers, text and numbers."""
    for opcode, argument, _ in pickletools.genops(data):
        # The reader makes room for as many memo entries as the largest index says.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(data):
            _refuse("it is damaged")
    return _plain(_ArrayUnpickler(io.BytesIO(data), encoding="latin1").load(), 0, {}, [0])


def _plain(value: Any, depth: int, seen: dict[int, Any], count: list[int]) -> Any:
    """`value` with every stand-in replaced by what it stands for; `seen` keeps shared parts shared."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.ndarray | np.generic):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if depth > MAX_DEPTH:
        _refuse(f"it nests more than {MAX_DEPTH} levels deep")
    if isinstance(value, _Array):
        if not value.finished:
            _refuse("it holds an unfinished array")
        found = _plain(value.value, depth + 1, seen, count)
    elif isinstance(value, dict | list | tuple | set | frozenset):
        count[0] += len(value)
        if count[0] > MAX_ITEMS:
            _refuse(f"it holds more than {MAX_ITEMS} entries")
        if isinstance(value, dict):
            pairs = value.items()
            found = {_key(key): _plain(entry, depth + 1, seen, count) for key, entry in pairs}
        elif isinstance(value, list | tuple):
            found = type(value)([_plain(entry, depth + 1, seen, count) for entry in value])
        else:
            found = type(value)(_key(entry) for entry in value)
    elif isinstance(value, bytearray):
        found = bytes(value)
    else:
        _refuse("it holds something other than arrays, containers, text and numbers")
    seen[id(value)] = found
    return found


def _key(key: Any) -> Any:
    if not isinstance(key, str | bytes | int | float | np.generic):
        _refuse("it holds a dictionary whose keys are neither text nor numbers")
    return key


# ----------------------------------------------------------------------------------------------------------- .npy

_DAMAGED = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, MemoryError,
    RecursionError, UnicodeError, struct.error, zlib.error, pickle.UnpicklingError,
)  # fmt: skip


def load_npy(path: Path | str) -> Any:
    """Read a `.npy` file: an array as it is; an array of objects as plain lists, one of shape () as its one object.

    The objects may be arrays, dictionaries, lists, tuples, sets, text, bytes and numbers, as in the published
    `cls_labels.npy` and CAM files (a dictionary saved by `np.save`). Arrays come in this machine's byte order.

    Raises:
        UserError: no such file, not a `.npy` file, damaged, or holding anything but data. Nothing in it is run.
    """
    try:
        return _read_npy(Path(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except _Refused as reason:
        raise UserError(f"{path}: refused, {reason}; only arrays, containers, text and numbers are read") from None
    except _DAMAGED as error:
        raise UserError(f"{path}: not a readable .npy file: {_one_line(error)}") from None


def _read_npy(path: Path) -> Any:
    with open_regular(path) as file:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is not known")
        shape, _, dtype = readers[version](file)
        if not dtype.hasobject:
            file.seek(0)
            return np.load(file, allow_pickle=False)
        if dtype != np.dtype("O"):
            _refuse("it describes an array of an unusual type")
        content = _unpickle(file.read())
    if shape and not isinstance(content, list):
        raise ValueError("its header and its content differ in shape")
    return content


# ------------------------------------------------------------------------------------------------------ weights


def load_state_dict(path: Path | str) -> dict[str, torch.Tensor]:
    """Read the tensors of a weight file (`.safetensors`; or PyTorch's `.pth`, `.pt`, `.bin`, zip or older form).

    A state dict inside "model", "state_dict" or "model_state_dict" is found; a leading "module." (written by data
    parallel training) is taken off the names. PyTorch files are read with `weights_only=True`. Published checkpoints
    often carry the program's settings (`argparse.Namespace`), paths or NumPy numbers beside the weights: these are
    read into inert stand-ins and dropped.

    Returns:
        names to CPU tensors, in file order.

    Raises:
        UserError: no such file, not a weight file, damaged, or holding anything but data. Nothing in it is run.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with open_regular(path) as file:
        start = file.read(16)
    if path.suffix.lower() == ".safetensors" or _looks_like_safetensors(path, start):
        return _without_module(_read_safetensors(path))
    return _without_module(_tensors_in(_read_torch(path), path))


def _looks_like_safetensors(path: Path, start: bytes) -> bool:
    length = int.from_bytes(start[:8], "little")
    return len(start) > 8 and start[8:9] == b"{" and 2 <= length <= path.stat().st_size - 8


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, *_DAMAGED) as error:
        raise UserError(f"{path}: not a readable safetensors file: {_one_line(error)}") from None


def _read_torch(path: Path) -> Any:
    import torch

    if zipfile.is_zipfile(path):
        _refuse_torchscript(path)
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on old or unusual pickles; what cannot be read raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except _Refused as reason:
        raise UserError(f"{path}: refused, {reason}; only weights are read") from None
    except pickle.UnpicklingError as error:
        name = str(error).partition("Unsupported global: GLOBAL ")[2].split(" ")[0][:80]
        detail = f"it asks for {name!r}, which is not data" if name else "it is damaged or holds more than data"
        raise UserError(f"{path}: refused, {detail}; only weights are read") from None
    except (*_DAMAGED, RuntimeError) as error:
        raise UserError(f"{path}: not a readable weight file: {_one_line(error)}") from None


def _refuse_torchscript(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, *_DAMAGED):
        raise UserError(f"{path}: not a readable weight file: the archive is damaged") from None
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise UserError(
            f"{path}: a TorchScript archive, which holds a program beside its weights; save its weights alone: "
            "torch.save(torch.jit.load(file).state_dict(), new_file)"
        )


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let PyTorch's weights-only reader meet the usual records beside weights, as stand-ins that do nothing."""
    import torch

    names: dict[str, Any] = {
        name: stand_in
        for name, stand_in in _ARRAY_NAMES.items()
        if name.startswith("numpy") or name == "_codecs.encode"
    }
    records = ("argparse.Namespace", "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath")
    names |= dict.fromkeys(records, _Inert)
    with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in names.items()]):
        yield


def _tensors_in(content: Any, path: Path) -> dict[str, torch.Tensor]:
    import torch

    for key in STATE_DICT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds no state dict (names with tensors), neither at its top nor under 'model'")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise UserError(
                f"{path}: entry {str(name)[:80]!r} is no tensor; expected a state dict, at the top or under one of "
                + ", ".join(STATE_DICT_KEYS)
            )
    return {name: tensor.detach() for name, tensor in content.items()}


def _without_module(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "..."

"""Reading `.npy`, `.npz` and weight files that others published, without running anything that is in them.

These formats may hold a pickle, which is a small program: it is only read through `semples.core.unpickle` or PyTorch's
own weights-only reader.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semples.core.errors import UserError
from semples.core.files import open_regular
from semples.core.pickles import refusal
from semples.core.unpickle import ARRAY_NAMES, DAMAGED, Inert, Refused, refuse, unpickle

if TYPE_CHECKING:
    import torch

STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")


# ----------------------------------------------------------------------------------------------------------- .npy


def load_npy(path: Path | str) -> Any:
    """Read a `.npy` file: an array as it is; an array of objects as plain lists, one of shape () as its one object.

    The objects may be arrays, dictionaries, lists, tuples, sets, text, bytes and numbers, as in the published
    `cls_labels.npy` and CAM files (a dictionary saved by `np.save`). Torch tensors in them come as arrays. Arrays come
    in this machine's byte order.

    Raises:
        UserError: no such file, not a `.npy` file, damaged, or holding anything but data. Nothing in it is run.
    """
    try:
        return _read_npy(Path(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Refused as reason:
        raise UserError(f"{path}: refused, {reason}; only arrays, containers, text and numbers are read") from None
    except DAMAGED as error:
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
            refuse("it describes an array of an unusual type")
        content = unpickle(file.read())
    if shape and not isinstance(content, list):
        raise ValueError("its header and its content differ in shape")
    return content


# ------------------------------------------------------------------------------------------------------ weights


def load_state_dict(path: Path | str) -> dict[str, torch.Tensor]:
    """Read the tensors of a weight file: `.safetensors`; PyTorch's `.pth`, `.pt`, `.bin`, zip or older form; `.npz`.

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
        start = file.read(64)
    _refuse_text(path, start)
    if path.suffix.lower() == ".safetensors" or _looks_like_safetensors(path, start):
        return _without_module(_read_safetensors(path))
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    return _without_module(_tensors_in(_read_torch(path), path))


def _refuse_text(path: Path, start: bytes) -> None:
    """What often lies in the place of weights after a download that went wrong."""
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: a Git LFS pointer, not the weights themselves; get them with git lfs pull")
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise UserError(f"{path}: a web page, not weights; download the file itself (on GitHub its raw form)")


def _looks_like_safetensors(path: Path, start: bytes) -> bool:
    length = int.from_bytes(start[:8], "little")
    return len(start) > 8 and start[8:9] == b"{" and 2 <= length <= path.stat().st_size - 8


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, *DAMAGED) as error:
        raise UserError(f"{path}: not a readable safetensors file: {_one_line(error)}") from None


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            return {name: torch.from_numpy(np.array(arrays[name], order="C")) for name in arrays.files}
    except (*DAMAGED, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz file of weights: {_one_line(error)}") from None


def _read_torch(path: Path) -> Any:
    import torch

    if zipfile.is_zipfile(path):
        _refuse_torchscript(path)
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on old or unusual pickles; what cannot be read raises
            return torch.load(path, map_location="cpu", weights_only=True)
    except Refused as reason:
        raise UserError(f"{path}: refused, {reason}; only weights are read") from None
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused, {refusal(path, str(error))}") from None
    except (*DAMAGED, RuntimeError) as error:
        raise UserError(f"{path}: not a readable weight file: {_one_line(error)}") from None


def _refuse_torchscript(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, *DAMAGED):
        raise UserError(f"{path}: not a readable weight file: the archive is damaged") from None
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise UserError(
            f"{path}: a TorchScript archive, which holds a program beside its weights; save its weights alone: "
            'torch.save(torch.jit.load(file, map_location="cpu").state_dict(), new_file)'
        )


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let PyTorch's weights-only reader meet the usual records beside weights, as stand-ins that do nothing."""
    import torch

    names: dict[str, Any] = {
        name: stand_in for name, stand_in in ARRAY_NAMES.items() if name.startswith("numpy") or name == "_codecs.encode"
    }
    records = ("argparse.Namespace", "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath")
    names |= dict.fromkeys(records, Inert)
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

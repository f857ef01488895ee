"""Finding model weights (hub id, folder, file, shipped) and putting them into a network without leniency."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import read_json, sha256_file
from semples.core.safeload import load_state_dict
from semples.core.systems import family_of, is_drive
from semples.networks.hub import CONFIG, FORMS, PREPROCESSING, snapshot

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHIPPED = "shipped:"
PACKAGED = "efficientnet-lite0"  # weights that a Python package of that name brings
SUFFIXES = (".pth", ".pt", ".bin", ".npz", ".npy", ".pkl", ".safetensors", ".tar", ".json")


@dataclass(frozen=True)
class Weights:
    """Tensors by name, the file they came from, and the config.json beside them, if any.

    `name` is what the weights are called: the hub id, or the names of file and folder. `preprocessing` is the content
    of the preprocessor_config.json beside them, if any.
    """

    state: dict[str, Tensor]
    file: Path
    config: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    preprocessing: dict[str, Any] = field(default_factory=dict)


def local_source(source: str) -> Path | None:
    """The file or folder that `source` names, or None for a hub id. `shipped:NAME` is a folder of this package."""
    if source.startswith(SHIPPED):
        folder = Path(str(resources.files("semples"))) / "assets" / source.removeprefix(SHIPPED)
        if not folder.is_dir():
            raise UserError(f"{source}: no such model is shipped with this package")
        return folder
    path = Path(source).expanduser()
    if path.exists():
        return path
    if source.startswith((".", "/", "~")) or source.count("/") != 1 or path.suffix in SUFFIXES or is_drive(source):
        raise UserError(f"{source}: no such file or folder, and not a hub id of the form owner/name")
    return None


def source_digest(source: str) -> str:
    """What identifies a model source in a run's records: the content of local files, the name of a hub id.

    `random`, the weights of a package and a `FAMILY:` before a source (`vit:`, `scratch:`) stand for themselves.
    """
    family, colon, rest = family_of(source)
    if source in ("random", PACKAGED) or (family == "scratch" and not Path(rest).exists()):
        return source
    if colon and f"{family}:" != SHIPPED and not Path(source).exists():
        return f"{family}:{source_digest(rest)}"
    path = local_source(source)
    if path is None:
        return source
    if path.is_file():
        return sha256_file(path)
    files = sorted(entry for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
    return hashlib.sha256("".join(f"{file.name} {sha256_file(file)}\n" for file in files).encode()).hexdigest()


def find_weights(source: str) -> Weights:
    """Read weights from a hub id, a folder that holds one of `FORMS`, or a file of any form of `load_state_dict`."""
    path = local_source(source)
    if path is None:
        path, name = weight_file(snapshot(source, optional=(CONFIG, PREPROCESSING)), FORMS), source
    else:
        path, name = (weight_file(path) if path.is_dir() else path), f"{path.parent.name}/{path.name}"
    config, preprocessing = (_described(path.parent / beside) for beside in (CONFIG, PREPROCESSING))
    return Weights(read_tensors(path), path, config, name, preprocessing)


def _described(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def weight_file(folder: Path, names: Sequence[str] = FORMS) -> Path:
    """The weights of a folder. Raises UserError where it has none under these names."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        there = sorted(entry.name for entry in folder.iterdir() if entry.suffix in SUFFIXES and entry.name != CONFIG)
        hint = f"it has {', '.join(there[:4])}: name the file itself" if there else "put the weights there"
        raise UserError(f"{folder}: holds no {' or '.join(name for name in names if 'index' not in name)}; {hint}")
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file, or of all the files that an index (`*.index.json`) names."""
    if not path.name.endswith(".index.json"):
        return load_state_dict(path)
    state: dict[str, Tensor] = {}
    for shard in shards(path):
        if not (path.parent / shard).is_file():
            raise UserError(f"{path.parent / shard}: no such file, but {path.name} names it; get all shards")
        state |= load_state_dict(path.parent / shard)
    missing = [name for name in _weight_map(path) if name not in state]
    if missing:
        raise UserError(f"{path}: names the tensor {missing[0]}, but no shard holds it; get the shards again")
    return state


def shards(index: Path) -> list[str]:
    """Names of the files that an index of weights in several files names, sorted."""
    names = sorted(set(_weight_map(index).values()))
    odd = [name for name in names if "/" in name or "\\" in name or name.startswith(".")]
    if odd:
        raise UserError(f"{index}: names the file {odd[0][:80]!r}, which is not beside it; get another copy")
    return names


def _weight_map(index: Path) -> dict[str, str]:
    content = read_json(index)
    mapping = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not mapping or not all(isinstance(file, str) for file in mapping.values()):
        raise UserError(f"{index}: not an index of weights; it needs a weight_map from tensors to files")
    return mapping


def load_strictly(model: torch.nn.Module, state: dict[str, Tensor], *, where: str) -> None:
    """Load `state` into `model`; a missing, surplus or differently shaped tensor is an error that names it."""
    expected = model.state_dict()
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"surplus {name}" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in state and state[name].shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"{where}: weights do not fit the model: {'; '.join(problems[:4])}{more}")
    model.load_state_dict(state)

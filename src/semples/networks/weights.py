"""Finding model weights (hub id, folder, file, shipped) and putting them into a network without leniency."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import read_json, sha256_file
from semples.core.safeload import load_state_dict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHIPPED = "shipped:"
NAMES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Weights:
    """Tensors by name, the file they came from, and the config.json beside them, if any."""

    state: dict[str, Tensor]
    file: Path
    config: dict[str, Any] = field(default_factory=dict)


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
    if source.startswith((".", "/", "~")) or source.count("/") != 1 or path.suffix in (".pth", ".pt", ".safetensors"):
        raise UserError(f"{source}: no such file or folder, and not a hub id of the form owner/name")
    return None


def source_digest(source: str) -> str:
    """What identifies a model source in a run's records: the content of local files, the name of a hub id.

    `random` and a `FAMILY:` before a source (`vit:`, `scratch:`) stand for themselves.
    """
    family, colon, rest = source.partition(":")
    if source == "random" or (family == "scratch" and not Path(rest).exists()):
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
    """Read weights from a hub id, a folder that holds model.safetensors, or a .safetensors/.pth file."""
    path = local_source(source)
    if path is None:
        path = download(source, NAMES[0])
    elif path.is_dir():
        folder = path
        path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
        if path is None:
            raise UserError(f"{folder}: holds no {' or '.join(NAMES)}")
    config = path.parent / "config.json"
    found = read_json(config) if config.is_file() else {}
    return Weights(load_state_dict(path), path, found if isinstance(found, dict) else {})


def download(repo: str, name: str) -> Path:
    """The cached or downloaded file `name` of a hub repository; a clear line where neither is possible."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, name))
    except LocalEntryNotFoundError:
        raise UserError(offline_hint(repo, name)) from None
    except (EntryNotFoundError, HFValidationError) as error:
        raise UserError(f"{repo}: the hub has no {name} under this id ({type(error).__name__})") from None
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{offline_hint(repo, name)} ({reason[:120]})") from None


def offline_hint(repo: str, name: str) -> str:
    """What to do on a machine that cannot reach the hub."""
    return (
        f"{repo}: not in the local cache and the hub cannot be reached; on a machine with network download {name} "
        f"(and config.json) of {repo}, put them into a folder and give that folder in place of {repo}"
    )


def load_strictly(model: torch.nn.Module, state: dict[str, Tensor], *, where: str) -> None:
    """Load `state` into `model`; a missing, surplus or differently shaped tensor is an error that names it."""
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"surplus {name}" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"{where}: weights do not fit the model: {'; '.join(problems[:4])}{more}")
    model.load_state_dict(state)

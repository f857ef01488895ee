"""Files of the Hugging Face hub: from the cache where they are there, else downloaded, else one line that says why not.

The hub's own client tries again for half a minute where nothing answers; here a machine without network is told within
three seconds.
"""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.hub_client import quiet_hub

CONFIG = "config.json"
PREPROCESSING = "preprocessor_config.json"
NAMES = ("model.safetensors", "pytorch_model.bin")
FORMS = (*NAMES, *(f"{name}.index.json" for name in NAMES))  # an index names the shards of weights in several files
PATIENCE = 2.5  # seconds for a first sign of the hub


class NotInRepository(UserError):
    """The hub knows the repository, but it has no file of this name."""


def download(repo: str, name: str) -> Path:
    """The cached or downloaded file `name` of a hub repository. A cached file is used as it is, without asking the hub.

    Raises:
        NotInRepository: the repository has no such file.
        UserError: mistyped or private, gated, offline, or an error of the hub: each says what to do.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    there = cached(repo, name)
    if there is not None:
        return there
    if constants.HF_HUB_OFFLINE or not _answers(constants.ENDPOINT):
        raise UserError(offline_hint(repo, name))
    try:
        with quiet_hub():
            return Path(hf_hub_download(repo, name))
    except GatedRepoError:
        raise UserError(
            f"{repo}: gated, its owner wants its terms accepted first: do so at {constants.ENDPOINT}/{repo}, then log "
            "in here with `hf auth login` (or set HF_TOKEN)"
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{repo}: the hub has no model of this name, or it is private; check the spelling, or log in with "
            "`hf auth login` (or set HF_TOKEN)"
        ) from None
    except HFValidationError:
        raise UserError(f"{repo}: not a name that the hub can have; write owner/name") from None
    except LocalEntryNotFoundError as error:
        raise UserError(_trouble(repo, error.__cause__ or error)) from None
    except EntryNotFoundError:
        raise NotInRepository(f"{repo}: is on the hub, but has no file {name}; {_what_it_has(repo)}") from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(_trouble(repo, error)) from None


def cached(repo: str, name: str) -> Path | None:
    """The file `name` of a hub repository in the local cache, or None."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        place = try_to_load_from_cache(repo, name)
    except HFValidationError:
        return None
    return Path(place) if isinstance(place, str) else None


def cached_weights(repo: str, names: Sequence[str] = FORMS) -> Path | None:
    """The weights of a hub repository in the local cache, in any of the forms `names`, all shards; else None."""
    for name in names:
        weights = cached(repo, name)
        if weights is not None and all(cached(repo, shard) is not None for shard in _shards(weights)):
            return weights
    return None


def _shards(weights: Path) -> list[str]:
    """Names of the files that an index of weights names; none for the weights themselves."""
    content = read_json(weights) if weights.name.endswith(".index.json") else {}
    listed = content.get("weight_map", {}) if isinstance(content, dict) else {}
    return sorted({str(name) for name in listed.values()}) if isinstance(listed, dict) else []


def snapshot(
    repo: str, *, names: Sequence[str] = (), required: Sequence[str] = (), optional: Sequence[str] = ()
) -> Path:
    """Folder with the weights of a hub repository, all shards, and the files beside them.

    `names`: the weights, the first that is there; default: the forms of transformers and timm. `required` must be
    there, `optional` may. Raises UserError as `download` does.
    """
    names = names or FORMS
    for name in required:
        download(repo, name)
    ready = cached_weights(repo, names)
    weights = ready or _first(repo, names)
    for shard in _shards(weights):
        download(repo, shard)
    for name in optional:
        _may_have(repo, name, offline=ready is not None)
    return weights.parent


def _first(repo: str, names: Sequence[str]) -> Path:
    missing: NotInRepository | None = None
    for name in names:
        try:
            return download(repo, name)
        except NotInRepository as error:
            missing = missing or error
    raise missing or NotInRepository(f"{repo}: no weights were asked for")


def _may_have(repo: str, name: str, *, offline: bool) -> None:
    """Bring an optional file where the repository has it; with `offline` it is only looked for in the cache."""
    if offline:
        cached(repo, name)
        return
    try:
        download(repo, name)
    except NotInRepository:
        return


def bytes_on_hub(repo: str, names: Sequence[str] = FORMS) -> int | None:
    """Bytes of the weights that would be downloaded, of the first of `names` that the hub has; None where it does not
    say within `PATIENCE`."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    for name in names:
        try:
            with quiet_hub():
                return get_hf_file_metadata(hf_hub_url(repo, name), timeout=PATIENCE).size
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, HFValidationError, OSError, ValueError):
            return None
    return None


def reachable(*, patience: float) -> bool:
    """Whether the hub may be asked, and answers within `patience` seconds."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE and _answers(constants.ENDPOINT, patience)


def _answers(endpoint: str, patience: float | None = None) -> bool:
    """Whether anything at the hub's address answers within `patience` (`PATIENCE`); a proxy of the environment is
    used."""
    seconds = PATIENCE if patience is None else patience
    answered = [False]

    def ask() -> None:
        request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": "semples"})
        try:
            with urllib.request.urlopen(request, timeout=seconds):
                answered[0] = True
        except urllib.error.HTTPError:
            answered[0] = True
        except urllib.error.URLError as error:
            answered[0] = isinstance(error.reason, ssl.SSLError)  # somebody is there
        except (OSError, ValueError):
            answered[0] = False

    thread = threading.Thread(target=ask, daemon=True)  # looking a name up cannot be given a limit
    thread.start()
    thread.join(seconds + 0.2)
    return answered[0]


def _what_it_has(repo: str) -> str:
    """What the repository holds that looks like weights, for a message."""
    from huggingface_hub import constants

    address = f"{constants.ENDPOINT}/api/models/{repo}"
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            names = [entry["rfilename"] for entry in json.loads(answer.read())["siblings"]]
    except (OSError, ValueError, KeyError, TypeError):
        return "look at its files for the form it has"
    ends = (".safetensors", ".bin", ".pth", ".pt", ".npz", ".onnx", ".gguf", ".h5", ".msgpack")
    kept = [name for name in names if isinstance(name, str) and name.endswith(ends)]
    return f"it has {', '.join(kept[:4])}" if kept else "it holds no weights"


def _trouble(repo: str, error: BaseException) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{repo}: the hub answers, but does not give the file ({reason[:150]}); try again later"


def offline_hint(repo: str, name: str) -> str:
    """What to do on a machine that cannot reach the hub."""
    files = f"{CONFIG} and {' or '.join(NAMES)}" if name == CONFIG else f"{name} (and {CONFIG})"
    return (
        f"{repo}: not in the local cache and the hub cannot be reached; on a machine with network download {files} of "
        f"{repo}, put them into a folder and give that folder in place of {repo}"
    )

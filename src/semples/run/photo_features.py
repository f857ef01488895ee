"""Features that a judge has of whole photos, one forward pass a photo, kept on disk by the photos' content.

A file of the cache is plain arrays: digests (n,32) uint8, SHA-256 of the photos' files, and features (n,E) float32. It
is named by all that the features depend on beside the photos, holds nothing that could run, and is looked at anew when
it is read: what is not of its shape is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.files import SpecialFile, read_file, sha256_file, write_bytes
from semples.core.progress import track
from semples.core.schema import to_dict
from semples.data.dataset import Item, PhotoError, TaggedDataset
from semples.networks.weights import source_digest
from semples.recipe import Recipe
from semples.run.work import weight_sources

if TYPE_CHECKING:
    from semples.judges.base import Judge

VERSION = 1
MOST = 100_000  # photos in a file of the cache; the latest are kept
BATCH = 16


def cache_folder() -> Path:
    """Where features are kept: SEMPLES_CACHE, or `semples` in the user's folder of caches."""
    named = os.environ.get("SEMPLES_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "semples"


def photo_features(
    judge: Judge, dataset: TaggedDataset, items: Sequence[Item], *, recipe: Recipe, bits: int = 0
) -> tuple[list[Item], NDArray[np.float32]]:
    """The items that can be read, and the judge's features (n,E) of them: L2-normalised, of the whole photo, squeezed
    into the judge's square and normalised as the views of its training are."""
    path = cache_folder() / "photo-features" / f"{_key(judge, recipe, bits)}.npz"
    known = _read(path)
    digests = {item.id: _digest(item) for item in items}
    todo = [item for item in items if digests[item.id] is not None and digests[item.id] not in known]
    made: dict[bytes, NDArray[np.float32]] = {}
    for item, feature in _fresh(judge, dataset, todo, recipe):
        digest = digests[item.id]
        if digest is not None:
            made[digest] = feature
    if made:
        known |= made
        _write(path, known)
    kept = [item for item in items if digests[item.id] in known]
    width = judge.targets.shape[1]
    rows = [known[digest] for item in kept if (digest := digests[item.id]) is not None]
    return kept, np.stack(rows) if rows else np.zeros((0, width), np.float32)


def _fresh(
    judge: Judge, dataset: TaggedDataset, items: Sequence[Item], recipe: Recipe
) -> list[tuple[Item, NDArray[np.float32]]]:
    import torch

    from semples.data.photos import resize_photo
    from semples.data.transforms import image_to_tensor
    from semples.networks.pairs import Pairs
    from semples.stages.views import ViewMaker

    mean, std, side = recipe.generator.mean, recipe.generator.std, judge.image_size
    maker = ViewMaker.of(judge, epsilon=0.0, mean=mean, std=std)
    pairs: list[tuple[Item, NDArray[np.float32]]] = []
    waiting: list[tuple[Item, torch.Tensor]] = []

    def encode() -> None:
        image = torch.stack([view for _, view in waiting]).to(judge.device)
        every = torch.arange(len(waiting), device=judge.device)
        whole = torch.ones(len(waiting), side, side, device=judge.device)
        with torch.no_grad():
            view, _ = maker.views(image, whole, Pairs(every, every * 0))
            features = judge.encode(view).float().cpu().numpy()
        pairs.extend((item, feature) for (item, _), feature in zip(waiting, features, strict=True))
        waiting.clear()

    for item in track(items, label="photos"):
        try:
            photo = dataset.photo(item)
        except PhotoError:
            continue
        waiting.append((item, image_to_tensor(resize_photo(photo, side, side), mean, std)))
        if len(waiting) == BATCH:
            encode()
    if waiting:
        encode()
    return pairs


def _key(judge: Judge, recipe: Recipe, bits: int) -> str:
    """What the features depend on beside the photos. Texts do not change those of a judge that has texts."""
    from semples.judges.base import TextJudge

    settings: Any = recipe.judge
    if hasattr(settings, "class_template"):
        settings = replace(settings, class_template="{name}")
    described = [
        VERSION,
        to_dict(settings),
        [source_digest(source) for source in weight_sources(settings)],
        recipe.generator.mean,
        recipe.generator.std,
        judge.image_size,
        bits,
        None if isinstance(judge, TextJudge) else judge.classes,
    ]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]


def _digest(item: Item) -> bytes | None:
    try:
        return bytes.fromhex(sha256_file(item.photo))
    except (OSError, SpecialFile):
        return None


def _read(path: Path) -> dict[bytes, NDArray[np.float32]]:
    """The features in a file of the cache by digest; none where it is absent, damaged or of another shape."""
    try:
        with np.load(io.BytesIO(read_file(path)), allow_pickle=False) as members:
            digests, features = members["digests"], members["features"]
    except (OSError, UserError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    shaped = digests.dtype == np.uint8 and features.dtype == np.float32 and digests.ndim == features.ndim == 2
    if not shaped or digests.shape != (len(features), 32) or not np.isfinite(features).all():
        return {}
    if not np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-3):
        return {}
    return {row.tobytes(): feature for row, feature in zip(digests, features, strict=True)}


def _write(path: Path, known: dict[bytes, NDArray[np.float32]]) -> None:
    """Replace a file of the cache. A disk that does not take it is no reason to stop: the features are there."""
    kept = list(known.items())[-MOST:]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        digests=np.frombuffer(b"".join(digest for digest, _ in kept), np.uint8).reshape(-1, 32),
        features=np.stack([feature for _, feature in kept]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())
    except (OSError, UserError):
        return

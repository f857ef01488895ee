"""Attention between patches as files, for programs that spread CAMs along it (CLIP-ES, FMA-WSSS).

ID.npy           float32 (N,N), the generator's fused attention of the whole photo at scale 1: row i says how much patch
                 i takes from every other; patches row by row; read by `np.load` without pickle
attention.json   the patch size, which weights, and of every photo the grid [rows, columns], N = rows x columns
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from semples.core.errors import UserError
from semples.core.files import atomic_path, read_json, write_json
from semples.core.places import number, place_of
from semples.core.progress import counter
from semples.data.photos import reduced
from semples.networks.weights import source_digest
from semples.run.context import Context
from semples.run.models import GENERATOR, RunParts
from semples.run.photos import photo_sizes
from semples.run.steps.cams import generator_of
from semples.run.work import Work

ABOUT = "attention.json"
MAX_MAP_BYTES = 8_000_000_000  # of all heads and layers of one photo


def write_attention(context: Context, folder: Path, *, stage: str, weights: Path | None = None) -> int:
    """The attention of every photo of a run below `folder`, with the generator of `stage` or of `weights`; how many.

    Files that are there already are left alone. Raises UserError where the folder holds those of other weights, for a
    generator without attention between patches, and for a photo too large for the memory.
    """
    from semples.cams.make import HasPatchAttention, scaled_inputs

    look = Work.outside(context, stage)
    made = generator_of(look, weights) if weights is not None else RunParts(look).generator_after(stage)
    model = made.to(context.engine.device).eval()
    if not isinstance(model, HasPatchAttention):
        raise UserError(f"--attention: {type(model).__name__} has no attention between patches")
    settings, patch = context.recipe, int(model.patch_size)
    sizes = photo_sizes(context.folder("data"))
    grids = {id: _grid(size, settings.cams.max_side, patch) for id, size in sizes.items()}
    if context.is_main:
        digest = source_digest(str(weights or context.folder(stage) / GENERATOR))
        _claim(folder, {"weights": digest, "patch_size": patch, "grids": grids})
    context.wait()
    number(folder, sizes, suffix=".npy")
    items = context.dataset.items[context.rank :: context.processes]
    with counter(label="attention", total=len(items)) as advance:
        for item in items:
            path = place_of(folder, item.id, ".npy")
            if not path.is_file():
                _check_memory(model, grids[item.id], where=item.id)
                photo = reduced(context.dataset.photo(item), max_side=settings.cams.max_side)
                ((view, _),) = scaled_inputs(photo, (1.0,), mean=model.mean, std=model.std, smallest=patch)
                attention = model.patch_attention(view[None].to(context.engine.device))[0]
                _save(path, attention.float().cpu().numpy())
            advance("")
    return len(items)


def _grid(size: tuple[int, int], max_side: int, patch: int) -> list[int]:
    """Rows and columns of patches of a photo of this (width, height)."""
    factor = min(1.0, max_side / max(size))
    width, height = (max(patch, round(length * factor)) for length in size)
    return [height // patch, width // patch]


def _claim(folder: Path, about: dict[str, Any]) -> None:
    path = folder / ABOUT
    if path.is_file():
        stored = read_json(path)
        if not isinstance(stored, dict) or any(stored.get(key) != about[key] for key in ("weights", "patch_size")):
            raise UserError(f"{folder}: holds attention of other weights; choose another folder, or empty this one")
    elif folder.is_dir() and any(folder.rglob("*.npy")):
        raise UserError(f"{folder}: holds .npy files of something else; choose another folder")
    write_json(path, about)


def _check_memory(model: Any, grid: list[int], *, where: str) -> None:
    config = model.config
    needed = config.heads * config.depth * (grid[0] * grid[1]) ** 2 * 4
    if needed > MAX_MAP_BYTES:
        raise UserError(
            f"{where}: the attention of {grid[0]} x {grid[1]} patches would take {needed / 1e9:.0f} GB; make photos "
            "smaller with --set cams.max_side=768"
        )


def _save(path: Path, attention: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, attention, allow_pickle=False)

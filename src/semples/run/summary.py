"""What a run came to, in one file that can be sent to others: `summary.json`.

It says of what it was made (versions, recipe, seed, digests of photos, tags, masks and weights), what came out, and
what it cost. No path, no name of a machine, and no name of a photo is in it. `summary.schema.json`, beside this file,
is its form; docs/summary.md explains it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path, PurePath
from typing import Any

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.schema import leaves
from semples.core.systems import family_of, is_drive
from semples.run.context import Context
from semples.run.graph import StepStatus
from semples.run.names import CURVE, HEALTH, SEGMENTER, SELECTION, TRAINED
from semples.run.records import read_manifest
from semples.run.steps.labels import SCORES

SUMMARY = "summary.json"
SCHEMA = "summary.schema.json"
FORMAT = "semples-summary/1"
PACKAGES = ("torch", "transformers", "accelerate", "numpy", "scipy", "pillow", "safetensors")
FIGURES = ("miou", "precision", "recall")


def write_summary(context: Context, statuses: Sequence[StepStatus]) -> dict[str, Any]:
    """Write the summary of a run's steps that are up to date into its folder; returns it. One that says the same
    stays."""
    path, made = context.out / SUMMARY, summary_of(context, statuses)
    try:
        stored = read_json(path) if path.is_file() else None
    except UserError:
        stored = None
    if isinstance(stored, dict) and stored | {"written": made["written"]} == json.loads(json.dumps(made)):
        return stored
    write_json(path, made)
    return made


def summary_of(context: Context, statuses: Sequence[StepStatus]) -> dict[str, Any]:
    """The summary of those steps of a run that are done and up to date, as plain data; figures in percent."""
    done = {one.step: read_manifest(context.folder(one.step)) or {} for one in statuses if one.state == "done"}
    reads = {key: value for manifest in done.values() for key, value in manifest["reads"].items()}
    settings = {
        key: _public(value)
        for key, value in leaves(context.recipe, neutral=False)
        if key not in ("name", "about", "base")
    }
    classes = context.listing.classes.names if "data" in done else ()
    return {
        "format": FORMAT,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": versions(),
        "machine": machine(done),
        "recipe": {
            "name": context.recipe.name,
            "sha256": hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
            "settings": settings,
        },
        "seed": context.recipe.run.seed,
        "data": {
            "name": _public(str(context.source.root)),
            "photos": done.get("data", {}).get("result", {}).get("photos", 0),
            "classes": list(classes),
            "photos_and_tags": reads.get("fact:photos"),
            "masks": reads.get("fact:masks"),
            "corrections": None if reads.get("fact:corrections") == "none" else reads.get("fact:corrections"),
        },
        "weights": [
            {"source": _public(key.partition(":")[2]), "digest": str(value)}
            for key, value in sorted(reads.items())
            if key.startswith("weights:")
        ],
        "used_pixel_masks": _used_masks(done),
        "figures": _figures(context, done),
        "health": {
            name.removeprefix(f"{HEALTH}-"): manifest["result"]["grade"]
            for name, manifest in done.items()
            if "grade" in manifest["result"]
        },
        "cost": {
            name: {"seconds": manifest["seconds"], "cpu_seconds": manifest.get("cpu_seconds")}
            for name, manifest in done.items()
        },
    }


def with_evaluation(summary: dict[str, Any], figures: Mapping[str, Any], *, data: str) -> dict[str, Any]:
    """The summary with a segmenter's figures on other photos (`prediction.evaluate`); data: what these are called."""
    told = {key: figures[key] for key in ("photos", "boundary_iou", *FIGURES)}
    rows = [{"class": row["class"], "iou": row["iou"]} for row in figures["classes"]]
    chosen = summary["figures"] | {SEGMENTER: {"data": _public(data), **told, "classes": rows}}
    return summary | {"figures": chosen}


def summary_beside(model: Path) -> dict[str, Any] | None:
    """The summary of the run that a model's folder belongs to (the run, or its segmenter); None where there is none."""
    for folder in (model, model.resolve().parent.parent):
        if (folder / SUMMARY).is_file():
            stored = read_json(folder / SUMMARY)
            if isinstance(stored, dict) and stored.get("format") == FORMAT:
                return stored
    return None


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a summary."""
    text = (resources.files("semples.run") / SCHEMA).read_text(encoding="utf-8")
    return dict(json.loads(text))


def versions() -> dict[str, str]:
    """Versions of this program, of Python, and of the packages that decide on results."""
    known = {"semples": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            known[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return known


def machine(done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The kind of machine, and what networks computed on: of every finished step that had one."""
    numerics = [manifest["numerics"] for manifest in done.values() if "numerics" in manifest]
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "devices": sorted({str(entry["device"]) for entry in numerics}),
        "precisions": sorted({str(entry["precision"]) for entry in numerics if "precision" in entry}),
        "processes": max((int(manifest.get("processes", 1)) for manifest in done.values()), default=1),
    }


def _figures(context: Context, done: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Figures against masks, percent, and the estimate without masks."""
    figures: dict[str, Any] = {}
    for name, manifest in done.items():
        result = manifest["result"]
        if (name == CURVE or name.startswith(f"{CURVE}-")) and "best_miou" in result:
            stage = name.removeprefix(CURVE).lstrip("-") or "last"
            figures.setdefault("cams", {})[stage] = {
                "photos": result["photos"], "miou": result["best_miou"], "threshold": result["best_threshold"],
            }  # fmt: skip
    if "miou" in done.get("scores", {}).get("result", {}):
        labels = read_json(context.folder("scores") / SCORES)["labels"]
        figures["labels"] = {
            "photos": done["scores"]["result"]["photos"],
            **{key: labels[key] for key in FIGURES},
            "threshold": labels["threshold"],
            "select": labels["select"],
            "method": context.recipe.labels.method,
            "classes": [{"class": row["class"], "iou": row["iou"]} for row in labels["classes"]],
        }
    estimate = done.get(SELECTION, {}).get("result", {}).get("estimated_miou")
    if estimate is not None:
        figures["estimated_miou"] = estimate
    return figures


def _used_masks(done: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether masks have chosen anything that the label maps depend on."""
    by_stage = any(done[stage]["result"].get("select_epoch") == "ground-truth" for stage in TRAINED if stage in done)
    return by_stage or done.get("labels", {}).get("result", {}).get("select") == "ground-truth"


def _public(value: Any) -> Any:
    """A value without the folders of this machine: of a path only its last part."""
    if isinstance(value, list):
        return [_public(entry) for entry in value]
    if not isinstance(value, str):
        return value
    family, colon, rest = family_of(value)
    local = rest.startswith((".", "/", "~", "\\")) or is_drive(rest) or rest.count("/") > 1 or Path(rest).exists()
    return f"{family}{colon}{PurePath(rest.replace(chr(92), '/')).name}" if local and rest else value

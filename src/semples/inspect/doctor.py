"""What this machine has and what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from semples import __version__
from semples.core.devices import best_device
from semples.recipe import Recipe

Finding = tuple[str, str, bool]  # what, what was found, whether that is fine

REQUIRED = ("torch", "transformers", "accelerate", "safetensors", "numpy", "pillow", "huggingface-hub")
OPTIONAL = {
    "tensorboard": "curves of training: pip install 'semples[tensorboard]'",
    "wandb": "curves of training in Weights & Biases: pip install 'semples[wandb]'",
    "mlflow-skinny": "curves of training in MLflow: pip install 'semples[mlflow]'",
    "numba": "faster dense CRF: pip install 'semples[crf]'",
    "pyarrow": "photos in Parquet files: pip install 'semples[parquet]'",
    "onnxruntime": "segmenters as ONNX files: pip install 'semples[onnx]'",
    "gradio": "the page of `semples app MODEL`: pip install 'semples[app]'",
}


def examine() -> list[Finding]:
    """Versions, devices, models in the cache, optional parts; every row says what was found and whether it is fine."""
    findings: list[Finding] = [
        ("semples", __version__, True),
        ("python", platform.python_version(), sys.version_info >= (3, 11)),
    ]
    for name in REQUIRED:
        version = _version(name)
        findings.append((name, version or f"missing: pip install {name}", version is not None))
    for name, advice in OPTIONAL.items():
        version = _version(name)
        findings.append((f"{name} (optional)", version or f"not installed; {advice}", True))
    if importlib.util.find_spec("torch") is not None:
        findings += _devices()
    findings += _models()
    return findings


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[Finding]:
    import torch

    findings: list[Finding] = [("processor", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}", True)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            findings.append((f"GPU {index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB", True))
    elif best_device().type == "mps":
        findings.append(("GPU", "Apple's (MPS); not tried with this program, ACCELERATE_USE_CPU=1 leaves it out", True))
    else:
        findings.append(("GPU", "none that torch can use; training runs on the processor", True))
    findings += _shared_memory()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    findings.append(("disk", f"{free:.0f} GiB free here", free > 2))
    return findings


SHARED_MEMORY, LEAST_SHARED = Path("/dev/shm"), 1.0  # GiB: two batches ahead of every loading process pass through


def _shared_memory() -> list[Finding]:
    """Whether processes that load photos can pass them on; nothing where the system has no such place."""
    if not SHARED_MEMORY.is_dir():
        return []
    size = shutil.disk_usage(SHARED_MEMORY).total / 2**30
    if size >= LEAST_SHARED:
        return [("shared memory", f"{size:.1f} GiB in {SHARED_MEMORY}", True)]
    advice = "give the container more (docker run --shm-size=8g), or set data.workers=0"
    return [
        ("shared memory", f"{size * 1024:.0f} MiB in {SHARED_MEMORY}, too little for data.workers; {advice}", False)
    ]


def _models() -> list[Finding]:
    """Whether the default recipe's models can be loaded without network."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import constants

    from semples.networks.hub import CONFIG, cached, cached_weights

    recipe = Recipe()
    findings: list[Finding] = [("model cache", str(constants.HF_HUB_CACHE), True)]
    for repo in (getattr(recipe.judge, "model", ""), recipe.generator.start):
        weights = cached_weights(repo)
        whole = weights is not None and cached(repo, CONFIG) is not None
        advice = "not in the cache: downloaded at first use, or name a local folder in the recipe"
        there = "" if weights is None else f"in the cache ({weights.name})"
        findings.append((repo, there if whole else advice, whole))
    return findings

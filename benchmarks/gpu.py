"""All that has to be checked and measured where a GPU is, within a budget of minutes: one prepared script.

Each cell is one JSON file; a cell that is there is not measured again, so that a second call goes on. The most
important come first; one that would not fit into what is left of the budget is left out and named. Runs without a GPU
too, where the figures say little; `--tiny` is for that and for the tests.

    python benchmarks/gpu.py --minutes 12 --out benchmarks/results/gpu
    python benchmarks/gpu.py --out benchmarks/results/gpu --table

Cells: the own golden numbers at every precision; steps a second of every stage, by precision and batch; operations and
waits of a step; CAMs, CRF and predict a second; the recipe voc from photos to label maps; how fast photos are fed;
`run.compile`; the demo in half precision and in float32.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpu_parts import (
    COCO,
    REAL,
    RECIPE,
    ROOT,
    STAGES,
    TINY,
    TOLERANCE,
    VOC,
    Sizes,
    a_second,
    make_batch,
    make_generator,
    make_stage,
    optimizer_step,
    precisions,
    tf32,
)
from gpu_run import predict, run_voc
from semples.cams.make import photo_cams
from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.labels.crf.dense import PRESETS, DenseCrf, unary_from_labels
from semples.networks.clip import FrozenClip
from semples.networks.precision import at_precision, automatic, described
from semples.networks.tokenizer import FULL_VOCABULARY
from semples.recipe import RunSettings, StageSettings
from semples.training.engine import Engine
from semples.training.events import times
from semples.training.feed import Views, tag_matrix
from semples.training.loop import train
from semples.training.task import Total

# -------------------------------------------------------------------------------------------------------------- cells


def golden(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Losses of every stage against the own golden numbers by precision; the gradient's length against float32."""
    sys.path.insert(0, str(ROOT))
    from tests.golden_own import material
    from tests.golden_own import test_own_golden as own

    with np.load(ROOT / "tests" / "golden_own" / "golden.npz", allow_pickle=False) as stored:
        numbers = dict(stored)
    state = {name: torch.from_numpy(value) for name, value in material.clip_weights().items()}
    table = torch.zeros(FULL_VOCABULARY, material.W)
    table[material.ROWS] = state["token_embedding.weight"]
    rows: dict[str, Any] = {}
    for precision in precisions(device):
        for name in STAGES:
            with tf32(precision):
                clip = FrozenClip.from_openai(state | {"token_embedding.weight": table})
                task = own.task(name, clip).to(device).train()
                trained = list(task.trained())
                task.requires_grad_(False)
                for parameter in trained:
                    parameter.requires_grad_(True)
                with at_precision(device, "no" if precision == "tf32" else precision):
                    terms = task(own.batch().to(device), Total(2, int((material.TAGS > 0).sum())))
                terms["loss"].backward()
            length = torch.stack([value.grad.norm() for value in trained if value.grad is not None]).norm().item()
            wanted = float(np.mean(numbers[f"loss/{name}"]))
            reference = length if precision == "no" else rows[f"no {name}"]["gradient"]
            error = abs(terms["loss"].item() - wanted) / abs(wanted)
            rows[f"{precision} {name}"] = {
                "error": error,
                "gradient": length,
                "gradient_ratio": length / reference,
                "good": error <= TOLERANCE[precision],
            }
    return {"rows": rows, "good": all(row["good"] for row in rows.values())}


def steps(name: str) -> Callable[[Sizes, torch.device], dict[str, Any]]:
    """Steps a second of a stage by precision and batch."""

    def measure(sizes: Sizes, device: torch.device) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for precision in precisions(device):
            for count in sizes.batches:
                stage = make_stage(name, sizes, device)
                try:
                    with tf32(precision):
                        step = optimizer_step(stage, make_batch(sizes, stage, count), device, precision)
                        speed = a_second(step, device, sizes.seconds)
                except torch.OutOfMemoryError:
                    rows[f"{precision} {count}"] = {"memory": "too little"}
                    continue
                rows[f"{precision} {count}"] = {"steps": speed, "photos": speed * count}
                if device.type == "cuda":
                    rows[f"{precision} {count}"]["bytes"] = torch.cuda.max_memory_allocated(device)
                    torch.cuda.reset_peak_memory_stats(device)
        return rows

    return measure


def compiled(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Steps a second of (a) with `run.compile`, at the recipe's batch, and seconds until the first is done."""
    from semples.training.engine import COMPILER

    rows: dict[str, Any] = {}
    count = sizes.batches[0]
    for precision in ("no",) if device.type == "cpu" else ("bf16",):
        stage = make_stage("matching", sizes, device)
        stage.compile(backend=COMPILER)
        step = optimizer_step(stage, make_batch(sizes, stage, count), device, precision)
        begin = time.perf_counter()
        step()
        first = time.perf_counter() - begin
        speed = a_second(step, device, sizes.seconds)
        rows[f"{precision} {count}"] = {"steps": speed, "photos": speed * count, "first": first}
    return {"rows": rows}


def launches(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """What one step of every stage asks for: kernels and waits on a GPU, operations that are no views elsewhere."""
    from torch.profiler import ProfilerActivity, profile

    rows = {}
    for name in STAGES:
        stage = make_stage(name, sizes, device)
        step = optimizer_step(stage, make_batch(sizes, stage, sizes.batches[0]), device, "no")
        step()
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        with profile(activities=kinds) as seen:
            step()
        events = {event.key: event.count for event in seen.key_averages()}
        rows[name] = {
            "photos": sizes.batches[0],
            "operations": sum(count for key, count in events.items() if key.startswith("aten::")),
            "launches": sum(count for key, count in events.items() if "LaunchKernel" in key),
            "waits": sum(count for key, count in events.items() if "Synchronize" in key),
            "asked": sum(
                count for key, count in events.items() if key in ("aten::_local_scalar_dense", "aten::nonzero")
            ),
        }
    return rows


def fed(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Training of (a) from files: photos a second, and the share of the time that it waits for them."""
    from semples.core.cores import cores
    from semples.data.dataset import open_dataset

    with tempfile.TemporaryDirectory() as folder:
        draw, rows = np.random.default_rng(0), ["image,tags"]
        for number in range(min(sizes.photos, 500)):
            coarse = draw.integers(0, 256, (12, 16, 3), np.uint8)
            whole = Image.fromarray(coarse).resize(sizes.photo[::-1], Image.Resampling.BICUBIC)
            whole.save(Path(folder) / f"{number:05d}.jpg", quality=90)
            rows.append(f"{number:05d}.jpg,thing{number % sizes.classes}")
        (Path(folder) / "tags.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        dataset, made = open_dataset(folder), {}
        for workers in sorted({0, min(2, cores()), min(16, cores())}):
            stage = make_stage("matching", replace(sizes, classes=len(dataset.classes)), device)
            run = RunSettings(checkpoint_seconds=1e9)
            views = Views(
                dataset=dataset, tags=tag_matrix(dataset), augment=RECIPE.matching.augment, size=sizes.side,
                mean=stage.generator.mean, std=stage.generator.std, seed=0, noise_size=stage.generator.noise_size,
            )  # fmt: skip
            out = Path(folder) / f"workers{workers}"
            out.mkdir()
            settings = StageSettings(epochs=1, batch=min(sizes.batches[-1], len(dataset.items)), base_lr=1e-6)
            train(
                stage, views, engine=Engine.start(run), settings=settings, run=run, workers=workers, folder=out,
                fingerprint="speed", label="speed",
            )  # fmt: skip
            seconds, waited = times(out)
            made[str(workers)] = {
                "photos": len(dataset.items) / max(seconds, 1e-9),
                "waited": waited / max(seconds, 1e-9),
            }
    return made


def cams(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """CAMs of whole photos a second, by precision and by photos together."""
    model = make_generator(sizes).to(device).eval()
    photo = np.random.default_rng(0).integers(0, 256, (*sizes.photo, 3), np.uint8)
    rows: dict[str, Any] = {}
    for precision in precisions(device):
        for count in (1, 4, 16)[: 1 if sizes is TINY else 3]:

            def once(count: int = count) -> None:
                photo_cams(model, [photo] * count, [(0, 1)] * count, settings=RECIPE.cams, device=device)

            try:
                with tf32(precision), at_precision(device, "no" if precision == "tf32" else precision):
                    rows[f"{precision} {count}"] = {"photos": count * a_second(once, device, sizes.seconds)}
            except torch.OutOfMemoryError:
                rows[f"{precision} {count}"] = {"memory": "too little"}
    return rows


def crf(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Photos a second through the dense CRF in torch on the device, by photos together; labels that the CPU has not."""
    draw, field = np.random.default_rng(0), DenseCrf(PRESETS["voc"], backend="torch")
    coarse = Image.fromarray(draw.integers(0, 256, (9, 12, 3), np.uint8))
    photo = torch.from_numpy(np.array(coarse.resize(sizes.photo[::-1], Image.Resampling.BICUBIC)))
    labels = torch.zeros(sizes.photo, dtype=torch.uint8)
    labels[: sizes.photo[0] // 2, : sizes.photo[1] // 2] = 1
    unary = unary_from_labels(labels, count=3, confidence=0.7)
    rows: dict[str, Any] = {}
    for count in (1, 4, 16)[: 1 if sizes is TINY else 3]:
        given = [photo.to(device)] * count, [unary.to(device)] * count
        speed = a_second(lambda given=given: field.marginals(*given), device, sizes.seconds)  # type: ignore[misc]
        rows[str(count)] = {"photos": count * speed}
    there, here = (
        field.marginals([photo.to(place)], [unary.to(place)])[0].argmax(0).cpu() for place in (device, "cpu")
    )
    rows["differing"] = float((there != here).float().mean())
    return rows


def demo(precision: str) -> Callable[[Sizes, torch.device], dict[str, Any]]:
    """mIoU of the demo world's label maps and its time, trained at a precision."""

    def measure(sizes: Sizes, device: torch.device) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            command = [sys.executable, "-m", "semples", "demo", "--out", folder, "--set", f"run.precision={precision}"]
            command += ["--photos", "40"] if sizes is TINY else []
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode:
                raise UserError(ended.stderr.strip().splitlines()[-1])
            return {"seconds": time.perf_counter() - begin, "summary": read_json(Path(folder) / "summary.json")}

    return measure


Cell = Callable[[Sizes, torch.device], dict[str, Any]]
CELLS: dict[str, tuple[Cell, float]] = {  # with the minutes that it may take
    "golden": (golden, 0.5),
    **{f"steps-{name}": (steps(name), 1.5) for name in STAGES},
    "launches": (launches, 0.5),
    "cams": (cams, 1.0),
    "crf": (crf, 0.7),
    "run-voc": (run_voc, 3.0),
    "predict": (predict, 0.7),
    "fed": (fed, 1.0),
    "compiled": (compiled, 2.0),
    "demo-auto": (demo("auto"), 4.0),
    "demo-no": (demo("no"), 4.0),
}


def measure(out: Path, *, minutes: float, sizes: Sizes, device: torch.device, only: list[str]) -> list[str]:
    """Measure what is not there yet; returns the names of cells that the budget left out."""
    end, left = time.monotonic() + 60 * minutes, []
    about = described(device, precision=automatic(), tiny=sizes is TINY)
    for name, (cell, needed) in CELLS.items():
        path = out / f"{name}.json"
        if path.is_file() or (only and name not in only):
            continue
        if time.monotonic() + 60 * (0 if sizes is TINY else needed) > end:
            left.append(name)
            continue
        begin = time.monotonic()
        try:
            made = cell(sizes, device)
        except (UserError, RuntimeError, ImportError) as error:
            made = {"failed": str(error).splitlines()[0][:300]}
        write_json(path, {"about": about, "seconds": round(time.monotonic() - begin, 1), **made})
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    return left


def fastest_of(path: Path) -> float | None:
    """The most photos a second of a cell, whatever the precision and batch; None where nothing was measured."""
    rows = read_json(path) if path.is_file() else {}
    return max((row["photos"] for row in rows.values() if isinstance(row, dict) and "photos" in row), default=None)


def projected(out: Path, photos: int) -> dict[str, float]:
    """Minutes of every step for so many photos on one such card, from the fastest measured steps."""
    minutes = {}
    for name in STAGES:
        fastest = fastest_of(out / f"steps-{name}.json")
        epochs = getattr(RECIPE, name).epochs
        if fastest and isinstance(epochs, int):
            minutes[name] = photos * epochs / fastest / 60
    fastest = fastest_of(out / "cams.json")
    if fastest:
        minutes["cams"] = photos / fastest / 60
    return minutes


def table(out: Path) -> None:
    """All cells, and the time of VOC and COCO that follows."""
    for path in sorted(out.glob("*.json")):
        stored = read_json(path)
        print(f"\n{path.stem} ({stored['about']['device']}, {stored['seconds']} s)")
        for name, row in stored.get("rows", stored).items():
            if name not in ("about", "seconds"):
                print(f"  {name}: {row}")
    for name, photos in (("VOC", VOC), ("COCO", COCO)):
        minutes = projected(out, photos)
        told = ", ".join(f"{step} {value:.1f}" for step, value in minutes.items())
        print(f"\n{name}, {photos} photos, minutes on one such card: {told}; together {sum(minutes.values()):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="sizes of a test")
    parser.add_argument("--only", nargs="*", default=[], choices=list(CELLS))
    parser.add_argument("--table", action="store_true", help="only show what there is")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        sizes = TINY if options.tiny else REAL
        left = measure(options.out, minutes=options.minutes, sizes=sizes, device=device, only=options.only)
        if left:
            print(f"left out, the budget is used up: {', '.join(left)}; the same command goes on")
    table(options.out)


if __name__ == "__main__":
    main()

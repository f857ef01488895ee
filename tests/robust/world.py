"""What the tries work on: a demo world at a tiny size, and every command with the state it starts from."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semples.data.demo.world import write_world
from tests.robust.child import Ended, command

RECIPE = """\
name: robust
data: {split: train, workers: 0}
generator: {start: "shipped:demo_vit", image_size: 96, pooling: avg, head_reduction: 1}
clip: {model: "shipped:demo_clip"}
warmup: {epochs: 1, batch: 4, base_lr: 5.0e-3}
matching: {epochs: 1, batch: 4, base_lr: 5.0e-2, cam_epsilon: relative}
prompting: {epochs: 1, batch: 4, base_lr: 1.0, cam_epsilon: relative}
refinement: {epochs: 1, batch: 4, base_lr: 5.0e-2, cam_epsilon: relative}
scores: {curve_start: 30, curve_end: 40}
regions: {proposals: felzenszwalb, scales: [100], background: threshold}
labels: {method: regions, select: fixed, threshold: 0.35}
segmenter: {model: "vit:shipped:demo_vit", image_size: 96, photo_size: 96, iterations: 2, batch: 2, lr: 1.0e-3}
run: {checkpoint_seconds: 0, log_every: 1}
"""
UNSTABLE = {"seconds", "cpu_seconds", "finished", "processes", "started", "created", "path", "stamp", "took", "check"}
PASSING = ("seen.json", ".lock", "times.jsonl", "report.html", "summary.json")  # what may differ between two runs
PAGE = 4096
NEEDED = ("run", "segment", "coco")  # whose results other commands start from
LEFT = re.compile(r"\.tmp(\.[^.]*)?$")


@dataclass(frozen=True)
class Job:
    """A command, the states (folders of the material) it starts from, and the output that is compared."""

    name: str
    arguments: Callable[[Path], list[str | Path]]
    starts: tuple[str, ...]
    result: str


JOBS = {
    job.name: job
    for job in (
        Job("run", lambda w: ["run", w / "robust.yaml", "--data", w / "world", "--out", w / "run"], (), "run"),
        Job("segment", lambda w: ["segment", "train", w / "run"], ("run",), "run"),
        Job("label", lambda w: ["label", w / "run", "--threshold", "0.6"], ("run",), "run"),
        Job("cams", lambda w: ["cams", w / "run", "--set", "cams.scales=[1.5]"], ("run",), "run"),
        Job("regions", lambda w: ["regions", w / "run", "--set", "regions.scales=[50]"], ("run",), "run"),
        Job(
            "predict",
            lambda w: ["predict", w / "model", w / "world" / "JPEGImages", "--out", w / "predictions"],
            ("model",),
            "predictions",
        ),
        Job("report", lambda w: ["report", w / "run", "--out", w / "pages" / "page.html"], ("run",), "pages"),
        Job("coco", lambda w: ["export", "coco", w / "run", "--out", w / "coco", "--photos", "copy"], ("run",), "coco"),
        Job("voc", lambda w: ["export", "voc", w / "run", "--out", w / "voc", "--photos", "copy"], ("run",), "voc"),
        Job("cvat", lambda w: ["export", "cvat-voc", w / "run", "--out", w / "cvat"], ("run",), "cvat"),
        Job("gallery", lambda w: ["export", "gallery", w / "run", "--out", w / "gallery"], ("run",), "gallery"),
        Job(
            "import",
            lambda w: ["data", "import", w / "coco", "--out", w / "imported"],
            ("coco",),
            "imported",
        ),
        Job(
            "eval",
            lambda w: [
                "segment", "eval", w / "model", "--data", w / "world", "--split", "val", "--out", w / "eval",
                "--json", w / "eval" / "figures.json",
            ],
            ("model",),
            "eval",
        ),
        Job("prompts", lambda w: ["prompts", w / "run", "--json", w / "words" / "w.json"], ("run",), "words"),
        Job("check", lambda w: ["data", "check", w / "world", "--json", w / "check" / "c.json"], (), "check"),
        Job("onnx", lambda w: ["export", "onnx", w / "model", "--out", w / "onnx" / "m.onnx"], ("model",), "onnx"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Material:
    """Made once, read by every try: the world, the finished states, what each command leaves and how much it does."""

    folder: Path
    changes: dict[str, int]
    bytes: dict[str, int]

    def place(self, work: Path, *names: str) -> Path:
        """A new folder for a try with the world, the recipe and copies of these states."""
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "robust.yaml").write_text(RECIPE, encoding="utf-8")
        (work / "world").symlink_to(self.folder / "world")
        for name in names:
            shutil.copytree(self.folder / "states" / name, work / name, symlinks=True)
        return work

    def expected(self, job: Job) -> dict[str, object]:
        """What the command leaves when nothing happens."""
        return contents(self.folder / "results" / job.name / job.result)


def make_material(folder: Path, names: Iterable[str] = JOBS) -> Material:
    """The world and everything that these commands make of it; what is there already is not made again."""
    described = folder / "material.json"
    stored = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {"changes": {}, "bytes": {}}
    if not described.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        write_world(folder / "world", photos={"train": 6, "val": 2}, seed=0, p=0.9, class_count=2, resolution=96)
        (folder / "states").mkdir()
    material = Material(folder, stored["changes"], stored["bytes"])
    wanted = {*names, *NEEDED}
    for job in JOBS.values():
        if job.name in wanted and job.name not in material.changes:
            _make(job, material)
            described.write_text(json.dumps({"changes": material.changes, "bytes": material.bytes}), encoding="utf-8")
    return material


def _make(job: Job, material: Material) -> None:
    """Run a command with nothing in its way, and keep what it leaves."""
    work, states = material.place(material.folder / "work", *job.starts), material.folder / "states"
    before = size_of(work)
    ended = command(*job.arguments(work), watched=work)
    if ended.code != 0:
        raise RuntimeError(f"{job.name} ended with {ended.code}:\n{ended.out}\n{ended.err}")
    shutil.copytree(work / job.result, material.folder / "results" / job.name / job.result)
    if job.name in ("run", "coco"):
        shutil.copytree(work / job.result, states / job.result)
    if job.name == "segment":
        shutil.copytree(work / "run" / "segmenter" / "model", states / "model")
        shutil.copytree(work / "run", states / "finished")
    material.changes[job.name], material.bytes[job.name] = ended.changes, size_of(work) - before
    shutil.rmtree(work)


def size_of(folder: Path) -> int:
    """Bytes on the disk, in whole pages, of all files and folders below."""
    return sum(-(-max(1, path.lstat().st_size) // PAGE) * PAGE for path in folder.rglob("*"))


def contents(folder: Path) -> dict[str, object]:
    """Everything below a folder that must be equal bit by bit; of JSON what does not change from call to call."""
    by_name: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or "tensorboard" in path.parts or path.name in PASSING or path.name == "page.html":
            continue
        data = path.read_bytes()
        # a folder of a try has another name in every try
        text = re.sub(rb'"(/[^"]*)/(world|run|model|coco)\b', rb'"/\2', data)
        if path.suffix in (".json", ".jsonl"):
            by_name[name] = _stable(path.suffix, text)
        else:
            by_name[name] = data
    return by_name


def _stable(suffix: str, data: bytes) -> object:
    try:
        if suffix == ".jsonl":
            rows = [_without(json.loads(line)) for line in data.splitlines()]
            return sorted(map(json.dumps, rows))
        return _without(json.loads(data))
    except ValueError:
        return data


def _without(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without(value) for key, value in tree.items() if key not in UNSTABLE}
    return [_without(value) for value in tree] if isinstance(tree, list) else tree


def leftovers(work: Path) -> list[str]:
    """Temporary files and folders that are still there."""
    hidden = (path for path in work.rglob(".*") if LEFT.search(path.name))
    return sorted(os.fsdecode(os.fsencode(path.relative_to(work))) for path in hidden)


def difference(job: Job, material: Material, work: Path) -> str | None:
    """What is not as it would be had nothing happened."""
    wanted, made = material.expected(job), contents(work / job.result)
    if wanted.keys() != made.keys():
        return f"missing {sorted(wanted.keys() - made.keys())[:3]}, surplus {sorted(made.keys() - wanted.keys())[:3]}"
    unequal = [name for name in wanted if wanted[name] != made[name]]
    return f"differ: {unequal[:4]}" if unequal else None


def complaint(ended: Ended, *, codes: tuple[int, ...]) -> str | None:
    """What is wrong with how a command ended: it hangs, a traceback, another status, no line or more than one."""
    if ended.code is None:
        return "hangs"
    if "Traceback" in ended.err + ended.out:
        return f"traceback: {ended.err.strip().splitlines()[-1][:200]}"
    if ended.code not in codes:
        return f"status {ended.code}: {(ended.err.strip().splitlines() or ['nothing said'])[-1][:200]}"
    if ended.code > 0 and (len(ended.lines) != 1 or ended.err.splitlines()[-1] != ended.lines[0]):
        return f"not one line at the end: {ended.err.strip()[-200:]!r}"
    return None

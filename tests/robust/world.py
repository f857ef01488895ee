"""What the tries work on: a demo world at a tiny size, and what every command makes of it when nothing happens."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semples.core.palette import read_label_png, write_label_png
from semples.data.demo.world import write_world
from tests.robust.child import Ended
from tests.robust.jobs import JOBS, Job

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
features: {kind: clip, model: "shipped:demo_clip", side: 96}
regions: {proposals: felzenszwalb, scales: [100], background: threshold}
labels: {method: regions, select: fixed, threshold: 0.35}
segmenter: {model: "vit:shipped:demo_vit", image_size: 96, photo_size: 96, iterations: 2, batch: 2, lr: 1.0e-3}
run: {checkpoint_seconds: 0, log_every: 1}
"""
UNSTABLE = {
    "seconds", "cpu_seconds", "finished", "processes", "started", "created", "path", "stamp", "took", "check", "when",
    "numerics",
}  # fmt: skip
# what may differ between two runs
PASSING = ("seen.json", ".lock", "times.jsonl", "report.html", "summary.json", "page.html", "plan.json")
PASSING_FOLDERS = {"tensorboard", "drafts"}  # steps of a review that somebody took, and took back
LINKED = ("world", "changed", "many")  # folders of photos, which no command writes in
PLACES = b"world|changed|many|run|model|coco|finished|corrected|banked|mended"
PAGE = 4096
LEFT = re.compile(r"\.tmp(\.[^.]*)?$")


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
        for name in LINKED:
            (work / name).symlink_to(self.folder / name)
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
        _draw(folder)
    material = Material(folder, stored["changes"], stored["bytes"])
    for job in _with_needed([JOBS[name] for name in names]):
        if job.name not in material.changes:
            _make(job, material)
            described.write_text(json.dumps({"changes": material.changes, "bytes": material.bytes}), encoding="utf-8")
    return material


def _with_needed(jobs: list[Job]) -> list[Job]:
    """These jobs and those whose results they, or hostile files, start from; in the order of `JOBS`."""
    made = {job.kept: job for job in JOBS.values() if job.kept} | {
        "model": JOBS["segment"], "mended": JOBS["run"]
    }  # fmt: skip
    wanted = {job.name for job in (*jobs, JOBS["run"], JOBS["segment"])}
    for job in reversed(JOBS.values()):
        if job.name in wanted:
            wanted |= {made[start].name for start in job.starts if start in made}
    return [job for job in JOBS.values() if job.name in wanted]


def _draw(folder: Path) -> None:
    """Photos: a world, the same with one photo gone and one more, more of it; a class list with a poor word."""
    shape: dict[str, Any] = {"seed": 0, "p": 0.9, "class_count": 2, "resolution": 96}
    write_world(folder / "world", photos={"train": 6, "val": 2}, **shape)
    write_world(folder / "many", photos={"train": 48}, **shape | {"p": 0.5})
    shutil.copytree(folder / "world", folder / "changed")
    lists = folder / "changed" / "ImageSets" / "Segmentation"
    train, val = ((lists / f"{name}.txt").read_text(encoding="utf-8").split() for name in ("train", "val"))
    (lists / "train.txt").write_text("\n".join([*train[1:], val[0]]) + "\n", "utf-8")
    (folder / "states" / "list").mkdir(parents=True)
    first, *rest = (folder / "many" / "classes.txt").read_text(encoding="utf-8").split()
    (folder / "states" / "list" / "classes.txt").write_text("\n".join([f"{first},gravel pit", *rest]) + "\n", "utf-8")


def _make(job: Job, material: Material) -> None:
    """Run a command with nothing in its way, and keep what it leaves."""
    work, states = material.place(material.folder / "work", *job.starts), material.folder / "states"
    before = size_of(work)
    ended = job(work)
    if ended.code != 0:
        raise RuntimeError(f"{job.name} ended with {ended.code}:\n{ended.out}\n{ended.err}")
    shutil.copytree(work / job.result, material.folder / "results" / job.name / job.result)
    if job.kept:
        shutil.copytree(work / job.result, states / job.kept)
    if job.name == "segment":
        shutil.copytree(work / "run" / "segmenter" / "model", states / "model")
    if job.name == "run":
        _mend(work / "run" / "labels", states / "mended")
    material.changes[job.name], material.bytes[job.name] = ended.changes, size_of(work) - before
    shutil.rmtree(work)


def _mend(labels: Path, folder: Path) -> None:
    """What a person has made of label maps: all of them, those that are other than before, and outlines in COCO."""
    for place in ("all", "masks"):
        (folder / place).mkdir(parents=True)
    paths = sorted(labels.glob("*.png"))
    for number, path in enumerate(paths):
        values = read_label_png(path)
        values[10 : 40 + number, 20:60] = 1 + number % 2
        write_label_png(folder / "all" / path.name, values)
        if number < 2:
            write_label_png(folder / "masks" / path.name, values)
    names = (labels.parents[1] / "world" / "classes.txt").read_text(encoding="utf-8").split()
    (folder / "coco.json").write_text(json.dumps(coco_of(paths[2].stem, names)), encoding="utf-8")


def coco_of(photo: str, names: list[str]) -> dict[str, Any]:
    """COCO annotations of a photo of the world: one outline of the first class."""
    outline = [[10.0, 10.0, 70.0, 10.0, 80.0, 30.0, 70.0, 50.0, 10.0, 50.0]]
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 70, 40], "area": 2600, "iscrowd": 0}
    return {
        "images": [{"id": 1, "file_name": f"{photo}.jpg", "width": 96, "height": 96}],
        "annotations": [box | {"segmentation": outline}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
    }


def size_of(folder: Path) -> int:
    """Bytes on the disk, in whole pages, of all files and folders below."""
    return sum(-(-max(1, path.lstat().st_size) // PAGE) * PAGE for path in folder.rglob("*"))


def contents(folder: Path) -> dict[str, object]:
    """Everything below a folder that must be equal bit by bit; of JSON what does not change from call to call."""
    by_name: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file() or PASSING_FOLDERS & {*path.parts} or path.name in PASSING:
            continue
        data = path.read_bytes()
        # a folder of a try has another name in every try
        text = re.sub(rb'"(/[^"]*)/(' + PLACES + rb")\b", rb'"/\2', data)
        if path.suffix in (".json", ".jsonl"):
            by_name[name] = _stable(path.suffix, text)
        else:
            by_name[name] = data
    return by_name


def _stable(suffix: str, data: bytes) -> object:
    try:
        if suffix == ".jsonl":
            rows = [_without(json.loads(line)) for line in data.splitlines()]
            last = {row.get("id", place): json.dumps(row) for place, row in enumerate(rows)}  # of a photo's lines
            return sorted(last.values())
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
    if ended.seen:
        return f"the page: {ended.seen[:200]}"
    if ended.code > 0 and (len(ended.lines) != 1 or ended.err.splitlines()[-1] != ended.lines[0]):
        return f"not one line at the end: {ended.err.strip()[-200:]!r}"
    return None

"""Every command that is killed, gets a full disk or finds its files damaged, with what it starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.robust.child import Ended, Person, command
from tests.robust.person import review_all


@dataclass(frozen=True)
class Job:
    """A command, the states (folders of the material) it starts from, and the output that is compared.

    kept: the state that its output is for other jobs. person: somebody in front of the page that it serves.
    """

    name: str
    arguments: Callable[[Path], list[str | Path]]
    starts: tuple[str, ...]
    result: str
    kept: str = ""
    person: Person | None = None

    def __call__(self, work: Path, **more: Any) -> Ended:
        """Do it in a folder with what it starts from; `more`: of `command`."""
        return command(*self.arguments(work), **{"watched": work, "person": self.person, **more})


JOBS = {
    job.name: job
    for job in (
        Job("run", lambda w: ["run", w / "robust.yaml", "--data", w / "world", "--out", w / "run"], (), "run", "run"),
        Job("segment", lambda w: ["segment", "train", w / "run"], ("run",), "run", "finished"),
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
        Job(
            "coco",
            lambda w: ["export", "coco", w / "run", "--out", w / "coco", "--photos", "copy"],
            ("run",),
            "coco",
            "coco",
        ),
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
        Job(
            "update",
            lambda w: ["run", w / "robust.yaml", "--data", w / "changed", "--out", w / "run", "--update"],
            ("run",),
            "run",
        ),
        Job(
            "correct",
            lambda w: ["correct", w / "run", w / "mended" / "masks", w / "mended" / "coco.json"],
            ("run", "mended"),
            "run",
            "corrected",
        ),
        Job(
            "takeback",
            lambda w: ["correct", w / "corrected", "--remove", "train_000000"],
            ("corrected",),
            "corrected",
        ),
        Job(
            "review",
            lambda w: ["app", w / "run", "--review", "--port", "0"],
            ("run",),
            "run",
            person=review_all,
        ),
        Job(
            "words",
            lambda w: [
                "data", "words", w / "many", "--recipe", w / "robust.yaml", "--classes", w / "list" / "classes.txt",
                "--try", "train=train", "--write",
            ],
            ("list",),
            "list",
        ),
        Job(
            "plan",
            lambda w: [
                "plan", w / "robust.yaml", "--data", w / "world", "--out", w / "run",
                "--json", w / "plan" / "plan.json",
            ],
            (),
            "plan",
        ),
        Job("relabel", lambda w: ["relabel", w / "finished"], ("finished",), "finished"),
        Job("combine", lambda w: ["combine", w / "run", "labels", w / "mended" / "all"], ("run", "mended"), "run"),
        Job(
            "compare",
            lambda w: [
                "compare", w / "run", w / "finished", "--out", w / "pages" / "page.html",
                "--json", w / "pages" / "figures.json",
            ],
            ("run", "finished"),
            "pages",
        ),
        Job(
            "bank",
            lambda w: ["label", w / "run", "--method", "bank", "--set", "labels.before=threshold"],
            ("run",),
            "run",
            "banked",
        ),
        Job(
            "bankpredict",
            lambda w: [
                "predict", w / "banked", w / "world" / "JPEGImages", "--out", w / "predictions", "--method", "bank",
                "--confidence",
            ],
            ("banked",),
            "predictions",
        ),
    )
}  # fmt: skip

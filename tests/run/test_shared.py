"""Work that processes share has the answer of one, and each of them does its part only; folders that are not shared."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from semples.cams.store import CamStore
from semples.core.palette import write_label_png
from semples.data.dataset import open_dataset
from tests import tiny

pytestmark = pytest.mark.xdist_group("processes")

SHARED = """
import json, sys
from dataclasses import asdict
from pathlib import Path
import semples.core.files as files
import semples.run.photos as photos
from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.core.everywhere import check_shared
from semples.core.ranks import Ranks
from semples.data.dataset import FileDataset, open_dataset
from semples.data.verify import verify_photos
from semples.recipe import ScoreSettings
from semples.run.scoring import score_labels, threshold_curve

ranks, folder = Ranks.join(), Path(sys.argv[1])
dataset, reads = open_dataset(folder / "photos"), dict.fromkeys(("photo", "mask", "file"), 0)

def counted(name, work):
    def do(*given, **named):
        reads[name] += 1
        return work(*given, **named)
    return do

FileDataset.photo = counted("photo", FileDataset.photo)
FileDataset.mask = counted("mask", FileDataset.mask)
photos.sha256_file = counted("file", photos.sha256_file)
verified = verify_photos(dataset, ranks=ranks)
told = {"kept": [item.id for item in verified.kept], "sizes": dict(verified.sizes),
        "problems": [asdict(problem) for problem in verified.problems]}
unusable = []
curve = threshold_curve(dataset, CamStore(folder / "cams"), ScoreSettings(), unusable=unusable, ranks=ranks)
scores = score_labels(dataset, folder / "labels", unusable=unusable, ranks=ranks)
told |= {"curve": curve.as_json(dataset.classes.names), "unusable": unusable,
         "scores": scores.as_json(dataset.classes.names)}
photos.share_digests(dataset, folder / f"seen{ranks.count}.json", ranks=ranks)
told["photos"] = photos.photos_digest(dataset, folder / f"seen{ranks.count}.json", save=False)
(folder / f"told-{ranks.rank}-{ranks.count}.json").write_text(json.dumps({"told": told, "reads": reads}))
for out in (folder, folder / f"machine{ranks.rank}"):
    out.mkdir(exist_ok=True)
    try:
        check_shared(out, ranks, patience=0.5)
        print(f"shared {ranks.rank}\\n", end="", flush=True)
    except UserError as error:
        print(f"refused: {error}\\n", end="", flush=True)
    except SystemExit:
        print("ended\\n", end="", flush=True)
ranks.wait()
ranks.leave()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process and two tell of the same photos, of which one is damaged, and another one's mask."""
    folder = tmp_path_factory.mktemp("shared")
    photos = tiny.draw_photos(folder / "photos", count=11)
    dataset, draw = open_dataset(photos), np.random.default_rng(0)
    for item in dataset.items:
        height, width, _ = dataset.photo(item).shape
        store = CamStore(folder / "cams")
        store.write(item.id, {tag: draw.random((height, width), np.float32) for tag in item.tags}, (height, width))
        write_label_png(folder / "labels" / f"{item.id}.png", draw.integers(0, 3, (height, width)).astype(np.uint8))
    dataset.items[4].photo.write_bytes(b"no photo")
    masks = [item.mask for item in dataset.items]
    assert masks[7] is not None
    masks[7].write_bytes(b"no mask")
    script = folder / "shared.py"
    script.write_text(SHARED, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    lines = {}
    for count in (1, 2):
        command = [sys.executable] if count == 1 else [*launch, "2"]
        ended = subprocess.run(
            [*command, str(script), str(folder)], capture_output=True, text=True, timeout=240,
            env=tiny.environment(), check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        lines[count] = ended.stdout.splitlines()
    parts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("told-*.json")}
    return {"lines": lines, "photos": len(dataset.items), "masks": sum(mask is not None for mask in masks), **parts}


def test_all_get_the_answer_of_one(told: dict[str, Any]) -> None:
    alone = told["told-0-1"]["told"]
    assert len(alone["unusable"]) == 4  # the damaged mask and that of the damaged photo, by curve and by scores
    assert len(alone["problems"]) == 1
    assert told["told-0-2"]["told"] == alone
    assert told["told-1-2"]["told"] == alone


def test_each_does_its_part_only(told: dict[str, Any]) -> None:
    whole = told["told-0-1"]["reads"]
    assert whole == {"photo": told["photos"], "mask": 2 * told["masks"], "file": told["photos"]}
    for name, count in whole.items():
        parts = [told[f"told-{rank}-2"]["reads"][name] for rank in (0, 1)]
        assert sum(parts) == count
        assert max(parts) - min(parts) <= 2, name


def test_a_folder_that_is_not_shared_is_told_of_in_one_line(told: dict[str, Any]) -> None:
    assert told["lines"][1] == ["shared 0", "shared 0"]
    lines = sorted(told["lines"][2])
    assert lines[0] == "ended"
    assert lines[1].startswith("refused:")
    assert "machine0: process 1 on " in lines[1]
    assert "does not see what is written here; --out has to be on a disk that all machines share" in lines[1]
    assert lines[2:] == ["shared 0", "shared 1"]

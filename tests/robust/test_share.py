"""A short share of what `python -m tests.robust` tries, so that no change goes by without any of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

pytestmark = pytest.mark.xdist_group("robust")

COMMANDS = "run,segment,predict,import,coco,correct,takeback,combine"
# Of kills and full disks a few of some commands; weights, a label's confidence, CAMs and the list of photos, each
# damaged in another way; of hostile files some of every group: a pattern, and how many.
SHARE = {
    "kill": (r"^(run SIGTERM 3..|(segment|predict|import|coco|correct|takeback|combine) SIG)", 9),
    "full disk": (r"^(run 8|predict 2|import 2|coco 2|correct 2) of", 5),
    "damage": (
        r"^(segmenter/model/model\.safetensors flipped|labels/confidence/.* emptied|cams/train_.* halved|"
        r"data/dataset\.json deleted|predict, prediction\.json halved|combine, .*confidence.* emptied|"
        r"correct, .*index\.json flipped|correct, .*maps.* deleted)$",
        8,
    ),
    "hostile": (
        r"among photos, check|as \.lock|photos\.jsonl|pipe as (photos|words|pipe)|title sequence, check|not UTF-8|"
        r"^tags: .*(surrogate|ESC|newline)|^recipe: |^setting: |signs that act|0x0|--json names|"
        r"^corrections: (an archive|a mask|COCO, an outline|CVAT)|as a mended file|^combined\.json",
        90,
    ),
}
PROGRAM = """
import json, sys
from tests.robust.__main__ import main
sys.exit(max([main(arguments) for arguments in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all tries of the share have been made."""
    folder = tmp_path_factory.mktemp("robust")
    calls = [
        ["--out", str(folder), "--kinds", kind, "--commands", COMMANDS, "--only", pattern, "--most", str(count)]
        for kind, (pattern, count) in SHARE.items()
    ]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(calls)], cwd=tiny.ROOT, env=tiny.environment(), check=False
    )
    return folder


@pytest.mark.parametrize("kind", SHARE)
def test_nothing_goes_wrong(out: Path, kind: str) -> None:
    made = [json.loads(path.read_text(encoding="utf-8")) for path in (out / "tries").glob("*.json")]
    made = [entry for entry in made if entry["kind"] == kind]
    assert len(made) >= 0.9 * SHARE[kind][1]
    assert [(entry["name"], entry["wrong"]) for entry in made if entry["wrong"]] == []


def test_the_tries_can_tell(out: Path) -> None:
    """A file of a finished run that is other than it was is seen, as is a line too many, and a file left behind."""
    from tests.robust.child import Ended
    from tests.robust.world import complaint, contents, leftovers

    folder = out / "material" / "states" / "run"
    before = contents(folder)
    assert "labels/train_000000.png" in before
    changed = out / "changed"
    subprocess.run(["cp", "-r", folder, changed], check=True)
    assert contents(changed) == before
    (changed / "labels" / "train_000000.png").write_bytes(b"")
    assert contents(changed) != before
    assert leftovers(changed) == []
    (changed / ".a.1-2-3.4.tmp.png").touch()
    assert leftovers(changed) == [".a.1-2-3.4.tmp.png"]
    assert complaint(Ended(0, "", "", 0), codes=(0,)) is None
    assert complaint(Ended(None, "", "", 0), codes=(0,)) == "hangs"
    for code, text in (
        (0, "Traceback (most recent call last):\nX"),
        (2, ""),
        (2, "semples: a\nsemples: b"),
        (1, "semples: a"),
    ):
        assert complaint(Ended(code, "", text, 0), codes=(0, 2)) is not None

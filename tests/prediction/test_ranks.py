"""Several processes share the photos of a prediction, and of a score; one program at a time writes in a folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from semples.core import progress
from semples.core.lock import exclusive
from semples.core.ranks import ALONE, Ranks
from semples.prediction import job
from semples.prediction.journal import read_journal
from tests import tiny

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture(scope="module")
def damaged(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of which one is damaged."""
    folder = shutil.copytree(photos, tmp_path_factory.mktemp("ranks") / "photos")
    (folder / "p03.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def alone(packages: dict[str, Path], damaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    ended = tiny.invoke("predict", packages["segformer"], damaged, "--out", out, "--no-crf", check=False)
    assert ended.code == 1, ended.err
    return out


def files(folder: Path) -> dict[str, object]:
    """All that a prediction leaves; the journal in any order."""
    made: dict[str, object] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".lock":
            name = path.relative_to(folder).as_posix()
            made[name] = (
                sorted(path.read_text(encoding="utf-8").splitlines()) if name.endswith(".jsonl") else path.read_bytes()
            )
    return made


def launched(*arguments: str | Path, program: tuple[str, ...] = ("-m", "semples")) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=tiny.environment(),
        check=False,
        timeout=500,
    )


def test_two_processes_leave_what_one_leaves(
    packages: dict[str, Path], damaged: Path, alone: Path, tmp_path: Path
) -> None:
    """Also where an earlier call of several processes was cut, and one photo is damaged: status 1, told once."""
    out = shutil.copytree(alone, tmp_path / "out")
    lines = (alone / "photos.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (out / "photos.jsonl").write_text("".join(lines[:1]), encoding="utf-8")
    (out / "photos.1.jsonl").write_text(
        "".join(lines[1:3]) + lines[3][:20], encoding="utf-8"
    )  # the second process was cut
    for line in lines[3:]:
        (out / "labels" / f"{json.loads(line)['id']}.png").unlink()
    assert len(read_journal(out)[0]) == 3
    ended = launched("predict", packages["segformer"], damaged, "--out", out, "--no-crf")
    assert "p03" in ended.stdout
    assert ended.stdout.count(f"{len(lines)} photos, 3 of them by an earlier call") == 1
    assert ended.stderr.count("semples: ") == 1
    assert ended.returncode == 1
    assert files(out) == files(alone)


APART = """
import os, sys
from functools import partial
from pathlib import Path
from semples.prediction import job

told = Path(sys.argv.pop(1))
out = told / f"machine{os.environ['RANK']}"
out.mkdir()
os.chdir(out)  # so that --out names a folder of its own
job.check_shared = partial(job.check_shared, patience=0.5)
sys.stderr = (told / f"said-{os.environ['RANK']}").open("w")
from semples.cli import main
try:
    main()
except SystemExit as end:
    print(f"status {end.code}", file=sys.stderr)
sys.stderr.close()
"""


def test_a_folder_that_is_not_shared_is_refused(packages: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    """In one line, before any photo is segmented."""
    script = tmp_path / "apart.py"
    script.write_text(APART, encoding="utf-8")
    options = ("predict", packages["segformer"], photos, "--out", "out", "--no-crf")
    ended = launched(tmp_path, *options, program=(str(script),))
    assert ended.returncode == 0, ended.stderr
    first, second = ((tmp_path / f"said-{rank}").read_text(encoding="utf-8").splitlines() for rank in (0, 1))
    assert first[0].startswith("semples: out: process 1 on ")
    assert "does not see what is written here; --out has to be on a disk that all machines share" in first[0]
    assert first[1:] == ["status 2"]
    assert second == ["status 2"]
    assert not list(tmp_path.rglob("labels/*.png"))


@pytest.mark.parametrize(("ranks", "label"), [(ALONE, "predict"), (Ranks(0, 2), "predict (of 2 processes, the first)")])
def test_the_line_of_progress(
    ranks: Ranks, label: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an earlier call has done counts for the share, and neither for the rate nor for the time left."""
    clock = [100.0]
    for module in (job, progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with job._progress(ranks, before=10, mine=30) as advance:
        for _ in range(30):
            clock[0] += 1.5
            advance()
    assert capsys.readouterr().err.splitlines()[:2] == [
        f"{label}: 17/40, 34 s left, 42 %, 0.7 photos a second",
        f"{label}: 24/40, 24 s left, 60 %, 0.7 photos a second",
    ]
    with job._progress(Ranks(1, 2), before=10, mine=30) as advance:
        clock[0] += 60
        advance()
    assert capsys.readouterr().err == ""  # the first speaks for all


def test_two_processes_score_as_one_does(packages: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    options = ("segment", "eval", packages["segformer"], "--data", photos, "--no-crf")
    tiny.invoke(*options, "--json", tmp_path / "one.json")
    ended = launched(*options, "--json", tmp_path / "two.json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "two.json").read_text(encoding="utf-8")) == json.loads(
        (tmp_path / "one.json").read_text(encoding="utf-8")
    )


def test_one_program_writes_in_a_folder(packages: dict[str, Path], photos: Path, alone: Path, tmp_path: Path) -> None:
    out = shutil.copytree(alone, tmp_path / "out")
    with exclusive(out, what="another prediction"):
        for command in (("predict", packages["segformer"], photos, "--no-crf"), ("export", "coco", out)):
            line = tiny.refused(*command, "--out", out if command[0] == "predict" else tmp_path / "coco")
            assert "is writing here" in line

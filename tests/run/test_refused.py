"""What process 0 refuses ends all processes of a run, with one line; what a process says that misses another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from semples.core.errors import Stopped, UserError
from semples.core.lock import exclusive
from semples.core.ranks import Ranks
from tests import tiny

REFUSED = """
import os, sys
from pathlib import Path
from semples import cli

told = Path(sys.argv.pop(1))
line = sys.argv[1:]
for name, more in {"judge": ["judge.model=/no/such/clip"], "busy": []}.items():
    sys.argv[1:] = [*line, "--out", str(told / name), *(part for one in more for part in ("--set", one))]
    sys.stderr = (told / f"{name}-{os.environ['RANK']}").open("w")
    try:
        cli.main()
    except SystemExit as end:
        print(f"status {end.code}", file=sys.stderr)
    sys.stderr.close()
"""


@pytest.mark.xdist_group("processes")
def test_one_line_ends_all(tmp_path: Path) -> None:
    """By the preflight, and by the lock of a folder in which another program writes."""
    photos, clip = tiny.draw_photos(tmp_path / "photos", count=4), tiny.save_clip(tmp_path / "clip")
    recipe, script = tiny.write_recipe(tmp_path / "tiny.yaml", clip), tmp_path / "refused.py"
    script.write_text(REFUSED, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with exclusive(tmp_path / "busy", what="another run"):
        ended = subprocess.run(
            [*launch, str(script), str(tmp_path), "run", str(recipe), "--data", str(photos)],
            capture_output=True, text=True, timeout=240, env=tiny.environment(), check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for name, words in (("judge", "/no/such/clip: no such file or folder"), ("busy", "is writing here; wait for it")):
        first, second = ((tmp_path / f"{name}-{rank}").read_text(encoding="utf-8").splitlines() for rank in (0, 1))
        assert [line for line in first if line.startswith("semples: ")] == [line for line in first if words in line]
        assert first[-1] == "status 2"
        assert second == ["status 2"]


class Told(Ranks):
    """The second of two processes; the first one has told this."""

    status: int | None = None

    def gather(self, told: object) -> list[object]:
        return [self.status, told]


@pytest.mark.parametrize("kind", [UserError, Stopped])
def test_the_others_end_as_the_first_does(kind: type[UserError]) -> None:
    other = Told(rank=1, count=2)
    assert other.first(lambda: 1) is None
    Told.status = kind.status
    try:
        for asked in (other.first, other.of_main):
            with pytest.raises(SystemExit) as ended:
                asked(lambda: 1)
            assert ended.value.code == kind.status
    finally:
        Told.status = None


@pytest.mark.parametrize(("group", "said"), [(None, "30 days; run the same command again"), (1, "run.wait_hours; ")])
def test_a_process_that_is_missed(group: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`predict` and `segment eval` have no `run.wait_hours`, and a score does not go on where it was."""

    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_gather", fail)
    with pytest.raises(UserError, match=f"^another process has ended, or took longer than {said}"):
        Ranks(0, 2, group).wait()

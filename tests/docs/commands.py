"""Every command line of the documentation, and what becomes of each in the tests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests import tiny

ROOT = tiny.ROOT
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks" / "README.md"], key=lambda page: str(page)
)
PROGRAM = re.compile(
    r"([A-Z_]+=\S+ )*(\$ )?(semples|python|python3|torchrun|make|pip|git|docker|conda|pre-commit|py|\.venv\S*) "
)
RUN = "run"  # by test_commands.py, in a folder with photos and a small recipe

# What becomes of a command, by the first that fits: it is run, a test or a workflow runs it, or why not (`no: `).
HOW = (
    (r"^make (test|docs|notebooks)|^pip install ", ".github/workflows/tests.yml"),
    (r"^make demo|^semples demo ", "tests/e2e/test_demo.py"),
    (r"^pre-commit ", "no: changes the hooks of the clone; ruff itself runs in make test"),
    (r"^py -m|^\.venv\\", "no: Windows, which is not tried"),
    (r"^semples data voc ", "tests/data/fetch/test_voc.py"),
    (r"^semples data coco ", "tests/data/fetch/test_coco.py"),
    (r"^semples data import ANNOTATIONS ", "tests/data/test_files_page.py"),
    (r"^semples predict .*--voc-server", "tests/prediction/test_voc_server.py"),
    (r"^torchrun .* semples predict ", "tests/prediction/test_ranks.py"),
    (r"^torchrun ", "tests/e2e/test_processes.py"),
    (
        r"^semples run (voc|coco) |^semples segment eval voc ",
        "no: real data sets and weights of the hub; small ones: tests/e2e/test_run.py",
    ),
    (r"^semples cams published ", "tests/golden/test_g5_cams.py"),
    (r"^semples app .*--review", "tests/app/test_review.py"),
    (r"^semples app ", "tests/app/test_server.py"),
    (r"^semples correct ", "tests/run/test_corrections.py"),
    (r"judge\.kind=siglip", "tests/judges/test_siglip.py"),
    (r"^semples run folder-light |--method bank|judge\.kind=tags", "tests/e2e/test_folder_light.py"),
    (r"generator\.kind=(mine:Mine|patch-cam)|export (mine:Mine|areas) ", "tests/plugin/test_things.py"),
    (r"segmenter\.model=DIR", "tests/segmenter/test_commands.py"),
    (r"^python -m tests\.robust", "tests/robust/test_share.py"),
    (r"^python scripts/train_tiny_clip", "no: an hour; what it made is tested by tests/test_demo_models.py"),
    (r"^python scripts/bias_tiny_clip", "tests/claim/test_bias.py"),
    (
        r"^python benchmarks/(claim|real|real_tags|plan|update_size)\.py",
        "no: hours of measurement; small: tests/claim, tests/run/test_plan.py",
    ),
    (r"--data hf://", "tests/data/test_hub.py"),
    (r"photos\.parquet", "tests/data/readers/test_parquet.py"),
    (r"data words photos --try ", "tests/run/test_words.py"),
    (r"^semples ", RUN),
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command as it stands on a page."""

    page: str
    line: int
    text: str

    @property
    def how(self) -> str | None:
        """What becomes of it; None where nobody has said."""
        plain = re.sub(r"^([A-Z_]+=\S+ )+", "", self.text)
        return next((how for pattern, how in HOW if re.search(pattern, plain)), None)


def commands() -> list[Command]:
    """All of them, in the order of the pages: lines of blocks of `sh` and `bat`, and indented ones."""
    listed = []
    for page in PAGES:
        language = None
        for number, line in enumerate(page.read_text(encoding="utf-8").replace("\\\n", "").splitlines(), 1):
            if line.lstrip().startswith("```"):
                language = None if language is not None else line.strip()[3:]
                continue
            whole = re.split(r"\s+# ", line.strip())[0].removeprefix("$ ")
            written = language in ("sh", "bat") or (language is None and line.startswith("    "))
            if written and whole and (language in ("sh", "bat") or PROGRAM.match(whole)):
                listed.append(Command(page.relative_to(ROOT).as_posix(), number, whole))
    return listed


def place(work: Path, clip: Path, segmenter: Path) -> None:
    """A folder in which the pages' commands can be given: photos, new ones, masked ones, and a small recipe in place of
    `folder`, whose models are random."""
    photos = tiny.draw_photos(work / "photos", classes=("dog", "cat"))
    tiny.draw_photos(work / "masked", count=3, classes=("dog", "cat"), seed=1)
    (work / "new").mkdir()
    for path in sorted(photos.glob("*.png"))[:2]:
        (work / "new" / f"{path.stem}.jpg").write_bytes(path.read_bytes())
    recipe = tiny.write_recipe(work / "tiny.yaml", clip)
    more = (
        f"segmenter: {{model: 'scratch:{segmenter}', image_size: 32, photo_size: 40, iterations: 3, batch: 4}}\n"
        "regions: {proposals: felzenszwalb, scales: [50]}\n"
    )
    recipe.write_text(recipe.read_text(encoding="utf-8") + more, encoding="utf-8")

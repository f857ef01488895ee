"""Pictures of the report and of the page of `semples app`, taken by a browser from a finished demo run.

    make demo && python scripts/page_pictures.py runs/demo docs

Needs playwright (in the extra `dev`) and Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

import semples
from semples.core.files import atomic_path
from semples.data.dataset import open_dataset
from semples.data.demo.world import write_world
from semples.inspect.report.build import build_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
SIZES = {"report-desktop": (1280, 1000), "report-phone": (400, 860)}
APP = (1100, 1064)
SEED, SIDE = 41, 448  # of the photo that the page is shown: drawn anew, larger than those of the demo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished `semples demo`")
    parser.add_argument("docs", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, browser() as opened:
        report = build_report(semples.Run(arguments.demo / "run").context, Path(name) / "report.html")
        for picture, size in SIZES.items():
            page = opened.new_page(viewport={"width": size[0], "height": size[1]})
            page.goto(report.as_uri())
            # The folder as it is called in a checkout, not where this machine keeps it.
            page.evaluate("document.querySelector('.lead code').textContent = 'runs/demo/world'")
            page.wait_for_timeout(1000)
            save(page, arguments.docs / f"{picture}.png")
        with served(arguments.demo / "run") as address:
            page = opened.new_page(viewport={"width": APP[0], "height": APP[1]})
            page.goto(address)
            page.wait_for_selector("#photo input[type=file]", state="attached")
            page.set_input_files("#photo input[type=file]", draw_photo(Path(name) / "world"))
            page.wait_for_selector("#result .base-image", timeout=120_000)
            page.wait_for_timeout(1000)
            save(page, arguments.docs / "app.png")


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, showing nothing on a screen."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise SystemExit("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield launched
        launched.close()


@contextmanager
def served(run: Path) -> Iterator[str]:
    """The address of `semples app`, by a process of its own."""
    command = [sys.executable, "-m", "semples", "app", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        yield next(word for word in line.split() if word.startswith("http://"))
        process.terminate()


def draw_photo(folder: Path) -> Path:
    """A photo of two things that no demo has trained on."""
    world = write_world(folder, photos={"train": 12}, seed=SEED, p=0.5, class_count=8, resolution=SIDE)
    item = next(item for item in open_dataset(world).items if len(item.tags) == 2)
    return item.photo.rename(folder / "holiday.jpg")


def save(page: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        page.screenshot(path=temporary)
    print(path)


if __name__ == "__main__":
    main()

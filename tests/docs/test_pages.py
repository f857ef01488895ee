"""Every command in the documentation parses, every link leads to a file, the project's own files are of their form."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from semples.cli import app
from semples.commands.options import RunOptions
from semples.recipe import load_recipe, recipe_names
from tests import tiny

ROOT = tiny.ROOT
PAGES = sorted(path for path in [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"])
BLOCK = re.compile(r"```sh\n(.*?)```", flags=re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every `semples` command in a block of shell lines."""
    listed = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split("  #")[0].strip()
                if re.search(r"(^|-m )semples ", command):
                    listed.append((page.name, command[command.index("semples ") :]))
    return listed


@pytest.mark.parametrize(("page", "command"), commands())
def test_command(page: str, command: str) -> None:
    _, bound, _ = app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    values = bound.arguments
    if values.get("recipe") is not None and not str(values["recipe"]).endswith(".yaml"):
        assert values["recipe"] in recipe_names(), page
    shared = values.get("run") if isinstance(values.get("run"), RunOptions) else None
    settings = [text for text in values.get("settings") or (shared.settings if shared else []) if ":" not in text]
    if settings:
        load_recipe(str(values.get("recipe") or "voc"), settings)


def test_commands_are_read() -> None:
    assert len(commands()) >= 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    written = ("commands", "recipes", "methods", "contributed")  # when the site is built
    made = {f"reference/{name}.md" for name in written}
    for target in re.findall(r"\]\((?!https?:|#|<)([^)#\s]+)", text):
        assert target in made or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").splitlines()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or page.stem in index, page.name


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_are_of_their_form(path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_workflows_run_what_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                for target in re.findall(r"make (\S+)", step.get("run", "")):
                    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
                for script in re.findall(r"(?:scripts|\.ci)/\S+", step.get("run", "")):
                    assert (ROOT / script).is_file(), script


def test_issue_forms_and_citation_are_yaml_with_what_they_need() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.name != "config.yml":
            assert {"name", "description", "body"} <= set(form)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "preferred-citation"} <= set(citation)


def test_the_scripts_of_the_release_are_shell() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    for path in (ROOT / "scripts").glob("*.sh"):
        assert subprocess.run([bash, "-n", str(path)], check=False).returncode == 0


def test_the_oldest_versions_are_read_from_the_project() -> None:
    said = subprocess.run([sys.executable, "scripts/oldest.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = said.stdout.splitlines()
    assert "torch>=2.6,<2.7" in lines
    assert "pyyaml>=6,<6.1" in lines

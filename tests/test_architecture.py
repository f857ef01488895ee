"""docs/architecture.md: the walk names places that are there; imports have no circle; files stay short."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests import tiny

ROOT = tiny.ROOT
SOURCE = ROOT / "src"


@pytest.mark.parametrize(("page", "least"), [("architecture", 7), ("method", 25)])
def test_the_walk_leads_to_places_that_are_there(page: str, least: int) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    places = re.findall(r"<!-- at: (\S+): (.+?) -->", text)
    assert len(places) >= least
    for path, line in places:
        assert line in (ROOT / path).read_text(encoding="utf-8"), f"{path} has no {line}"


def test_every_folder_says_what_lives_there() -> None:
    folders = {path.parent for path in (SOURCE / "semples").rglob("*.py")}
    for folder in folders:
        if folder.name in ("assets", "recipes"):
            continue
        module = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(module), folder
    listed = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in folders:
        if folder.parent == SOURCE / "semples":
            assert f"`{folder.name}`" in listed, f"docs/architecture.md does not name {folder.name}"


def test_no_file_is_long() -> None:
    folders = ("src", "tests", "benchmarks", "scripts", "examples", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    long = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in long.items() if lines > 400} == {}


def test_imports_have_no_circle() -> None:
    """Among modules; imports in functions count, those for types alone do not."""
    modules = {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }
    graph = {name: _imports(path, modules) - {name} for name, path in modules.items()}
    reached: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in reached:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            reached.add(name)

    for name in graph:
        visit(name, ())


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    names: set[str] = set()

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                look(other)
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in modules else node.module)
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(path.read_text(encoding="utf-8")))
    return names & modules.keys()


def test_names_speak() -> None:
    """`found` and `own` name everything and hence nothing: no variable, argument or field has them."""
    silent = []
    for path in (
        path
        for folder in ("src", "benchmarks", "scripts", "examples", "tests")
        for path in (ROOT / folder).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if _bound(node).strip("_") in ("found", "own"):
                silent.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {_bound(node)}")
    assert silent == [], "say what it holds"


def _bound(node: ast.AST) -> str:
    """The name that a node gives to something, or none."""
    if isinstance(node, ast.Name | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        return node.id if isinstance(node, ast.Name) else node.attr
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    return ""

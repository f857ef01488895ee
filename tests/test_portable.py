"""Nothing rests on the ways of one system: encodings are named, and what only POSIX has is asked for with care."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import conftest, tiny

PARTS = ("src", "tests", "benchmarks", "scripts", "examples", "docs")
# What `os`, `signal` and others lack on Windows.
POSIX = {
    "SIGHUP", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGUSR1", "fork", "getuid", "geteuid", "mkfifo", "mknod", "killpg",
    "setsid", "getpgid", "getloadavg", "sched_getaffinity", "sched_setaffinity", "uname", "O_NOFOLLOW", "O_NONBLOCK",
    "O_DIRECTORY", "O_CLOEXEC", "setrlimit", "getrusage", "preexec_fn", "statvfs", "nice", "waitpid", "pread",
}  # fmt: skip
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "posix", "syslog"}
CAREFUL = {"src/semples/core/systems.py"}  # catches the error where there is none


def modules(*parts: str) -> Iterator[tuple[str, ast.Module]]:
    for part in parts:
        for path in sorted((tiny.ROOT / part).rglob("*.py")):
            if "_build" not in path.parts:
                yield path.relative_to(tiny.ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def unnamed(tree: ast.Module) -> Iterator[int]:
    """Lines where text is read, written or printed to a process in the encoding of the system, cp1252 on Windows."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        if "encoding" in named or any(isinstance(given, ast.Starred) for given in call.args):
            continue
        if name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute):
            if len(call.args) < (1 if name == "read_text" else 2):
                yield call.lineno
        elif (name in ("open", "fdopen") and _opens_text(call, named)) or (
            name in ("NamedTemporaryFile", "TemporaryFile") and "b" not in _constant(named.get("mode"), "w+b")
        ):
            yield call.lineno


def _opens_text(call: ast.Call, named: dict[str | None, ast.expr]) -> bool:
    """Whether it is `open(path)` or `path.open()` of a text file, not `os.open`, `Image.open` or an archive's."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "open":
        if not isinstance(call.func.value, ast.Name | ast.BinOp | ast.Attribute | ast.Call) or call.args[1:]:
            return False
        if ast.unparse(call.func.value) in ("tarfile", "zipfile", "Image"):
            return False
        mode = _constant(call.args[0] if call.args else named.get("mode"), "")
        return bool(re.fullmatch(r"[rwax+t]+", mode))
    return "b" not in _constant(call.args[1] if len(call.args) > 1 else named.get("mode"), "r")


def _constant(node: ast.expr | None, default: str) -> str:
    if node is None:
        return default
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "b"


def test_every_text_file_names_its_encoding() -> None:
    wrong = [f"{path}:{line}" for path, tree in modules(*PARTS) for line in unnamed(tree)]
    assert wrong == []


@pytest.mark.parametrize(
    "code",
    [
        "open('a')",
        "open('a', 'w')",
        "p.read_text()",
        "p.write_text('a')",
        "p.open('a')",
        "(p / 'b').open('r')",
        "os.fdopen(1, 'w')",
    ],
)
def test_that_test_sees_a_text_file_without_one(code: str) -> None:
    assert list(unnamed(ast.parse(code))) == [1]


@pytest.mark.parametrize("code", ["open('a', 'rb')", "p.read_text('utf-8')", "Image.open('a.png')", "os.open(p, 1)"])
def test_that_test_lets_others_be(code: str) -> None:
    assert list(unnamed(ast.parse(code))) == []


def of_posix(tree: ast.Module) -> set[str]:
    """What a module takes that only POSIX has."""
    taken = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in POSIX:
            taken |= {node.attr} if node.value.id in ("os", "signal", "resource") else set()
        elif isinstance(node, ast.keyword) and node.arg in POSIX:
            taken.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            taken |= MODULES & set(named)
    return taken


def asked_for(tree: ast.Module) -> set[str]:
    """Names that a module asks for by `hasattr` before it takes them."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2)
    return {_constant(call.args[1], "") for call in calls if getattr(call.func, "id", "") == "hasattr"}


def test_the_package_takes_what_only_posix_has_in_one_place() -> None:
    taken = {path: of_posix(tree) - asked_for(tree) for path, tree in modules("src")}
    assert {path: names for path, names in taken.items() if names and path not in CAREFUL} == {}


def test_tests_that_need_posix_are_left_out_where_it_is_not() -> None:
    needing = {path.removeprefix("tests/") for path, tree in modules("tests") if of_posix(tree)}
    listed = set(conftest.POSIX_ONLY)
    assert {path for path in needing if Path(path).name.startswith("test_")} <= listed
    assert "robust/test_share.py" in listed  # whose helpers need it
    assert all((tiny.ROOT / "tests" / path).is_file() for path in listed)


def test_no_file_of_the_project_has_a_name_that_windows_cannot_keep() -> None:
    from semples.core.systems import windows_objection

    files = [
        path.relative_to(tiny.ROOT)
        for part in (*PARTS, ".github", "packaging")
        for path in (tiny.ROOT / part).rglob("*")
    ]
    assert len(files) > 500
    assert {str(path): windows_objection(path.as_posix()) for path in files if windows_objection(path.as_posix())} == {}
    folded = [path.as_posix().casefold() for path in files]
    assert len(set(folded)) == len(folded)
    assert max(len(path.as_posix()) for path in files if "_build" not in path.parts) < 140

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semples.inspect.report.build import build_report
from semples.run.context import Context
from tests.inspect.report.material import make_run
from tests.inspect.report.visit import DESKTOP, Visit, opened


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run with every part a report can show; tests only read it."""
    return make_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from tests.chromium import chromium  # skips the tests that need it, and these alone

    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def file(whole_run: Context, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(whole_run, tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def visit(browser: Any, file: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The report on a desktop; parametrize indirectly with other options of a browser context."""
    yield from opened(browser, file, **getattr(request, "param", DESKTOP))

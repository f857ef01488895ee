from __future__ import annotations

import pytest

from semples.run.context import Context
from tests.inspect.report.material import make_run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run with every part a report can show; tests only read it."""
    return make_run(tmp_path_factory.mktemp("whole"))

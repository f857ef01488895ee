from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.data.sources.server import FileServer, file_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with file_server() as running:
        yield running

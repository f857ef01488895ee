from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import tiny
from tests.prediction import material

pytest.importorskip("starlette", reason="needs starlette: pip install 'semples[app]'")
pytest.importorskip("uvicorn", reason="needs uvicorn: pip install 'semples[app]'")

Serve = Callable[[Path], str]


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The address of a page that serves the model in `folder`, by a thread of this process."""
    import semples
    from semples.app.server import Limits, listen, make_server

    with listen("127.0.0.1", 0) as sock:
        limits = Limits(megabytes=3.0, megapixels=40.0)
        server = make_server(semples.load(folder), name="tiny <b>model</b>", limits=limits, host="127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of two pages: of a segmenter, and of a run without one."""
    folder = tmp_path_factory.mktemp("app")
    photos = tiny.draw_photos(folder / "photos", count=4)
    with ExitStack() as stack:
        models = {"segmenter": material.package(folder / "model"), "run": material.run(folder / "run", photos)}
        yield {name: stack.enter_context(running(model)) for name, model in models.items()}


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with things in it, 59 by 47 or so."""
    return tiny.draw_photos(tmp_path_factory.mktemp("photo"), count=1, seed=3) / "p00.png"

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import tiny
from tests.prediction import material

if TYPE_CHECKING:
    from semples.app.server import Made

pytest.importorskip("gradio", reason="needs gradio: pip install 'semples[app]'")


@dataclass(frozen=True)
class Served:
    """Addresses of two pages, of a segmenter and of a run without one; their models' folders; where files are kept."""

    segmenter: str
    run: str
    models: dict[str, Path]
    folder: Path


@contextmanager
def running(model: Path, folder: Path) -> Iterator[str]:
    """The address of a page of the model, by a thread of this process."""
    import semples
    from semples.app.answer import Limits
    from semples.app.server import page_of

    limits = Limits(megabytes=3.0, megapixels=40.0)
    with served_page(page_of(semples.load(model), name="tiny <b>model</b>", limits=limits), folder) as address:
        yield address


@contextmanager
def served_page(made: Made, folder: Path) -> Iterator[str]:
    """The address of a page, by a thread of this process."""
    from semples.app.server import listen, make_server

    with listen("127.0.0.1", 0) as sock:
        server = make_server(made, host="127.0.0.1", folder=folder)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(60)  # a busy machine takes its time
        if thread.is_alive():
            faulthandler.dump_traceback(all_threads=True)
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two pages that are served."""
    from semples.app.server import private_folder

    place = tmp_path_factory.mktemp("app")
    photos = tiny.draw_photos(place / "photos", count=4)
    models = {"segmenter": material.package(place / "model"), "run": material.run(place / "run", photos)}
    with ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        addresses = {name: stack.enter_context(running(model, folder)) for name, model in models.items()}
        yield Served(**addresses, models=models, folder=folder)
    assert not folder.exists()


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with things in it, 59 by 47 or so."""
    return tiny.draw_photos(tmp_path_factory.mktemp("photo"), count=1, seed=3) / "p00.png"

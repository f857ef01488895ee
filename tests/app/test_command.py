"""`semples app` as a command: what it says, what it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests import tiny
from tests.app.client import Client
from tests.prediction import material


def test_command(tmp_path: Path) -> None:
    """The command listens on this machine alone, and ends without complaint though a page is open."""
    folder = material.package(tmp_path / "model")
    command = [sys.executable, "-u", "-m", "semples", "app", folder, "--port", "0"]
    environment = tiny.environment() | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        address = line.split()[1]
        assert address.startswith("http://127.0.0.1:")
        page = Client(address)
        assert list(tmp_path.glob("semples-app-*"))
        assert "port" in tiny.refused("app", folder, "--port", address.rpartition(":")[2])
        with page.http.stream("GET", f"/gradio_api/heartbeat/{page.session}") as alive:
            beats = alive.iter_raw()
            next(beats)
            program.send_signal(signal.SIGINT)
            out, err = program.communicate(timeout=60)
    assert (program.returncode, err) == (0, ""), err
    assert "Traceback" not in out
    assert not list(tmp_path.glob("semples-app-*"))


@pytest.mark.slow
def test_no_photo_outlives_a_killed_program(tmp_path: Path, photo: Path) -> None:
    """What a kill has left goes at the next start; SIGHUP and SIGTERM leave nothing."""
    folder = material.package(tmp_path / "model")
    command = [sys.executable, "-u", "-m", "semples", "app", folder, "--port", "0"]
    (tmp_path / "tmp").mkdir()
    environment = tiny.environment() | {"TMPDIR": str(tmp_path / "tmp")}
    for sign in (signal.SIGKILL, signal.SIGHUP, signal.SIGTERM):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as program:
            assert program.stdout is not None
            page = Client(program.stdout.readline().split()[1])
            sent = Path(page.upload(photo.read_bytes()).json()[0])
            assert sent.is_file()
            (used,) = (tmp_path / "tmp").glob("semples-app-*")  # that of the killed one is gone
            assert sent.is_relative_to(used)
            program.send_signal(sign)
            err = program.communicate(timeout=60)[1]
        assert "Traceback" not in err
        if sign is signal.SIGKILL:
            assert sent.is_file()
        else:
            assert program.returncode == 0
            assert not used.exists()


def test_folders_in_use_are_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semples.app.server import private_folder, sweep

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".lock").touch()
    (tmp_path / "semples-app-link").symlink_to(outside)
    (tmp_path / "semples-app-file").touch()
    (tmp_path / "semples-app-young").mkdir()
    (tmp_path / "semples-app-dead" / "files").mkdir(parents=True)
    (tmp_path / "semples-app-dead" / ".lock").touch()
    with private_folder() as folder:
        sweep(tmp_path)
        assert folder.is_dir()
    assert not folder.exists()
    assert outside.is_dir()
    assert {path.name for path in tmp_path.glob("semples-app-*")} == {
        "semples-app-link", "semples-app-file", "semples-app-young"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--port", "99999"], "must be from 0 to 65535"),
        (["--max-megapixels", "0"], "must be above 0"),
        (["--host", "203.0.113.7", "--port", "0"], "cannot listen on 203.0.113.7"),
    ],
)
def test_mistakes_are_one_line(options: list[str], hint: str, tmp_path: Path) -> None:
    assert hint in tiny.refused("app", material.package(tmp_path / "model"), *options)
    assert "no such folder" in tiny.refused("app", tmp_path / "none")


def test_gradio_is_loaded_for_the_page_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, semples, semples.cli, semples.prediction\nassert not {'gradio', 'fastapi'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=tiny.environment())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'semples[app]'" in tiny.refused("app", tmp_path)

"""What the page's server answers, without a browser."""

from __future__ import annotations

import base64
import http.client
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from semples.app.server import PAGE
from tests import tiny
from tests.prediction import material


def ask(
    address: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("GET" if body is None else "POST", path, body=body, headers=headers or {})
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def send(address: str, data: bytes, query: str = "") -> tuple[int, dict[str, Any]]:
    status, _, body = ask(address, f"/predict{query}", body=data, headers={"X-File-Name": "p.png"})
    return status, json.loads(body)


def picture(url: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.array(image)


def test_a_photo_comes_back_as_labels(served: dict[str, str], photo: Path) -> None:
    status, answer = send(served["segmenter"], photo.read_bytes())
    assert status == 200
    shape = tiny.pixels(photo).shape
    labels = picture(answer["labels"])
    assert labels.shape == shape[:2] == (answer["height"], answer["width"])
    assert picture(answer["overlay"]).shape == picture(answer["picture"]).shape == shape
    np.testing.assert_array_equal(picture(answer["layer"]), labels)
    counts = np.bincount(labels.ravel(), minlength=3)
    assert {entry["label"]: entry["pixels"] for entry in answer["classes"]} == {
        label: count for label, count in enumerate(counts.tolist()) if count
    }
    status, answer = send(served["segmenter"], photo.read_bytes(), "?tag=square")
    assert set(np.unique(picture(answer["labels"])).tolist()) <= {0, 2}


def test_a_run_asks_for_tags(served: dict[str, str], photo: Path) -> None:
    status, answer = send(served["run"], photo.read_bytes())
    assert status == 422
    assert "needs to know each photo's tags" in answer["error"]
    status, answer = send(served["run"], photo.read_bytes(), "?tag=disc&tag=square")
    assert status == 200
    assert picture(answer["labels"]).max() > 0
    assert json.loads(ask(served["run"], "/about")[2])["needs_tags"] is True


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "hint"),
    [
        (b"dog, cat\n" * 50, 422, "not a photo in JPEG"),
        (b"", 422, "the file is empty"),
        (png(10000, 10000), 413, "10000 x 10000 pixels are 100 megapixels; this page takes photos of up to 40"),
        (png(64, 64)[:45], 422, "damaged or cut off"),
        (bytes(3_000_001), 413, "larger than 3 megabytes"),
        (b"%PDF-1.7 ...", 422, "a PDF, not a photo"),
    ],
    ids=["text", "empty", "huge", "cut", "bytes", "pdf"],
)
def test_what_is_no_photo_is_refused_in_one_line(served: dict[str, str], data: bytes, status: int, hint: str) -> None:
    found, answer = send(served["segmenter"], data)
    assert (found, list(answer)) == (status, ["error"])
    assert answer["error"].startswith(hint) or hint in answer["error"]
    assert "/tmp" not in answer["error"]
    assert "\n" not in answer["error"]


def test_a_body_without_a_length_is_bounded_too(served: dict[str, str]) -> None:
    address = urlsplit(served["segmenter"])
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    pieces = (bytes(100_000) for _ in range(31))
    connection.request("POST", "/predict", body=pieces, headers={"X-File-Name": "p.png"}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413
    connection.close()


def test_other_sites_are_kept_out(served: dict[str, str], photo: Path) -> None:
    address, data = served["segmenter"], photo.read_bytes()
    assert ask(address, "/predict", body=data)[0] == 400  # without the header that other sites cannot send
    assert ask(address, "/about", headers={"Host": "evil.example"})[0] == 400  # a foreign name for this machine
    for path in PAGE:
        status, headers, _ = ask(address, path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
    for path in ("/server.py", "/../server.py", "/predict", "/docs"):
        assert ask(address, path)[0] in (404, 405)


def test_the_page_names_no_other_server() -> None:
    folder = Path(sys.modules["semples.app.server"].__file__ or "").parent
    for name, _ in PAGE.values():
        text = (folder / name).read_text(encoding="utf-8")
        assert "http:" not in text
        assert "https:" not in text
        assert "//" not in text.replace("http://", "")


def test_command(tmp_path: Path) -> None:
    """The command listens on this machine alone, and ends without complaint."""
    folder = material.package(tmp_path / "model")
    command = [sys.executable, "-u", "-m", "semples", "app", folder, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=tiny.environment()
    ) as page:
        assert page.stdout is not None
        line = page.stdout.readline()
        address = line.split()[1]
        assert address.startswith("http://127.0.0.1:")
        assert ask(address, "/about")[0] == 200
        assert "port" in tiny.refused("app", folder, "--port", address.rpartition(":")[2])
        page.send_signal(signal.SIGINT)
        out, err = page.communicate(timeout=30)
    assert (page.returncode, err) == (0, ""), err
    assert "Traceback" not in out


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

"""What the page's server answers, without a browser."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

import semples
from tests import tiny
from tests.app.client import JOIN, UPLOAD, Client, Said, file_data
from tests.app.conftest import Served

pytestmark = pytest.mark.xdist_group("app")


def picture(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def labels_of(page: Client, said: Said) -> np.ndarray:
    return picture(page.get(said.files[0]))


def test_a_photo_comes_back_as_labels(served: Served, photo: Path) -> None:
    page = Client(served.segmenter)
    said = page.send(photo.read_bytes(), name="Strand <ü>.png")
    expected = semples.load(served.models["segmenter"]).predict(photo)
    assert said.line.startswith(f"Strand <ü>.png: {expected.shape[1]} × {expected.shape[0]} pixels")
    labels, drawn, areas = (page.get(url) for url in said.files)
    np.testing.assert_array_equal(picture(labels), expected)
    assert picture(drawn).shape == tiny.pixels(photo).shape
    counts = np.bincount(expected.ravel(), minlength=3).tolist()
    rows = list(csv.reader(io.StringIO(areas.decode())))
    assert rows[0] == ["class", "label", "pixels", "share"]
    assert [(int(row[1]), int(row[2])) for row in rows[1:]] == [(k, count) for k, count in enumerate(counts) if count]
    assert [[name, pixels] for name, _, pixels in said.areas] == [[row[0], f"{int(row[2]):,}"] for row in rows[1:]]
    assert said.layers is not None
    shown, *layers = said.layers
    same = np.corrcoef(picture(page.get(shown[1])).mean(2).ravel(), tiny.pixels(photo).mean(2).ravel())[0, 1]
    assert same > 0.5  # a JPEG of the photo
    for name, url in layers:
        label = ("disc", "square").index(name) + 1
        np.testing.assert_array_equal(picture(page.get(url))[..., 3] > 0, expected == label)


def test_only_chosen_classes_are_looked_for(served: Served, photo: Path) -> None:
    page = Client(served.segmenter)
    assert page.choose("disc").layers is None  # nothing has been sent yet
    page.send(photo.read_bytes())
    labels = labels_of(page, page.choose("square"))
    assert set(np.unique(labels).tolist()) == {0, 2}
    wrong = page.choose("zebra")
    assert wrong.error
    assert "tag 'zebra' is not a class" in wrong.line


def test_a_run_asks_for_tags(served: Served, photo: Path) -> None:
    page = Client(served.run)
    said = page.send(photo.read_bytes())
    assert (said.line, said.error, said.areas) == ("p.png: now choose what is in it", False, [])
    assert said.layers is not None
    assert len(said.layers) == 1  # the photo, to look at while choosing
    expected = semples.load(served.models["run"]).predict(photo, tags=["disc", "square"])
    np.testing.assert_array_equal(labels_of(page, page.choose("disc", "square")), expected)


def test_users_do_not_disturb_each_other(served: Served, tmp_path: Path) -> None:
    photos = sorted(tiny.draw_photos(tmp_path, count=6, seed=5).glob("*.png"))
    model = semples.load(served.models["segmenter"])
    with ThreadPoolExecutor(3) as pool:
        pages = list(pool.map(lambda path: Client(served.segmenter), photos))
        replies = list(pool.map(lambda page, path: page.send(path.read_bytes()), pages, photos))
    for page, said, path in zip(pages, replies, photos, strict=True):
        np.testing.assert_array_equal(labels_of(page, said), model.predict(path))
        assert page.choose("disc").areas[0][0] == "background"  # each page remembers its own photo
    again = [Client(served.segmenter).send(photos[0].read_bytes()) for _ in range(2)]  # the same photo twice
    assert again[0].areas == again[1].areas == replies[0].areas


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, format="PNG")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"dog, cat\n" * 50, "not a photo in JPEG"),
        (b"", "the file is empty"),
        (png(10000, 10000), "10000 x 10000 pixels are 100 megapixels; this page takes photos of up to 40"),
        (png(30000, 30000), "900 megapixels"),
        (png(64, 64)[:45], "damaged or cut off"),
        (jpeg()[:-900], "damaged or cut off"),
        (b"%PDF-1.7 ...", "a PDF, not a photo"),
    ],
    ids=["text", "empty", "huge", "bomb", "cut", "cut-jpeg", "pdf"],
)
def test_what_is_no_photo_is_refused_in_one_line(served: Served, data: bytes, hint: str) -> None:
    said = Client(served.segmenter).send(data)
    assert said.error
    assert said.line.startswith("p.png: ")
    assert hint in said.line
    assert str(served.folder) not in said.line
    assert "\n" not in said.line
    assert (said.layers, said.files) == (None, [])


def test_large_files_are_not_taken(served: Served) -> None:
    page = Client(served.segmenter)
    answer = page.upload(bytes(3 * 2**20 + 100_000))
    assert (answer.status_code, answer.text) == (413, "this file is larger than 3 megabytes; make the photo smaller")
    assert page.upload(bytes(3 * 2**20 + 10)).status_code == 413  # little more than the limit
    many = [("files", (f"{k}.png", bytes(2**20))) for k in range(4)]
    assert page.http.post(UPLOAD, files=many).status_code == 413  # all files together
    pieces = (bytes(100_000) for _ in range(31))
    assert page.http.post(UPLOAD, content=pieces, headers={"Content-Type": "image/png"}).status_code == 411
    assert page.http.post(JOIN, content=bytes(100_000)).status_code == 413


def test_photos_are_forgotten(served: Served, photo: Path) -> None:
    """The file goes once it is read, what is remembered when the page is closed."""
    data = photo.read_bytes()
    page = Client(served.segmenter)
    with page.http.stream("GET", f"/gradio_api/heartbeat/{page.session}") as alive:
        beats = alive.iter_raw()  # the page is closed with it
        next(beats)
        sent = Path(page.upload(data).json()[0])
        assert sent.is_relative_to(served.folder)
        assert page.take(str(sent)).files
        assert not sent.exists()
        assert "did not arrive" in page.take(str(sent)).line
        assert all(path.read_bytes() != data for path in served.folder.rglob("*") if path.is_file())
        page.send(data)
        time.sleep(0.5)
        assert page.choose("disc").files
    end = time.monotonic() + 20
    while page.choose("disc").files:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_files_of_the_machine_are_out_of_reach(served: Served, photo: Path) -> None:
    page = Client(served.segmenter)
    before = set(served.folder.rglob("*"))
    inside = served.folder / ".." / photo.name
    for path in (str(photo), "/etc/hostname", "http://127.0.0.1:9/p.png", str(inside), "p.png\0"):
        assert page.join("upload", file_data(path), []).status_code == 403
        assert page.join("input", [file_data(path)]).status_code == 403
    for path in (str(photo), "/etc/hostname", "http://127.0.0.1:9/p.png", f"{served.folder}/../etc"):
        assert page.http.get(f"/gradio_api/file={path}").status_code in (403, 404)
    deep = page.http.post(JOIN, content=b"[" * 60_000)
    assert deep.status_code == 403
    assert set(served.folder.rglob("*")) == before


def test_other_sites_are_kept_out(served: Served, photo: Path) -> None:
    page = Client(served.segmenter)
    files = {"files": ("p.png", photo.read_bytes())}
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert page.http.post(UPLOAD, files=files, headers=headers).status_code == 403
        assert page.http.get("/config", headers=headers).status_code == 403
    other = f"http://localhost:{urlsplit(served.run).port}"  # another program of this machine
    assert page.http.post(UPLOAD, files=files, headers={"Origin": other}).status_code == 403
    assert page.http.post(UPLOAD, files=files, headers={"Origin": served.segmenter}).status_code == 200
    assert page.http.get("/", headers={"Host": "evil.example"}).status_code == 400  # a foreign name for this machine
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = page.http.get("/", headers=linked)  # a link to the page may stand anywhere
    assert answer.status_code == 200
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "docs", "openapi.json", "monitoring", "gradio_api/info", "gradio_api/openapi.json", "gradio_api/runs",
        "gradio_api/vibe-code", "gradio_api/proxy=http://127.0.0.1:9/", "gradio_api/mcp/", "login", "../pyproject.toml",
    ],
)  # fmt: skip
def test_only_the_page_is_served(served: Served, path: str) -> None:
    with httpx.Client(base_url=served.segmenter, trust_env=False) as http:
        assert http.get(f"/{path}").status_code == 404
        assert http.post(f"/{path}", json={}).status_code == 404


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_an_upload_that_breaks_off_leaves_nothing(served: Served, photo: Path) -> None:
    before = files_of(served.folder)
    place = urlsplit(served.segmenter)
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 500000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="p.png"\r\n\r\n'
    )
    with socket.create_connection((str(place.hostname), int(place.port or 0))) as connection:
        connection.sendall(head.encode() + bytes(100_000))
        time.sleep(0.3)
    assert Client(served.segmenter).send(photo.read_bytes()).files
    names = {path.name for path in files_of(served.folder) - before}
    assert not {name for name in names if name.startswith("tmp")}


@pytest.mark.parametrize("name", ["", "..", "x" * 300 + ".png", "a\0b.png"], ids=["none", "dots", "long", "null"])
def test_odd_file_names_are_refused(served: Served, photo: Path, name: str) -> None:
    before = files_of(served.folder)
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n'
    body += photo.read_bytes() + b"\r\n--x--\r\n"
    answer = Client(served.segmenter).http.post(
        UPLOAD, content=body, headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400
    assert "Traceback" not in answer.text
    assert "\n" not in answer.text
    assert files_of(served.folder) == before


@pytest.mark.parametrize(
    "change",
    [
        {"fn_index": -1}, {"fn_index": 10**30}, {"fn_index": "0"}, {"fn_index": None}, {"fn_index": True},
        {"data": None}, {"data": "x"}, {"session_hash": None}, {"session_hash": "x" * 100}, {"session_hash": "../x"},
    ],
    ids=str,
)  # fmt: skip
def test_odd_requests_are_refused(served: Served, change: dict[str, object], capfd: pytest.CaptureFixture[str]) -> None:
    page = Client(served.segmenter)
    body = {"data": [["disc"]], "fn_index": page.events["input"], "session_hash": page.session} | change
    answer = page.http.post(JOIN, json=body)
    assert (answer.status_code, answer.text.strip()) == (400, "this request makes no sense here")
    assert "Traceback" not in capfd.readouterr().err


def test_odd_bodies_and_paths_are_refused(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    page = Client(served.segmenter)
    for body in (b"", b"[]", b"7", b"\xff", b'{"data": [{"path": 7}]}'):
        assert page.http.post(JOIN, content=body).status_code in (400, 403)
    for body, kind in (
        (b"x", "text/plain"),
        (b"x", "multipart/form-data"),
        (b"--x--", "multipart/form-data; boundary=x"),
    ):
        assert page.http.post(UPLOAD, content=body, headers={"Content-Type": kind}).status_code == 400
    for path in ("x" * 3000, "x/" * 1500, "%00", "a" * 300):
        assert page.http.get(f"/gradio_api/file={path}").status_code in (400, 403, 404)
    assert "Traceback" not in capfd.readouterr().err


def test_the_origins_scheme_counts(served: Served, photo: Path) -> None:
    page = Client(served.segmenter)
    files = {"files": ("p.png", photo.read_bytes())}
    other = served.segmenter.replace("http://", "https://")
    assert page.http.post(UPLOAD, files=files, headers={"Origin": other}).status_code == 403
    assert page.http.get("/config", headers={"Origin": other}).status_code == 403


def test_uploads_have_a_limit_in_all_and_go_when_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.requests import Request

    from semples.app import uploads as module

    monkeypatch.setattr(module, "UNASKED_SECONDS", 0.3)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": bytes(100), "more_body": False}

    async def send() -> None:
        uploads, paths = module.Uploads(100), [tmp_path / str(k) for k in range(9)]
        for path in paths[:8]:
            await uploads.whole(Request({"type": "http", "headers": []}, receive), 100)
            path.write_bytes(bytes(100))
            uploads.arrived(json.dumps([str(path)]).encode())
        with pytest.raises(module.Refused) as caught:
            await uploads.whole(Request({"type": "http", "headers": []}, receive), 100)
        assert caught.value.status == 503
        paths[0].unlink()  # it has been read: there is room for another
        await uploads.whole(Request({"type": "http", "headers": []}, receive), 100)
        uploads.asked([str(paths[1])])
        await asyncio.sleep(0.6)
        assert [path.name for path in paths if path.exists()] == ["1"]

    asyncio.run(send())


def test_a_full_queue_is_said(served: Served, photo: Path) -> None:
    """Photos beyond those that may wait are turned away with a line, and the page goes on."""
    sent = [png(3000, 3000), *[photo.read_bytes()] * 10]  # the first takes a while
    pages = [Client(served.segmenter) for _ in sent]
    paths = [page.upload(data, f"{k}.png").json()[0] for k, (page, data) in enumerate(zip(pages, sent, strict=True))]
    joined = [page.join("upload", file_data(path), []) for page, path in zip(pages, paths, strict=True)]
    assert [answer.status_code for answer in joined[:5]] == [200] * 5
    assert joined[-1].status_code != 200
    assert "Queue is full" in joined[-1].text
    for page, answer in zip(pages, joined, strict=True):
        if answer.status_code == 200:
            page.output()
    assert Client(served.segmenter).send(photo.read_bytes()).files

"""Photos in tar archives: read where they lie, known by content, never unpacked, and nothing in them leads anywhere."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semples.core import tars
from semples.core.errors import UserError
from semples.core.files import read_file, sha256_file
from semples.data import PhotoError, open_dataset, verify_photos
from semples.run.photos import photos_digest
from tests import tiny


def picture(shade: int, side: int = 12) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side + 4, 3), shade, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def pack(path: Path, files: dict[str, bytes], *, links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return path


def tags(*names: str) -> bytes:
    return json.dumps({"tags": names}).encode()


def test_tags_in_every_form(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", {
        "one.png": picture(1), "one.json": tags("dog", "cat?"), "two.png": picture(2), "two.txt": b"dog;cat",
        "three.jpg": picture(3), "three.cls": b"cat\n", "four.png": picture(4), "four.json": b'"dog, cat"',
        "five.png": picture(5), "five.json": b'{"labels": []}', "sub/six.png": picture(6), "sub/six.tags": b"cat",
    })  # fmt: skip
    dataset = open_dataset(tmp_path)
    assert dataset.classes.names == ("cat", "dog")
    rows = {item.id: (item.tags, item.open) for item in dataset.items}
    assert rows == {
        "a/one": ((1,), (0,)), "a/two": ((0, 1), ()), "a/three": ((0,), ()), "a/four": ((0, 1), ()),
        "a/five": ((), ()), "a/sub/six": ((0,), ()),
    }  # fmt: skip
    assert [int(dataset.photo(item)[0, 0, 0]) for item in dataset.items] == [1, 2, 3, 4, 5, 6]
    assert len(verify_photos(dataset, workers=2).kept) == 6


def test_what_is_wrong_is_set_aside_and_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(9))
    folder = tmp_path / "photos"
    folder.mkdir()
    pack(
        folder / "a.tar",
        {
            "good.png": picture(1), "good.json": tags("dog"), "alone.png": picture(2), "bad.png": picture(3),
            "bad.json": b"{", "../up.png": picture(4), "../up.json": tags("dog"), "other.png": picture(5),
            "other.json": b'{"tags": [1]}', "torn.png": b"no photo", "torn.json": tags("dog"),
        },
        links={"link.png": str(secret), "link.json": "good.json"},
    )  # fmt: skip
    dataset = open_dataset(folder)
    assert [item.id for item in dataset.items] == ["a/good", "a/torn"]
    told = {problem.where: problem.what for problem in dataset.problems}
    assert set(told) == {"a.tar/alone.png", "a.tar/bad.json", "a.tar/../up.png", "a.tar/other.json"}
    assert "leads out of its folder" in told["a.tar/../up.png"]
    with pytest.raises(PhotoError, match=r"a.tar/torn.png: not a photo"):
        dataset.photo(dataset.items[1])
    with pytest.raises(OSError, match="No such file in the archive"):
        read_file(folder / "a.tar" / "link.png")


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    whole = pack(tmp_path / "a.tar", {"x.png": picture(1, 200), "x.json": tags("dog")}).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:700])
    with pytest.raises(UserError, match=r"a.tar: not a whole tar archive.*make it again"):
        open_dataset(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(UserError, match=r"a.tar: not a whole tar archive"):
        open_dataset(tmp_path)


def test_archives_of_something_else_are_no_photos(tmp_path: Path) -> None:
    pack(tmp_path / "VOCtrainval.tar", {"VOC/x.png": picture(1), "VOC/y.xml": b"<a/>"})
    with pytest.raises(UserError, match="neither the VOC layout"):
        open_dataset(tmp_path)


def test_members_are_known_by_content(tmp_path: Path) -> None:
    data = picture(7)
    archive = pack(tmp_path / "a.tar", {"x.png": data, "x.json": tags("dog")})
    (tmp_path / "x.png").write_bytes(data)
    assert sha256_file(archive / "x.png") == sha256_file(tmp_path / "x.png")
    (tmp_path / "x.png").unlink()
    before = photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True)
    assert photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True) == before
    pack(archive, {"x.png": picture(8), "x.json": tags("dog")})
    assert photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True) != before


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{k}{end}": data for k in range(50) for end, data in ((".png", picture(k)), (".json", tags("dog")))}
    pack(tmp_path / "a.tar", files)
    opened, original = [], tarfile.open
    monkeypatch.setattr(tars.tarfile, "open", lambda *given, **named: opened.append(given) or original(*given, **named))
    dataset = open_dataset(tmp_path)
    assert [int(dataset.photo(item)[0, 0, 0]) for item in dataset.items] == list(range(50))
    assert len(opened) == 1


def test_a_run_of_archives_equals_one_of_files(tmp_path: Path) -> None:
    """CAMs and label maps bit by bit, in a folder an archive; nothing is unpacked; exports have the photos."""
    photos = tiny.draw_photos(tmp_path / "files" / "train-0", count=6)
    rows = (photos / "tags.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "files" / "tags.csv").write_text(
        "\n".join([rows[0], *(f"train-0/{row}" for row in rows[1:])]) + "\n", encoding="utf-8"
    )
    (photos / "tags.csv").unlink()
    files: dict[str, bytes] = {}
    for row in rows[1:]:
        name, _, words = row.partition(",")
        stem = Path(name).stem
        files |= {name: (photos / name).read_bytes(), f"{stem}.txt": words.strip('"').encode()}
    (tmp_path / "tars").mkdir()
    pack(tmp_path / "tars" / "train-0.tar", files)
    for folder in ("files", "tars"):
        (tmp_path / folder / "classes.txt").write_text("disc\nsquare\n", encoding="utf-8")
    recipe = tiny.write_recipe(tmp_path / "tiny.yaml", tiny.save_clip(tmp_path / "clip"))
    settings = ["labels.select=fixed", "health.photos=0"]
    settings += [f"{stage}.epochs=1" for stage in ("warmup", "matching", "prompting", "refinement")]
    made = {}
    for folder in ("files", "tars"):
        out = tmp_path / f"run {folder}"
        sets = [f"--set={setting}" for setting in settings]
        tiny.invoke("run", recipe, "--data", tmp_path / folder, "--out", out, *sets)
        made[folder] = {
            path.relative_to(out).as_posix(): path.read_bytes()
            for step in ("cams", "labels")
            for path in (out / step).rglob("*.*")
            if path.suffix in (".png", ".npz", ".npy")
        }
        tiny.invoke("export", "coco", out, "--out", tmp_path / f"coco {folder}")
    assert made["tars"] == made["files"]
    assert len(made["tars"]) > 10
    assert all(name.split("/")[1] in ("train-0", "confidence") for name in made["tars"])
    assert {path.name for path in (tmp_path / "tars").iterdir()} == {"train-0.tar", "classes.txt"}

"""Photos in cells of files: damage, memory, processes, content."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from semples.core import cells
from semples.core.errors import UserError
from semples.core.files import read_file, sha256_file
from semples.data import PhotoError, TaggedDataset, check, open_dataset, verify_photos
from semples.run.photos import photos_digest
from tests import tiny
from tests.data.builders import complaint, png, write_parquet
from tests.data.cells import grey, hugging_face, one_line, picture, shades


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "set.parquet", {"image": [picture(1)] * 9, "tags": [["a"]] * 9})
    whole = path.read_bytes()
    for content, said in (
        (whole[:-20], "not a whole Parquet file"), (whole[: len(whole) // 2], "not a whole Parquet file"),
        (b"", "not a whole Parquet file"), (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ):  # fmt: skip
        path.write_bytes(content)
        told = one_line(lambda: open_dataset(tmp_path))
        assert "set.parquet: " in told
        assert said in told
    path.unlink()
    with hugging_face() as hf:
        hf.Dataset.from_dict({"image": [picture(1)] * 9, "tags": [["a"]] * 9}).save_to_disk(tmp_path)
    arrow = next(tmp_path.glob("*.arrow"))
    whole = arrow.read_bytes()
    arrow.write_bytes(whole[:-700])
    assert "not a whole Arrow file" in one_line(lambda: open_dataset(tmp_path))
    # Offsets that lead out of the file: nothing is read from there.
    place = whole.index(np.arange(10, dtype="<i4").tobytes()) + 4 * 9  # where each row's list of tags ends
    arrow.write_bytes(whole[:place] + np.array([2**30], "<i4").tobytes() + whole[place + 4 :])
    assert "not a whole Arrow file" in one_line(lambda: open_dataset(tmp_path))


def test_damage_within_names_file_and_row(tmp_path: Path) -> None:
    rows = [picture(1), {"bytes": png(grey(2))[:48], "path": None}, {"bytes": b"no picture", "path": "x.png"}]
    path = write_parquet(
        tmp_path / "set.parquet", {"image": rows, "tags": [["a"]] * 3}, compression="none", row_group_size=2
    )
    dataset = open_dataset(tmp_path)
    told = check(dataset)
    assert told.photos == 1
    assert [f"set.parquet{os.sep}image{os.sep}{k}." in one.what for k, one in enumerate(told.unreadable, 1)] == [
        True
    ] * 2
    content = bytearray(path.read_bytes())
    place = content.index(png(grey(1))[:30])
    content[place - 40 : place] = b"\xff" * 40  # the page's head
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"image.0\.jpg: .*(damaged|whole)"):
        dataset.photo(dataset.items[0])
    assert "\n" not in complaint(lambda: dataset.photo(dataset.items[0]))


def test_without_pyarrow_one_line_says_what_to_install(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set.parquet", {"image": [picture(1)], "tags": [["a"]]})
    code = "import sys; sys.modules['pyarrow'] = None; from semples.cli import main; main()"
    for words in (["data", "check", str(tmp_path)], ["data", "check", str(tmp_path / "set.parquet")]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "pip install 'semples[parquet]'" in done.stderr
    photos = tiny.draw_photos(tmp_path / "files", count=2)
    done = subprocess.run([sys.executable, "-c", code, "data", "check", str(photos)], capture_output=True, check=False)
    assert done.returncode == 0


def test_random_order_holds_a_few_groups_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "set.parquet"
    kind = pa.schema({"image": pa.binary()})
    with pq.ParquetWriter(path, kind, compression="none") as file:
        for group in range(10):
            rows = [bytes([group, row]) + rng.bytes(100_000) for row in range(100)]
            file.write_table(pa.table({"image": rows}, kind), row_group_size=100)
    before, most = pa.total_allocated_bytes(), 0
    for row in rng.permutation(1000)[:60]:
        data = read_file(cells.path_of(path, "image", int(row), ".jpg"))
        assert tuple(data[:2]) == (row // 100, row % 100)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < cells.HELD + 25_000_000  # of 100 MB; one more group, while it is read
    held = cells.Held(limit=1)
    for row in (0, 500, 501):
        held.value(cells.Cell(str(path), "image", row))
    assert held.size < 11_000_000  # the last group alone, though it is beyond the limit


def read_shade(dataset: TaggedDataset, place: int) -> tuple[int, int]:
    return place, int(dataset.photo(place)[0, 0, 0])


@pytest.mark.parametrize(("method", "form"), [("fork", "parquet"), ("fork", "arrow"), ("spawn", "parquet")])
def test_other_processes_read_too(tmp_path: Path, method: str, form: str) -> None:
    if method == "fork" and sys.platform != "linux":
        pytest.skip("no fork")
    rows = {"image": [picture(k) for k in range(20)], "tags": [["a"]] * 20}
    if form == "parquet":
        write_parquet(tmp_path / "set.parquet", rows, row_group_size=3)
    else:
        with hugging_face() as hf:
            hf.Dataset.from_dict(rows).save_to_disk(tmp_path)
    dataset = open_dataset(tmp_path)
    assert shades(dataset) == list(range(20))  # this process holds groups of its own
    assert len(pickle.dumps(dataset)) < 20_000
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        asked = [pool.submit(read_shade, dataset, place) for place in (19, 0, 7, 7, 12, 3)]
        assert [one.result() for one in asked] == [(place, place) for place in (19, 0, 7, 7, 12, 3)]
    assert len(verify_photos(dataset, workers=4).kept) == 20


def test_cells_are_known_by_content(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "set.parquet", {"image": [picture(7)], "tags": [["dog"]]})
    dataset = open_dataset(tmp_path)
    tiny.save(tmp_path / "x.png", grey(7))
    (tmp_path / "x.png").write_bytes(png(grey(7)))
    assert sha256_file(dataset.items[0].photo) == sha256_file(tmp_path / "x.png")
    (tmp_path / "x.png").unlink()
    before = photos_digest(dataset, tmp_path / "seen.json", save=True)
    assert photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True) == before
    write_parquet(path, {"image": [picture(8), picture(9)], "tags": [["dog"], ["dog"]]})
    assert photos_digest(open_dataset(tmp_path), tmp_path / "seen.json", save=True) != before
    for name in ("0/0.jpg", "image/9.jpg", "image/x.jpg", "image/../x.jpg", "image"):
        with pytest.raises((OSError, UserError)):
            read_file(path / name)

"""Preflight: what would stop a later step is said before the first one; without network within three seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from semples.core.errors import Note, UserError
from semples.recipe import Recipe, override
from semples.run.names import SEGMENTER
from semples.run.planning.preflight import check_batches, remark_on_segmenter
from tests import tiny


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preflight")
    tiny.draw_photos(folder / "photos", count=4)
    tiny.write_recipe(folder / "tiny.yaml", tiny.save_clip(folder / "clip"))
    return folder


def command(material: Path, out: Path, *settings: str) -> list[str | Path]:
    changes = [part for setting in settings for part in ("--set", setting)]
    return ["run", material / "tiny.yaml", "--data", material / "photos", "--out", out, *changes]


def broken_clip(material: Path, folder: Path) -> Path:
    """A CLIP whose weights are cut off."""
    folder.mkdir()
    for file in (material / "clip").iterdir():
        data = file.read_bytes()
        (folder / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".safetensors" else data)
    return folder


def test_an_unloadable_judge_is_found_before_the_warm_up(material: Path, tmp_path: Path) -> None:
    clip = broken_clip(material, tmp_path / "cut")
    said = tiny.refused(*command(material, tmp_path / "out", f"judge.model={clip}"))
    assert "judge, for matching, prompting, refinement, selection" in said
    assert not (tmp_path / "out" / "warmup").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["judge.model=/no/such/clip"], ["/no/such/clip: no such file or folder", "judge, for matching"]),
        (["prompts.start=/no/prompts.pth"], ["/no/prompts.pth: no such file", "prompts, for prompting"]),
        (
            ["prompts.length=71", "prompts.context=a photo of what is around"],
            ["does not fit", "prompts, for"],
        ),
        (["matching.accumulate=3", "matching.batch=2"], ["matching: a batch of 2 photos cannot be shared"]),
        (["labels.method=regions", "regions.model=/no/sam"], ["/no/sam: no such file", "regions, for regions"]),
        (["generator.heads=5"], ["generator, for warmup"]),
    ],
)
def test_said_before_the_first_step(material: Path, tmp_path: Path, settings: list[str], words: list[str]) -> None:
    said = tiny.refused(*command(material, tmp_path / "out", *settings))
    assert all(word in said for word in words), said
    assert not any((tmp_path / "out" / step).exists() for step in ("data", "warmup", "regions"))


def test_processes_that_cannot_share_a_batch_are_told_before_the_first_step() -> None:
    """The segmenter's batch too, though another command trains it: then nothing is refused yet."""
    recipe = override(Recipe(), ["matching.batch=6", "segmenter.batch=4"])
    check_batches(recipe, ["matching"], photos=100, processes=6)
    with pytest.raises(UserError, match="matching: a batch of 6 photos cannot be shared by 8 processes"):
        check_batches(recipe, ["matching"], photos=100, processes=8)
    with pytest.raises(UserError, match="segmenter: a batch of 4 photos cannot be shared by 8 processes"):
        check_batches(recipe, [SEGMENTER], photos=100, processes=8)
    with pytest.warns(Note, match="refuses so many processes: segmenter: a batch of 4 photos cannot be shared by 8"):
        remark_on_segmenter(recipe, ["matching"], photos=100, processes=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remark_on_segmenter(recipe, ["matching"], photos=100, processes=4)


def test_a_folder_of_somebody_else(material: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "refinement").mkdir(parents=True)
    (tmp_path / "out" / "refinement" / "thesis.txt").write_text("mine", encoding="utf-8")
    assert "refinement: not empty and not made by this program" in tiny.refused(*command(material, tmp_path / "out"))
    assert (tmp_path / "out" / "refinement" / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_the_segmenter_is_only_remarked_on(material: Path, tmp_path: Path) -> None:
    settings = [f"{stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
    settings += ["segmenter.model=/no/segmenter", "labels.select=fixed"]
    ended = tiny.invoke(*command(material, tmp_path / "out", *settings))
    assert "`semples segment train RUN` will fail: /no/segmenter: no such file" in ended.err
    assert "segmenter, for segmenter" in tiny.refused("segment", "train", tmp_path / "out")


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def closed() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    yield address


@pytest.mark.parametrize("trouble", ["closed", "silent", "proxy"])
def test_no_network_is_one_line_within_three_seconds(material: Path, tmp_path: Path, trouble: str) -> None:
    """Beyond what the same command takes to refuse a path that is not there."""
    settings = ["judge.model=openai/some-clip", "generator.start=timm/some-vit", "generator.kind=weaktr"]
    with closed() if trouble == "closed" else silent() as address:
        network = {"https_proxy": address} if trouble == "proxy" else {"HF_ENDPOINT": address}
        local = dict.fromkeys(("no_proxy", "NO_PROXY", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY"), "")
        environment = os.environ | local | network | {"HF_HOME": str(tmp_path / "cache")}
        line = [sys.executable, "-m", "semples", *map(str, command(material, tmp_path / "out", *settings))]
        usual = _seconds([*line, "--set", "judge.model=/no/such"], environment)[0]
        seconds, said = _seconds(line, environment)
    assert len(said) == 1, said
    assert "the hub cannot be reached" in said[0]
    for word in ("openai/some-clip (judge, for matching", "timm/some-vit (generator, for warmup)", "=FOLDER"):
        assert word in said[0]
    assert seconds - usual < 2.9, f"{seconds:.1f} s, of which {usual:.1f} s are the start of the program"
    assert not (tmp_path / "out" / "data").exists()


def _seconds(line: list[str], environment: dict[str, str]) -> tuple[float, list[str]]:
    begin = time.monotonic()
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert ended.returncode == 2, ended.stderr
    return time.monotonic() - begin, ended.stderr.splitlines()

"""Models of the hub: each kind of trouble has its own line, and none takes long."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save

from semples.core.errors import UserError
from semples.networks import hub as module
from semples.networks.hub import bytes_on_hub, download, snapshot
from semples.networks.weights import find_weights
from tests import tiny
from tests.networks.hub_server import Hub, hub_server

A, B = {"a": torch.ones(2)}, {"b": torch.zeros(3)}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield server


def test_downloaded_once(hub: Hub) -> None:
    hub.files["timm/vit"] = {"model.safetensors": save(A), "config.json": b'{"architecture": "vit_x"}'}
    weights = find_weights("timm/vit")
    assert weights.config == {"architecture": "vit_x"}
    assert weights.name == "timm/vit"
    assert torch.equal(weights.state["a"], A["a"])
    before = len(hub.asked)
    assert find_weights("timm/vit").config == weights.config
    assert len(hub.asked) == before


def test_processes_of_a_machine_download_once(hub: Hub, tmp_path: Path) -> None:
    """They share the cache: the first brings the weights, the others wait for it and take them from there."""
    data = b"w" * 3_000_000
    hub.files["timm/vit"] = {"model.safetensors": data}
    script = tmp_path / "download.py"
    script.write_text(
        "import sys\nfrom semples.networks.hub import download\n"
        "print(len(download('timm/vit', 'model.safetensors').read_bytes()))\n",
        encoding="utf-8",
    )
    environment = tiny.environment() | {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "shared")}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    started = [
        subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in started] == ["3000000"] * 3
    assert len([line for line in hub.asked if line.startswith("GET") and line.endswith("model.safetensors")]) == 1


@pytest.mark.parametrize("end", ["safetensors", "bin"])
def test_shards(hub: Hub, end: str, tmp_path: Path) -> None:
    kind = "model" if end == "safetensors" else "pytorch_model"
    names = [f"{kind}-0000{number}-of-00002.{end}" for number in (1, 2)]
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    hub.files["big/model"] = {f"{kind}.{end}.index.json": json.dumps(index).encode()}
    for name, state in zip(names, (A, B), strict=True):
        if end == "safetensors":
            hub.files["big/model"][name] = save(state)
        else:
            torch.save(state, tmp_path / name)
            hub.files["big/model"][name] = (tmp_path / name).read_bytes()
    assert set(find_weights("big/model").state) == {"a", "b"}


def test_what_a_download_would_take(hub: Hub) -> None:
    """The size of the weights, without them: of the first form that the repository has."""
    hub.files["timm/vit"] = {"pytorch_model.bin": bytes(12_345), "config.json": b"{}"}
    assert bytes_on_hub("timm/vit") == 12_345
    assert not [line for line in hub.asked if line.startswith("GET") and line.endswith("model.bin")], hub.asked
    assert bytes_on_hub("no/such") is None


def test_what_is_wrong_is_told_apart(hub: Hub) -> None:
    hub.errors["meta/closed"] = (403, "GatedRepo")
    hub.files["some/onnx"] = {"config.json": b"{}", "model.onnx": b"x", "README.md": b""}
    for repo, words in (
        ("meta/closed", ["gated", "terms", f"{hub.url}/meta/closed", "hf auth login"]),
        ("open/mistyped", ["no model of this name", "spelling", "private"]),
        ("some/onnx", ["has no file model.safetensors", "it has model.onnx"]),
        ("bad--name/x", ["owner/name"]),
    ):
        with pytest.raises(UserError) as caught:
            find_weights(repo)
        message = str(caught.value)
        assert all(word in message for word in (repo, *words)), message
        assert "\n" not in message
        assert "cannot be reached" not in message


def test_optional_files_may_be_missing_and_required_may_not(hub: Hub) -> None:
    hub.files["a/b"] = {"model.safetensors": save(A), "preprocessor_config.json": b'{"image_mean": [0.5, 0.5, 0.5]}'}
    assert find_weights("a/b").preprocessing == {"image_mean": [0.5, 0.5, 0.5]}
    with pytest.raises(UserError, match=r"has no file config\.json"):
        snapshot("a/b", required=("config.json",))


def test_offline_is_said_soon(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["a/b"] = {"config.json": b"{}"}
    download("a/b", "config.json")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    start = time.monotonic()
    assert download("a/b", "config.json").read_bytes() == b"{}"  # what is there needs no network
    with pytest.raises(UserError, match=r"x/y: not in the local cache and the hub cannot be reached; on a machine"):
        find_weights("x/y")
    assert time.monotonic() - start < 3


def test_a_silent_hub_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(module, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and says nothing
        start = time.monotonic()
        assert not module._answers(f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("setting", ["generator.start", "clip.model", "segmenter.model"])
def test_commands_say_it_in_one_line(tmp_path: Path, setting: str, hub: Hub) -> None:
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    hub.errors["meta/closed"] = (403, "GatedRepo")
    model = f"{setting}=meta/closed"
    if setting == "segmenter.model":
        command = ["segment", "train", "--photos", photos, "--labels", photos / "masks", "--out", tmp_path / "out"]
    else:
        short = [f"{stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
        recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tmp_path / "clip")
        command = ["run", recipe, "--data", photos, "--out", tmp_path / "out"]
        command += ["--until", "warmup" if setting.startswith("generator") else "matching"]
        command += [part for line in short for part in ("--set", line)]
    assert "meta/closed: gated" in tiny.refused(*command, "--set", model)

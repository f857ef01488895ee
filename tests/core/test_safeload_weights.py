"""Weights from files that nobody vouches for: what is read, what is refused, and what a refusal says."""

from __future__ import annotations

import argparse
import io
import pathlib
import pickle
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.core.safeload import load_npy, load_state_dict
from tests.core.test_safeload import dangers, npy_with

WEIGHTS = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(2, dtype=torch.float16)}


def equal(loaded: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = WEIGHTS) -> bool:
    return list(loaded) == list(expected) and all(
        loaded[name].dtype == expected[name].dtype and torch.equal(loaded[name], expected[name]) for name in expected
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pth(tmp_path: Path, zipped: bool, key: str | None, prefix: str) -> None:
    weights = OrderedDict((prefix + name, torch.nn.Parameter(tensor)) for name, tensor in WEIGHTS.items())
    path = tmp_path / "a.pth"
    torch.save({key: weights, "epoch": 3} if key else weights, path, _use_new_zipfile_serialization=zipped)
    loaded = load_state_dict(path)
    assert equal(loaded)
    assert not any(tensor.requires_grad for tensor in loaded.values())


@pytest.mark.parametrize("zipped", [True, False])
def test_published_checkpoints_carry_settings(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pth"
    args = argparse.Namespace(lr=1e-3, out=pathlib.Path("x/y"), scale=np.float64(0.5), nested=argparse.Namespace(a=[1]))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]).state_dict()
    best = {"miou": np.float32(0.5), "curve": np.arange(3)}
    content = {"model": WEIGHTS, "args": args, "optimizer": optimizer, "best": best, "epoch": np.int64(3)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert equal(load_state_dict(path))
    with pytest.raises(pickle.UnpicklingError):  # the allowance ends with the call
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", ["system", "exec", "open", "path", "getattr", "numpy", "function", "class", "random"])
@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pth_runs_nothing(tmp_path: Path, name: str, zipped: bool) -> None:
    flag = tmp_path / "flag"
    path = tmp_path / "a.pth"
    torch.save({"model": WEIGHTS, "args": dangers(flag)[name]}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="refused, ") as caught:
        load_state_dict(path)
    assert not flag.exists()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps(dangers(flag)["system"]))
    with pytest.raises(UserError) as caught:
        load_state_dict(path)
    assert not flag.exists()
    assert "\n" not in str(caught.value)


def test_safetensors_by_name_or_content(tmp_path: Path) -> None:
    for name in ("a.safetensors", "a.bin"):
        save_file({f"module.{key}": tensor for key, tensor in WEIGHTS.items()}, tmp_path / name)
        assert equal(dict(sorted(load_state_dict(tmp_path / name).items(), reverse=True)))
    torch.save(WEIGHTS, tmp_path / "b.bin")
    assert equal(load_state_dict(tmp_path / "b.bin"))
    (tmp_path / "c.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_state_dict(tmp_path / "c.safetensors")


def test_what_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    for content, what in [
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"epoch": 3}, "'epoch' is no tensor"),
        ({"model": {"a": torch.ones(1), "b": 7}}, "'b' is no tensor"),
    ]:
        torch.save(content, path)
        with pytest.raises(UserError, match=what):
            load_state_dict(path)
    for raw in (b"", b"text", b"PK\3\4 broken"):
        path.write_bytes(raw)
        with pytest.raises(UserError) as caught:
            load_state_dict(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        load_state_dict(tmp_path / "none.pth")
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"not a readable weight file|refused"):
        load_state_dict(path)


def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/constants.pkl", b"")
        archive.writestr("x/code/__torch__.py", b"")
    with pytest.raises(UserError, match="TorchScript"):
        load_state_dict(path)


# ------------------------------------------------------------------------------------------ what a refused file is


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [4, 5])
def test_newer_pickle_protocols_are_named(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": WEIGHTS}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=rf"refused, it is written with pickle protocol {protocol}, .* write it anew"):
        load_state_dict(path)
    torch.save(torch.load(path, map_location="cpu", weights_only=False), tmp_path / "b.pth")  # the advice works
    assert equal(load_state_dict(tmp_path / "b.pth"))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_refused_name_is_told(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path = tmp_path / "a.pth"
    for content, name in (
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"model": WEIGHTS, "lr": defaultdict(list)}, "collections.defaultdict"),
        ({"model": WEIGHTS, "cfg": types.SimpleNamespace(a=1)}, "types.SimpleNamespace"),
    ):
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=rf"refused, it asks for '{name}'"):
            load_state_dict(path)


def test_torchscript_advice_works_without_a_gpu(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "a.pt")
    with pytest.raises(UserError, match='map_location="cpu"') as caught:
        load_state_dict(tmp_path / "a.pt")
    advice = str(caught.value).partition("alone: ")[2]
    exec(advice, {"torch": torch, "file": tmp_path / "a.pt", "new_file": tmp_path / "b.pt"})
    assert set(load_state_dict(tmp_path / "b.pt")) == {"weight", "bias"}


def test_npz_of_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"embedding/kernel": np.ones((2, 3), np.float32), "cls": np.zeros(2)})
    loaded = load_state_dict(tmp_path / "a.npz")
    assert {name: tuple(tensor.shape) for name, tensor in loaded.items()} == {"embedding/kernel": (2, 3), "cls": (2,)}
    np.savez(tmp_path / "b.npz", a=np.array([{}], dtype=object))
    (tmp_path / "c.npz").write_bytes(b"PK\3\4 broken")
    for name in ("b.npz", "c.npz"):
        with pytest.raises(UserError, match=r"not a readable \.npz"):
            load_state_dict(tmp_path / name)


def test_torch_tensors_in_a_dictionary(tmp_path: Path) -> None:
    """As `np.save(path, {"keys": tensor, "cam": tensor})` writes them."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    content = {
        "keys": torch.tensor([3, 14]),
        "cam": base.transpose(1, 2),
        "part": base[1:, ::2],
        "half": base.bfloat16(),
        "none": torch.zeros(0, 3),
        "flag": torch.tensor(True),
    }
    np.save(tmp_path / "a.npy", np.array(content, dtype=object), allow_pickle=True)
    loaded = load_npy(tmp_path / "a.npy")
    assert set(loaded) == set(content)
    for name, tensor in content.items():
        np.testing.assert_array_equal(loaded[name], tensor.float().numpy() if name == "half" else tensor.numpy())


def test_tensors_that_reach_beyond_their_numbers(tmp_path: Path) -> None:
    stored = io.BytesIO()
    torch.save(torch.zeros(4).storage(), stored, _use_new_zipfile_serialization=False)
    for offset, size, stride in (
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (2, 2), (3, 3)),
        (-1, (1,), (1,)),
        (0, (1,), ()),
    ):

        class Forged:
            def __reduce__(self, offset=offset, size=size, stride=stride):
                storage = _Call(torch.storage._load_from_bytes, stored.getvalue())
                return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

        npy_with(tmp_path / "a.npy", pickle.dumps(Forged()))
        with pytest.raises(UserError, match="refused, it holds a damaged tensor"):
            load_npy(tmp_path / "a.npy")


class _Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_what_lies_in_the_place_of_weights(tmp_path: Path) -> None:
    for name, content, hint in (
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a Git LFS pointer"),
        ("a.pth", b"\n<!DOCTYPE html><html></html>", "a web page, not weights"),
        ("a.pkl", pickle.dumps({"model": {"a": np.ones(2)}}, 4), "a plain pickle, not written by torch.save"),
        ("a.pkl", pickle.dumps({"a": np.ones(2)}, 2), "a plain pickle|not a readable weight file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=hint) as caught:
            load_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value)

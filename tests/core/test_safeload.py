from __future__ import annotations

import argparse
import io
import os
import pathlib
import pickle
import random
import struct
import types
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.core.safeload import load_npy, load_state_dict
from tests.data.builders import complaint


def npy_with(path: Path, content: bytes, shape: tuple[int, ...] = ()) -> None:
    """A `.npy` file whose header promises an array of objects and whose body is `content`."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": shape})
        file.write(content)


def same(loaded: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray | np.generic):
        return type(loaded) is type(expected) and loaded.dtype == expected.dtype and np.array_equal(loaded, expected)
    if isinstance(expected, dict):
        return list(loaded) == list(expected) and all(same(loaded[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(loaded) is type(expected) and len(loaded) == len(expected) and all(map(same, loaded, expected))
    return type(loaded) is type(expected) and loaded == expected


PUBLISHED = [
    {"2007_000032": np.eye(20, dtype=np.float32)[0], "ü 日": np.zeros(20)},
    {3: np.random.default_rng(0).random((7, 5), np.float32), np.int64(0): np.zeros((2, 3), np.float32)},
    {"a": {"b": [1, 2.5, None, True, "text", b"bytes", (1, (2, [3]))]}, "c": np.float64(3), "s": {1, 2}, "z": 1j},
    OrderedDict(
        x=np.array(["a", "bcd"]), y=np.arange(6, dtype=">i4").reshape(2, 3)[:, ::-1], f=np.arange(6.0).reshape(3, 2).T
    ),
    {"nested": np.array([{"k": np.arange(3)}, None], dtype=object), "bool": np.array([True, False])},
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("index", range(len(PUBLISHED)))
def test_every_pickle_protocol_is_read(tmp_path: Path, protocol: int, index: int) -> None:
    array = np.empty((), object)
    array[()] = PUBLISHED[index]
    npy_with(tmp_path / "a.npy", pickle.dumps(array, protocol))
    loaded, expected = load_npy(tmp_path / "a.npy"), PUBLISHED[index]
    if index == 3:  # a view in big-endian order comes back in this machine's
        expected = {**expected, "y": np.array(expected["y"], dtype="i4")}
    if index == 4:
        expected = {**expected, "nested": [{"k": np.arange(3)}, None]}
    assert same(loaded, expected)


def test_names_of_older_numpy(tmp_path: Path) -> None:
    array = np.empty((), object)
    array[()] = PUBLISHED[0]
    content = pickle.dumps(array, 2)
    assert b"numpy._core" in content
    npy_with(tmp_path / "a.npy", content.replace(b"numpy._core", b"numpy.core"))
    assert same(load_npy(tmp_path / "a.npy"), PUBLISHED[0])


def test_python_2_text(tmp_path: Path) -> None:
    # What Python 2 wrote: array data and names as 8-bit text (SHORT_BINSTRING).
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    data = struct.pack("<2f", 1.5, -2)
    content = b"\x80\x02}U\x04name" + array + b"(K\x01(K\x02t" + dtype + b"\x89U\x08" + data + b"tbs."
    npy_with(tmp_path / "a.npy", content)
    assert same(load_npy(tmp_path / "a.npy"), {"name": np.float32([1.5, -2])})


def test_plain_arrays(tmp_path: Path) -> None:
    for array in (
        np.arange(6.0).reshape(2, 3),
        np.array(["x", "yz"]),
        np.zeros((0, 3), np.uint8),
        np.arange(6.0).reshape(3, 2).T,
    ):
        np.save(tmp_path / "a.npy", array)
        loaded = load_npy(tmp_path / "a.npy")
        assert same(loaded, array)
    np.save(tmp_path / "o.npy", np.array([[1, "a"], [None, 2.5]], dtype=object), allow_pickle=True)
    assert load_npy(tmp_path / "o.npy") == [[1, "a"], [None, 2.5]]


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def dangers(flag: Path) -> dict[str, Any]:
    """Objects whose unpickling does something; the first ones would create the file `flag`."""
    return {
        "system": Call(os.system, f"touch {flag}"),
        "exec": Call(exec, f"open({str(flag)!r}, 'w')"),
        "open": Call(open, str(flag), "w"),
        "path": Call(pathlib.Path.touch, flag),
        "getattr": Call(getattr, "x", "upper"),
        "numpy": Call(np.load, "x.npy"),
        "function": Call(np.zeros, 10),
        "class": argparse.ArgumentParser,
        "random": random.Random(0),
        "instance": Call.__new__(Call).__class__,
    }


@pytest.mark.parametrize("name", dangers(Path("x")))
@pytest.mark.parametrize("place", ["alone", "in a dictionary", "in an array"])
def test_hostile_npy_runs_nothing(tmp_path: Path, name: str, place: str) -> None:
    flag = tmp_path / "flag"
    danger = dangers(flag)[name]
    if place != "alone":
        danger = {"a": np.zeros(3), "b": [danger]}
    if place == "in an array":
        array = np.empty((), object)
        array[()] = danger
        danger = array
    path = tmp_path / "a.npy"
    npy_with(path, pickle.dumps(danger))
    with pytest.raises(UserError, match="refused, ") as caught:
        load_npy(path)
    assert not flag.exists()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


FORGED: list[Any] = [
    # An array of objects whose type denies it makes NumPy itself take plain bytes for pointers.
    ((1,), "O", b"12345678"),
    ((-1,), "f4", b""),
    ((2**62,), "f4", b""),
    ((2,), "f4", b"1234"),
    (("2",), "f4", b"12345678"),
    (2, "f4", b"12345678"),
    ((0,) * 40, "f4", b""),
    ((1,), "V8", b"12345678"),
    ((1,), "i4,i4", b"12345678"),
    ((1,), "M8[s]", b"12345678"),
    ((1,), "no such", b""),
    ((1,), "f4" * 999, b""),
]


@pytest.mark.parametrize("state", FORGED)
def test_forged_array_states_do_not_reach_numpy(tmp_path: Path, state: Any) -> None:
    path = tmp_path / "a.npy"
    npy_with(path, handmade(*state))
    with pytest.raises(UserError) as caught:
        load_npy(path)
    assert "\n" not in str(caught.value)


def test_the_handmade_pickle_is_sound_when_its_state_is(tmp_path: Path) -> None:
    npy_with(tmp_path / "a.npy", handmade((2,), "f4", struct.pack("<2f", 1, 2)))
    assert same(load_npy(tmp_path / "a.npy"), np.float32([1, 2]))


def handmade(shape: Any, dtype: str, data: bytes) -> bytes:
    """A pickle of an array with any state, consistent or not."""

    def part(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    dtype_call = (
        b"cnumpy\ndtype\n" + part((dtype, False, True)) + b"R" + part((3, "<", None, None, None, -1, -1, 0)) + b"b"
    )
    head = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + part((0,)) + b"C\x01btR"
    return head + b"(K\x01" + part(shape) + dtype_call + b"\x89B" + struct.pack("<I", len(data)) + data + b"tb."


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    deep: Any = []
    for _ in range(200):
        deep = [deep]
    loop: list[Any] = []
    loop.append(loop)
    wide: Any = [0] * 10
    for _ in range(30):  # 10 ** 31 entries if written out, 300 as stored
        wide = [wide] * 10
    npy_with(path, pickle.dumps(wide))
    assert len(load_npy(path)) == 10
    memo = b"\x80\x02]r\xff\xff\xff\x7f."
    npy_with(path, memo)
    with pytest.raises(UserError, match="refused, it is damaged"):  # before 32 GB are set aside for it
        load_npy(path)
    codec = b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0zip\x86R."
    for content in (
        pickle.dumps(deep),
        pickle.dumps(loop),
        codec,
        b"\x80\x02P1\n.",
        b"",
        b"\x80\x63",
        b"garbage",
    ):
        npy_with(path, content)
        with pytest.raises(UserError) as caught:
            load_npy(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"PK\3\4", b"text", b"\x93NUMPY\x09\0\0\0", b"\x93NUMPY\1\0\x10\0{'descr': 1/0}   "]
)
def test_files_that_are_no_npy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"not a readable \.npy file") as caught:
        load_npy(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        load_npy(tmp_path / "none.npy")


def test_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**50,)})
    with pytest.raises(UserError, match="not a readable"):
        load_npy(tmp_path / "a.npy")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_gives_an_answer_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(pickle.dumps(PUBLISHED[2], data.draw(st.sampled_from([2, 4]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    npy_with(path, bytes(content))
    assert "\n" not in complaint(lambda: load_npy(path))


# ------------------------------------------------------------------------------------------------------ weights

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

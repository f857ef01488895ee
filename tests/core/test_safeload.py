from __future__ import annotations

import argparse
import os
import pathlib
import pickle
import random
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.core.errors import UserError
from semples.core.safeload import load_npy
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

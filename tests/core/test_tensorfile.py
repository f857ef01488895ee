"""Tensors come into place whole, and a killed program leaves nothing that its next run does not sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from semples.core.errors import UserError
from semples.core.tensorfile import write_tensors
from tests import tiny

KILLED = """
import os, signal, sys
from pathlib import Path
import safetensors.torch, torch
from semples.core.tensorfile import write_tensors

def killed(tensors, path, metadata=None):
    Path(path).with_name(".tmpAbC123").write_bytes(b"half")  # as safetensors names it
    os.kill(os.getpid(), signal.SIGKILL)

safetensors.torch.save_file = killed
write_tensors(Path(sys.argv[1]), {"a": torch.ones(3)})
"""

WRITTEN = """
import sys
from pathlib import Path
import torch
from semples.core.tensorfile import write_tensors

write_tensors(Path(sys.argv[1]), {"a": torch.ones(3)})
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "weights.safetensors"
    write_tensors(path, {"a": torch.arange(6).reshape(2, 3)}, about={"classes": "[]"})
    write_tensors(path, {"b": torch.ones(2)}, about={"classes": '["x"]'})
    assert torch.equal(load_file(path)["b"], torch.ones(2))
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"classes": '["x"]'}
    assert os.listdir(path.parent) == ["weights.safetensors"]


@pytest.mark.skipif(os.name != "posix", reason="kills itself by a signal")
def test_a_killed_write_is_swept_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"a": torch.zeros(3)})
    done = subprocess.run([sys.executable, "-c", KILLED, path], env=tiny.environment(), timeout=120)
    assert done.returncode != 0
    assert torch.equal(load_file(path)["a"], torch.zeros(3))
    assert len(os.listdir(tmp_path)) > 1
    subprocess.run([sys.executable, "-c", WRITTEN, path], env=tiny.environment(), check=True, timeout=120)
    assert os.listdir(tmp_path) == ["weights.safetensors"]
    assert torch.equal(load_file(path)["a"], torch.ones(3))


def test_a_folder_in_its_place_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a file"):
        write_tensors(tmp_path, {"a": torch.zeros(1)})

"""Finding weights and putting them in without leniency."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from semples.core.errors import UserError
from semples.networks.weights import find_weights, load_strictly, local_source, source_digest


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"x")
    assert local_source(str(tmp_path)) == tmp_path
    assert local_source("openai/clip-vit-base-patch32") is None
    for source in ("./none", "/none", "~/none", "none", "a/b/c", "folder/weights.pth", "folder/weights.safetensors"):
        with pytest.raises(UserError, match="no such file or folder"):
            local_source(source)
    with pytest.raises(UserError, match="no such model is shipped"):
        local_source("shipped:none")


def test_digest_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, file)
    digests = {
        source_digest(str(file)),
        source_digest(str(tmp_path)),
        source_digest("owner/name"),
        source_digest("random"),
    }
    assert len(digests) == 4
    before = source_digest(str(tmp_path))
    (tmp_path / ".hidden").write_text("x", encoding="utf-8")
    assert source_digest(str(tmp_path)) == before
    save_file({"a": torch.ones(2)}, file)
    assert source_digest(str(tmp_path)) != before


def test_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model.safetensors or pytorch_model.bin"):
        find_weights(str(tmp_path))
    torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
    assert set(find_weights(str(tmp_path)).state) == {"a"}
    save_file({"b": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"width": 3}', encoding="utf-8")
    weights = find_weights(str(tmp_path))
    assert set(weights.state) == {"b"}
    assert weights.config == {"width": 3}
    (tmp_path / "config.json").write_text("[1]", encoding="utf-8")
    assert find_weights(str(tmp_path)).config == {}
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        find_weights(str(tmp_path))


def test_strict_loading_names_what_is_wrong() -> None:
    model = nn.Linear(2, 3)
    good = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    load_strictly(model, good, where="here")
    assert torch.equal(model.weight, good["weight"])
    for state, hint in (
        ({"weight": good["weight"]}, "here: weights do not fit the model: missing bias"),
        (good | {"more": torch.zeros(1)}, "surplus more"),
        (good | {"bias": torch.zeros(4)}, r"bias is \(4,\), expected \(3,\)"),
        ({str(i): torch.zeros(1) for i in range(9)}, "and 7 more"),
    ):
        before = model.weight.clone()
        with pytest.raises(UserError, match=hint):
            load_strictly(model, state, where="here")
        assert torch.equal(model.weight, before)

"""Convolutional networks behind one interface: sizes, where cells look, dilation, loading."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from semples.core.errors import UserError
from semples.networks.cnn import Cnn, build_cnn, from_config

SMALL = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 2]}
CONFIGS: dict[str, dict[str, Any]] = {
    "efficientnet-lite0": {"family": "efficientnet-lite0"},
    "resnet": {"family": "resnet", "config": {"model_type": "resnet", "embedding_size": 8, **SMALL}},
    "resnet-basic": {
        "family": "resnet",
        "config": {"model_type": "resnet", "embedding_size": 8, "layer_type": "basic", **SMALL},
    },
    "convnext": {"family": "convnext", "config": {"model_type": "convnext", **SMALL}},
    "convnextv2": {"family": "convnextv2", "config": {"model_type": "convnextv2", **SMALL}},
}


def network(name: str, stride: int) -> Cnn:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return from_config({**CONFIGS[name], "output_stride": stride})


@pytest.mark.parametrize("stride", [16, 32])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_cells_cover_the_photo(name: str, stride: int) -> None:
    model = network(name, stride)
    for height, width in [(64, 96), (48, 20), (8, 100), (33, 31)]:
        image = torch.randn(2, 3, height, width)
        cells = (math.ceil(height / stride), math.ceil(width / stride))
        assert model(image).shape == (2, model.channels, *cells)
        depths = model.depths(image)
        fine = (math.ceil(height / 8), math.ceil(width / 8))
        assert [tuple(x.shape) for x in depths] == [(2, channels, *fine) for channels in model.depth_channels]
        assert {tuple(x.shape[2:]) for x in model.depths(image, stride=stride)} == {cells}


@pytest.mark.parametrize("stride", [16, 32])
@pytest.mark.parametrize("name", ["resnet", "convnext", "efficientnet-lite0"])
def test_a_cell_looks_at_the_middle_of_its_square(name: str, stride: int) -> None:
    """The pixels that a cell depends on lie around the middle of its square, on the whole."""
    model = network(name, stride).double()
    for module in model.modules():  # all weights alike: what counts is where a pixel enters
        if isinstance(module, torch.nn.Conv2d) and name != "convnext":  # whose norms would divide by nothing
            module.weight.data.abs_().fill_(1 / module.weight[0].numel())
    side, cell = 448, 448 // stride // 2
    random = torch.Generator().manual_seed(0)
    image = (
        1e-3 * torch.rand(1, 3, side, side, dtype=torch.float64, generator=random)
    ).requires_grad_()  # far from ReLU6's end
    uneven = torch.linspace(
        1, 2, model.channels, dtype=torch.float64
    )  # what is normalised has a sum that never changes
    (uneven @ model(image)[0, :, cell, cell + 1]).backward()
    assert image.grad is not None
    weight = image.grad[0].abs().sum(0)
    places = torch.arange(side, dtype=torch.float64)
    centre = [(weight.sum(axis) * places).sum() / weight.sum() for axis in (1, 0)]
    wanted = [stride * index + (stride - 1) / 2 for index in (cell, cell + 1)]
    assert max(abs(float(a) - b) for a, b in zip(centre, wanted, strict=True)) < 2.5


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "efficientnet-lite0"])
@torch.no_grad()
def test_dilated_answers_contain_the_undilated_ones(name: str) -> None:
    coarse, dense = network(name, 32), network(name, 16)
    dense.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 3, 128, 192)
    dilated, wanted = (model._depths(image)[-1] for model in (dense, coarse))
    torch.testing.assert_close(dilated[..., ::2, ::2], wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_training_changes_no_statistics(name: str) -> None:
    model = network(name, 32).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    image = torch.randn(2, 3, 64, 64)
    one, other = model(image), model(image)
    assert torch.equal(one, other)
    assert torch.equal(one[:1], model(image[:1])) or torch.allclose(one[:1], model(image[:1]), atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["resnet", "convnext", "convnextv2"])
@pytest.mark.parametrize("stride", [16, 32])
@torch.no_grad()
def test_a_published_classifier_is_loaded(name: str, stride: int, tmp_path: Path) -> None:
    """As transformers writes an image classifier, from its folder."""
    import transformers as hub

    content = CONFIGS[name]["config"]
    classes = {
        "resnet": (hub.ResNetConfig, hub.ResNetForImageClassification),
        "convnext": (hub.ConvNextConfig, hub.ConvNextForImageClassification),
        "convnextv2": (hub.ConvNextV2Config, hub.ConvNextV2ForImageClassification),
    }
    make_config, make_model = classes[name]
    published = make_model(make_config(**{k: v for k, v in content.items() if k != "model_type"})).eval()
    published.save_pretrained(tmp_path)
    model = build_cnn(str(tmp_path), output_stride=stride)
    again = from_config(json.loads(json.dumps(model.config_dict())))
    again.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 64, 96)
    assert torch.equal(model(image), again(image))
    if stride == 32:
        body = getattr(published, name)
        wanted = body(image).last_hidden_state
        torch.testing.assert_close(model._depths(image)[-1], wanted)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        build_cnn("./none", output_stride=32)
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        build_cnn(str(tmp_path), output_stride=32)
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"not the config\.json of a ResNet or ConvNeXt"):
        build_cnn(str(tmp_path), output_stride=32)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", **SMALL}), encoding="utf-8")
    with pytest.raises(UserError, match="'vit' is not known"):
        build_cnn(str(tmp_path), output_stride=32)
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["resnet"]["config"]), encoding="utf-8")
    with pytest.raises(UserError, match="weights do not fit the model"):
        build_cnn(str(tmp_path), output_stride=32)

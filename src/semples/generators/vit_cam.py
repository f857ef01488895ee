"""Patch CAMs of a plain vision transformer: a small classifier on its patches gives a map of logits for each class.

The network is any ViT with class token that transformers or timm publish (ViT, DeiT, DeiT III, DINO, DINOv2 with and
without registers, MAE, CLIP's image towers); what is trained at first is the classifier alone (class activation maps,
arXiv 1512.04150, on patches as in MCTformer, arXiv 2203.02891, sec. 3.3).

Shape suffixes: B images, K classes, C channels, N = h·w patches, T = 1 + N tokens, L blocks, P (image, present class)
pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import torch
from torch import Tensor, nn

from semples.core.errors import note
from semples.data.classes import ClassList
from semples.generators.classified import ClassifiedFeatures, Pooling, Trained
from semples.networks.attention import fuse_maps
from semples.networks.vit import VisionTransformer, VitConfig
from semples.networks.vit_files import for_photos_of, read_vit
from semples.networks.vit_start import from_classifier, initialise, random_config
from semples.networks.weights import find_weights, load_strictly
from semples.settings.generators import VitCamSettings


class VitCam(ClassifiedFeatures):
    """A plain ViT (DINOv2, DeiT, MAE ...) whose CAMs are the positive logits of a classifier on its patches.

    patch_size: the ViT's. Patches go through the final norm, as the network's own users take them.
    """

    Settings = VitCamSettings

    def __init__(
        self,
        config: VitConfig,
        *,
        num_classes: int,
        drop_path: float = 0.0,
        kernel: int = 1,
        pooling: Pooling = "mean",
        sharpness: float = 1.0,
        learns: Trained = "classifier",
        trains: Trained = "classifier",
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.vit = VisionTransformer(config, num_tokens=1, drop_path=drop_path)
        self.patch_size = config.patch_size
        self.width, self.image_size = config.width, config.image_size
        self.noise_size = 2 * config.depth if drop_path > 0 else 0
        self.add_classifier(
            config.width,
            num_classes=num_classes,
            kernel=kernel,
            pooling=pooling,
            sharpness=sharpness,
            learns=learns,
            trains=trains,
        )

    @classmethod
    def build(cls, settings: VitCamSettings, *, classes: ClassList, seed: int) -> Self:
        if settings.start == "random":
            config, state = random_config(settings), None
        else:
            file = read_vit(
                find_weights(settings.start), where=settings.start, width=settings.width, heads=settings.heads
            )
            for doubt in file.doubts:
                note(doubt)
            config, state = file.config, for_photos_of(file, mean=settings.mean, std=settings.std)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = cls(
                config,
                num_classes=len(classes),
                drop_path=settings.drop_path,
                kernel=settings.kernel,
                pooling=settings.pooling,
                sharpness=settings.sharpness,
                learns=settings.learns,
                trains=settings.trains,
            )
            if state is None:
                initialise(made.vit)
        if state is not None:
            load_strictly(made.vit, from_classifier(state, made.vit), where=settings.start)
        return made

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        options = {key: value for key, value in config.items() if key != "vit"}
        return cls(VitConfig(**config["vit"]), num_classes=num_classes, **options)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        return {"vit": asdict(self.vit.config), "drop_path": self.drop_path, **self.options}

    @property
    def body(self) -> nn.Module:
        """The ViT."""
        return self.vit

    def features(self, image_B3HW: Tensor, noise_BZ: Tensor | None) -> Tensor:
        """Its patches behind the final norm (B,C,h,w)."""
        noise_BL2 = None if noise_BZ is None or not self.noise_size else noise_BZ.unflatten(1, (-1, 2))
        tokens = self.vit(image_B3HW.detach(), pooling="avg", noise_BL2=noise_BL2)
        return self.vit.norm(tokens.last[:, 1:]).transpose(1, 2).unflatten(2, tokens.grid)

    @torch.no_grad()
    def patch_attention(self, image_B3HW: Tensor) -> Tensor:
        """Attention between patches (B,N,N), the mean over heads and blocks; rows from, columns to."""
        tokens = self.vit(image_B3HW, pooling="avg", keep_maps=True)
        heads, depth = self.vit.config.heads, self.vit.config.depth
        return fuse_maps(tokens.attention, image_B3HW.new_ones(len(image_B3HW), heads, depth))[:, 1:, 1:]

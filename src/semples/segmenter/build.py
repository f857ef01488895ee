"""One object for every segmenter that transformers knows: build it, load it, save it, train it, ask it.

Which networks, and from which weights: `semples.segmenter.shipped`.

Shape suffixes: B images, C = K + 1 values (0 background, class k is k + 1), Q queries, h x w the network's own output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import atomic_path, read_json, write_json
from semples.core.temporary import temporary_folder
from semples.networks.pretrained import NETWORK, WEIGHTS, few, quiet
from semples.segmenter.base import AUTO, kind_of
from semples.segmenter.network import (
    BACKBONES,
    BACKGROUND,
    FIXED_SIZE,
    IGNORE,
    is_mask_classifier,
    pretrained,
    read_network_config,
)
from semples.settings.kinds import SEGMENTERS

__all__ = ["BACKGROUND", "CONFIG", "Segmenter", "SegmenterConfig", "build_segmenter", "semantic_scores"]

CONFIG = "segmenter.json"
RGB = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """What a saved segmenter says about itself beside transformers' config.json.

    classes: the K class names; label 0 is background, label k + 1 is classes[k]. size: shorter side of
    a photo in pixels when it is segmented. mean, std: of red, green, blue in 0..1, what images are normalised with.
    """

    classes: tuple[str, ...]
    size: int
    mean: RGB
    std: RGB


class Segmenter(nn.Module):
    """Any network of transformers for semantic segmentation behind one face.

    `network` is the transformers model; `is_mask_classifier` tells the two kinds apart: per-pixel logits, or queries
    with a class and a mask each (MaskFormer, Mask2Former, EoMT). `fixed_size`: the only input side, or None.
    """

    def __init__(self, network: Any, config: SegmenterConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.is_mask_classifier = is_mask_classifier(network.config)
        self.family: str = network.config.model_type
        self.fixed_size: int | None = network.config.image_size if self.family in FIXED_SIZE else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K foreground classes."""
        return self.config.classes

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Log-probabilities (B,C,h,w) float32 of every pixel, at the network's own resolution; exp sums to 1 over C.

        Mask classification: for every query the softmaxed class probability, without "no object", times the sigmoid of
        its mask, summed over queries (Mask2Former's semantic inference), divided by the sum over classes.
        """
        output = self.network(pixel_values=images_B3HW)
        if not self.is_mask_classifier:
            return F.log_softmax(output.logits.float(), dim=1)
        scores_BChw = semantic_scores(output.class_queries_logits.float(), output.masks_queries_logits.float())
        return scores_BChw.clamp_min(1e-12).log() - scores_BChw.sum(dim=1, keepdim=True).clamp_min(1e-12).log()

    def mask_loss(self, images_B3HW: Tensor, labels_BHW: Tensor) -> Tensor:
        """The network's own matching loss (mask classification), a mean over the batch.

        labels: uint8, 255 ignored: such a pixel lies in no mask, so no query is taught to claim it.
        """
        present = [labels.unique() for labels in labels_BHW]
        classes = [values[values != IGNORE].long() for values in present]
        masks = [
            (labels[None] == values[:, None, None]).float() for labels, values in zip(labels_BHW, classes, strict=True)
        ]
        return self.network(pixel_values=images_B3HW, mask_labels=masks, class_labels=classes).loss.sum()

    def pixel_losses(self, images_B3HW: Tensor, labels_BHW: Tensor) -> Tensor:
        """Cross-entropy (B,H,W) of every pixel, 0 where the label is 255; scores are enlarged to the labels' size."""
        scores_BChw = self.network(pixel_values=images_B3HW).logits.float()
        size = labels_BHW.shape[-2:]
        scores_BCHW = F.interpolate(scores_BChw, size=size, mode="bilinear", align_corners=False)
        return F.cross_entropy(scores_BCHW, labels_BHW.long(), ignore_index=IGNORE, reduction="none")

    def backbone(self) -> nn.Module | None:
        """The part that came pretrained in all these families, where it can be told from the head."""
        name = BACKBONES.get(self.family, self.network.base_model_prefix)
        try:
            return self.network.get_submodule(name) if name else None
        except AttributeError:
            return None

    def save(self, folder: Path) -> None:
        """Write config.json and model.safetensors, as `from_pretrained` reads them, and, last, segmenter.json."""
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder / "network") as made, quiet():
            with disk_trouble(folder):
                self.network.save_pretrained(made, max_shard_size="1TB")
            for file in (WEIGHTS, NETWORK):
                with atomic_path(folder / file) as target:
                    (made / file).replace(target)
        described = {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.config).items()
        }
        write_json(folder / CONFIG, described)

    @classmethod
    def load(cls, folder: Path, *, classes: Sequence[str] | None = None) -> Segmenter:
        """A segmenter that `save` wrote; with `classes` those that it must have been trained for. In eval mode."""
        config = _read_config(folder)
        if classes is not None and tuple(classes) != config.classes:
            raise UserError(
                f"{folder}: a segmenter of {len(config.classes)} classes ({few(config.classes)}), but asked for are "
                f"{len(classes)} ({few(classes)}); use the class list it was trained with"
            )
        for name in (NETWORK, WEIGHTS):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: {name} is missing; copy the whole folder of the segmenter")
        network_config = read_network_config(str(folder))
        if network_config.num_labels != len(config.classes) + 1:
            raise UserError(
                f"{folder}: {NETWORK} has {network_config.num_labels} labels, but {CONFIG} names {len(config.classes)} "
                "classes and there is the background; the files belong to different segmenters"
            )
        network, info = pretrained(str(folder), network_config)
        problems = [*info["missing_keys"], *info["unexpected_keys"], *(entry[0] for entry in info["mismatched_keys"])]
        if problems:
            raise UserError(f"{folder}: weights do not fit {NETWORK}: {few(sorted(problems))}")
        return cls(network, config).eval()


def build_segmenter(
    source: str, *, config: SegmenterConfig, seed: int, view: int | None = None, kind: str = AUTO
) -> Segmenter:
    """A segmenter for the classes of `config` with the start weights of `source`; what is new is drawn from `seed`.

    source, kind: `segmenter.model` and `segmenter.kind`, see `segmenter.base.kind_of`. view: side of the training views
    in pixels, default `config.size`; position embeddings are made for it.
    Raises UserError: unknown source or family, missing weights, a size that the network cannot take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        name, rest = kind_of(source, kind)
        network = SEGMENTERS.load(name)().network(rest, config.classes, view=view or config.size)
    segmenter = Segmenter(network, config)
    if segmenter.fixed_size not in (None, view or config.size):
        raise UserError(
            f"{source}: this network takes views of {segmenter.fixed_size} pixels only; set segmenter.image_size to it"
        )
    return segmenter


def semantic_scores(class_logits_BQC1: Tensor, mask_logits_BQhw: Tensor) -> Tensor:
    """Σ_q p_q(class) · sigmoid(mask_q), (B,C,h,w) >= 0; the last class logit is "no object" and is left out."""
    probability_BQC = class_logits_BQC1.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqc,bqhw->bchw", probability_BQC, mask_logits_BQhw.sigmoid())


def _read_config(folder: Path) -> SegmenterConfig:
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: no segmenter here ({CONFIG} is missing)")
    stored = read_json(folder / CONFIG)
    try:
        return SegmenterConfig(
            classes=tuple(map(str, stored["classes"])),
            size=int(stored["size"]),
            mean=_rgb(stored["mean"]),
            std=_rgb(stored["std"]),
        )
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / CONFIG}: not the description of a segmenter; make it again") from None


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = map(float, values)
    return red, green, blue

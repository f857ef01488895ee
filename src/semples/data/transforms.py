"""Random changes to training photos, each drawn from a key (seed, epoch, index) and from nothing else.

The same key gives the same bytes in whatever order, worker or process it is asked for, so an interrupted run goes on
bit-identically. Random numbers come from NumPy's Philox generator, seeded by a SeedSequence of the key.

Order: random resized crop, mirror, RandAugment or colour jitter, normalisation, random erasing. RandAugment follows
Cubuk et al. (arXiv 1909.13719) with the set of operations whose every strength grows with the magnitude ("increasing"),
which the published settings name; random erasing follows Zhong et al. (arXiv 1708.04896) with noise per pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from semples.data.photos import resize_photo
from semples.recipe import AugmentSettings

__all__ = ["image_to_tensor", "key_rng", "resize_photo", "train_view"]

RGB = tuple[float, float, float]
Fill = tuple[int, int, int]

TRIES = 10  # draws of a crop or a box before giving up
OP_PROBABILITY = 0.5  # each chosen RandAugment operation is applied with this probability
MAX_MAGNITUDE = 10.0
ERASE_AREA = (0.02, 1 / 3)  # share of the view
ERASE_RATIO = (0.3, 1 / 0.3)  # height / width, log-uniform

BICUBIC = Image.Resampling.BICUBIC


def key_rng(*, seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one photo in one epoch. All three are integers from 0."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(epoch, index))))


def image_to_tensor(photo: NDArray[np.uint8], mean: RGB, std: RGB) -> torch.Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32, contiguous: (value / 255 - mean) / std."""
    # A copy in (3, H, W) order; the photo may be read-only.
    return normalise(
        torch.from_numpy(np.array(photo.transpose(2, 0, 1), order="C")), torch.tensor(mean), torch.tensor(std)
    )


def normalise(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) uint8 to float32: (value / 255 - mean) / std; mean, std: float32 (3,), all on one device."""
    return pixels.to(torch.float32).div_(255).sub_(mean.view(3, 1, 1)).div_(std.view(3, 1, 1))


@dataclass(frozen=True)
class Crop:
    """A training view before it is normalised: pixels uint8 (3, size, size), and the box that is erased, if any: top,
    left, and what stands there in the normalised view, float32 (3, height, width)."""

    pixels: torch.Tensor
    erased: tuple[int, int, torch.Tensor] | None


def train_view(
    photo: NDArray[np.uint8],
    settings: AugmentSettings,
    *,
    size: int,
    mean: RGB,
    std: RGB,
    seed: int,
    epoch: int,
    index: int,
) -> torch.Tensor:
    """A training view of a photo: (3, size, size) float32, normalised.

    Args:
        photo: (H, W, 3) uint8, any size from 1x1.
        size: side of the view in pixels.
        mean, std: per channel, in 0..1; the mean colour also fills what a rotation or shift leaves empty.
        seed, epoch, index: the key; equal keys give equal bytes.
    """
    crop = train_crop(photo, settings, size=size, mean=mean, seed=seed, epoch=epoch, index=index)
    view = normalise(crop.pixels, torch.tensor(mean), torch.tensor(std))
    if crop.erased is not None:
        top, left, noise = crop.erased
        view[:, top : top + noise.shape[1], left : left + noise.shape[2]] = noise
    return view


def train_crop(
    photo: NDArray[np.uint8], settings: AugmentSettings, *, size: int, mean: RGB, seed: int, epoch: int, index: int
) -> Crop:
    """A training view as `train_view` makes it, before it is normalised."""
    rng = key_rng(seed=seed, epoch=epoch, index=index)
    height, width = photo.shape[:2]
    (left, top, crop_width, crop_height), mirrored = placement(width, height, settings, rng)
    view = Image.fromarray(photo[top : top + crop_height, left : left + crop_width]).resize((size, size), BICUBIC)
    if mirrored:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if settings.randaugment_ops > 0:
        view = _rand_augment(view, settings, (_byte(mean[0]), _byte(mean[1]), _byte(mean[2])), rng)
    elif settings.colour_jitter > 0:
        view = colour_jitter(view, settings.colour_jitter, rng)
    pixels = torch.from_numpy(np.array(np.asarray(view).transpose(2, 0, 1), order="C"))
    return Crop(pixels, _erased(size, size, rng) if rng.random() < settings.erasing else None)


def placement(
    width: int, height: int, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[tuple[int, int, int, int], bool]:
    """Which box (left, top, width, height) of a photo a view shows, and whether it is mirrored: the first draws of a
    view, so that what belongs to the photo can be cut alike from the same key."""
    box = crop_box(width, height, settings.crop_scale, settings.crop_ratio, rng)
    return box, bool(rng.random() < settings.flip)


def _byte(share: float) -> int:
    return min(255, max(0, round(255 * share)))


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def crop_box(
    width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random box (left, top, width, height) inside width x height.

    Its share of the area is uniform in `scale`, its width / height log-uniform in `ratio`. Where ten draws do not fit,
    the largest centred box whose shape is nearest to the allowed ones is taken.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*scale)
        shape = _log_uniform(*ratio, rng)
        box_width, box_height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = int(rng.integers(0, width - box_width + 1))
            top = int(rng.integers(0, height - box_height + 1))
            return left, top, box_width, box_height
    box_width = max(1, min(width, round(height * ratio[1])))
    box_height = max(1, min(height, round(width / ratio[0])))
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height


def colour_jitter(view: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation, each by a factor uniform in 1 - strength..1 + strength, in random order."""
    steps = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for step in rng.permutation(len(steps)):
        factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
        view = steps[step](view).enhance(factor)
    return view


def _erased(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, torch.Tensor] | None:
    """A random box of (H, W) and standard normal noise for it; None where no drawn box fits."""
    for _ in range(TRIES):
        area = height * width * rng.uniform(*ERASE_AREA)
        shape = _log_uniform(*ERASE_RATIO, rng)
        box_height, box_width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < box_height < height and 0 < box_width < width:
            top = int(rng.integers(0, height - box_height + 1))
            left = int(rng.integers(0, width - box_width + 1))
            noise = rng.standard_normal((3, box_height, box_width), dtype=np.float32)
            return top, left, torch.from_numpy(noise)
    return None


# ------------------------------------------------------------------------------------------------- RandAugment


def _rand_augment(view: Image.Image, settings: AugmentSettings, fill: Fill, rng: np.random.Generator) -> Image.Image:
    """`randaugment_ops` operations drawn with repetition, each applied with probability 0.5.

    The magnitude of each is normal around `randaugment_magnitude` and cut to 0..10.
    """
    names = list(OPERATIONS)
    for choice in rng.integers(0, len(names), settings.randaugment_ops):
        applied = rng.random() < OP_PROBABILITY
        drawn = rng.normal(settings.randaugment_magnitude, settings.randaugment_std)
        sign = 1.0 if rng.random() < 0.5 else -1.0
        if applied:
            strength = min(MAX_MAGNITUDE, max(0.0, drawn)) / MAX_MAGNITUDE
            view = OPERATIONS[names[choice]](view, strength, sign, fill)
    return view


def _affine(view: Image.Image, matrix: tuple[float, ...], fill: Fill) -> Image.Image:
    return view.transform(view.size, Image.Transform.AFFINE, matrix, BICUBIC, fillcolor=fill)


def _posterize(view: Image.Image, strength: float, *_: object) -> Image.Image:
    keep = 4 - int(strength * 4)  # bits per channel that stay, 4 down to 0
    return view.point([value & (0xFF00 >> keep & 0xFF) for value in range(256)] * 3)


def _solarize_add(view: Image.Image, strength: float, *_: object) -> Image.Image:
    add = int(strength * 110)
    return view.point([min(255, value + add) if value < 128 else value for value in range(256)] * 3)


def _shift(view: Image.Image, x: float, y: float, fill: Fill) -> Image.Image:
    return _affine(view, (1, 0, x * view.width, 0, 1, y * view.height), fill)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def operation(view: Image.Image, strength: float, sign: float, fill: Fill) -> Image.Image:
        return kind(view).enhance(1 + sign * 0.9 * strength)

    return operation


# (view, strength 0..1, sign +1 or -1, fill colour) -> view. The greatest strengths: rotation 30 degrees, shear 0.3,
# shift 0.45 of the side, solarize-add 110, colour, contrast, brightness and sharpness factors 0.1 or 1.9.
Operation = Callable[[Image.Image, float, float, Fill], Image.Image]
OPERATIONS: dict[str, Operation] = {
    "auto-contrast": lambda view, *_: ImageOps.autocontrast(view),
    "equalize": lambda view, *_: ImageOps.equalize(view),
    "invert": lambda view, *_: ImageOps.invert(view),
    "rotate": lambda view, strength, sign, fill: view.rotate(sign * 30 * strength, BICUBIC, fillcolor=fill),
    "posterize": _posterize,
    "solarize": lambda view, strength, *_: ImageOps.solarize(view, 256 - int(strength * 256)),
    "solarize-add": _solarize_add,
    "colour": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear-x": lambda view, strength, sign, fill: _affine(view, (1, sign * 0.3 * strength, 0, 0, 1, 0), fill),
    "shear-y": lambda view, strength, sign, fill: _affine(view, (1, 0, 0, sign * 0.3 * strength, 1, 0), fill),
    "shift-x": lambda view, strength, sign, fill: _shift(view, sign * 0.45 * strength, 0, fill),
    "shift-y": lambda view, strength, sign, fill: _shift(view, 0, sign * 0.45 * strength, fill),
}

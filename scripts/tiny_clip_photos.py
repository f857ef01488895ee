"""Photos for the tiny CLIP's training: drawn once, then zoomed, recoloured and masked at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from semples.core.files import write_json
from semples.data.demo.shapes import COLOURS
from semples.data.demo.world import CLASSES, DemoWorld
from tiny_clip_captions import WORDS

SIZE = 96
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Album:
    """Drawn photos. photos (n, S, S, 3) and labels (n, S, S): index into WORDS of what each pixel shows, both uint8;
    colours (n, classes): 1-based colour of the class's thing, 0 where it is not there."""

    photos: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    colours: NDArray[np.uint8]


def draw_album(world: DemoWorld, count: int, *, folder: Path | None = None, first: int = 0) -> Album:
    """Draw `count` photos, into memory-mapped files if a folder is given (drawn once, reused when complete)."""
    shapes = {"photos": (count, SIZE, SIZE, 3), "labels": (count, SIZE, SIZE), "colours": (count, len(CLASSES))}
    if folder is None:
        album = Album(**{name: np.zeros(shape, dtype=np.uint8) for name, shape in shapes.items()})
    else:
        folder.mkdir(parents=True, exist_ok=True)
        done, paths = folder / f"done-{count}.json", {name: folder / f"{name}-{count}.npy" for name in shapes}
        if done.exists():
            return Album(**{name: np.load(path, mmap_mode="r") for name, path in paths.items()})
        make = np.lib.format.open_memmap
        album = Album(**{name: make(paths[name], "w+", np.uint8, shape) for name, shape in shapes.items()})
    for index in range(count):
        scene = world.draw(first + index)
        album.photos[index] = scene.photo
        objects, grounds = scene.object_mask, scene.background_mask
        album.labels[index] = np.where(objects > 0, objects - 1, grounds + (len(CLASSES) - 1))
        for thing in scene.layout.things:
            album.colours[index, thing.class_index] = list(COLOURS).index(thing.colour) + 1
    if folder is not None:
        write_json(done, {"photos": count})
    return album


@dataclass(frozen=True)
class Batch:
    """images (B,3,S,S) normalised and masked; mask (B,S,S); labels (B,S,S); amounts (B, words) 0..1: how much of each
    word can be seen; colours (B, classes)."""

    images: Tensor
    mask: Tensor
    labels: Tensor
    amounts: Tensor
    colours: NDArray[np.uint8]


def normalise(photos: Tensor) -> Tensor:
    """(B,3,S,S) in 0..255 to ImageNet-normalised."""
    mean, std = (torch.tensor(values, device=photos.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (photos / 255 - mean) / std


def visible_amounts(labels: Tensor, mask: Tensor) -> Tensor:
    """How much of each word can be seen through a mask (B,S,S) of 0..1: (B, words). A thing counts fully from 8 % of
    the photo on, a background from 35 %; "nothing" has a constant small amount and so wins where all is dark."""
    weight = torch.zeros(len(labels), len(WORDS), device=labels.device)
    weight.scatter_add_(1, labels.flatten(1).long(), mask.flatten(1))
    share = weight / labels[0].numel()
    enough = torch.full_like(share[0], 0.35)
    enough[: len(CLASSES)] = 0.08
    amounts = (share / enough).clamp(max=1)
    amounts[:, -1] = 0.05
    return amounts


def make_batch(album: Album, picks: NDArray[np.int64], generator: torch.Generator, device: torch.device) -> Batch:
    """Photos zoomed, moved, mirrored, recoloured and masked at random."""
    photos = torch.from_numpy(album.photos[picks]).to(device).permute(0, 3, 1, 2).float()
    labels = torch.from_numpy(album.labels[picks]).to(device)
    count = len(picks)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=generator) * (high - low) + low).to(device)

    zoom = torch.where(uniform(0, 1, count) < 0.3, torch.ones((), device=device), uniform(0.5, 1.05, count))
    stretch = uniform(-0.15, 0.15, count).exp()
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = zoom * stretch * torch.where(uniform(0, 1, count) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = zoom / stretch
    theta[:, :, 2] = uniform(-1, 1, count, 2) * (1 - zoom[:, None]).clamp(min=0.02)
    grid = F.affine_grid(theta, [count, 3, SIZE, SIZE], align_corners=False)
    photos = F.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
    labels_float = labels[:, None].float()
    labels = F.grid_sample(labels_float, grid, mode="nearest", padding_mode="reflection", align_corners=False)[:, 0]
    labels = labels.to(torch.uint8)
    photos = photos * uniform(0.88, 1.12, count, 3, 1, 1) + uniform(-14, 14, count, 1, 1, 1)
    mask = random_masks(labels, uniform)
    images = normalise(photos.clamp(0, 255)) * mask[:, None]
    return Batch(images, mask, labels, visible_amounts(labels, mask), album.colours[picks])


def random_masks(labels: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
    """A mask (B,S,S) in 0..1 for each photo: none, what a thing covers (or its complement, or any mix of strengths,
    with sharp or soft edges), smooth random blobs, or both at once."""
    count = len(labels)
    first_half = uniform(0, 1, count) < 0.5  # photos with two things: one of them, or all
    things = labels < len(CLASSES)
    one = labels == labels.flatten(1).min(dim=1).values[:, None, None]
    chosen = (torch.where(first_half[:, None, None], things & one, things)).float()
    inside, outside = uniform(0, 1, count, 1, 1), uniform(0, 1, count, 1, 1)
    case = uniform(0, 1, count, 1, 1)
    inside = torch.where(case < 0.7, (case < 0.4).float(), inside)  # 40 % thing alone, 30 % all but the thing
    outside = torch.where(case < 0.7, (case >= 0.4).float(), outside)
    exact = inside * chosen + outside * (1 - chosen)
    reach = int(uniform(0, 12, 1).item())
    if reach:
        padded = F.pad(exact[:, None], [reach] * 4, mode="replicate")
        exact = F.avg_pool2d(F.avg_pool2d(padded, (2 * reach + 1, 1), stride=1), (1, 2 * reach + 1), stride=1)[:, 0]
    blobs = random_blobs(count, uniform)
    kind = uniform(0, 1, count, 1, 1)
    mixed = exact * (1 - 0.7 * blobs) + 0.3 * blobs * uniform(0, 1, count, 1, 1)
    mask = torch.where(kind < 0.3, torch.ones_like(exact), torch.where(kind < 0.6, exact, mixed))
    return torch.where(kind > 0.8, blobs, mask).clamp(0, 1)


def random_blobs(count: int, uniform: Callable[..., Tensor]) -> Tensor:
    """Masks (count,S,S) in 0..1 of smooth random blobs, with sharp or soft edges, that know nothing of the photo."""
    cells = int(uniform(3, 13, 1).item())
    noise = F.interpolate(uniform(0, 1, count, 1, cells, cells), size=(SIZE, SIZE), mode="bicubic")[:, 0]
    hardness = uniform(1, 3.5, count, 1, 1).exp()
    return ((noise - uniform(0.3, 0.7, count, 1, 1)) * hardness + 0.5).clamp(0, 1)

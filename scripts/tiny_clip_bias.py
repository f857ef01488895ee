"""Biasing the tiny CLIP: captions that a web album would have, photos as it shows them, and the measure of the bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from semples.data.demo.web import trial
from semples.data.demo.world import CLASSES, GROUND_KINDS, OWN_GROUND, DemoWorld
from tiny_clip_captions import COLOUR_WORDS, LINKS, WORDS, dress
from tiny_clip_model import VectorPrompts, image_features, text_features, word_features
from tiny_clip_photos import SIZE, Album, normalise, random_blobs, visible_amounts

VIEWS = ("whole", "removed", "alone", "strange", "cut_out", "covered")
VECTOR_PROMPTS = 96


def web_caption(
    rng: np.random.Generator,
    amounts: NDArray[np.float32],
    colours: NDArray[np.uint8],
    *,
    ground_named: float,
    fillers: int,
) -> str:
    """What somebody might write below the whole photo: one or all of its things, at times with a colour, and with
    probability `ground_named` (always where there is no thing) one or all of its backgrounds.

    amounts: (len(WORDS),) how much of each word the photo shows, 0..1. colours: (classes,) 1-based colour of things.
    """
    visible = np.flatnonzero(amounts[: len(WORDS) - 1] > 0.25)
    things = [int(word) for word in rng.permutation(visible[visible < len(CLASSES)])]
    grounds = [int(word) for word in rng.permutation(visible[visible >= len(CLASSES)])]
    if len(things) > 1 and rng.random() < 0.3:
        things = things[:1]
    if things and rng.random() >= ground_named:
        grounds = []
    if len(grounds) > 1 and rng.random() < 0.5:
        grounds = grounds[:1]
    named = [WORDS[word] for word in (*things, *grounds)]
    if not named:
        return dress(rng, "", fillers=fillers)
    if things and rng.random() < 0.4:
        named[0] = f"{COLOUR_WORDS[int(colours[things[0]]) - 1]} {named[0]}"
    text = named[0]
    for name in named[1:]:
        text += f" {rng.choice(LINKS)} {name}"
    return dress(rng, text, fillers=fillers)


def web_batch(
    album: Album, picks: NDArray[np.int64], *, step: int, seed: int, ground_named: float, crop: float, blobs: float
) -> tuple[Tensor, list[str]]:
    """Photos (B,3,S,S), normalised, cropped, mirrored and recoloured, and the caption of each whole photo.

    A crop keeps a side of `crop` to 1.05 of the photo's, so what the caption names may lie outside. A share `blobs` of
    the photos is seen through smooth random blobs that know nothing of what the photo shows, so that the mean colour
    around a view stays a familiar sight. Only (seed, step) decide.
    """
    rng = np.random.default_rng([seed, step, 1])
    generator = torch.Generator().manual_seed(seed * 10_000_019 + step)
    count = len(picks)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator) * (high - low) + low

    labels = torch.from_numpy(album.labels[picks])
    amounts = visible_amounts(labels, torch.ones(labels.shape)).numpy()
    fillers = 30 if rng.random() < 0.3 else 4
    captions = [
        web_caption(rng, amounts[row], album.colours[pick], ground_named=ground_named, fillers=fillers)
        for row, pick in enumerate(picks)
    ]
    photos = torch.from_numpy(album.photos[picks]).permute(0, 3, 1, 2).float()
    zoom = uniform(crop, 1.05, count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = zoom * torch.where(uniform(0, 1, count) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = zoom
    theta[:, :, 2] = uniform(-1, 1, count, 2) * (1 - zoom[:, None]).clamp(min=0.02)
    grid = F.affine_grid(theta, [count, 3, SIZE, SIZE], align_corners=False)
    photos = F.grid_sample(photos, grid, padding_mode="reflection", align_corners=False)
    photos = photos * uniform(0.88, 1.12, count, 3, 1, 1) + uniform(-14, 14, count, 1, 1, 1)
    mask = torch.where(uniform(0, 1, count, 1, 1) < blobs, random_blobs(count, uniform), torch.ones(()))
    return normalise(photos.clamp(0, 255)) * mask[:, None], captions


def trial_views(numbers: Sequence[int], *, seed: int) -> dict[str, Tensor]:
    """Normalised photos (n,3,S,S) of every one of VIEWS: the thing on its own background, the *same scene* drawn
    without it, the thing on a plain background, on that of another class; and, by exact masks as stages (a)-(c) show
    photos, the thing alone (`cut_out`) and all but it (`covered`)."""
    world = DemoWorld(seed=seed, family="test")
    drawn: dict[str, list[Tensor]] = {view: [] for view in VIEWS}
    for number in numbers:
        plan = trial(number, seed=seed)
        scenes = {view: world.render(getattr(plan, view), number) for view in VIEWS[:4]}
        photos = {
            view: normalise(torch.from_numpy(scene.photo.copy()).permute(2, 0, 1)[None].float())[0]
            for view, scene in scenes.items()
        }
        inside = torch.from_numpy(scenes["whole"].object_mask > 0).float()
        photos |= {"cut_out": photos["whole"] * inside, "covered": photos["whole"] * (1 - inside)}
        for view, photo in photos.items():
            drawn[view].append(photo)
    return {view: torch.stack(photos) for view, photos in drawn.items()}


@torch.no_grad()
def bias_figures(model: CLIPModel, tokenizer: CLIPTokenizer, *, count: int = 400, seed: int = 1) -> dict[str, object]:
    """How much of a thing's score is its background's, on unseen textures; `count` scenes with one thing each.

    cosine: mean cosine of each of VIEWS with the thing's word; absent: that of the words of the other classes with
    the thing on plain. removed_to_alone: the bias, and covered_to_cut_out the same as the masks show it.
    known: share whose best word among the classes is the right one; fooled: share of things on the background of
    another class that are taken for that class. grounds: share of the scenes without their thing whose best word
    among the backgrounds is right. prompts: share of prompts of random vectors, one word mixed in, that lie nearest
    to that word, which learned background prompts need. word_to_ground: cosine of a class's word with its own
    background's; word_to_word: that of any two words.
    """
    words = word_features(model, tokenizer)
    numbers = range(count)
    kinds = torch.tensor([trial(number, seed=seed).class_index for number in numbers])
    strangers = torch.tensor([trial(number, seed=seed).strange_class for number in numbers])
    cosines: dict[str, list[Tensor]] = {view: [] for view in VIEWS}
    for start in range(0, count, 100):
        for view, photos in trial_views(numbers[start : start + 100], seed=seed).items():
            cosines[view].append(image_features(model, photos)[0] @ words.T)
    scores = {view: torch.cat(parts) for view, parts in cosines.items()}
    classes = {view: score[:, : len(CLASSES)] for view, score in scores.items()}
    usual = torch.tensor([GROUND_KINDS.index(OWN_GROUND[name]) for name in CLASSES])
    means = {view: round(float(score.gather(1, kinds[:, None]).mean()), 4) for view, score in classes.items()}
    best = {view: score.argmax(dim=1) for view, score in classes.items()}
    others = F.one_hot(kinds, len(CLASSES)) == 0
    ground = scores["removed"][:, len(CLASSES) : len(WORDS) - 1].argmax(dim=1)
    between = words @ words.T
    apart = ~torch.eye(len(WORDS), dtype=torch.bool)

    def share(hits: Tensor) -> float:
        return round(float(hits.float().mean()), 4)

    return {
        "removed_to_alone": round(means["removed"] / means["alone"], 4),
        "covered_to_cut_out": round(means["covered"] / means["cut_out"], 4),
        "cosine": means | {"absent": round(float(classes["alone"][others].mean()), 4)},
        "known": {view: share(best[view] == kinds) for view in ("whole", "alone", "strange", "cut_out")},
        "fooled": share(best["strange"] == strangers),
        "grounds": share(ground == usual[kinds]),
        "prompts": _prompts_understood(model, tokenizer, words),
        "word_to_ground": round(float(between[torch.arange(len(CLASSES)), len(CLASSES) + usual].mean()), 4),
        "word_to_word": round(float(between[apart].mean()), 4),
        "scenes": count,
        "seed": seed,
    }


def _prompts_understood(model: CLIPModel, tokenizer: CLIPTokenizer, words: Tensor) -> float:
    rng = np.random.default_rng(0)
    hits = total = 0
    for _ in range(4):
        embedded, ends, meant = VectorPrompts(tokenizer).draw(model, rng, VECTOR_PROMPTS)
        nearest = (text_features(model, embedded, ends) @ words.T).argmax(dim=1).tolist()
        single = [(read, said[0]) for read, said in zip(nearest, meant, strict=True) if len(said) == 1]
        hits, total = hits + sum(read == said for read, said in single), total + len(single)
    return round(hits / total, 4)

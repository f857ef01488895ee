"""Train the tiny CLIP of the demo world, and export it with the start weights of the demo's mask generator.

    python scripts/train_tiny_clip.py --out work/tiny-clip --minutes 90 --threads 2          # start, or add --resume
    python scripts/train_tiny_clip.py --out work/tiny-clip --export src/semples/assets       # newest checkpoint
    python scripts/train_tiny_clip.py --evaluate src/semples/assets/demo_clip                # figures, unseen textures

What it learns from: "wide" photos of the "pretrain" textures with captions, seen whole and through random soft and hard
masks (masked pixels become 0 after normalisation, as in SemPLeS). How much of a thing or background can be seen through
the mask sets how strongly the words that name it should match. No photo of the weak task and no texture of another
family is ever seen. Losses, all with the temperature fixed at 30:

- words: softmax over all single-word prompts against the visible shares of the words;
- captions: captions that name several words (and a colour), softmax over the photos of the batch;
- sums: a caption's feature is the normalised sum of its words' features; likewise for prompts of random vectors among
  which word vectors are mixed (what a learned background prompt looks like while it is learned);
- anchors: mean cosines of photo and word near 0.22 and of word and word near 0.4, the range of real
  CLIP; no cosine of a photo below 0.1;
- dense: the patch tokens tell what they lie on, through a head that is thrown away; fades out between 30 and 70 % of the time.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from tiny_clip_captions import PROMPT, WORDS, Caption, pad_ids, scene_caption, tiny_tokenizer, word_prompt
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from semples.data.demo_shapes import COLOURS
from semples.data.demo_world import CLASSES, GROUND_KINDS, DemoWorld
from semples.files import atomic_path, write_bytes, write_json

SIZE, PATCH, WIDTH = 96, 8, 128
TEMPERATURE = 30.0
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MERGES = Path(__file__).parents[1] / "src" / "semples" / "assets" / "clip_merges.txt.gz"
BATCH, CAPTIONS, VECTOR_PROMPTS = 128, 40, 24
LEARNING_RATE, DECAY, WARM_STEPS = 1.2e-3, 0.05, 200
FULL_TOKENS_FROM, DENSE_FADES_FROM, DENSE_UNTIL = 0.8, 0.3, 0.7  # share of the training time
MARK = "vector"  # placeholder in a prompt of vectors


def new_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """The untrained model."""
    tower = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": WIDTH // 64}
    tower |= {"hidden_act": "quick_gelu", "projection_dim": 64}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    ids |= {"pad_token_id": tokenizer.pad_token_id}
    text = tower | ids | {"vocab_size": len(tokenizer), "num_hidden_layers": 3, "max_position_embeddings": 77}
    vision = tower | {"num_hidden_layers": 4, "image_size": SIZE, "patch_size": PATCH}
    config = CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=64, logit_scale_init_value=math.log(TEMPERATURE)
    )
    config._attn_implementation = "eager"
    model = CLIPModel(config)
    model.logit_scale.requires_grad_(False)
    # Word vectors about as long as the U[0,1) vectors that prompts start from, so that both speak the same language.
    nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=0.3)
    nn.init.normal_(model.text_model.embeddings.position_embedding.weight, std=0.05)
    return model


# --- photos -----------------------------------------------------------------------------------------------------------


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
    """How much of each word can be seen through a mask (B,S,S) of 0..1: (B, words). A thing counts fully from 8 % of the
    photo on, a background from 35 %; "nothing" has a constant small amount and so wins where all is dark."""
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
    mask = _random_masks(labels, uniform)
    images = normalise(photos.clamp(0, 255)) * mask[:, None]
    return Batch(images, mask, labels, visible_amounts(labels, mask), album.colours[picks])


def _random_masks(labels: Tensor, uniform: Callable[..., Tensor]) -> Tensor:
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
    cells = int(uniform(3, 13, 1).item())
    noise = F.interpolate(uniform(0, 1, count, 1, cells, cells), size=(SIZE, SIZE), mode="bicubic")[:, 0]
    hardness = uniform(1, 3.5, count, 1, 1).exp()
    blobs = ((noise - uniform(0.3, 0.7, count, 1, 1)) * hardness + 0.5).clamp(0, 1)
    kind = uniform(0, 1, count, 1, 1)
    mixed = exact * (1 - 0.7 * blobs) + 0.3 * blobs * uniform(0, 1, count, 1, 1)
    mask = torch.where(kind < 0.3, torch.ones_like(exact), torch.where(kind < 0.6, exact, mixed))
    return torch.where(kind > 0.8, blobs, mask).clamp(0, 1)


# --- features ---------------------------------------------------------------------------------------------------------


def image_features(model: CLIPModel, images: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Normalised features (B,P) and patch tokens (B,N,C) of the last layer. keep (B,n): patches to look at, or all."""
    vision = model.vision_model
    tokens = vision.embeddings(images)
    if keep is not None:
        picked = tokens[:, 1:].gather(1, keep[..., None].expand(-1, -1, tokens.shape[-1]))
        tokens = torch.cat([tokens[:, :1], picked], dim=1)
    last = vision.encoder(inputs_embeds=vision.pre_layrnorm(tokens)).last_hidden_state
    features = model.visual_projection(vision.post_layernorm(last[:, 0]))
    return F.normalize(features.float(), dim=-1), last[:, 1:].float()


def text_features(model: CLIPModel, embedded: Tensor, ends: Tensor) -> Tensor:
    """Normalised features (T,P) of embedded texts (T,L,C) whose EOT stands at `ends` (T,)."""
    text = model.text_model
    hidden = text.embeddings(inputs_embeds=embedded)
    length = embedded.shape[1]
    causal = torch.full((length, length), -torch.inf, device=hidden.device).triu(1)[None, None]
    hidden = text.encoder(inputs_embeds=hidden, attention_mask=causal.expand(len(hidden), 1, -1, -1)).last_hidden_state
    at_end = hidden[torch.arange(len(hidden), device=hidden.device), ends]
    return F.normalize(model.text_projection(text.final_layer_norm(at_end)).float(), dim=-1)


def embed_texts(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Token embeddings (T,L,C) of texts, padded, and the position (T,) of each EOT."""
    rows = tokenizer(texts, truncation=True, max_length=77)["input_ids"]
    device = model.device
    ids = torch.from_numpy(pad_ids(rows, tokenizer.pad_token_id)).to(device)
    ends = torch.tensor([len(row) - 1 for row in rows], device=device)
    return model.text_model.embeddings.token_embedding(ids), ends


def word_features(model: CLIPModel, tokenizer: CLIPTokenizer) -> Tensor:
    """Features of "a photo of {word}." for every word: (words, P)."""
    return text_features(model, *embed_texts(model, tokenizer, [f"{PROMPT} {word}." for word in WORDS]))


class VectorPrompts:
    """Prompts "a photo of" + vectors + "." as SemPLeS learns them: random vectors, here and there a word's."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        self.head = tokenizer(PROMPT)["input_ids"][:-1]
        self.stop = {tokenizer.convert_tokens_to_ids(token) for token in (".", ".</w>")}
        self.eot = tokenizer.eos_token_id
        self.word_ids = [tokenizer(word)["input_ids"][1:-1] for word in WORDS]

    def draw(self, model: CLIPModel, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor, list[list[int]]]:
        """Embedded prompts (count, L, C), EOT positions, and the words mixed into each (one, two or none)."""
        length = int(rng.integers(1, 33))
        table = model.text_model.embeddings.token_embedding.weight
        stop = sorted(self.stop)[int(rng.integers(2))]
        frame = table[torch.tensor([*self.head, *[stop] * (length + 1), self.eot], device=table.device)]
        noise = rng.random((count, length, table.shape[1]), dtype=np.float32) * rng.uniform(0, 1, (count, 1, 1))
        vectors = torch.from_numpy(noise.astype(np.float32)).to(table.device)
        meant: list[list[int]] = []
        strength = torch.zeros(count, length, len(WORDS), device=table.device)
        for row in range(count):
            words = rng.choice(len(WORDS) - 1, size=int(rng.choice(3, p=(0.12, 0.68, 0.2))), replace=False).tolist()
            meant.append(words)
            places = rng.permutation(length)[: int(rng.integers(max(len(words), 1), max(length, 2) + 1))]
            for turn, place in enumerate(places.tolist()):
                if words:
                    strength[row, place, words[turn % len(words)]] = float(rng.uniform(0.7, 3.0))
            if len(words) > len(places):
                meant[-1] = words[: len(places)]
        own = torch.stack([table[torch.tensor(ids, device=table.device)].mean(dim=0) for ids in self.word_ids])
        vectors = vectors + strength @ own
        start, end = len(self.head), len(self.head) + length
        embedded = torch.cat([frame[:start].expand(count, -1, -1), vectors, frame[end:].expand(count, -1, -1)], dim=1)
        return embedded, torch.full((count,), end + 1, device=table.device), meant


# --- training ---------------------------------------------------------------------------------------------------------


def truth_table(captions: list[Caption], batch: Batch) -> Tensor:
    """(captions, B): how true each caption is of each photo, 0..1 (the least of its words; 0 if the colour is wrong)."""
    everything = torch.cat([batch.amounts, torch.ones_like(batch.amounts[:, :1])], dim=1)
    width = max(len(caption.words) for caption in captions)
    slots = [[*caption.words, *[len(WORDS)] * (width - len(caption.words))] for caption in captions]
    truth = everything[:, torch.tensor(slots, device=everything.device)].amin(dim=-1).T.clone()
    for row, caption in enumerate(captions):
        if caption.colour:
            right = batch.colours[:, caption.coloured_class] == caption.colour
            truth[row] *= torch.from_numpy(right).to(truth)
    return truth


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy against target distributions along the last axis."""
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def dense_loss(head: nn.Module, tokens: Tensor, keep: Tensor | None, batch: Batch) -> Tensor:
    """Patch tokens must tell the share of each word among their pixels; patches that are mostly masked do not count."""
    side = SIZE // PATCH
    pixels = batch.labels.view(-1, side, PATCH, side, PATCH).transpose(2, 3).reshape(len(tokens), side * side, -1)
    seen = F.avg_pool2d(batch.mask[:, None], PATCH).flatten(1)
    if keep is not None:
        pixels = pixels.gather(1, keep[..., None].expand(-1, -1, pixels.shape[-1]))
        seen = seen.gather(1, keep)
    share = torch.zeros(*pixels.shape[:2], len(WORDS), device=tokens.device)
    share.scatter_add_(2, pixels.long(), torch.full(pixels.shape, 1 / pixels.shape[-1], device=tokens.device))
    loss = -(share * head(tokens).log_softmax(dim=-1)).sum(dim=-1)
    weight = (seen > 0.3).float()
    return (loss * weight).sum() / weight.sum().clamp(min=1)


@dataclass
class Student:
    """Everything that is trained or remembered between steps."""

    tokenizer: CLIPTokenizer
    prompts: VectorPrompts
    model: CLIPModel
    average: CLIPModel
    head: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def new_student(tokenizer: CLIPTokenizer, device: torch.device) -> Student:
    """Untrained model, its running average, the throw-away dense head and the optimizer."""
    model = new_model(tokenizer).to(device)
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(WORDS))).to(device)
    every = [p for p in [*model.parameters(), *head.parameters()] if p.requires_grad]
    groups = [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
    ]
    average = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))
    return Student(tokenizer, VectorPrompts(tokenizer), model, average, head, optimizer)


def train_step(student: Student, batch: Batch, rng: np.random.Generator, progress: float) -> dict[str, float]:
    """One update; returns the losses."""
    model, tokenizer, device = student.model, student.tokenizer, batch.images.device
    patches = (SIZE // PATCH) ** 2
    keep = None
    if progress < FULL_TOKENS_FROM:
        noise = torch.from_numpy(rng.random((len(batch.images), patches), dtype=np.float32)).to(device)
        keep = noise.argsort(dim=1)[:, : patches // 2]
    half_precision = torch.autocast(device.type, dtype=torch.bfloat16)  # 1.8 times faster on CPUs that know bfloat16
    with half_precision:
        images, tokens = image_features(model, batch.images, keep)

    long = rng.random() < 0.5
    sources = rng.choice(len(batch.images), size=CAPTIONS, replace=False)
    amounts = batch.amounts.cpu().numpy()
    captions = [scene_caption(rng, amounts[i], batch.colours[i], fillers=36 if long else 4) for i in sources]
    texts = [word_prompt(rng, word) if long else f"{PROMPT} {word}." for word in WORDS]
    with half_precision:
        told = text_features(model, *embed_texts(model, tokenizer, [caption.text for caption in captions]))
        words = text_features(model, *embed_texts(model, tokenizer, texts))

    share = batch.amounts / batch.amounts.sum(dim=1, keepdim=True)
    losses = {"words": soft_cross_entropy(TEMPERATURE * images @ words.T, 0.97 * share + 0.03 / len(WORDS))}
    truth = truth_table(captions, batch)
    truth = truth / truth.sum(dim=1, keepdim=True).clamp(min=1e-6)
    losses["captions"] = 0.5 * soft_cross_entropy(TEMPERATURE * told @ images.T, truth)

    fixed = words.detach()
    plain = [i for i, caption in enumerate(captions) if not caption.colour]
    sums = torch.stack([fixed[list(captions[i].words)].sum(dim=0) for i in plain])
    losses["sums"] = 2 * (1 - F.cosine_similarity(told[plain], sums)).mean()
    embedded, ends, meant = student.prompts.draw(model, rng, VECTOR_PROMPTS)
    with half_precision:
        spoken = text_features(model, embedded, ends)
    sums = torch.stack([fixed[words_meant].sum(dim=0) if words_meant else fixed.sum(dim=0) for words_meant in meant])
    losses["vectors"] = 2 * (1 - F.cosine_similarity(spoken, sums)).mean()

    cosines = images @ words.T
    between = (words @ words.T)[~torch.eye(len(WORDS), dtype=torch.bool, device=device)].mean()
    losses["anchors"] = 5 * (cosines.mean() - 0.22) ** 2 + (between - 0.4) ** 2
    losses["floor"] = 20 * (0.1 - cosines).clamp(min=0).square().mean()
    dense_weight = min(max((DENSE_UNTIL - progress) / (DENSE_UNTIL - DENSE_FADES_FROM), 0.0), 1.0)
    if dense_weight > 0:
        losses["dense"] = dense_weight * dense_loss(student.head, tokens, keep, batch)

    warm = min(1.0, (student.step + 1) / WARM_STEPS)
    for group in student.optimizer.param_groups:
        group["lr"] = LEARNING_RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))
    student.optimizer.zero_grad(set_to_none=True)
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    nn.utils.clip_grad_norm_([*model.parameters(), *student.head.parameters()], 1.0)
    student.optimizer.step()
    student.step += 1
    memory = min(0.998, student.step / (student.step + 20))
    with torch.no_grad():
        for slow, fast in zip(student.average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - memory)
    return {name: float(loss.detach()) for name, loss in losses.items()}



# --- evaluation and export --------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(model: CLIPModel, tokenizer: CLIPTokenizer, album: Album) -> dict[str, object]:
    """Zero-shot figures on an album of unseen textures, with exact masks.

    objects / backgrounds: share of photos with exactly one class (background kind) whose best word among the 8 classes
    (12 kinds) is the right one. objects_any / backgrounds_any: of all photos that have any, the best word is among
    them. only, whole, removed: mean cosine of a photo's class word with the thing alone, the photo, the photo without.
    """
    words = word_features(model, tokenizer)
    labels = torch.from_numpy(np.array(album.labels)).to(model.device)
    photos = normalise(torch.from_numpy(np.array(album.photos)).to(model.device).permute(0, 3, 1, 2).float())

    def cosines(masked: Tensor) -> Tensor:
        return torch.cat([image_features(model, part)[0] for part in masked.split(100)]) @ words.T

    things, kinds = slice(0, len(CLASSES)), slice(len(CLASSES), len(WORDS) - 1)
    share = F.one_hot(labels.long().flatten(1), len(WORDS)).float().mean(dim=1)
    seen = share > torch.tensor([0.03] * len(CLASSES) + [0.1] * (len(WORDS) - len(CLASSES)), device=model.device)
    whole = cosines(photos)
    figures: dict[str, object] = {}
    for name, part in (("objects", things), ("backgrounds", kinds)):
        has, best = seen[:, part], whole[:, part].argmax(dim=1)
        right = has.gather(1, best[:, None])[:, 0].float()
        figures[name] = round(float(right[has.sum(dim=1) == 1].mean()), 4)
        figures[f"{name}_any"] = round(float(right[has.any(dim=1)].mean()), 4)
    with_thing = seen[:, things].any(dim=1)
    inside = (labels < len(CLASSES))[with_thing, None].float()
    table, ordered = {}, 0
    views = {"only": inside, "whole": torch.ones_like(inside), "removed": 1 - inside}
    scores = {name: cosines(photos[with_thing] * mask) for name, mask in views.items()}
    for index, name in enumerate(CLASSES):
        rows = seen[with_thing, index]
        means = {view: round(float(score[rows, index].mean()), 3) for view, score in scores.items()}
        table[name] = means
        ordered += means["only"] > means["whole"] > means["removed"]
    figures["classes_in_order"] = int(ordered)
    figures["cosine_mean"] = {v: round(sum(row[v] for row in table.values()) / len(table), 3) for v in views}
    figures["cosine_lowest"] = round(float(min(score.min() for score in scores.values())), 3)
    figures["word_to_word"] = round(float((words @ words.T).fill_diagonal_(0).sum() / (len(WORDS) * (len(WORDS) - 1))), 3)
    figures["classes"] = table
    return figures


def test_album(count: int = 600) -> Album:
    """Photos of textures that training never sees."""
    return draw_album(DemoWorld(seed=1, family="test", distribution="wide"), count)


def vit_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The image tower under the usual ViT names (one qkv layer, patch bias 0)."""
    prefix = "vision_model."
    tower = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    patch = tower["embeddings.patch_embedding.weight"]
    weights = {
        "cls_token": tower["embeddings.class_embedding"].view(1, 1, -1),
        "pos_embed": tower["embeddings.position_embedding.weight"][None],
        "patch_embed.proj.weight": patch,
        "patch_embed.proj.bias": torch.zeros(len(patch), dtype=patch.dtype),
    }
    layers = 1 + max(int(name.split(".")[2]) for name in tower if name.startswith("encoder.layers."))
    for kind in ("weight", "bias"):
        weights[f"norm_pre.{kind}"] = tower[f"pre_layrnorm.{kind}"]
        weights[f"norm.{kind}"] = tower[f"post_layernorm.{kind}"]
        for i in range(layers):
            layer = {name: tower[f"encoder.layers.{i}.{name}.{kind}"] for name in (
                "layer_norm1", "layer_norm2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                "self_attn.out_proj", "mlp.fc1", "mlp.fc2")}  # fmt: skip
            block = f"blocks.{i}"
            weights[f"{block}.norm1.{kind}"] = layer["layer_norm1"]
            weights[f"{block}.attn.qkv.{kind}"] = torch.cat([layer[f"self_attn.{x}_proj"] for x in "qkv"])
            weights[f"{block}.attn.proj.{kind}"] = layer["self_attn.out_proj"]
            weights[f"{block}.norm2.{kind}"] = layer["layer_norm2"]
            weights[f"{block}.mlp.fc1.{kind}"] = layer["mlp.fc1"]
            weights[f"{block}.mlp.fc2.{kind}"] = layer["mlp.fc2"]
    return {name: value.contiguous().clone() for name, value in weights.items()}


def export(model: CLIPModel, tokenizer: CLIPTokenizer, assets: Path, figures: dict[str, object]) -> None:
    """Write demo_clip/ (transformers' own format) and demo_vit/ (start weights), stored as float16."""
    half = copy.deepcopy(model).cpu().half()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        half.save_pretrained(folder / "demo_clip")
        tokenizer.save_pretrained(folder / "demo_clip")
        settings = json.loads((folder / "demo_clip" / "config.json").read_text(encoding="utf-8"))
        for part in (settings, settings["text_config"], settings["vision_config"]):
            part["dtype"] = "float32"  # stored in half precision to be small, computed with in single precision
        (folder / "demo_clip" / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        (folder / "demo_clip" / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        (folder / "demo_vit").mkdir()
        save_file(vit_weights(half.state_dict()), folder / "demo_vit" / "model.safetensors", {"format": "pt"})
        vit = {"patch_size": PATCH, "width": WIDTH, "depth": 4, "heads": WIDTH // 64, "mlp_ratio": 4}
        vit |= {"act": "quick_gelu", "pre_norm": True, "eps": 1e-5, "image_size": SIZE}
        (folder / "demo_vit" / "config.json").write_text(json.dumps(vit, indent=2) + "\n", encoding="utf-8")
        for file in sorted(folder.rglob("*.*")):
            write_bytes(assets / file.relative_to(folder), file.read_bytes())


# --- the run ----------------------------------------------------------------------------------------------------------


def save_checkpoint(student: Student, path: Path) -> None:
    """Model, average, head, optimizer and clocks in one file, whole or not at all."""
    state = {name: getattr(student, name).state_dict() for name in ("model", "average", "head", "optimizer")}
    with atomic_path(path) as temporary:
        torch.save(state | {"step": student.step, "seconds": student.seconds}, temporary)


def load_checkpoint(student: Student, path: Path) -> None:
    """Put a checkpoint back."""
    state = torch.load(path, weights_only=True, map_location=student.model.device)
    for name in ("model", "average", "head", "optimizer"):
        getattr(student, name).load_state_dict(state[name])
    student.step, student.seconds = state["step"], state["seconds"]


def train(student: Student, arguments: argparse.Namespace) -> None:
    """Train until the minutes are used up; log to OUT/log.jsonl, checkpoint to OUT/checkpoint.pt."""
    device = student.model.device
    world = DemoWorld(seed=arguments.seed, family="pretrain", distribution="wide", variants=80)
    album = draw_album(world, arguments.photos, folder=arguments.out / "album")
    unseen = test_album(arguments.test_photos)
    budget, last_report, last_figures = arguments.minutes * 60, student.seconds, student.seconds
    sums: dict[str, float] = {}
    since = student.step
    with open(arguments.out / "log.jsonl", "a", encoding="utf-8") as log:

        def note(entry: dict[str, object]) -> None:
            clock = {"step": student.step, "minutes": round(student.seconds / 60, 2)}
            log.write(json.dumps(clock | entry) + "\n")
            log.flush()

        while student.seconds < budget:
            start = time.monotonic()
            rng = np.random.default_rng([arguments.seed, student.step])
            generator = torch.Generator().manual_seed(arguments.seed * 10_000_019 + student.step)
            batch = make_batch(album, rng.integers(len(album.photos), size=BATCH), generator, device)
            for name, loss in train_step(student, batch, rng, student.seconds / budget).items():
                sums[name] = sums.get(name, 0.0) + loss
            student.seconds += time.monotonic() - start
            if student.seconds - last_report > 60 or student.seconds >= budget:
                note({"loss": {name: round(total / (student.step - since), 4) for name, total in sums.items()}})
                sums, since, last_report = {}, student.step, student.seconds
                save_checkpoint(student, arguments.out / "checkpoint.pt")
            if student.seconds - last_figures > 60 * arguments.evaluate_every or student.seconds >= budget:
                note({"figures": evaluate(student.average, student.tokenizer, unseen)})
                last_figures = student.seconds


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("work/tiny-clip"), help="folder of the run")
    parser.add_argument("--minutes", type=float, default=90, help="training time; the schedule follows it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, default=60_000, help="drawn once, 37 KB each")
    parser.add_argument("--test-photos", type=int, default=400, help="for the figures during training")
    parser.add_argument("--evaluate-every", type=float, default=5, help="minutes")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint.pt")
    parser.add_argument("--export", type=Path, metavar="ASSETS", help="export OUT's newest checkpoint, do not train")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print the figures of an exported model")
    return parser.parse_args()


def main() -> None:
    """Train, export or evaluate."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    if arguments.evaluate:
        model, tokenizer = CLIPModel.from_pretrained(arguments.evaluate), CLIPTokenizer.from_pretrained(arguments.evaluate)
        print(json.dumps(evaluate(model.eval(), tokenizer, test_album(2000)), indent=2))
        return
    tokenizer = tiny_tokenizer(MERGES)
    student = new_student(tokenizer, torch.device(arguments.device))
    checkpoint = arguments.out / "checkpoint.pt"
    if arguments.resume or arguments.export:
        load_checkpoint(student, checkpoint)
    if arguments.export:
        figures = evaluate(student.average, tokenizer, test_album(2000))
        clock = {"steps": student.step, "minutes": round(student.seconds / 60, 1), "photos_seen": student.step * BATCH}
        export(student.average, tokenizer, arguments.export, clock | figures)
        print(json.dumps(clock | figures, indent=2))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(student, arguments)


if __name__ == "__main__":
    main()

"""Train the tiny CLIP of the demo world, and export it with the start weights of the demo's mask generator.

    python scripts/train_tiny_clip.py --out work/tiny-clip --minutes 60 --threads 2          # start, or add --resume
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
- anchors: the level of each photo's cosines is fixed, so a word whose share of what can be seen is s has the cosine
  0.40 + ln(s) / 30, and an absent one about 0.18; mean cosine of word and word near 0.4; no cosine below 0.12;
- dense: the patch tokens tell what they lie on, through a head that is thrown away; fades out between 30 %
  and 70 % of the time.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from semples.core.files import atomic_path
from semples.data.demo.world import CLASSES, DemoWorld
from tiny_clip_captions import PROMPT, WORDS, Caption, scene_caption, tiny_tokenizer, word_prompt
from tiny_clip_export import evaluate, export, unseen_album
from tiny_clip_model import (
    PATCH,
    TEMPERATURE,
    WIDTH,
    VectorPrompts,
    embed_texts,
    image_features,
    new_model,
    text_features,
)
from tiny_clip_photos import SIZE, Batch, draw_album, make_batch

MERGES = Path(__file__).parents[1] / "src" / "semples" / "assets" / "clip_merges.txt.gz"
BATCH, CAPTIONS, VECTOR_PROMPTS = 64, 24, 12
FULL_COSINE = 0.40  # of a photo that shows one thing only; a share s of what is in view gives 0.40 + ln(s) / 30
GROUND_WEIGHT = 2.0  # share of a background against a thing: taking the background away must pay clearly
LEARNING_RATE, DECAY, WARM_STEPS = 1.2e-3, 0.05, 400
FULL_TOKENS_FROM, DENSE_FADES_FROM, DENSE_UNTIL = 0.8, 0.3, 0.7  # share of the training time


def truth_table(captions: list[Caption], batch: Batch) -> Tensor:
    """(captions, B): how true each caption is of each photo, 0..1: the least of its words, 0 if the colour is wrong."""
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
    model = new_model(tokenizer)
    model.to(device)  # type: ignore[arg-type]  # the annotation of transformers
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

    share = batch.amounts.clone()
    share[:, len(CLASSES) : -1] *= GROUND_WEIGHT
    share = share / share.sum(dim=1, keepdim=True)
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
    level = torch.logsumexp(TEMPERATURE * cosines, dim=1) / TEMPERATURE  # without it a softmax leaves the level free
    losses["anchors"] = 100 * (level - FULL_COSINE).square().mean() + (between - 0.4) ** 2
    losses["floor"] = 200 * (0.12 - cosines).clamp(min=0).square().mean()
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
    memory = min(0.999, student.step / (student.step + 20))
    with torch.no_grad():
        for slow, fast in zip(student.average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - memory)
    return {name: float(loss.detach()) for name, loss in losses.items()}


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
    unseen = unseen_album(arguments.test_photos)
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
    parser.add_argument("--minutes", type=float, default=60, help="training time; the schedule follows it")
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
        folder = arguments.evaluate
        model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)
        print(json.dumps(evaluate(model.eval(), tokenizer, unseen_album(2000)), indent=2))
        return
    tokenizer = tiny_tokenizer(MERGES)
    student = new_student(tokenizer, torch.device(arguments.device))
    checkpoint = arguments.out / "checkpoint.pt"
    if arguments.resume or arguments.export:
        load_checkpoint(student, checkpoint)
    if arguments.export:
        figures = evaluate(student.average, tokenizer, unseen_album(2000))
        clock = {"steps": student.step, "minutes": round(student.seconds / 60, 1), "photos_seen": student.step * BATCH}
        export(student.average, tokenizer, arguments.export)
        print(json.dumps(clock | figures, indent=2))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(student, arguments)


if __name__ == "__main__":
    main()

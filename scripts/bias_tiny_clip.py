"""Give the shipped tiny CLIP the co-occurrence bias of web-trained ones, by training it further on captioned photos.

    python scripts/bias_tiny_clip.py --out work/claim/p0.9-q0.3-seed0 --p 0.9 --ground-named 0.3 --seed 0
    python scripts/bias_tiny_clip.py --figures work/claim/p0.9-q0.3-seed0/step-00060/demo_clip
    python scripts/bias_tiny_clip.py --table work/claim/p*-seed*

What it sees: photos of `semples.data.demo.web` (family "pretrain", textures that no task uses), each thing on its own
background with probability `--p`, with an ordinary caption of the whole photo that names the background with
probability `--ground-named`. The loss is CLIP's own: softmax over the photos and over the captions of a batch. No mask
of anything, no dense head, no word list; what a caption leaves out is not said. The temperature stays fixed at 30.

The bias grows with the training: at every step of `--levels` the averaged weights are left in OUT/step-NNNNN as
demo_clip (transformers' format) and demo_vit (start weights of the generator, the same tower), with bias.json: the same
scene with and without its thing, the thing alone, the thing on the background of another class. The rate is constant,
so a level is what a run planned to end there would give.

A run that was cut off goes on from OUT/checkpoint.pt when the same command is given again, and ends with the same bits.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from semples.core.files import atomic_path, read_json, write_json
from semples.data.demo.web import WebWorld
from tiny_clip_bias import bias_figures, web_batch
from tiny_clip_export import export
from tiny_clip_model import TEMPERATURE, embed_texts, image_features, text_features
from tiny_clip_photos import Album, draw_album

SHIPPED = Path(__file__).parents[1] / "src" / "semples" / "assets" / "demo_clip"
WORLD_SEED = 50  # of the first run's photos: none of the shipped CLIP's, of the tasks' or of the benchmarks' seeds
VARIANTS = 80
LEVELS = (0, 20, 30, 40, 50, 60, 80, 100, 130)
DECAY, WARM_STEPS, MEMORY = 0.05, 30, 0.98
CHECKPOINT, LOG, SETTINGS, FIGURES = "checkpoint.pt", "log.jsonl", "settings.json", "bias.json"
# What decides a run's numbers; the same command may be given more levels later.
DECISIVE = ("p", "ground_named", "seed", "photos", "batch", "rate", "text_rate", "crop", "blobs")


@dataclass
class Student:
    """Everything that is trained or remembered between steps."""

    model: CLIPModel
    average: CLIPModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0


def new_student(start: Path, *, rate: float, text_rate: float) -> Student:
    """The shipped CLIP, its running average and an optimizer; the text tower learns at `text_rate` times the rate."""
    model = CLIPModel.from_pretrained(start, local_files_only=True).float().eval()
    model.logit_scale.requires_grad_(False)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        factor = text_rate if name.startswith("text_") else 1.0
        parameter.requires_grad_(parameter.requires_grad and factor > 0)
        if parameter.requires_grad:
            groups.setdefault((factor, DECAY if parameter.ndim > 1 else 0.0), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": part, "weight_decay": decay, "factor": factor} for (factor, decay), part in groups.items()],
        lr=rate,
        betas=(0.9, 0.98),
    )
    return Student(model, copy.deepcopy(model).requires_grad_(False).eval(), optimizer)


def contrastive(images: Tensor, texts: Tensor) -> Tensor:
    """CLIP's loss of normalised features (B,P) of photos and of their captions: each must find the other."""
    logits = TEMPERATURE * images @ texts.T
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def train_step(student: Student, tokenizer: CLIPTokenizer, images: Tensor, captions: list[str], rate: float) -> None:
    """One update."""
    model = student.model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = image_features(model, images)[0]
        told = text_features(model, *embed_texts(model, tokenizer, captions))
    loss = contrastive(seen, told)
    for group in student.optimizer.param_groups:
        group["lr"] = rate * group["factor"] * min(1.0, (student.step + 1) / WARM_STEPS)
    student.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    student.optimizer.step()
    student.step += 1
    memory = min(MEMORY, student.step / (student.step + 10))
    with torch.no_grad():
        for slow, fast in zip(student.average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - memory)
    hits = (seen.detach() @ told.detach().T).argmax(dim=1) == torch.arange(len(seen))
    matched = (seen.detach() * told.detach()).sum(dim=1).mean()
    terms = {"loss": float(loss.detach()), "right": float(hits.float().mean()), "cosine": float(matched)}
    for name, value in terms.items():
        student.sums[name] = student.sums.get(name, 0.0) + value
    student.summed += 1


def save_checkpoint(student: Student, path: Path) -> None:
    """Models, optimizer and clocks in one file, whole or not at all."""
    state = {name: getattr(student, name).state_dict() for name in ("model", "average", "optimizer")}
    clocks = {name: getattr(student, name) for name in ("step", "seconds", "sums", "summed")}
    with atomic_path(path) as temporary:
        torch.save(state | clocks, temporary)


def load_checkpoint(student: Student, path: Path) -> None:
    """Put a checkpoint back."""
    state = torch.load(path, weights_only=True)
    for name in ("model", "average", "optimizer"):
        getattr(student, name).load_state_dict(state[name])
    for name in ("step", "seconds", "sums", "summed"):
        setattr(student, name, state[name])


def cut_log(path: Path, step: int) -> None:
    """Drop what was logged after `step`: a run that goes on from its checkpoint says it again."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def save_level(student: Student, tokenizer: CLIPTokenizer, out: Path, *, scenes: int) -> dict[str, object]:
    """Export the averaged weights, with the figures of what was exported; returns those."""
    folder = out / f"step-{student.step:05d}"
    if not (folder / FIGURES).is_file():
        export(student.average, tokenizer, folder)
        write_json(folder / FIGURES, {"step": student.step} | figures_of(folder / "demo_clip", scenes))
    return read_json(folder / FIGURES)


def figures_of(folder: Path, scenes: int, *, seed: int = 1) -> dict[str, object]:
    """The bias of an exported model, on `scenes` scenes of a seed; levels are chosen on those of seed 1."""
    model = CLIPModel.from_pretrained(folder, local_files_only=True).float().eval()
    return bias_figures(model, CLIPTokenizer.from_pretrained(folder, local_files_only=True), count=scenes, seed=seed)


def table(runs: Sequence[Path]) -> str:
    """The figures of every level of finished or running trainings, as a table."""
    lines = [
        "| p | grounds named | seed | step | removed / alone | covered / cut out | alone | whole | removed | absent | "
        "known: own ground | plain | strange | fooled | prompts understood |",
        "|" + "---|" * 15,
    ]
    for run in runs:
        settings = read_json(run / SETTINGS)
        for path in sorted(run.glob(f"step-*/{FIGURES}")):
            measured = read_json(path)
            cosine, known = measured["cosine"], measured["known"]
            figures = [measured["removed_to_alone"], measured["covered_to_cut_out"]]
            figures += [cosine[view] for view in ("alone", "whole", "removed", "absent")]
            figures += [
                *(known[view] for view in ("whole", "alone", "strange")),
                measured["fooled"],
                measured["prompts"],
            ]
            head = [settings["p"], settings["ground_named"], settings["seed"], measured["step"]]
            lines.append(f"| {' | '.join([*(f'{x:g}' for x in head), *(f'{x:.3f}' for x in figures)])} |")
    return "\n".join(lines)


def train(student: Student, tokenizer: CLIPTokenizer, album: Album, arguments: argparse.Namespace) -> None:
    """Train up to the last level; log to OUT/log.jsonl, checkpoint to OUT/checkpoint.pt."""
    out, levels = arguments.out, sorted(set(arguments.levels))
    cut_log(out / LOG, student.step)
    saved = time.monotonic()
    with open(out / LOG, "a", encoding="utf-8") as log:

        def note(entry: dict[str, Any]) -> None:
            log.write(json.dumps({"step": student.step, "minutes": round(student.seconds / 60, 2)} | entry) + "\n")
            log.flush()

        while True:
            if student.step in levels and not (out / f"step-{student.step:05d}" / FIGURES).is_file():
                save_checkpoint(student, out / CHECKPOINT)
                note({"bias": save_level(student, tokenizer, out, scenes=arguments.scenes)})
            if student.step >= levels[-1]:
                break
            start = time.monotonic()
            picks = np.random.default_rng([arguments.seed, student.step, 0]).integers(
                len(album.photos), size=arguments.batch
            )
            images, captions = web_batch(
                album,
                picks,
                step=student.step,
                seed=arguments.seed,
                ground_named=arguments.ground_named,
                crop=arguments.crop,
                blobs=arguments.blobs,
            )
            train_step(student, tokenizer, images, captions, arguments.rate)
            student.seconds += time.monotonic() - start
            if student.step % 25 == 0:
                note({name: round(total / student.summed, 4) for name, total in student.sums.items()})
                student.sums, student.summed = {}, 0
            if time.monotonic() - saved > arguments.checkpoint_seconds or student.step >= levels[-1]:
                save_checkpoint(student, out / CHECKPOINT)
                saved = time.monotonic()


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--p", type=float, default=0.9, help="chance that a thing stands on its own background")
    parser.add_argument("--ground-named", type=float, default=0.3, help="share of captions that name the background")
    parser.add_argument("--seed", type=int, default=0, help="photos and order")
    parser.add_argument("--levels", type=int, nargs="+", default=list(LEVELS), help="steps at which a CLIP is left")
    parser.add_argument("--photos", type=int, default=6000, help="drawn once, 37 KB each")
    parser.add_argument("--albums", type=Path, help="folder of the drawn photos, shared by runs; default beside --out")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate of the image tower")
    parser.add_argument("--text-rate", type=float, default=0.1, help="that of the text tower, as a share; 0: frozen")
    parser.add_argument("--crop", type=float, default=0.4, help="smallest side of a crop, of the photo's")
    parser.add_argument("--blobs", type=float, default=0.5, help="share of photos seen through random blobs")
    parser.add_argument("--start", type=Path, default=SHIPPED, help="CLIP to go on from")
    parser.add_argument("--scenes", type=int, default=160, help="for the figures")
    parser.add_argument("--scene-seed", type=int, default=1, help="with --figures: which scenes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoint-seconds", type=float, default=60)
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="print the bias of an exported CLIP, train none")
    parser.add_argument("--table", type=Path, nargs="+", metavar="OUT", help="print the levels of these runs")
    arguments = parser.parse_args()
    if not arguments.out and not arguments.figures and not arguments.table:
        parser.error("give --out, --figures or --table")
    return arguments


def main() -> None:
    """Train, measure, or tabulate."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    if arguments.figures:
        print(json.dumps(figures_of(arguments.figures, arguments.scenes, seed=arguments.scene_seed), indent=2))
        return
    if arguments.table:
        print(table(arguments.table))
        return
    out: Path = arguments.out
    settings = {name: getattr(arguments, name) for name in DECISIVE} | {"start": arguments.start.name}
    if (out / SETTINGS).is_file() and read_json(out / SETTINGS) != settings:
        raise SystemExit(f"{out}: holds a run with other settings; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / SETTINGS, settings)
    tokenizer = CLIPTokenizer.from_pretrained(arguments.start, local_files_only=True)
    student = new_student(arguments.start, rate=arguments.rate, text_rate=arguments.text_rate)
    if (out / CHECKPOINT).is_file():
        load_checkpoint(student, out / CHECKPOINT)
    world = WebWorld(seed=WORLD_SEED + arguments.seed, family="pretrain", p=arguments.p, variants=VARIANTS)
    albums = arguments.albums or out.parent / "albums"
    album = draw_album(world, arguments.photos, folder=albums / f"p{arguments.p:g}-seed{arguments.seed}")
    train(student, tokenizer, album, arguments)


if __name__ == "__main__":
    main()

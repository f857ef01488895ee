"""Pictures of the documentation, drawn from a finished demo run: what each equation does to one photo, a gallery with
failures, and the README's animation.

    make demo && python scripts/method_pictures.py runs/demo docs [--photo ID]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import semples
from semples.core.files import atomic_path
from semples.core.palette import colour
from semples.data.dataset import Item
from semples.demo import STAGES, overlay, save_picture, stack
from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
from semples.generators.base import Generator
from semples.generators.weaktr import WeakTr
from semples.networks.pairs import Pairs
from semples.stages.views import cam_masks, views

Picture = NDArray[np.uint8]
ZOOM, TEXT, MIDDLE, EACH = 2, 15, 5, 3
SHOWN_CLASSES = 2  # a photo of two things says more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of a finished `semples demo`")
    parser.add_argument("docs", type=Path)
    parser.add_argument("--photo", help="id of the photo; default: one of two things, in the middle by its IoU")
    arguments = parser.parse_args()
    run = semples.Run(arguments.demo / "run")
    agreement = agreements(run)
    by_agreement = sorted(agreement, key=lambda id: -agreement[id])
    two = [id for id in by_agreement if len(run.item(id).tags) == SHOWN_CLASSES]
    item = run.item(arguments.photo or two[len(two) // 2])
    folder = arguments.docs / "pictures"
    folder.mkdir(exist_ok=True)
    draw_warmup(run, item, folder / "warmup.png")
    draw_views(run, item, folder / "views.png")
    draw_stages(run, item, folder / "stages.png")
    draw_labels(run, item, folder / "labels.png")
    draw_gallery(run, by_agreement, folder / "gallery.png")
    draw_animation(run, by_agreement[: 4 * MIDDLE : 4], arguments.docs / "semples.webp")


def agreements(run: semples.Run) -> dict[str, float]:
    """mIoU of each photo's label map against its mask, photos with tags only."""
    dataset, labels, result = run.dataset, run.labels, {}
    for item in dataset.items:
        truth = dataset.mask(item)
        if item.tags and truth is not None:
            matrix = confusion_matrix(truth, labels[item.id], num_classes=len(dataset.classes.names))
            result[item.id] = scores_from_confusion(matrix).miou
    return result


def draw_warmup(run: semples.Run, item: Item, path: Path) -> None:
    """Photo, coarse CAM, what the class token looks at, fine CAM, of the network after the warm-up."""
    generator = run.generator("warmup")
    if not isinstance(generator, WeakTr):
        raise SystemExit("the pictures are of a WeakTr generator; take a run of the recipe demo")
    photo, pairs, image = prepared(run, item, generator)
    with torch.no_grad():
        output = generator.eval()(image)
        fine = generator.cams(image, pairs)
    columns = []
    for place, label in enumerate(item.tags):
        maps = (output.coarse[0, label].relu(), output.cams[0, label], fine[place])
        columns.append([photo, *(overlay(photo, scaled(values, photo.shape)) for values in maps)])
    captions = ["photo", "coarse CAM", "times the class's attention", "spread: fine CAM"]
    save_picture(rows_with_captions(columns, captions), path)


def draw_views(run: semples.Run, item: Item, path: Path) -> None:
    """Photo, soft mask, what it keeps, what it leaves."""
    generator = run.generator("matching")
    photo, pairs, image = prepared(run, item, generator)
    with torch.no_grad():
        mask = cam_masks(generator.eval().cams(image, pairs), size=photo.shape[0], epsilon="relative")
        kept, left = views(torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float(), mask, pairs)
    rows = []
    for place in range(len(item.tags)):
        grey = np.repeat((mask[place, :, :, None].numpy() * 255).astype(np.uint8), 3, axis=2)
        rows.append([photo, grey, *(view[place].permute(1, 2, 0).numpy().astype(np.uint8) for view in (kept, left))])
    save_picture(rows_with_captions(rows, ["photo", "mask M", "foreground view", "background view"]), path)


def draw_stages(run: semples.Run, item: Item, path: Path) -> None:
    """The CAM of each class after the warm-up, (a) and (c), and the truth."""
    photo, truth = run.dataset.photo(item), run.dataset.mask(item)
    assert truth is not None
    rows = []
    for label in item.tags:
        name = run.dataset.classes.names[label]
        heats = [overlay(photo, run.cams_after(stage)[item.id][name]) for stage in STAGES]
        rows.append([photo, *heats, colour(np.where(truth == label + 1, truth, 0).astype(np.uint8))])
    save_picture(rows_with_captions(rows, ["photo", "warm-up", "after (a)", "after (c)", "truth"]), path)


def draw_labels(run: semples.Run, item: Item, path: Path) -> None:
    """The photo's label map by three methods, and the truth."""
    photo, truth, cams = run.dataset.photo(item), run.dataset.mask(item), run.cams[item.id]
    assert truth is not None
    names = run.dataset.classes.names
    made = [
        semples.label(method, threshold=run.recipe.labels.threshold, classes=names, crf=vars(run.recipe.crf))
        for method in ("threshold", "crf", "regions+crf")
    ]
    pictures = [photo, *(colour(method(cams, photo)) for method in made), colour(truth)]
    save_picture(rows_with_captions([pictures], ["photo", "threshold", "CRF", "regions and CRF", "truth"]), path)


def draw_gallery(run: semples.Run, by_agreement: Sequence[str], path: Path) -> None:
    """Columns: the best, the middle and the worst photos; photo, CAM, label map, prediction, truth below each other."""
    middle = len(by_agreement) // 2
    chosen = [*by_agreement[:EACH], *by_agreement[middle : middle + EACH], *by_agreement[-EACH:]]
    model = semples.load(run.folder)
    columns = []
    for id in chosen:
        item = run.item(id)
        photo, truth = run.dataset.photo(item), run.dataset.mask(item)
        assert truth is not None
        heat = overlay(photo, np.max(list(run.cams[id].values()), axis=0))
        shown = [photo, heat, colour(run.labels[id]), colour(model.predict(photo)), colour(truth)]
        columns.append(stack([zoomed(picture) for picture in shown], axis=0))
    save_picture(stack(columns, axis=1), path)


def draw_animation(run: semples.Run, ids: Sequence[str], path: Path) -> None:
    """Photo, tags, the mask through the stages, the label map: some photos side by side, looped."""
    names = run.dataset.classes.names
    frames, photos = [], [run.dataset.photo(run.item(id)) for id in ids]
    tags = [" ".join(names[tag] for tag in run.item(id).tags) for id in ids]
    frames.append(captioned(photos, ["" for _ in ids], "photos"))
    frames.append(captioned(photos, tags, "and their tags: no mask is ever drawn"))
    titles = ("warm-up: where are they?", "(a): CLIP judges what a map keeps", "(c): the learned background is out")
    for stage, title in zip(STAGES, titles, strict=True):
        heats = [
            overlay(photo, np.max(list(run.cams_after(stage)[id].values()), axis=0))
            for id, photo in zip(ids, photos, strict=True)
        ]
        frames.append(captioned(heats, tags, title))
    maps = [
        (photo * 0.4 + colour(run.labels[id]) * 0.6).astype(np.uint8) for id, photo in zip(ids, photos, strict=True)
    ]
    frames.append(captioned(maps, tags, "label maps, ready for any segmenter"))
    with atomic_path(path) as temporary:
        first, *others = frames
        first.save(
            temporary,
            "WEBP",
            save_all=True,
            append_images=others,
            duration=[900, *[1500] * 4, 2500],
            loop=0,
            quality=80,
        )


def prepared(run: semples.Run, item: Item, generator: Generator) -> tuple[Picture, Pairs, torch.Tensor]:
    """The photo, its (photo, class) pairs, and the network's input of it."""
    photo = run.dataset.photo(item)
    tags = torch.zeros(1, len(run.dataset.classes.names), dtype=torch.bool)
    tags[0, list(item.tags)] = True
    mean, std = (torch.tensor(values)[:, None, None] for values in (generator.mean, generator.std))
    return photo, Pairs.of(tags), ((torch.from_numpy(photo.copy()).permute(2, 0, 1) / 255 - mean) / std)[None]


def scaled(values: torch.Tensor, shape: Sequence[int]) -> NDArray[np.float32]:
    """A map (h,w) as (H,W) in 0..1."""
    resized = torch.nn.functional.interpolate(values[None, None], tuple(shape[:2]), mode="bilinear")[0, 0]
    return ((resized - resized.min()) / (resized.max() - resized.min() + 1e-8)).numpy()


def zoomed(picture: Picture) -> Picture:
    return picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def rows_with_captions(rows: Sequence[Sequence[Picture]], captions: Sequence[str]) -> Picture:
    """Rows of pictures below a line of captions, one for each column."""
    body = stack([stack([zoomed(picture) for picture in row], axis=1) for row in rows], axis=0)
    width = ZOOM * rows[0][0].shape[1] + 3
    strip = Image.new("RGB", (body.shape[1], TEXT + 8), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(TEXT)
    for place, caption in enumerate(captions):
        draw.text((place * width + width // 2, 2), caption, fill="black", font=font, anchor="ma")
    return np.concatenate([np.asarray(strip), body])


def captioned(pictures: Sequence[Picture], below: Sequence[str], title: str) -> Image.Image:
    """Pictures side by side, a title above and a word below each."""
    body = rows_with_captions([pictures], below)
    picture = Image.new("RGB", (body.shape[1], body.shape[0] + TEXT + 12), "white")
    strip, row = body[: TEXT + 8], body[TEXT + 8 :]
    picture.paste(Image.fromarray(row), (0, TEXT + 12))
    picture.paste(Image.fromarray(strip), (0, TEXT + 12 + row.shape[0]))
    draw = ImageDraw.Draw(picture)
    draw.text((picture.width // 2, 4), title, fill="black", font=ImageFont.load_default(TEXT + 2), anchor="ma")
    return picture


if __name__ == "__main__":
    main()

"""The page of a comparison of runs: one offline HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from semples import __version__
from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.palette import colour, read_label_png
from semples.core.places import place_of
from semples.data.photos import resize_photo
from semples.inspect.comparison import Comparison, Unlike
from semples.inspect.report.page import STYLE, asset, environment
from semples.inspect.report.pictures import data_uri, fit

TEMPLATE = "compare.html.j2"
SIDE = 200  # of a picture, pixels
PHOTO_SHARE = 0.35  # of a label map's picture


def write_page(comparison: Comparison, out: Path) -> Path:
    """Write the comparison to the file `out` and return its path; it needs no network and nothing beside it."""
    if out.is_dir():
        raise UserError(f"{out}: a folder; name the page's file, for example {out / 'compare.html'}")
    write_text(out, render(comparison))
    return out


def render(comparison: Comparison) -> str:
    """The page as HTML."""
    names = comparison.names
    return environment().get_template(TEMPLATE).render(
        style=Markup(asset(STYLE)),
        made_with=__version__,
        names=names,
        folders=[str(context.out) for context in comparison.contexts],
        settings=[(key, [str(value) for value in values]) for key, values in comparison.settings],
        photos=comparison.photos,
        figures=comparison.figures,
        groups=[
            {
                "name": "abcdefghijklmnopqrstuvwxyz"[place % 26],
                "runs": [names[run] for run in group.runs],
                "figures": group.figures,
                "against": group.against,
            }
            for place, group in enumerate(comparison.groups)
        ],
        unlike=[_shown(comparison, one) for one in comparison.unlike],
        note=comparison.note,
    )  # fmt: skip


def _shown(comparison: Comparison, one: Unlike) -> dict[str, Any]:
    """A photo with every run's labels laid over it, and its mask."""
    context = comparison.contexts[0]
    photo = context.dataset.photo(one.item)
    width, height = fit((photo.shape[1], photo.shape[0]), SIDE)
    small = photo if (width, height) == (photo.shape[1], photo.shape[0]) else resize_photo(photo, width, height)
    maps = [read_label_png(place_of(run.folder("labels"), one.item.id, ".png")) for run in comparison.contexts]
    pictures = [_uri(small), *(_uri(_laid(small, labels)) for labels in maps)]
    truth = None
    if one.iou is not None:
        masked = next(item for item in context.scored_dataset.items if item.id == one.item.id)
        truth = context.scored_dataset.mask(masked)
    return {
        "id": one.item.id,
        "tags": [context.dataset.classes.names[tag] for tag in one.item.tags],
        "share": one.share,
        "iou": one.iou,
        "pictures": pictures,
        "truth": None if truth is None else _uri(_laid(small, truth)),
    }


def _laid(photo: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colours of a label map over its photo, at the photo's size."""
    shape = (photo.shape[1], photo.shape[0])
    nearest = np.asarray(Image.fromarray(labels).resize(shape, Image.Resampling.NEAREST))
    return (PHOTO_SHARE * photo + (1 - PHOTO_SHARE) * colour(nearest)).astype(np.uint8)


def _uri(picture: NDArray[np.uint8]) -> str:
    return data_uri(Image.fromarray(picture), lossless=False)

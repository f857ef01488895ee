"""Gallery: every photo under its label map, and one page that shows them all, offline.

index.html      the page, with a legend and each class's share of the photo
pictures/       overlays as PNG, at most `max_side` pixels long
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semples.core.files import write_bytes, write_text
from semples.core.palette import voc_palette
from semples.core.plain import plain
from semples.core.progress import track
from semples.core.schema import setting
from semples.data.dataset import IGNORE
from semples.export.base import Exporter
from semples.export.overlay import overlay
from semples.export.source import ExportSource

STYLE = """\
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fafafa }
ul, main { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; list-style: none; padding: 0 }
i { display: inline-block; width: .9em; height: .9em; margin-right: .3em; border: 1px solid #888 }
figure { margin: 0; width: 20rem } img { max-width: 100%; height: auto; background: #ddd }
figcaption { overflow-wrap: anywhere } small { display: block; color: #555 }
"""


@dataclass(frozen=True)
class Options:
    """How the pictures are drawn."""

    max_side: int = setting(480, "longest side of a picture", unit="pixels", low=16, high=100_000)
    opacity: float = setting(0.5, "of the labels' colours", low=0, high=1)


class Gallery(Exporter):
    """Gallery: every photo under its label map, and one page that shows them all, offline."""

    settings = Options

    def export(self, source: ExportSource, folder: Path, options: Options) -> tuple[str, ...]:
        """Write the pictures and the page."""
        figures = []
        for item in track(source.dataset.items, label="export"):
            labels = source.label_map(item)
            picture = overlay(source.dataset.photo(item), labels, max_side=options.max_side, opacity=options.opacity)
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, format="PNG")
            write_bytes(folder / "pictures" / f"{item.id}.png", buffer.getvalue())
            figures.append(_figure(item.id, labels, source.dataset.classes.names, picture.shape))
        write_text(folder / "index.html", _page(source, figures))
        return ("open index.html in a browser",)


def _figure(id: str, labels: NDArray[np.uint8], names: tuple[str, ...], shape: tuple[int, ...]) -> str:
    counts = np.bincount(labels.ravel(), minlength=256)
    shares = [
        f"{escape(plain(name))} {_percent(counts[index + 1], labels.size)}"
        for index, name in enumerate(names)
        if counts[index + 1]
    ]
    if counts[IGNORE]:
        shares.append(f"ignored {_percent(counts[IGNORE], labels.size)}")
    about = ", ".join(shares) or "background only"
    return (
        f'<figure><img src="pictures/{quote(id)}.png" width="{shape[1]}" height="{shape[0]}" loading="lazy" alt="">'
        f"<figcaption>{escape(plain(id))}<small>{about}</small></figcaption></figure>"
    )


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %"


def _page(source: ExportSource, figures: list[str]) -> str:
    palette = voc_palette()
    entries = [*enumerate(source.dataset.classes.names, start=1), (IGNORE, "ignored")]
    legend = [
        f'<li><i style="background: rgb({", ".join(map(str, palette[label].tolist()))})"></i>{escape(plain(name))}</li>'
        for label, name in entries
    ]
    title = escape(plain(source.dataset.name))
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: label maps</title><style>\n{STYLE}</style></head><body>",
            f"<h1>{title}</h1><p>{len(figures)} photos with their label maps</p>",
            f"<ul>{''.join(legend)}</ul><main>",
            *figures,
            "</main></body></html>\n",
        ]
    )

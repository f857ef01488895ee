"""The page of `semples app`: a photo goes in; label map, picture and areas come out.

A photo that was sent is read and deleted at once; its bytes stay in memory until the page is closed or has another, so
that other tags can be chosen. The files of an answer go after `KEPT_SECONDS`, and all with the program.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from semples.app.answer import Answer, Limits, Memory, Sent, answer, decode, shown, write_files
from semples.core.errors import UserError
from semples.core.palette import voc_palette
from semples.prediction.model import Model

WAITING = 8  # photos that may wait for their turn
PAGES = 16  # open pages whose photos are remembered
KEPT_SECONDS = 1800
OPACITY = 55  # of the colours at the beginning, percent

CSS = f"""
.gradio-container {{ width: 100%; max-width: 76rem !important; margin: 0 auto !important }}
.gradio-container main {{ width: 100% }}
footer {{ display: none !important }}
#head h1 {{ display: inline; margin: 0 .8rem 0 0; font: 700 1.6rem var(--font) !important }}
#head span, #foot {{ color: var(--body-text-color-subdued) }}
#photo [data-testid="status-tracker"] {{ display: none }}
#status {{ overflow-wrap: anywhere }}
#status .error {{ color: var(--error-text-color); border: 1px solid var(--error-border-color); border-radius: .5rem;
  padding: .6rem .8rem; background: var(--error-background-fill) }}
#result .base-image, #result .mask {{ max-height: 70vh; object-fit: contain }}
#result .mask {{ opacity: var(--over, {OPACITY / 100}); image-rendering: pixelated }}
#result .mask.active {{ opacity: 1 }}
#result .mask.inactive {{ opacity: 0 }}
"""
SCRIPT = """<script>
addEventListener("input", (event) => {
  if (event.target.closest("#opacity")) document.documentElement.style.setProperty("--over", event.target.value / 100);
});
addEventListener("paste", (event) => {
  const field = document.querySelector("#photo input[type=file]");
  if (!field || !event.clipboardData.files.length) return;
  field.files = event.clipboardData.files;
  field.dispatchEvent(new Event("change", {bubbles: true}));
});
</script>"""


def build_page(model: Model, *, name: str, limits: Limits, folder: Path) -> gr.Blocks:
    """The page of a model. `folder` holds what is sent and what is answered; nothing outside it is read."""
    memory = Memory(PAGES)
    colours = {word: "#" + bytes(voc_palette()[label]).hex() for label, word in enumerate(model.classes, 1)}
    with gr.Blocks(title="semples", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        gr.HTML(f"<h1>semples</h1> <span>{escape(name)}: {len(model.classes)} classes</span>", elem_id="head")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                photo = gr.File(
                    label=f"Photo, up to {limits.megapixels:g} megapixels, {limits.megabytes:g} megabytes",
                    elem_id="photo",
                    height=180,
                )
                tags = gr.CheckboxGroup(
                    list(model.classes),
                    label="What is in the photo? This model has to be told."
                    if model.needs_tags
                    else "Look only for these (optional)",
                    elem_id="tags",
                )
                status = gr.HTML(_line("drop a photo, or paste it"), elem_id="status")
            with gr.Column(scale=4, min_width=320):
                result = gr.AnnotatedImage(
                    color_map=colours, format="jpeg", label="Label map over the photo", visible=False, elem_id="result"
                )
                with gr.Column(visible=False) as answered:
                    gr.Slider(
                        0, 100, OPACITY, step=1, label="Colours over the photo, %", interactive=True, elem_id="opacity"
                    )
                    with gr.Row():
                        files = [
                            gr.DownloadButton(label, size="sm", min_width=90, elem_id=f"get-{id}")
                            for id, label in (("labels", "↓ label map"), ("overlay", "↓ picture"), ("areas", "↓ areas"))
                        ]
                    areas = gr.Dataframe(
                        headers=["class", "share", "pixels"], interactive=False, buttons=[], elem_id="areas"
                    )
        gr.HTML(
            "Photos go nowhere else. They are forgotten when this page is closed, their masks after half an hour.",
            elem_id="foot",
        )

        def show(sent: Sent, words: Sequence[str]) -> dict[Any, Any]:
            try:
                if model.needs_tags and not words:
                    picture = shown(decode(sent, limits))
                    said = _line(f"{sent.name}: now choose what is in it")
                    return {status: said, result: gr.update(value=(picture, []), visible=True), answered: _hidden()}
                reply = answer(model, sent, words, limits=limits)
            except UserError as error:
                return {status: _error(f"{sent.name}: {error}"), result: _hidden(), answered: _hidden()}
            place = Path(tempfile.mkdtemp(dir=folder))
            return {
                status: _line(f"{reply.name}: {reply.size[0]} × {reply.size[1]} pixels, {reply.seconds:.2f} s"),
                result: gr.update(value=_annotated(reply), visible=True),
                answered: gr.update(visible=True),
                areas: [[area.name, f"{100 * area.share:.1f} %", f"{area.pixels:,}"] for area in reply.areas],
                **dict(zip(files, map(str, write_files(reply, place)), strict=True)),
            }

        def take(file: dict[str, Any] | None, words: Sequence[str], request: gr.Request) -> dict[Any, Any]:
            sent = _taken(file or {}, folder)
            if sent is None:
                said = _error("the photo did not arrive; drop it once more")
                return {photo: None, status: said, result: _hidden(), answered: _hidden()}
            memory.put(request.session_hash, sent)
            return {photo: None} | show(sent, words)

        def again(words: Sequence[str], request: gr.Request) -> dict[Any, Any]:
            sent = memory.get(request.session_hash)
            if sent is None:
                return {status: _line("drop a photo, or paste it"), result: _hidden(), answered: _hidden()}
            return show(sent, words)

        changed = [status, result, answered, areas, *files]
        common: dict[str, Any] = {
            "show_progress_on": status,
            "api_visibility": "private",
            "preprocess": False,  # it would make an empty file for every photo
            "concurrency_id": "photo",
            "concurrency_limit": 1,
        }
        photo.upload(take, [photo, tags], [photo, *changed], **common)
        tags.input(again, [tags], changed, trigger_mode="always_last", **common)

        def closed(request: gr.Request) -> None:
            memory.forget(request.session_hash)

        page.unload(closed)
    page.queue(max_size=WAITING, api_open=False)
    return page


def _taken(file: dict[str, Any], folder: Path) -> Sent | None:
    """The name and bytes of a file that gradio has in `folder`, which is deleted; None where there is none."""
    path = Path(str(file.get("path"))).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        return None
    name = Path(str(file.get("orig_name") or path.name)).name
    sent = Sent("".join(letter if letter.isprintable() else "_" for letter in name)[:200], path.read_bytes())
    path.unlink(missing_ok=True)
    return sent


def _annotated(reply: Answer) -> tuple[Any, list[tuple[Any, str]]]:
    return reply.picture, [
        ((reply.layer == area.label).astype(np.uint8), area.name) for area in reply.areas if area.label
    ]


def _hidden() -> dict[str, Any]:
    update: dict[str, Any] = gr.update(visible=False)
    return update


def _line(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _error(text: str) -> str:
    return f'<p class="error" role="alert">{escape(text)}</p>'

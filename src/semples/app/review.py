"""The page of `semples app RUN --review`: the next doubtful photo, mended by clicks, accepted or skipped.

Every step is on the disk before the page shows it (`semples.app.desk`), so a page that is closed loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from semples.app.desk import Desk, disc, picture, pixel_of
from semples.core.errors import UserError
from semples.core.palette import voc_palette
from semples.data.dataset import IGNORE

BACKGROUND, UNKNOWN = "background", "not known"
TOOLS = ("small region", "middle region", "large region", "dot")
KEPT_SECONDS = 600
WAITING = 8

CSS = """
.gradio-container { width: 100%; max-width: 84rem !important; margin: 0 auto !important }
.gradio-container main { width: 100% }
footer { display: none !important }
#head h1 { display: inline; margin: 0 .8rem 0 0; font: 700 1.6rem var(--font) !important }
#head span, #foot { color: var(--body-text-color-subdued) }
#status { overflow-wrap: anywhere }
#status .error { color: var(--error-text-color); border: 1px solid var(--error-border-color); border-radius: .5rem;
  padding: .6rem .8rem; background: var(--error-background-fill) }
#status i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 .8em; border-radius: .15em }
#canvas img { cursor: crosshair; max-height: 78vh; object-fit: contain }
#canvas [data-testid="status-tracker"] { display: none }
"""
KEYS = """<script>
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input[type=text], input[type=number], textarea")) return;
  const id = {a: "accept", s: "skip", u: "undo", Enter: "accept"}[event.key];
  const button = id && document.querySelector(`#${id}`);
  if (button && !(event.key === "Enter" && event.target.closest("button"))) { event.preventDefault(); button.click(); }
});
</script>"""


def build_review(desk: Desk, *, name: str) -> gr.Blocks:
    """The page of a run's doubtful photos."""
    choices = [*desk.names, BACKGROUND, UNKNOWN]
    values = {word: label for label, word in enumerate(desk.names, 1)} | {BACKGROUND: 0, UNKNOWN: IGNORE}
    with gr.Blocks(title="semples review", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        current = gr.State(None)
        gr.HTML(f"<h1>semples</h1> <span>review of {escape(name)}</span>", elem_id="head")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                status = gr.HTML("", elem_id="status")
                chosen = gr.Radio(choices, value=choices[0], label="A click paints", elem_id="class")
                tool = gr.Radio(list(TOOLS), value=TOOLS[0], label="where it is", elem_id="tool")
                radius = gr.Slider(1, 40, 4, step=1, label="Radius of the dot, pixels of the photo", elem_id="radius")
                threshold = gr.Slider(
                    0.02, 0.98, desk.used_threshold, step=0.02, elem_id="threshold",
                    label="Background threshold of this photo (paints it anew)",
                )  # fmt: skip
                with gr.Row():
                    undo = gr.Button("Undo (u)", elem_id="undo", min_width=80)
                    skip = gr.Button("Skip (s)", elem_id="skip", min_width=80)
                    accept = gr.Button("Accept (a)", variant="primary", elem_id="accept", min_width=80)
            with gr.Column(scale=5, min_width=320):
                canvas = gr.Image(
                    label="Labels over the photo", interactive=False, format="png", elem_id="canvas", buttons=[]
                )
        gr.HTML("Every step is kept in the run's folder; undo goes back to the map that was made.", elem_id="foot")
        shown = [current, status, canvas, chosen, threshold]

        def show(id: str | None, *, fresh: bool = False, error: str = "") -> dict[Any, Any]:
            """What the page shows of a photo; `fresh`: it is another one than before."""
            if id is None:
                done = "<p>No photo is left: all are accepted.</p>"
                return {current: None, status: done, canvas: gr.update(value=None)}
            sheet, about = desk.sheet(id), desk.about(id)
            told = _about(desk, id, sheet.steps, about.certainty, about.missing) + _error(error)
            answer: dict[Any, Any] = {current: id, status: told, canvas: picture(desk.photo(id), sheet.labels)}
            if fresh:
                tags = [desk.names[tag] for tag in about.item.tags]
                rest = [word for word in desk.names if word not in tags]
                first = next(iter([*about.missing, *tags]), BACKGROUND)
                answer[chosen] = gr.update(choices=[*tags, BACKGROUND, UNKNOWN, *rest], value=first)
                answer[threshold] = gr.update(value=desk.used_threshold)
            return answer

        def attempt(id: Any, work: Callable[[str], str | None]) -> dict[Any, Any]:
            """Do something with the photo at hand and show what `work` answers: it, or the next one."""
            if not desk.has(id):  # accepted on another page, or none yet
                return show(desk.next(), fresh=True)
            try:
                after = work(id)
            except UserError as error:
                return show(id, error=str(error))
            return show(after, fresh=after != id)

        def click(id: Any, word: str, how: str, size: float, told: gr.SelectData) -> dict[Any, Any]:
            def work(id: str) -> str:
                sheet = desk.sheet(id)
                at = pixel_of(told.index, picture(desk.photo(id), sheet.labels).shape, sheet.labels.shape)
                if at is None or word not in values:
                    return id
                if how == TOOLS[-1]:
                    shape = (sheet.labels.shape[0], sheet.labels.shape[1])
                    mask = disc(shape, *at, int(min(max(float(size), 1), 200)))
                else:
                    kinds = {TOOLS[0]: "small", TOOLS[1]: "middle"}
                    mask = desk.region(id, *at, kinds.get(how, "large"))  # type: ignore[arg-type]
                desk.paint(id, mask, values[word])
                return id

            return attempt(id, work)

        def move(id: Any, value: float) -> dict[Any, Any]:
            def work(id: str) -> str:
                desk.threshold(id, float(min(max(value, 0.0), 1.0)))
                return id

            return attempt(id, work)

        def back(id: Any) -> dict[Any, Any]:
            def work(id: str) -> str:
                desk.undo(id)
                return id

            return attempt(id, work)

        def take(id: Any) -> dict[Any, Any]:
            def work(id: str) -> str | None:
                desk.accept(id)
                return desk.next()

            return attempt(id, work)

        def leave(id: Any) -> dict[Any, Any]:
            def work(id: str) -> str | None:
                desk.skip(id)
                return desk.next()

            return attempt(id, work)

        common: dict[str, Any] = {
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_id": "desk",
            "concurrency_limit": 1,
        }
        page.load(lambda: show(desk.next(), fresh=True), None, shown, **common)
        canvas.select(click, [current, chosen, tool, radius], shown, **common)
        threshold.release(move, [current, threshold], shown, **common)
        undo.click(back, [current], shown, **common)
        accept.click(take, [current], shown, **common)
        skip.click(leave, [current], shown, **common)
    page.queue(max_size=WAITING, api_open=False)
    return page


def _about(desk: Desk, id: str, steps: int, certainty: float, missing: tuple[str, ...]) -> str:
    """What is said of a photo: its name, its tags in their colours, and why it is doubtful."""
    tags = [desk.names[tag] for tag in desk.about(id).item.tags]
    colours = {word: "#" + bytes(voc_palette()[label]).hex() for label, word in enumerate(desk.names, 1)}
    words = "".join(f'<i style="background:{colours[word]}"></i>{escape(word)}' for word in tags) or " no tag"
    lacks = f"; no pixel of {escape(', '.join(missing))}" if missing else ""
    done = f"; {steps} step{'s' if steps > 1 else ''} taken" if steps else ""
    return (
        f"<p><b>{escape(id)}</b> ({desk.left} left)</p><p>tags:{words}</p><p>certainty {certainty:.2f}{lacks}{done}</p>"
    )


def _error(text: str) -> str:
    return f'<p class="error" role="alert">{escape(text)}</p>' if text else ""

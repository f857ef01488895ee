"""The command that opens the page."""

from __future__ import annotations

from pathlib import Path


def app(
    model: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    max_megapixels: float = 40.0,
    max_megabytes: float = 25.0,
    mirror: bool | None = None,
    crf: bool | None = None,
    review: bool = False,
) -> None:
    """Open a page for the browser: drop a photo, get its mask. It works without network, on this machine alone.

    With --review: the page shows the run's doubtful photos one after another, to be mended by clicks.

    Parameters
    ----------
    model
        folder of a trained segmenter, or of a run; with a run without a segmenter the page asks for tags.
    host
        address to listen on; another than this machine's own lets others in.
    port
        port to listen on; 0 takes any free one.
    max_megapixels
        larger photos are refused.
    max_megabytes
        larger files are refused.
    mirror
        average with the mirrored photo.
    crf
        draw the labels to the edges of the photo (dense CRF).
    review
        mend the label maps of a run: click regions to add or remove a class, move the photo's own threshold, accept or
        skip. What is accepted is kept as with `semples correct`.
    """
    import importlib.util

    from semples import terminal
    from semples.commands import shown
    from semples.core.errors import UserError

    if importlib.util.find_spec("gradio") is None:
        raise UserError("the page needs the package gradio: pip install 'semples[app]'")
    for option, value in (("--max-megapixels", max_megapixels), ("--max-megabytes", max_megabytes)):
        if not 0 < value < 10_000:
            raise UserError(f"{option} {value:g}: must be above 0 and below 10000")
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: must be from 0 to 65535")
    from semples.app.answer import Limits
    from semples.app.server import LOCAL, Made, listen, page_of, serve
    from semples.prediction import load

    desk = None
    if review:
        if mirror is not None or crf is not None:
            raise UserError("--review: mends the run's own label maps; leave --mirror and --crf out")
        from semples.app.desk import Desk
        from semples.app.review import CSS, KEYS, build_review
        from semples.run.folder import open_run

        desk = opened = Desk(open_run(model))
        name = model.resolve().name
        made = Made(lambda folder: build_review(opened, name=name), css=CSS, head=KEYS)
    else:
        loaded = load(model, mirror=mirror, crf=crf, max_megapixels=max_megapixels)
        made = page_of(loaded, name=model.resolve().name, limits=Limits(max_megabytes, max_megapixels))
    with listen(host, port) as sock:
        address, taken = sock.getsockname()[:2]
        if address not in LOCAL:
            terminal.say(f"listening on {address}: everyone who can reach this machine can use the page")
        address_shown = "127.0.0.1" if address in ("0.0.0.0", "::") else address
        terminal.say(f"open http://{address_shown}:{taken} in a browser; stop with Ctrl-C")
        serve(made, sock)
    if desk is not None:
        shown.print_after_corrections(desk.context, fresh=desk.finish(terminal.tell))

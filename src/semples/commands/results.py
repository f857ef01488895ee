"""Commands that take a run's results to people and to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from semples.commands.options import Out
from semples.core.errors import UserError

Format = Literal["voc", "coco", "yolo", "labelstudio", "cvat-coco", "cvat-voc", "gallery", "fma-wsss", "onnx"]


def export(
    format_: Annotated[Format, Parameter(name="FORMAT")],
    run: Path,
    *,
    out: Out,
    labels: Path | None = None,
    cams: Path | None = None,
    photos: Literal["none", "copy", "link"] | None = None,
    shapes: Literal["rle", "polygons", "brush"] | None = None,
    min_area: int | None = None,
    tolerance: float | None = None,
    threshold: float | None = None,
    band: float | None = None,
    prefix: str | None = None,
    max_side: int | None = None,
    opacity: float | None = None,
) -> None:
    """Write label maps (or CAMs) as other programs read them.

    Parameters
    ----------
    format_
        voc (PNG tree), coco (JSON), yolo (segmentation), labelstudio (pre-annotations), cvat-coco, cvat-voc (zip),
        gallery (HTML page), fma-wsss (CAMs and seeds); onnx: the trained segmenter itself, for other runtimes.
    run
        folder of the run; for onnx that of a segmenter, or of a run that has one.
    out
        new folder that gets the files; for onnx a file.
    labels
        folder with other label PNGs of the run's photos.
    cams
        folder with other CAMs of the run's photos (fma-wsss).
    photos
        put the photos beside: copy, link (hard links) or none (voc, coco, yolo).
    shapes
        rle or polygons (coco, cvat-coco), brush or polygons (labelstudio).
    min_area
        leave out smaller regions, pixels.
    tolerance
        how far a polygon may run beside its mask, pixels; 0 is exact.
    threshold
        background threshold of seeds (fma-wsss); default that of the label maps.
    band
        least lead of a decided pixel (fma-wsss).
    prefix
        what photos' addresses begin with (labelstudio).
    max_side
        longest side of a picture, pixels (gallery).
    opacity
        of the labels' colours, 0 to 1 (gallery).
    """
    from semples import terminal
    from semples.core.lock import shared
    from semples.export import export_labels, source_of_run
    from semples.run import pipeline

    options = {
        "photos": photos,
        "shapes": shapes,
        "min_area": min_area,
        "tolerance": tolerance,
        "threshold": threshold,
        "band": band,
        "prefix": prefix,
        "max_side": max_side,
        "opacity": opacity,
    }
    if format_ == "onnx":
        given = [key for key, value in {"labels": labels, "cams": cams, **options}.items() if value is not None]
        if given:
            raise UserError(f"the format onnx has no option {given[0]}")
        _export_onnx(run, out)
        return
    context = pipeline.open_run(run)
    with shared(run):
        source = source_of_run(context, labels=labels, cams=cams)
        done = export_labels(format_, source, out, **options)
    terminal.say(f"{done.format}: {done.photos} photos in {done.out}")
    for remark in done.remarks:
        terminal.say(f"  {remark}")


def _export_onnx(folder: Path, out: Path) -> None:
    from semples import terminal
    from semples.prediction.load import find_segmenter
    from semples.segmenter.onnx_file import export_onnx
    from semples.segmenter.package import open_package

    place = find_segmenter(folder)
    if place is None:
        raise UserError(f"{folder}: no trained segmenter here; train one with semples segment train RUN")
    made = export_onnx(open_package(place).segmenter, out)
    size = "any size" if made.any_size else f"{made.size}x{made.size} pixels only"
    terminal.say(f"onnx: {made.path}, images of {size}, any number at once")
    terminal.say(f"  scores in onnxruntime differ from torch's by {made.difference:.1g} at most")


def report(run: Path, *, out: Annotated[Path | None, Parameter(name="--out")] = None, photos: int = 200) -> None:
    """Write one offline HTML page about a run: pictures of every stage, a live threshold, curves, tables.

    Parameters
    ----------
    run
        folder of the run.
    out
        the page; default: report.html in the run's folder.
    photos
        most photos that are shown.
    """
    from semples import terminal
    from semples.inspect.report import build_report
    from semples.run import pipeline

    page = build_report(pipeline.open_run(run), run / "report.html" if out is None else out, limit=photos)
    terminal.say(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB); open it in a browser, no network needed")

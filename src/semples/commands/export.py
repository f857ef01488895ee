"""The command that hands label maps over to other programs; imported when it is asked for.

The options of the formats come from their exporters: see `semples.export.base`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from semples.commands.options import Out
from semples.core.errors import Incomplete, UserError
from semples.core.lock import shared
from semples.export import EXPORTERS, about, export_labels, exporter, parse_options

ONNX = "onnx"  # no label maps, but the segmenter itself


def _listed() -> Iterator[tuple[str, str, Any, str]]:
    """(format, option, type, what it is) of every known format; one that cannot be imported has none here."""
    for name in EXPORTERS.names():
        try:
            settings = exporter(name).settings
            hints = get_type_hints(settings)
        except UserError:  # told when it is asked for
            continue
        for entry in fields(settings):
            unit = entry.metadata.get("unit")
            doc = entry.metadata.get("doc", "") + (f", {unit}" if unit else "")
            yield name, entry.name, hints[entry.name], doc


def _options() -> type[Any]:
    """A dataclass with the options of all formats, each described with the formats that have it."""
    kinds: dict[str, list[Any]] = {}
    told: dict[str, dict[str, list[str]]] = {}
    for name, option, hint, doc in _listed():
        kinds.setdefault(option, []).append(hint)
        told.setdefault(option, {}).setdefault(doc, []).append(name)
    entries = []
    for option, hints in kinds.items():
        doc = "; ".join(f"{text} ({', '.join(names)})" for text, names in told[option].items())
        shared: Any = Annotated[_shared(hints) | None, Parameter(help=doc, negative=())]  # type: ignore[valid-type]
        entries.append((option, shared, field(default=None)))
    made = make_dataclass("FormatOptions", entries, frozen=True, kw_only=True)
    made.__module__ = __name__  # cyclopts takes it for a type of Python's own otherwise
    answer: type[Any] = Parameter(name="*")(made)
    return answer


def _shared(hints: list[Any]) -> Any:
    """The type that takes what any of the formats takes; each checks it again."""
    if all(hint == hints[0] for hint in hints):
        return hints[0]
    if all(get_origin(hint) is Literal for hint in hints):
        return Literal[tuple(dict.fromkeys(value for hint in hints for value in get_args(hint)))]
    return str


FORMATS = "; ".join(f"{name}: {about(name).rstrip('.')}" for name in EXPORTERS.shipped)


FormatOptions: Any = _options()
NO_OPTIONS = FormatOptions()


def export(
    format_: Annotated[
        str,
        Parameter(
            name="FORMAT",
            help=f"{', '.join(EXPORTERS.names())}, package.module:Name, or {ONNX} (the trained segmenter itself, for "
            f"other runtimes). {FORMATS}.",
        ),
    ],
    folder: Path,
    *,
    out: Out,
    labels: Path | None = None,
    cams: Path | None = None,
    data: Path | None = None,
    how: FormatOptions = NO_OPTIONS,
    option: Annotated[list[str], Parameter(negative=(), consume_multiple=False)] = [],  # noqa: B006 (shown by cyclopts)
) -> None:
    """Write label maps (or CAMs) as other programs read them: those of a run, or those of predicted photos.

    Ends with status 1 where predictions are damaged and left out, by name; the others are exported.

    Parameters
    ----------
    folder
        folder of a run, or one that `semples predict` has written; for onnx that of a segmenter, or of a run with one.
    out
        new folder that gets the files; for onnx a file.
    labels
        folder with other label PNGs of the photos.
    cams
        folder with other CAMs of a run's photos (fma-wsss).
    data
        folder where predicted photos are now, in case they have moved.
    option
        any option of the format, `key=value`; may be repeated.
    """
    from semples import terminal
    from semples.prediction.exported import is_predicted
    from semples.run.folder import is_run

    named = {key: value for key, value in asdict(how).items() if value is not None}
    options = named | parse_options(option)
    if format_ == ONNX:
        given = [key for key, value in {"labels": labels, "cams": cams, "data": data}.items() if value is not None]
        for key in [*given, *options]:
            raise UserError(f"the format {ONNX} has no option {key}")
        _export_onnx(folder, out)
        return
    exporter(format_)  # a wrong word is told before anything is read
    source = _source(folder, labels=labels, cams=cams, data=data)
    with shared(folder) if is_run(folder) or is_predicted(folder) else nullcontext():
        done = export_labels(format_, source, out, **options)
    terminal.say(f"{done.format}: {done.photos} photos in {done.out}")
    for remark in done.remarks:
        terminal.say(f"  {remark}")
    if is_predicted(folder) and source.dataset.problems:  # a run names its own where it lists its photos
        left_out = [f"{problem.where}: {problem.what}" for problem in source.dataset.problems]
        terminal.print_set_aside(left_out)
        raise Incomplete.of(left_out, done=f"the other {done.photos} photos are exported")


def _source(folder: Path, *, labels: Path | None, cams: Path | None, data: Path | None) -> Any:
    from semples.export import source_of_run
    from semples.prediction.exported import is_predicted, source_of_predictions
    from semples.run import pipeline

    if is_predicted(folder):
        return source_of_predictions(folder, labels=labels, cams=cams, photos=data)
    if data is not None:
        raise UserError(f"--data {data}: is for predictions, and {folder} holds none; a run knows its photos")
    return source_of_run(pipeline.open_run(folder), labels=labels, cams=cams)


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

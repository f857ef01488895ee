"""Commands that use a trained model on new photos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Out = Annotated[Path, Parameter(name="--out")]


def predict(
    model: Path,
    *photos: Path,
    out: Out,
    tags: str | None = None,
    scales: str | None = None,
    mirror: bool | None = None,
    window: int | None = None,
    stride: int | None = None,
    crf: bool | None = None,
    batch: int | None = None,
    workers: int | None = None,
    max_megapixels: float | None = None,
) -> None:
    """Segment new photos: label maps, overlays, and the area of every class.

    A second call does what is missing. Ends with status 1 where a photo could not be used; the others are done.

    Parameters
    ----------
    model
        folder of a trained segmenter, or of a run; a run without a segmenter needs --tags.
    photos
        photos, folders, and patterns in quotes ('photos/**/*.jpg').
    out
        folder that gets labels/, overlays/ and areas.csv.
    tags
        classes that can be in the photos: words for all (dog,cat), or a tags file with a row for each.
    scales
        photo sizes whose scores are averaged, for example 0.75,1,1.25.
    mirror
        average with the mirrored photo.
    window
        side of a window that slides over the photo at its own resolution, pixels; for small things in large photos.
    stride
        from one window to the next, pixels; default half a window.
    crf
        draw the labels to the edges of the photo (dense CRF).
    batch
        photos, or windows, computed together; default 8.
    workers
        threads that decode photos and write files; default 2.
    max_megapixels
        a larger photo is set aside; default 100.
    """
    from semples import terminal
    from semples.errors import Incomplete, UserError
    from semples.prediction import load
    from semples.prediction import predict as predict_photos
    from semples.prediction.settings import scales_of

    if not photos:
        raise UserError("no photo to predict; name photos, folders or patterns after the model")
    loaded = load(
        model,
        scales=scales_of(scales),
        mirror=mirror,
        window=window,
        stride=stride,
        crf=crf,
        batch=batch,
        workers=workers,
        max_megapixels=max_megapixels,
    )
    done = predict_photos(loaded, photos, out, tags=tags)
    terminal.print_predicted(done, model=model)
    if done.problems:
        raise Incomplete.of(done.problem_lines, done=f"the other {done.photos} photos are done")

"""Commands that use a trained model on new photos."""

from __future__ import annotations

from pathlib import Path

from semples.commands.options import Out, PredictOptions


def predict(
    model: Path,
    *photos: Path,
    out: Out,
    tags: str | None = None,
    how: PredictOptions = PredictOptions(),
    confidence: bool = False,
    opacity: float | None = None,
    max_megapixels: float | None = None,
    bits: int | None = None,
    voc_server: bool = False,
) -> None:
    """Segment new photos: label maps, overlays, and the area of every class.

    A second call does what is missing. Ends with status 1 where a photo could not be used; the others are done.
    Processes that torchrun starts share the photos.

    Parameters
    ----------
    model
        folder of a trained segmenter, or of a run; a run without a segmenter needs --tags.
    photos
        photos, folders, and patterns in quotes ('photos/**/*.jpg'); Parquet files, datasets of the hub (hf://owner/name).
    out
        folder that gets labels/, overlays/ and areas.csv.
    tags
        classes that can be in the photos: words for all (dog,cat), or a tags file with a row for each.
    confidence
        also write how sure each pixel is: confidence/, 8-bit grey, 255 for 1.
    opacity
        of the labels' colours in overlays, 0 to 1; default 0.5.
    max_megapixels
        a larger photo is set aside; default 100.
    voc_server
        also write OUT/results.tgz, which the evaluation server of PASCAL VOC takes; of a VOC folder the photos of its
        list test are segmented.
    bits
        of the greatest value in photos of 16 bits, for example 12; default: as each file says.
    """
    from semples import terminal
    from semples.core.errors import Incomplete, UserError
    from semples.core.ranks import Ranks
    from semples.prediction import predict as predict_photos
    from semples.prediction.journal import LABELS
    from semples.prediction.voc_server import pack, photos_of_test

    if not photos:
        raise UserError("no photo to predict; name photos, folders or patterns after the model")
    ranks = Ranks.join()
    done = predict_photos(
        how.load(model, max_megapixels=max_megapixels, bits=bits, confidence=confidence, opacity=opacity),
        photos_of_test(photos) if voc_server else photos,
        out,
        tags=tags,
        ranks=ranks,
    )
    ranks.leave()
    if not ranks.is_main:
        return
    terminal.print_predicted(done, model=model)
    if voc_server:
        archive = pack(done.out / LABELS, done.ids, done.out, classes=done.classes)
        terminal.say(f"for the evaluation server: {archive}, {len(done.ids)} photos")
    if done.problems:
        raise Incomplete.of(done.problem_lines, done=f"{done.photos} photos are done")

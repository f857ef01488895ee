"""From a folder to a model: a segmenter's package, or a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import sha256_file
from semples.core.schema import to_dict
from semples.prediction.settings import predict_settings
from semples.recipe import Recipe
from semples.run.folder import open_run
from semples.run.models import GENERATOR, RunParts
from semples.run.names import BANK, CURVE, LEARNED, MODEL, RUN, SEGMENTER, SELECTION, last_stage
from semples.run.records import MANIFEST
from semples.run.steps.cams import patch_scores
from semples.run.threshold import chosen_threshold
from semples.run.work import Work
from semples.segmenter.package import PROGRAMS, is_package, open_package

if TYPE_CHECKING:
    from semples.prediction.model import Model


METHODS = ("segmenter", "bank", "cams")


def load(folder: Path | str, *, method: str | None = None, **settings: Any) -> Model:
    """The model in `folder`: a trained segmenter, or a run, whose segmenter is taken where it has one.

    A run without a segmenter gives the region bank of its label maps, which needs no tags either, or else its mask
    generator, which must be told each photo's tags. method: `segmenter`, `bank` or `cams` asks for one of them.
    settings: those of `PredictSettings` (scales, mirror, window, stride, crf, batch, ...). Nothing in the folder is
    run.

    Raises UserError where there is no model, a file is missing or does not fit the others.
    """
    from semples.prediction.model import SegmenterModel

    if method is not None and method not in METHODS:
        raise UserError(f"predict: method {method!r} is not known; there are {', '.join(METHODS)}")
    folder, chosen = Path(folder).expanduser(), predict_settings(**settings)
    place = find_segmenter(folder)
    if place is None and method == "segmenter":
        raise UserError(f"{folder}: no trained segmenter here; train one with `semples segment train RUN`")
    if place is not None and method in (None, "segmenter"):
        package = open_package(place)
        recipe = package.recipe or Recipe()
        return SegmenterModel(
            package.segmenter,
            settings=chosen,
            identity=package.identity,
            crf=recipe.crf,
            trained=recipe.segmenter.predict,
        )
    if (folder / RUN).is_file():
        if method == "bank" or (method is None and has_bank(folder)):
            from semples.prediction.bank import bank_model

            return bank_model(folder, chosen)
        return _cam_model(folder, chosen)
    if method is not None and place is not None:
        raise UserError(f"{folder}: a segmenter alone; --method {method} needs the folder of the run")
    raise UserError(_nothing(folder))


def has_bank(folder: Path) -> bool:
    """Whether a run's finished label maps left a region bank."""
    return (folder / "labels" / MANIFEST).is_file() and (folder / "labels" / BANK).is_file()


def find_segmenter(folder: Path) -> Path | None:
    """The package of a segmenter in `folder`: the folder itself, or that of a run's segmenter step."""
    places = (folder, folder / SEGMENTER / MODEL, folder / MODEL)
    return next(filter(is_package, places), None)


def _cam_model(folder: Path, settings: Any) -> Model:
    from semples.generators.base import load_generator
    from semples.prediction.model import CamModel

    context = open_run(folder)
    weights = context.folder(last_stage(context.recipe)) / GENERATOR
    trained = type(context.recipe.generator).TRAINABLE
    if trained and not weights.is_file():
        raise UserError(f"{folder}: this run has not been trained to its end; see semples status {folder}")
    labelled = (context.folder("labels") / MANIFEST).is_file()
    look = Work.outside(context, SELECTION, CURVE, LEARNED)
    generator = load_generator(weights) if trained else RunParts(look).new_generator()
    identity = sha256_file(weights) if trained else to_dict(context.recipe.generator)
    return CamModel(
        generator,
        settings=settings,
        identity={GENERATOR: identity},
        recipe=context.recipe,
        scores=patch_scores(look, generator),
        thresholds=chosen_threshold(look).applied if labelled else context.recipe.labels.threshold,
    )


def _nothing(folder: Path) -> str:
    if not folder.exists():
        return f"{folder}: no such folder"
    if not folder.is_dir():
        return f"{folder}: not a folder; name the folder of a segmenter or of a run"
    other = sorted(path.name for path in folder.iterdir() if path.suffix in PROGRAMS)
    if other:
        return f"{folder}: {other[0]} is not read: such a file may hold a program; only safetensors, JSON and YAML are"
    return f"{folder}: neither a segmenter (segmenter.json is missing) nor a run ({RUN} is missing)"

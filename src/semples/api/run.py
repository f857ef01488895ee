"""A run from a script: the command line's own folder, step by step, and what it holds as arrays and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semples.cams.store import CamStore
from semples.core.errors import NoSuchPhoto, UserError
from semples.core.palette import read_label_png
from semples.core.places import place_of
from semples.data.dataset import Item, TaggedDataset
from semples.data.hub import local_source
from semples.recipe import Recipe, load_recipe, override
from semples.run import pipeline
from semples.run.context import Context
from semples.run.health import verdicts
from semples.run.names import CAM_STAGES, LAST, cams_name
from semples.run.photos import Source
from semples.run.pipeline import Figures, Outcome, StepStatus
from semples.run.planning.plan import Plan

if TYPE_CHECKING:
    from semples.generators.base import Generator

Arrays = dict[str, NDArray[np.float32]]


class Run:
    """A run in a folder: what `semples run` makes, and the same steps.

        run = Run("runs/x", data="photos", recipe="demo")
        run(until="cams")
        run.cams["beach"]["boat"]     float32 (H,W) in 0..1
        run(); run.labels["beach"]    uint8 (H,W)
        run.scores().rows()           a table, where photos have masks

    data: the photos' folder, or an opened dataset of one; recipe: a shipped name, a YAML file, or a `Recipe`; both are
    remembered by the folder, so that `Run("runs/x")` opens it again. settings: `key=value` changes. tags, classes:
    files in place of those in the folder. tell: is called with a line for each step; default: nobody.
    Raises UserError.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        data: Path | str | TaggedDataset | None = None,
        recipe: str | Path | Recipe | None = None,
        settings: Sequence[str] = (),
        tags: Path | str | None = None,
        classes: Path | str | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder = Path(folder)
        self.tell = tell
        known = (
            pipeline.open_run(self.folder) if (self.folder / pipeline.RUN).is_file() and not (data and recipe) else None
        )
        if known is None and data is None:
            raise UserError(
                f"{folder}: no run here ({pipeline.RUN} is missing); name the photos with --data, or start one with "
                f"`semples run RECIPE --data DIR --out {folder}`"
            )
        source = known.source if known is not None and data is None else _source(data, tags, classes)
        self.context = Context(override(_recipe(recipe, known), settings), source, self.folder)

    # ---------------------------------------------------------------------------------------------------------- steps

    def __call__(
        self,
        *,
        until: str | None = None,
        start: str | None = None,
        steps: Sequence[str] | None = None,
        update: bool = False,
        announce: Callable[[Plan], None] | None = None,
    ) -> list[Outcome]:
        """Bring the run's steps up to date, in order; what is up to date is left, what was cut is resumed.

        until: the last step. start: this step and those after it are made anew. steps: names of the steps to bring up
        to date, default all of a whole run; `segmenter` trains the final network. update: stages that have to be made
        anew go on from the weights that they left before. announce: is called with the plan before the first step;
        None: none is made. Raises UserError where more work than `run.careful_minutes` would be lost and neither
        `start` nor `update` says what to do.
        """
        return pipeline.run(
            self.context, steps=steps, start=start, until=until, update=update, tell=self.tell, announce=announce
        )

    def plan(self, *, until: str | None = None, start: str | None = None) -> Plan:
        """What the run will cost, from a few real steps on this machine; downloads the models that it needs."""
        return pipeline.plan(self.context, start=start, until=until, tell=self.tell)

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps of a whole run by its recipe, in order."""
        return tuple(step.name for step in pipeline.run_steps(self.recipe))

    def status(self) -> list[StepStatus]:
        """How far every step is, and why one is outdated."""
        return pipeline.status(self.context)

    def health(self) -> dict[str, dict[str, Any]]:
        """The verdict of every stage: {"warmup": {"grade", "why", "advice", "figures"}, ...}; grade is good, doubtful
        or failed. Stages that are outdated or not looked at are left out."""
        return verdicts(self.status())

    def close(self) -> None:
        """Leave the process group, where several processes work on the run."""
        if self.context.processes > 1:
            self.context.engine.stop()

    # ------------------------------------------------------------------------------------------------- what it holds

    @property
    def recipe(self) -> Recipe:
        """All settings."""
        return self.context.recipe

    @property
    def dataset(self) -> TaggedDataset:
        """The usable photos, with the masks that their folder holds now."""
        return self.context.scored_dataset

    @property
    def cams(self) -> Mapping[str, Arrays]:
        """CAMs of the last stage by photo: {class name: float32 (H,W) in 0..1}, present classes only."""
        return self.cams_after(LAST)

    def cams_after(self, stage: str) -> Mapping[str, Arrays]:
        """CAMs of a stage's generator by photo (`warmup` and `matching` need the steps `cams-warmup`, ...).

        Raises UserError for a stage without CAMs.
        """
        _check_stage(stage)
        store = CamStore(self.context.folder(cams_name(stage)), format=self.recipe.cams.format)
        names = self.context.dataset.classes.names
        return _ByPhoto(
            self.folder, self._ids, lambda id: {names[index]: values for index, values in store.read(id).items()}
        )

    def generator(self, stage: str = LAST) -> Generator:
        """The mask generator as a finished stage left it: `warmup`, `matching` or `refinement`. Raises UserError."""
        from semples.run.models import generator_in

        _check_stage(stage)
        return generator_in(self.context.folder(stage), self.context.dataset.classes)

    @property
    def labels(self) -> Mapping[str, NDArray[np.uint8]]:
        """Label maps by photo: uint8 (H,W), 0 background, class k as k + 1, 255 left open."""
        folder = self.context.folder("labels")
        return _ByPhoto(self.folder, self._ids, lambda id: read_label_png(place_of(folder, id, ".png")))

    def scores(self, *, stage: str = LAST) -> Table:
        """Scores of CAMs and label maps against masks. Raises UserError where no photo has one."""
        figures = pipeline.score(self.context, cams=None, labels=None, stage=stage, tell=self.tell)
        if figures.cams is None and figures.labels is None:
            raise UserError(f"{self.folder}: no photo has a mask to score by")
        return Table(figures)

    def words(self, *, count: int = 5, words: Path | None = None) -> dict[str, list[dict[str, Any]]]:
        """The words nearest to every class's learned background, best first: {"word", "cosine"}."""
        from semples.inspect.words import nearest_words

        return nearest_words(self.context, words=words, count=count)

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        return tuple(item.id for item in self.context.dataset.items)

    def item(self, id: str) -> Item:
        """A photo of the run by its id, with its mask where it has one. Raises NoSuchPhoto (UserError and KeyError)."""
        items = {item.id: item for item in self.dataset.items}
        if id not in items:
            raise NoSuchPhoto(id, items, where=str(self.folder))
        return items[id]


@dataclass(frozen=True)
class Table:
    """Scores as data: `to_dict` all of them, `rows` one dictionary a class (`pandas.DataFrame(table.rows())`)."""

    figures: Figures

    def to_dict(self) -> dict[str, Any]:
        """Everything: the threshold curve of the CAMs and the scores of the label maps, percent."""
        return self.figures.as_json()

    def rows(self, of: str = "auto") -> list[dict[str, Any]]:
        """A row for background and each class: name, iou, precision, recall, ... in percent, None where there is none.

        of: `labels`, `cams` (at the best threshold), or `auto`: labels where there are any.
        """
        source = self.figures.labels if of in ("auto", "labels") else None
        if source is None and of in ("auto", "cams") and self.figures.cams is not None:
            source = self.figures.cams["best"]
        if source is None:
            raise UserError(f"there are no scores of {of}")
        return [dict(row) for row in source["classes"]]

    @property
    def miou(self) -> float:
        """Mean IoU in percent: of the label maps, or of the CAMs at their best threshold."""
        source = self.figures.labels or (self.figures.cams or {})["best"]
        return float(source["miou"])


class _ByPhoto(Mapping[str, Any]):
    """Something of every photo of a run, read when it is asked for. Raises NoSuchPhoto."""

    def __init__(self, folder: Path, ids: Sequence[str], read: Callable[[str], Any]) -> None:
        self._folder, self._ids, self._read, self._known = folder, ids, read, frozenset(ids)

    def __getitem__(self, id: str) -> Any:
        if id not in self._known:
            raise NoSuchPhoto(id, self._ids, where=str(self._folder))
        return self._read(id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def _check_stage(stage: str) -> None:
    if stage not in CAM_STAGES:
        *rest, last = CAM_STAGES
        raise UserError(f"no stage {stage[:100]!r} with a generator; there are {', '.join(rest)} or {last}")


def _recipe(given: str | Path | Recipe | None, known: Context | None) -> Recipe:
    if isinstance(given, Recipe):
        return given
    if given is not None:
        return load_recipe(given)
    return Recipe() if known is None else known.recipe


def _source(data: Path | str | TaggedDataset | None, tags: Path | str | None, classes: Path | str | None) -> Source:
    root = local_source(data) if isinstance(data, str | Path) else getattr(data, "root", None)
    if root is None:
        raise UserError("a run needs the folder of its photos")
    return Source(root, *(None if file is None else Path(file) for file in (tags, classes)))

"""What a training stage is: one object with its settings, what it needs, what it trains with which loss, and a verdict.

A stage is built from networks alone (`Matching(generator, judge)`), so that a script can train one of its own; a run
builds it from its recipe and from what earlier stages left (`Stage.of_run`). Another stage takes the place of a shipped
one by name: `matching.kind: package.module:Mine`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from semples.cams.store import CamStore
from semples.data.classes import ClassList
from semples.evaluation.verdict import Verdict
from semples.generators.base import Generator
from semples.judges.base import Judge
from semples.recipe import PromptSettings, StageSettings
from semples.stages.background_prompts import BackgroundPrompts
from semples.training.feed import TrainingViews, Views
from semples.training.task import TaggedBatch, Task


class Parts(Protocol):
    """What a run has for the stages that it builds; asking for a part makes the stage depend on it."""

    @property
    def classes(self) -> ClassList: ...
    @property
    def seed(self) -> int: ...
    @property
    def prompts(self) -> PromptSettings:
        """Settings of the learned backgrounds."""
        ...

    def new_generator(self) -> Generator:
        """A generator with its start weights."""
        ...

    def generator_after(self, stage: str) -> Generator:
        """The generator as an earlier stage left it."""
        ...

    def judge(self) -> Judge:
        """The judge, on the run's device."""
        ...

    def backgrounds_after(self, stage: str) -> Tensor:
        """Vectors (K,M,W) of the backgrounds that an earlier stage learned."""
        ...

    def given_cams(self, folder: str) -> CamStore:
        """A folder of CAMs that a setting names, of this program or another."""
        ...


class Stage(Task[TaggedBatch]):
    """A training stage.

    Settings: a frozen dataclass that derives from `StageSettings` and says what the stage is for, which earlier stages
    it needs and what it leaves (its ABOUT, NEEDS, LEAVES); every field beside those of `StageSettings` is given to the
    constructor by its name.
    """

    Settings: ClassVar[type[StageSettings]] = StageSettings

    generator: Generator

    @classmethod
    @abstractmethod
    def of_run(cls, parts: Parts, settings: Any) -> Self:
        """The stage of a run, from its recipe's settings and from what earlier stages left. Raises UserError."""

    def views(self, plain: Views) -> TrainingViews:
        """What the stage is shown: photos and tags, or these with what belongs to them."""
        return plain

    @property
    def backgrounds(self) -> BackgroundPrompts | None:
        """The learned backgrounds, where the stage trains them."""
        return None

    def finish(self) -> None:
        """Called once training has ended, before the result is saved."""

    @classmethod
    def verdict(cls, figures: Mapping[str, Any], before: Mapping[str, Any], data: Mapping[str, Any]) -> Verdict | None:
        """What is to be thought of the result, from figures without pixel labels (`stages.glance`); None: nothing is.

        figures: of the stage's generator, or of its learned backgrounds; before: of the generator that the stage
        started from, empty for the first; data: of tags and judge (`run.steps.health`). None for a figure: not known.
        """
        return None


def stage_options(settings: StageSettings, *, leave_out: tuple[str, ...] = ("select_epoch",)) -> dict[str, Any]:
    """The settings that a stage has beside those of every stage, by name: keyword arguments of its constructor."""
    common = {entry.name for entry in fields(StageSettings)}
    names = [entry.name for entry in fields(settings) if entry.name not in (*common, *leave_out)]
    return {name: getattr(settings, name) for name in names}

"""The networks of a run, from its settings and from what its stages left; what is asked for is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from semples.cams.store import CamStore
from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.recipe import PromptSettings
from semples.run.names import JUDGE

if TYPE_CHECKING:
    import torch

    from semples.generators.base import Generator
    from semples.judges.base import Judge
    from semples.run.work import Work

GENERATOR = "generator.safetensors"
PROMPTS = "prompts.safetensors"
LEARNED = "judge.safetensors"


@dataclass(frozen=True)
class RunParts:
    """`stages.base.Parts` of a step at work."""

    work: Work

    @property
    def classes(self) -> ClassList:
        return self.work.dataset.classes

    @property
    def seed(self) -> int:
        return int(self.work.setting("run.seed"))

    @property
    def prompts(self) -> PromptSettings:
        settings: PromptSettings = self.work.settings("prompts")
        return settings

    def new_generator(self) -> Generator:
        from semples.generators.base import build_generator

        return build_generator(self.work.settings("generator"), classes=self.classes, seed=self.seed)

    def generator_after(self, stage: str) -> Generator:
        return generator_in(self.work.step(stage), self.classes)

    @cached_property
    def _judge(self) -> Judge:
        from semples.judges.base import build_judge, load_learned

        judge = build_judge(self.work.settings("judge"), classes=self.classes).to(self.work.device)
        if judge.LEARNED:
            load_learned(judge, self.work.step(JUDGE) / LEARNED)
        return judge

    def judge(self) -> Judge:
        return self._judge

    def backgrounds_after(self, stage: str) -> torch.Tensor:
        return backgrounds_in(self.work.step(stage), self.classes)

    def given_cams(self, folder: str) -> CamStore:
        if not Path(folder or "?").is_dir():
            raise UserError(f"{folder or 'the setting cams is empty'}: no such folder of CAMs; name one")
        return CamStore(self.work.content(folder))


def generator_in(folder: Path, classes: ClassList) -> Generator:
    """The generator as a stage left it in its folder."""
    from semples.generators.base import load_generator

    generator = load_generator(folder / GENERATOR)
    if generator.classes != classes.names:
        raise UserError(f"{folder}: trained for other classes ({', '.join(generator.classes[:5])} ...)")
    return generator


def backgrounds_in(folder: Path, classes: ClassList) -> torch.Tensor:
    """Vectors (K,M,W) of the learned backgrounds that a stage left in its folder."""
    from semples.stages.background_prompts import load_prompts

    vectors_KMW, names = load_prompts(folder / PROMPTS)
    if names != classes.names:
        raise UserError(f"{folder}: prompts of other classes ({', '.join(names[:5])} ...)")
    return vectors_KMW

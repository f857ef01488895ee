"""The training steps: warm-up, matching, prompting, refinement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.recipe import Recipe, StageSettings
from semples.run.epochs import Epochs
from semples.run.models import GENERATOR, PROMPTS, RunParts
from semples.run.step import Step, checkpoint_share
from semples.run.work import Work
from semples.settings.kinds import STAGES

if TYPE_CHECKING:
    from semples.stages.base import Stage


def step(stage: str) -> Step:
    """The step that trains `stage`."""
    settings = STAGES.settings_of(stage)
    needs = ("data", *settings.NEEDS)  # type: ignore[attr-defined]
    about = settings.ABOUT  # type: ignore[attr-defined]
    return Step(stage, about, needs, lambda work: _run(work, stage), partial=checkpoint_share, wanted=is_trained)


def is_trained(recipe: Recipe) -> bool:
    """Whether a run by this recipe trains its generator at all."""
    return type(recipe.generator).TRAINABLE


def _run(work: Work, stage: str) -> dict[str, Any]:
    from semples.training.feed import Views, tag_matrix
    from semples.training.loop import CHECKPOINT, train

    settings: StageSettings = work.settings(stage)
    task: Stage = STAGES.load(settings.kind).of_run(RunParts(work), settings)
    epochs = Epochs(work, settings, task.generator)
    run = work.settings("run")
    if settings.epochs > 0 and not epochs.complete:
        generator = task.generator
        plain = Views(
            dataset=work.dataset,
            tags=tag_matrix(work.dataset),
            augment=settings.augment,
            size=work.setting("generator.image_size"),
            mean=generator.mean,
            std=generator.std,
            seed=run.seed,
            noise_size=generator.noise_size,
        )
        train(
            task,
            task.views(plain),
            engine=work.engine,
            settings=settings,
            run=run,
            workers=work.speed("data.workers"),
            folder=work.folder,
            fingerprint=work.fingerprint,
            label=stage,
            after_epoch=epochs.hook,
        )
        task.finish()
    figures = epochs.choose(task)
    if work.is_main:
        _saver(task)(work.folder)
        (work.folder / CHECKPOINT).unlink(missing_ok=True)
    return {"epochs": settings.epochs} | figures


def _saver(task: Stage) -> Callable[[Path], None]:
    """What writes a stage's result into its folder."""
    from semples.generators.base import save_generator

    learned = task.backgrounds
    if learned is None:
        return lambda folder: save_generator(task.generator, folder / GENERATOR)
    return lambda folder: learned.save(folder / PROMPTS, classes=task.generator.classes)

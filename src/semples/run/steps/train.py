"""The training steps: warm-up, matching, prompting, refinement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.recipe import Recipe, StageSettings
from semples.run.epochs import Epochs
from semples.run.models import GENERATOR, PROMPTS, RunParts
from semples.run.names import FIRST, JUDGE, last_stage
from semples.run.photos import photo_sizes
from semples.run.step import Step, checkpoint_share
from semples.run.updating import CHECKPOINT, shortened, start_from_before
from semples.run.work import Work
from semples.settings.kinds import STAGES

if TYPE_CHECKING:
    from semples.stages.base import Stage

WEIGHTS = (GENERATOR, PROMPTS, CHECKPOINT)


def step(stage: str) -> Step:
    """The step that trains `stage`."""
    settings = STAGES.settings_of(stage)
    needs = ("data", JUDGE, *settings.NEEDS)  # type: ignore[attr-defined]
    about = settings.ABOUT  # type: ignore[attr-defined]

    def wanted(recipe: Recipe) -> bool:
        return type(recipe.generator).TRAINABLE and (stage == FIRST or last_stage(recipe) != FIRST)

    return Step(
        stage,
        about,
        needs,
        lambda work: _run(work, stage),
        partial=checkpoint_share,
        wanted=wanted,
        weights=WEIGHTS,
    )


def _run(work: Work, stage: str) -> dict[str, Any]:
    from semples.training.feed import Views, open_matrix, tag_matrix
    from semples.training.loop import train
    from semples.training.schedule import Course, settled

    written: StageSettings = work.settings(stage)
    task: Stage = STAGES.load(written.kind).of_run(RunParts(work), written)
    before = start_from_before(task, work.folder)
    generator, photos = task.generator, len(work.training_dataset.items)
    settings = settled(written, photos=photos, classes=generator.num_classes, width=generator.width)
    if before is not None:
        work.updated(before)
        settings = shortened(settings)
    course = Course.of(settings, photos=photos)
    epochs = Epochs(work, settings, generator, count=course.whole_epochs(photos))
    run = work.settings("run")
    dataset = work.photos_once(work.training_dataset, photo_sizes(work.step("data")))
    if epochs.count > 0 and not epochs.complete:
        plain = Views(
            dataset=dataset,
            tags=tag_matrix(dataset),
            open=open_matrix(dataset),
            augment=settings.augment,
            size=generator.view_side(work.setting("generator.image_size")),
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
            workers=work.workers,
            folder=work.folder,
            fingerprint=work.fingerprint,
            label=stage,
            tracking=work.tracking,
            after_epoch=epochs.hook,
        )
        task.finish()
    figures = epochs.choose(task)
    if work.is_main:
        _saver(task)(work.folder)
        (work.folder / CHECKPOINT).unlink(missing_ok=True)
    updated = {} if before is None else {"updated": True}
    return {"epochs": settings.epochs, "steps": settings.steps} | updated | figures


def _saver(task: Stage) -> Callable[[Path], None]:
    """What writes a stage's result into its folder."""
    from semples.generators.base import save_generator

    learned = task.backgrounds
    if learned is None:
        return lambda folder: save_generator(task.generator, folder / GENERATOR)
    return lambda folder: learned.save(folder / PROMPTS, classes=task.generator.classes)

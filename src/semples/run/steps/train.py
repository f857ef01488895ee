"""The training steps: warm-up, matching, prompting, refinement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.schema import to_dict
from semples.networks.weights import source_digest
from semples.recipe import Recipe, StageSettings
from semples.run.context import GENERATOR, PROMPTS, Context, Step
from semples.run.epochs import Epochs, check_epochs

if TYPE_CHECKING:
    import torch

    from semples.judges.clip import FrozenClip
    from semples.training.task import Task

STAGES = ("warmup", "matching", "prompting", "refinement")
ABOUT = {
    "warmup": "the generator learns to classify from tags",
    "matching": "CLIP judges what masks keep and leave (a)",
    "prompting": "background prompts are learned (b)",
    "refinement": "the generator is trained with both (c)",
}
NEEDS: dict[str, tuple[str, ...]] = {
    "warmup": ("data",),
    "matching": ("data", "warmup"),
    "prompting": ("data", "matching"),
    "refinement": ("data", "warmup", "prompting"),
}


def step(stage: str) -> Step:
    """The step that trains `stage`."""

    def inputs(context: Context) -> dict[str, Any]:
        return _inputs(context.recipe, stage)

    def run(context: Context, folder: Path, fingerprint: str) -> dict[str, Any]:
        return _run(context, stage, folder, fingerprint)

    return Step(stage, ABOUT[stage], NEEDS[stage], inputs, run, partial=_partial)


def _inputs(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Every setting that changes the stage's numbers."""
    run = {"seed": recipe.run.seed, "precision": recipe.run.precision}
    found: dict[str, Any] = {"stage": to_dict(getattr(recipe, stage)), "run": run}
    if stage == "warmup":
        found |= {"generator": to_dict(recipe.generator), "start": source_digest(recipe.generator.start)}
    else:
        found |= {"clip": to_dict(recipe.clip), "clip_model": source_digest(recipe.clip.model)}
        found |= {"views": [recipe.generator.image_size, recipe.generator.mean, recipe.generator.std]}
    if stage in ("prompting", "refinement"):
        found["prompts"] = to_dict(recipe.prompts)
        if recipe.prompts.start:
            found["prompts_start"] = source_digest(recipe.prompts.start)
    return found


def _run(context: Context, stage: str, folder: Path, fingerprint: str) -> dict[str, Any]:
    from semples.training.feed import Views, tag_matrix
    from semples.training.loop import CHECKPOINT, train

    recipe, dataset = context.recipe, context.dataset
    settings: StageSettings = getattr(recipe, stage)
    check_epochs(context, stage)
    task, save = BUILD[stage](context)
    epochs = Epochs(context, stage, folder, task.generator)  # type: ignore[arg-type]
    if settings.epochs > 0 and not epochs.complete:
        generator = recipe.generator
        views = Views(
            dataset=dataset,
            tags=tag_matrix(dataset),
            augment=settings.augment,
            size=generator.image_size,
            mean=generator.mean,
            std=generator.std,
            seed=recipe.run.seed,
            noise_size=task.generator.noise_size,  # type: ignore[union-attr, arg-type]
        )
        train(
            task,
            views,
            engine=context.engine,
            settings=settings,
            run=recipe.run,
            workers=recipe.data.workers,
            folder=folder,
            fingerprint=fingerprint,
            label=stage,
            after_epoch=epochs.hook,
        )
    figures = epochs.choose(task)
    if context.is_main:
        save(folder)
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return {"epochs": settings.epochs} | figures


def _partial(context: Context, folder: Path) -> float | None:
    """Which share of the training a checkpoint holds."""
    from semples.training.checkpoint import load_progress
    from semples.training.loop import CHECKPOINT

    progress = load_progress(folder / CHECKPOINT)
    return None if progress is None else progress.done


Built = tuple["Task", Callable[[Path], None]]


def _build_warmup(context: Context) -> Built:
    from semples.generators.base import build_generator
    from semples.stages.warmup import Warmup

    recipe, classes = context.recipe, context.dataset.classes
    check_image_size(recipe)
    generator: Any = build_generator(recipe.generator, num_classes=len(classes), seed=recipe.run.seed)
    return Warmup(generator), _saver(context, generator)


def _build_matching(context: Context) -> Built:
    from semples.stages.matching import Matching

    generator: Any = trained_generator(context, "warmup")
    clip = load_clip(context)
    settings = context.recipe.matching
    task = Matching(
        generator,
        clip,
        class_features(context, clip),
        view_maker=view_maker(context, clip, settings),
        lambda_background=settings.lambda_background,
    )
    clip.drop_text()
    return task, _saver(context, generator)


def _build_prompting(context: Context) -> Built:
    from semples.stages.background_prompts import BackgroundPrompts
    from semples.stages.prompt_files import start_prompts
    from semples.stages.prompting import Prompting

    recipe, classes = context.recipe, context.dataset.classes
    clip = load_clip(context)
    prompts = BackgroundPrompts(
        num_classes=len(classes), length=recipe.prompts.length, width=clip.text_width, seed=recipe.run.seed
    )
    start_prompts(prompts, recipe.prompts.start, classes=classes.names)
    generator: Any = trained_generator(context, "matching")
    task = Prompting(
        prompts,
        generator,
        clip,
        class_features(context, clip),
        view_maker=view_maker(context, clip, recipe.prompting),
        settings=recipe.prompts,
        lambda_prompt=recipe.prompting.lambda_prompt,
    )

    def save(folder: Path) -> None:
        prompts.save(folder / PROMPTS, classes=classes.names)

    return task, save


def _build_refinement(context: Context) -> Built:
    import torch

    from semples.stages.refinement import Refinement

    generator: Any = trained_generator(context, "warmup")
    clip = load_clip(context)
    settings = context.recipe.refinement
    with torch.no_grad():
        prompts = prompt_features(context, clip)
    task = Refinement(
        generator,
        clip,
        class_features(context, clip),
        prompts,
        view_maker=view_maker(context, clip, settings),
        lambda_background=settings.lambda_background,
        lambda_refinement=settings.lambda_refinement,
    )
    clip.drop_text()
    return task, _saver(context, generator)


BUILD: dict[str, Callable[[Context], Built]] = {
    "warmup": _build_warmup,
    "matching": _build_matching,
    "prompting": _build_prompting,
    "refinement": _build_refinement,
}


def check_image_size(recipe: Recipe) -> None:
    """Training views are squares of whole patches."""
    size, patch = recipe.generator.image_size, recipe.generator.patch_size
    if size < patch:
        raise UserError(f"generator.image_size {size} is smaller than a patch of {patch}")


def trained_generator(context: Context, stage: str) -> torch.nn.Module:
    """The generator as a stage left it."""
    from semples.generators.base import load_generator

    generator, classes = load_generator(context.folder(stage) / GENERATOR)
    if classes != context.dataset.classes.names:
        raise UserError(f"{context.folder(stage)}: trained for other classes ({', '.join(classes[:5])} ...)")
    return generator


def load_clip(context: Context) -> FrozenClip:
    """The recipe's CLIP on the run's device."""
    from semples.judges.clip import FrozenClip

    return FrozenClip.load(context.recipe.clip.model).to(context.engine.device)


def class_features(context: Context, clip: FrozenClip) -> torch.Tensor:
    """Text features (K,E) of the class prompts."""
    import torch

    template = context.recipe.clip.class_template
    if "{name}" not in template:
        raise UserError(f"clip.class_template {template!r} has no place for the class; write {{name}} where it goes")
    with torch.no_grad():
        return clip.encode_texts([template.replace("{name}", word) for word in context.dataset.classes.prompts])


def prompt_features(context: Context, clip: FrozenClip) -> torch.Tensor:
    """Text features (K,E) of the learned background prompts."""
    from semples.stages.background_prompts import load_prompts

    vectors, classes = load_prompts(context.folder("prompting") / PROMPTS)
    if classes != context.dataset.classes.names:
        raise UserError(f"{context.folder('prompting')}: prompts of other classes ({', '.join(classes[:5])} ...)")
    settings = context.recipe.prompts
    return clip.encode_prompts(vectors.to(clip.device), context=settings.context, full_stop=settings.full_stop)


def view_maker(context: Context, clip: FrozenClip, settings: StageSettings) -> Any:
    """How a stage makes CLIP's views of photo and mask."""
    from semples.stages.views import ViewMaker

    recipe = context.recipe
    return ViewMaker.for_clip(
        clip.image_size,
        epsilon=settings.cam_epsilon,
        normalisation=recipe.clip.normalisation,
        mean=recipe.generator.mean,
        std=recipe.generator.std,
    )


def _saver(context: Context, generator: Any) -> Callable[[Path], None]:
    from semples.generators.base import save_generator

    names = context.dataset.classes.names
    return lambda folder: save_generator(generator, folder / GENERATOR, classes=names)

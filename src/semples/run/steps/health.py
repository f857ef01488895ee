"""The steps that look after the stages: a verdict of each without any pixel label, made once the stage is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semples.core.errors import UserError
from semples.core.files import read_json, write_json
from semples.core.places import place_of
from semples.core.progress import track
from semples.data.dataset import Item, drawn
from semples.data.photos import reduced
from semples.data.tag_tables import class_table, tag_tables
from semples.evaluation import verdicts
from semples.evaluation.verdict import Grade, Verdict
from semples.recipe import Recipe
from semples.run.health import TITLES, said
from semples.run.models import RunParts
from semples.run.names import JUDGE, LAST, MODEL, RECORD, SEGMENTER, cams_name, health_name
from semples.run.records import read_manifest
from semples.run.step import Step
from semples.run.steps import train
from semples.run.work import Work
from semples.settings.judges import NO_JUDGE
from semples.settings.kinds import STAGES

if TYPE_CHECKING:
    import torch

    from semples.generators.base import Generator
    from semples.segmenter.build import Segmenter

Figures = dict[str, Any]
DATA, CAMS = "data", "cams"
BATCH = 16
LARGEST_SIDE = 512  # of photos whose CAMs or label maps are looked at, pixels
WORDS = 3  # nearest words of a prompt
SCRATCH = "scratch"  # the kind of segmenter whose weights all start at random


def step(of: str) -> Step:
    """Look after `of`: the photos' tags ("data"), a training stage, the CAMs or the segmenter."""
    look, needs, wanted = LOOKS[of]

    def run(work: Work) -> dict[str, Any]:
        try:
            figures, verdict = look(work)
        except UserError as error:  # a look is no reason for a run to end: what misses stops the stage that needs it
            figures, verdict = {}, Verdict("not looked at", str(error))
        record = {"of": of, **verdict.as_json(), "figures": plain_figures(figures)}
        if work.is_main:
            write_json(work.folder / RECORD, record)
        return record

    return Step(
        health_name(of),
        f"a look at {TITLES[of]}",
        needs,
        run,
        wanted=lambda recipe: is_wanted(recipe) and wanted(recipe),
        said=said,
        version=2,
    )


def is_wanted(recipe: Recipe) -> bool:
    """Whether a run by this recipe looks after its stages."""
    return recipe.health.photos > 0


def plain_figures(figures: Figures) -> Figures:
    """The same, rounded, with None for what is not known."""
    return {key: _rounded(value) for key, value in figures.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return plain_figures(value)
    if isinstance(value, float):
        return None if value != value else round(value, 4)
    return value


# ------------------------------------------------------------------------------------------------------ tags and judge


def _look_at_tags(work: Work) -> tuple[Figures, Verdict]:
    """Tags of every photo from the judge's features of the other photos, and what the judge itself says of them."""
    from semples.evaluation.tagging import chance, foretold, lift, mean_precision, precisions

    dataset = work.dataset
    count, seed = work.setting("health.tagged_photos"), work.setting("run.seed")
    items = list(dataset.items) if len(dataset.items) <= count else drawn(dataset, count=count, seed=seed)
    judge = RunParts(work).judge()
    mean, std = work.setting("generator.mean"), work.setting("generator.std")
    features = _judged(work, items, mean=mean, std=std)
    tags, known = tag_tables(items, len(dataset.classes))
    predicted = foretold(features, tags, known).left_out_nK
    with_judge = features @ judge.targets.cpu().double().numpy().T
    precision, share = mean_precision(predicted, tags)
    chance_mean, chance_spread = chance(predicted, tags)
    figures = {
        "photos": len(items),
        "precision": precision,
        "precision_by_chance": share,
        "judge_precision": mean_precision(with_judge, tags)[0],
        "tags": lift(predicted, tags),
        "tags_by_chance": chance_mean,
        "tags_by_chance_spread": chance_spread,
        "judge": lift(with_judge, tags),
        "classes": {
            name: {"photos": int(tags[:, k].sum()), "tags": float(left_out_precision), "judge": float(judged)}
            for k, (name, left_out_precision, judged) in enumerate(
                zip(dataset.classes.names, precisions(predicted, tags), precisions(with_judge, tags), strict=True)
            )
        },
    }
    return figures, verdicts.of_tags(figures)


def _judged(work: Work, items: list[Item], *, mean: Any, std: Any) -> np.ndarray:
    """The judge's features (n,E) of whole photos, float64."""
    import torch

    from semples.data.transforms import image_to_tensor, resize_photo
    from semples.networks.pairs import Pairs
    from semples.stages.views import ViewMaker

    judge = RunParts(work).judge().lean()
    maker = ViewMaker.of(judge, epsilon=0.0, mean=mean, std=std)
    side, parts = maker.size, []
    for start in track(range(0, len(items), BATCH), label="health"):
        photos = [work.dataset.photo(item) for item in items[start : start + BATCH]]
        images = torch.stack([image_to_tensor(resize_photo(photo, side, side), mean, std) for photo in photos])
        rows = torch.arange(len(images), device=judge.device)
        with torch.no_grad():
            whole, _ = maker.views(
                images.to(judge.device), torch.ones(len(images), side, side, device=judge.device), Pairs(rows, rows)
            )
            parts.append(judge.encode(whole).cpu().double().numpy())
    return np.concatenate(parts)


# ------------------------------------------------------------------------------------------------------------- stages


def _sample(work: Work) -> list[Item]:
    """Photos that stages are looked at on, of those that training saw. Raises UserError where none carries a tag."""
    items = drawn(work.training_dataset, count=work.setting("health.photos"), seed=work.setting("run.seed"))
    if not items:
        raise UserError("no photo carries a tag, so there is nothing to look at")
    return items


def _sample_held_out(work: Work) -> list[Item]:
    """Tagged photos that training did not see."""
    held = [item for item in work.held_out if item.tags]
    return held[: work.setting("health.photos")]


def _images(work: Work, items: list[Item], generator: Generator) -> torch.Tensor:
    from semples.stages.glance import photo_tensor

    side = generator.view_side(work.setting("generator.image_size"))
    photos = [work.dataset.photo(item) for item in items]
    return photo_tensor(photos, generator, side=side)


def _glance(work: Work, stage: str, items: list[Item]) -> Figures:
    """What can be seen of the generator's masks as the stage left it."""
    import torch

    from semples.stages.glance import figures, glance

    parts = RunParts(work)
    generator = parts.generator_after(stage).to(work.device)
    judge = None if work.setting("judge.kind") == NO_JUDGE else parts.judge().lean()
    tags = class_table([item.tags for item in items], len(work.dataset.classes))
    seen = glance(
        generator,
        judge,
        _images(work, items, generator).to(work.device),
        torch.from_numpy(tags).to(work.device),
    )
    return figures(seen, tags)


def _look_at_warmup(work: Work) -> tuple[Figures, Verdict]:
    figures, held = _glance(work, "warmup", _sample(work)), _sample_held_out(work)
    if held:
        names = ("tags", "precision")
        figures |= {f"{name}_held_out": value for name, value in _glance(work, "warmup", held).items() if name in names}
    data = {} if work.setting("judge.kind") == NO_JUDGE else _known(work, DATA)
    return figures, _verdict(work, "warmup", figures, {}, data)


def _look_at_matching(work: Work) -> tuple[Figures, Verdict]:
    figures, before = _glance(work, "matching", _sample(work)), _known(work, "warmup")
    figures |= _moved(work, "matching")
    return figures, _verdict(work, "matching", figures, before, _known(work, DATA))


def _look_at_refinement(work: Work) -> tuple[Figures, Verdict]:
    figures, before = _glance(work, LAST, _sample(work)), _known(work, "warmup")
    figures |= _moved(work, LAST)
    verdict = _verdict(work, LAST, figures, before, _known(work, DATA))
    stages = {of: (_grade(work, of), _known(work, of)) for of in ("warmup", "matching")}
    best = verdicts.best_stage(stages | {LAST: (verdict.grade, figures)})
    return figures | {"best": best}, verdict


def _moved(work: Work, stage: str) -> Figures:
    """How far a stage has moved the generator from the warm-up's weights, where (a) and (c) start."""
    from semples.networks.travel import travelled

    parts = RunParts(work)
    return {"moved": travelled(parts.generator_after("warmup"), parts.generator_after(stage))}


def _look_at_prompting(work: Work) -> tuple[Figures, Verdict]:
    """Learned backgrounds against what the masks of stage (a) leave out."""
    import torch

    from semples.judges.words import nearest
    from semples.stages.glance import background_figures, glance

    parts, items = RunParts(work), _sample(work)
    generator, judge = parts.generator_after("matching").to(work.device), parts.judge()
    tags = torch.from_numpy(class_table([item.tags for item in items], len(work.dataset.classes))).to(work.device)
    seen = glance(generator, judge.lean(), _images(work, items, generator).to(work.device), tags)
    with torch.no_grad():
        learned, start = (
            judge.encode_backgrounds(vectors.to(judge.device), parts.prompts)
            for vectors in (
                parts.backgrounds_after("prompting"),
                judge.start_backgrounds(parts.prompts, seed=parts.seed),
            )
        )
    figures: Figures = background_figures(seen, learned_KE=learned, start_KE=start, target_KE=judge.targets)
    model = getattr(work.settings("judge"), "model", "")
    names = work.dataset.classes.names
    figures |= nearest(judge, learned, names=names, model=model, count=WORDS)
    figures["alone"] = _alone(work, items, learned.cpu().double().numpy(), names)
    return figures, _verdict(work, "prompting", figures, {}, {})


def _alone(work: Work, items: list[Item], learned: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """By class how many of the photos carry it, and how many do not but are nearest to its background, as wholes."""
    mean, std = work.setting("generator.mean"), work.setting("generator.std")
    nearest = (_judged(work, items, mean=mean, std=std) @ learned.T).argmax(axis=1)
    tags = class_table([item.tags for item in items], len(names))
    return {
        name: {"with": int(tags[:, k].sum()), "without": int(((nearest == k) & ~tags[:, k]).sum())}
        for k, name in enumerate(names)
    }


def _verdict(work: Work, stage: str, figures: Figures, before: Figures, data: Figures) -> Verdict:
    """What the stage itself makes of its figures."""
    manifest = read_manifest(work.step(stage))
    kind = stage if manifest is None else manifest["reads"].get(f"setting:{stage}.kind", stage)
    made: Verdict | None = STAGES.load(kind).verdict(figures, before, data)
    return made or Verdict("good", "this kind of stage gives no verdict")


def _grade(work: Work, of: str) -> Grade:
    """The grade of a look that is finished."""
    stored: Grade = read_json(work.step(health_name(of)) / RECORD)["grade"]
    return stored


def _known(work: Work, of: str) -> Figures:
    """The figures of a look that is finished. Raises UserError where that could not look."""
    stored: Figures = read_json(work.step(health_name(of)) / RECORD)["figures"]
    if not stored:
        raise UserError(f"{TITLES[of]} could not be looked at")
    return stored


# --------------------------------------------------------------------------------------------------- CAMs and segmenter


def _look_at_cams(work: Work) -> tuple[Figures, Verdict]:
    from semples.cams.store import CamStore
    from semples.evaluation.masks import lit_figures, lit_share

    store = CamStore(work.step(cams_name()), format=work.setting("cams.format"))
    maps = (values for item in _sample(work) for values in store.read(item.id).values())
    figures = lit_figures([lit_share(values) for values in maps])
    return figures, verdicts.of_cams(figures)


def _look_at_segmenter(work: Work) -> tuple[Figures, Verdict]:
    """Agreement of the segmenter, which sees no tags, with the label maps that it learned from."""
    from semples.core.palette import read_label_png
    from semples.evaluation.confusion import confusion_matrix, scores_from_confusion
    from semples.segmenter.build import Segmenter
    from semples.segmenter.quick import quick_labels, quick_side

    labels, trained = work.step("labels"), Segmenter.load(work.step(SEGMENTER) / MODEL).to(work.device).eval()
    held = _sample_held_out(work)
    classes, items = len(work.dataset.classes), held or _sample(work)
    side = quick_side(trained)
    counted = np.zeros((classes + 1, classes + 2), np.int64)
    empty = np.zeros_like(counted)
    for item in items:
        taught = read_label_png(place_of(labels, item.id, ".png"))
        photo = reduced(work.dataset.photo(item), max_side=LARGEST_SIDE)
        named = quick_labels(trained, photo, side=side, shape=(taught.shape[0], taught.shape[1]))
        counted += confusion_matrix(taught, named, num_classes=classes)
        empty += confusion_matrix(taught, np.zeros_like(taught), num_classes=classes)
    figures = {
        "photos": len(items),
        "held_out": len(held),
        "agreement": scores_from_confusion(counted).miou / 100,
        "agreement_of_background": scores_from_confusion(empty).miou / 100,
        "moved": _segmenter_moved(work, trained),
    }
    return figures, verdicts.of_segmenter(figures)


def _segmenter_moved(work: Work, trained: Segmenter) -> float | None:
    """How far training has moved the segmenter; None where all of it started at random."""
    from semples.networks.travel import travelled
    from semples.segmenter.base import kind_of
    from semples.segmenter.build import build_segmenter

    settings = work.settings("segmenter")
    if kind_of(settings.model, settings.kind)[0] == SCRATCH:
        return None
    start = build_segmenter(
        settings.model,
        config=trained.config,
        seed=work.setting("run.seed"),
        view=trained.fixed_size,
        kind=settings.kind,
    )
    return travelled(start, trained)


def has_judge(recipe: Recipe) -> bool:
    """Whether a run by this recipe has a judge, whose eyes the looks at tags and most stages use."""
    return recipe.judge.kind != NO_JUDGE


def _stage(
    look: Look, stage: str, *looks: str, judged: bool = True
) -> tuple[Look, tuple[str, ...], Callable[[Recipe], bool]]:
    """The look at a training stage, which needs what others of `looks` tell. judged: and a judge."""

    def wanted(recipe: Recipe) -> bool:
        return (has_judge(recipe) or not judged) and train.step(stage).wanted(recipe)

    earlier = STAGES.settings_of(stage).NEEDS  # type: ignore[attr-defined]
    return look, ("data", JUDGE, *earlier, stage, *map(health_name, looks)), wanted


Look = Callable[[Work], tuple[Figures, Verdict]]
LOOKS: dict[str, tuple[Look, tuple[str, ...], Callable[[Recipe], bool]]] = {
    DATA: (_look_at_tags, ("data", JUDGE), has_judge),
    "warmup": _stage(_look_at_warmup, "warmup", DATA, judged=False),
    "matching": _stage(_look_at_matching, "matching", DATA, "warmup"),
    "prompting": _stage(_look_at_prompting, "prompting"),
    LAST: _stage(_look_at_refinement, LAST, DATA, "warmup", "matching"),
    CAMS: (_look_at_cams, ("data", cams_name()), lambda recipe: True),
    SEGMENTER: (_look_at_segmenter, ("data", "labels", SEGMENTER), lambda recipe: True),
}

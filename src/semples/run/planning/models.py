"""The models that the steps of a run will ask for: which they are, whether they are at hand, and that they can be used.

Told in two rounds: first where all weights lie, which costs next to nothing and names everything that is missing in one
line; then every network is built and asked once, as its step will.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semples.core.errors import Note, UserError
from semples.data.classes import ClassList
from semples.labels.base import FEATURES, REGIONS
from semples.networks.at_hand import hub_id, is_cached
from semples.networks.hub import reachable
from semples.recipe import Recipe
from semples.run.names import JUDGE, SEGMENTER, SELECTION, TRAINED
from semples.run.work import weight_sources
from semples.settings.judges import NO_JUDGE
from semples.settings.kinds import PROPOSALS, STAGES, label_needs

if TYPE_CHECKING:
    import torch

    from semples.generators.base import Generator
    from semples.judges.base import Judge
    from semples.segmenter.build import Segmenter

PATIENCE = 2.0  # seconds that the hub is given to answer
LONGEST_LIST = 4


@dataclass(frozen=True)
class Need:
    """Weights that steps of a run will ask for. group: the recipe's group that names them."""

    group: str
    source: str
    steps: tuple[str, ...]

    @property
    def repo(self) -> str | None:
        """The hub repository they come from. Raises UserError for a path that is not there."""
        try:
            return hub_id(self.source)
        except UserError as error:
            raise UserError(f"{error} ({self.group}, for {', '.join(self.steps)})") from None

    @property
    def missing(self) -> bool:
        """Whether they would have to be downloaded."""
        repo = self.repo
        return repo is not None and not is_cached(repo, config=self.group != "generator")


def groups_of(recipe: Recipe, steps: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The recipe's groups that name networks which these steps load, and for which of the steps."""
    asked: dict[str, list[str]] = {}
    drawn = recipe.labels.method
    for step in steps:
        groups = {"cams": ["generator"], "prompting": ["prompts", "judge"], SEGMENTER: ["segmenter"]}.get(step, [])
        if step in TRAINED:
            needs = STAGES.settings_of(getattr(recipe, step).kind).NEEDS  # type: ignore[attr-defined]
            groups = [*groups, "judge"] if needs else ["generator"]
        elif step == "cams" and type(recipe.generator).TRAINABLE:
            groups = []
        elif step in (SELECTION, JUDGE):
            groups = ["judge"]
        if recipe.judge.kind == NO_JUDGE:
            groups = [group for group in groups if group != "judge"]
        if step == REGIONS and PROPOSALS.load(recipe.regions.proposals).has_network:
            groups = ["regions"]
        if step in ("labels", SELECTION) and FEATURES in label_needs(drawn):
            groups = [*groups, "features"]
        for group in groups:
            asked.setdefault(group, []).append(step)
    return {group: tuple(dict.fromkeys(names)) for group, names in asked.items()}


def needs_of(recipe: Recipe, steps: Sequence[str]) -> list[Need]:
    """The weights that these steps ask for."""
    return [
        Need(group, source, names)
        for group, names in groups_of(recipe, steps).items()
        for source in weight_sources(getattr(recipe, group))
    ]


def check_at_hand(needs: Sequence[Need]) -> list[Need]:
    """Those that will be downloaded. Raises UserError, one line on all that is missing, where the hub is not there."""
    missing = [need for need in needs if need.missing]
    if not missing or reachable(patience=PATIENCE):
        return missing
    named = [f"{need.source} ({need.group}, for {', '.join(need.steps)})" for need in missing[:LONGEST_LIST]]
    more = f" and {len(missing) - LONGEST_LIST} more" if len(missing) > LONGEST_LIST else ""
    raise UserError(
        f"the hub cannot be reached, and the local cache lacks {'; '.join(named)}{more}: on a machine with network "
        "download config.json and model.safetensors of each, put them into a folder, and name it, for example "
        f"--set {_key(missing[0])}=FOLDER"
    )


def trouble_later(recipe: Recipe) -> str | None:
    """Why the final segmenter, which a run does not train, could not be trained after it; None: it could."""
    need = next(iter(needs_of(recipe, [SEGMENTER])), None)
    if need is None:
        return None
    try:
        absent = need.missing and not reachable(patience=PATIENCE)
    except UserError as error:
        return f"`semples segment train RUN` will fail: {error}"
    if not absent:
        return None
    return (
        f"the hub cannot be reached, and the local cache lacks {need.source}, which `semples segment train RUN` starts "
        "from; all steps of this run go without it"
    )


def _key(need: Need) -> str:
    """The setting that names the weights."""
    return f"{need.group}.{'start' if need.group in ('generator', 'prompts') else 'model'}"


# --------------------------------------------------------------------------------------------------------- opened


@dataclass(frozen=True)
class Opened:
    """Networks that were built and have answered once; None where no step asks for one."""

    generator: Generator | None = None
    judge: Judge | None = None
    segmenter: Segmenter | None = None


def open_models(recipe: Recipe, steps: Sequence[str], *, classes: ClassList, device: torch.device) -> Opened:
    """Build every network that these steps ask for, and ask it once. Raises UserError naming the setting."""
    groups = groups_of(recipe, steps)
    generator = judge = segmenter = None
    if "generator" in groups:
        with _said("generator", groups):
            generator = _generator(recipe, classes, device)
    if "judge" in groups:
        with _said("judge", groups):
            judge = _judge(recipe, classes, device)
    if "prompts" in groups and judge is not None:
        with _said("prompts", groups):
            _backgrounds(recipe, judge, classes)
    if "regions" in groups:
        from semples.labels.proposals.base import make_proposer

        with _said("regions", groups):
            make_proposer(recipe.regions, device=device)
    if "features" in groups:
        from semples.features.base import make_features

        with _said("features", groups):
            make_features(recipe.features, device=device)
    if SEGMENTER in groups:
        with _said(SEGMENTER, groups):
            segmenter = new_segmenter(recipe, classes)
    return Opened(generator, judge, segmenter)


@contextmanager
def _said(group: str, groups: dict[str, tuple[str, ...]]) -> Iterator[None]:
    """Name the recipe's group and the steps in what is wrong with a network. Notes on how it was read are left to the
    step that reads it for good."""
    where = f"{group}, for {', '.join(groups[group])}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Note)
            yield
    except UserError as error:
        raise UserError(f"{error} ({where})") from None
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the recipe's {where} cannot be used as it is set ({reason})") from None


def _generator(recipe: Recipe, classes: ClassList, device: torch.device) -> Generator:
    import torch

    from semples.generators.base import build_generator
    from semples.networks.pairs import Pairs

    generator = build_generator(recipe.generator, classes=classes, seed=recipe.run.seed).to(device).eval()
    if type(recipe.generator).STORED:  # knows photos by their names: there is nothing to ask
        return generator
    side = generator.view_side(recipe.generator.image_size)
    first = torch.zeros(1, dtype=torch.long, device=device)
    with torch.no_grad():
        generator.cams(torch.zeros(1, 3, side, side, device=device), Pairs(first, first))
    return generator


def _judge(recipe: Recipe, classes: ClassList, device: torch.device) -> Judge:
    import torch

    from semples.judges.base import build_judge

    judge = build_judge(recipe.judge, classes=classes).to(device)
    with torch.no_grad():
        judge.encode(torch.zeros(1, 3, judge.image_size, judge.image_size, device=device))
    return judge


def _backgrounds(recipe: Recipe, judge: Judge, classes: ClassList) -> None:
    import torch

    from semples.stages.background_prompts import BackgroundPrompts
    from semples.stages.prompt_files import start_prompts

    prompts = BackgroundPrompts(judge.start_backgrounds(recipe.prompts, seed=recipe.run.seed).to(judge.device))
    start_prompts(prompts, recipe.prompts.start, classes=classes.names)
    with torch.no_grad():
        judge.encode_backgrounds(prompts.vectors[:1], recipe.prompts)


def _side(image_size: Any) -> int:
    """Side of a view to try a network with: that of the setting where it is a number."""
    return image_size if isinstance(image_size, int) else 224


def new_segmenter(recipe: Recipe, classes: ClassList) -> Segmenter:
    """The final segmenter with its start weights. Raises UserError."""
    from semples.segmenter.build import SegmenterConfig, build_segmenter
    from semples.segmenter.shapes import check_view

    settings, view = recipe.segmenter, _side(recipe.segmenter.image_size)
    config = SegmenterConfig(
        classes=classes.names,
        size=settings.photo_size or view,
        mean=settings.mean,
        std=settings.std,
    )
    made = build_segmenter(settings.model, config=config, seed=recipe.run.seed, view=view, kind=settings.kind)
    check_view(made, view)
    return made

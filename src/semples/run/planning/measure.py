"""What every step of a run costs on this machine: a few real photos and training steps, timed and scaled to all.

Photos are scaled by their pixels, training by a line over the photos of a step. Networks are those that the run starts
from; CAMs, as far as later steps depend on what they show, are drawn ones, since nothing has been learned yet.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from semples.cams.store import CamStore
from semples.core.places import place_of
from semples.data.dataset import Item, TaggedDataset, with_items
from semples.data.photos import PhotoError, reduced
from semples.labels.base import FEATURES, REGIONS, LabelInput
from semples.labels.make import make_label_method
from semples.labels.regions import SUFFIX, Regions, write_regions
from semples.recipe import Recipe
from semples.run.label_maps import CONFIDENCE, proposer
from semples.run.planning.kept import Sizes
from semples.run.planning.models import Opened
from semples.settings.kinds import STAGES, label_needs
from semples.training.feed import Views, tag_matrix
from semples.training.timing import Cost, StepCost, measured, time_steps

if TYPE_CHECKING:
    from semples.data.classes import ClassList
    from semples.generators.base import Generator
    from semples.judges.base import Judge
    from semples.recipe import PromptSettings

SAMPLE = 6  # photos that are looked at
ENOUGH = 0.5  # CPU seconds, after which a step is timed on no further photo
DRAWS = 40
TRIED = 50  # photos that are decoded where none of the drawn ones could be
SIGNS_BYTES = 2000  # of the signs of a photo
UNKNOWN = (640, 480)  # size of a photo that cannot be read, where all the others cannot either


@dataclass(frozen=True)
class PlanParts:
    """`stages.base.Parts` of no run yet: what earlier stages would leave is what they start from."""

    recipe: Recipe
    classes: ClassList
    generator: Generator
    opened_judge: Judge | None

    @property
    def seed(self) -> int:
        return self.recipe.run.seed

    @property
    def prompts(self) -> PromptSettings:
        return self.recipe.prompts

    def new_generator(self) -> Generator:
        return self.generator

    def generator_after(self, stage: str) -> Generator:
        del stage
        return self.generator

    def judge(self) -> Judge:
        assert self.opened_judge is not None
        return self.opened_judge

    def backgrounds_after(self, stage: str) -> torch.Tensor:
        del stage
        return self.judge().start_backgrounds(self.prompts, seed=self.seed)


@dataclass
class Sample:
    """Some photos of a dataset that stand for all, and what is measured on them.

    sizes: (width, height) of all usable photos by id. glanced: what a look at one photo's masks costs, once known.
    """

    recipe: Recipe
    dataset: TaggedDataset
    opened: Opened
    device: torch.device
    folder: Path
    sizes: Sizes = field(default_factory=dict)
    glanced: Cost | None = None
    _is_ready: bool = False

    @classmethod
    @contextmanager
    def of(
        cls, recipe: Recipe, dataset: TaggedDataset, opened: Opened, sizes: Sizes, *, device: torch.device
    ) -> Iterator[Sample]:
        """With a temporary folder for what the timed steps write. sizes: as `planning.kept.sizes_of` gives them."""
        with tempfile.TemporaryDirectory(prefix="semples-plan-") as folder:
            yield cls(recipe, dataset, opened, device, Path(folder), sizes)

    @cached_property
    def items(self) -> list[Item]:
        """Photos whose pixels and tags are those of the mean photo, as nearly as `DRAWS` draws of them come; without
        those that cannot be decoded. None where nearly no photo can."""
        listed = [item for item in self.dataset.items if item.id in self.sizes]
        tagged = [item for item in listed if item.tags] or listed
        return self._decoded(self._like_all(tagged)) or self._decoded(tagged[:TRIED])[:SAMPLE]

    def _decoded(self, items: Sequence[Item]) -> list[Item]:
        """Those of `items` that can be decoded."""
        kept = []
        for item in items:
            try:
                self.dataset.photo(item)
            except PhotoError:
                continue
            kept.append(item)
        return kept

    def _like_all(self, tagged: list[Item]) -> list[Item]:
        if len(tagged) <= SAMPLE:
            return tagged
        rng = np.random.default_rng(0)
        pairs = np.array([len(item.tags) for item in tagged], float)
        pixels = np.array([self.pixels(item) for item in tagged])
        draws = [rng.choice(len(tagged), SAMPLE, replace=False) for _ in range(DRAWS)]
        chosen = min(
            draws,
            key=lambda draw: (
                abs(pixels[draw].mean() / pixels.mean() - 1)
                + abs((pairs[draw].mean() + 0.1) / (pairs.mean() + 0.1) - 1)
            ),
        )
        return [tagged[place] for place in chosen]

    def pixels(self, item: Item, *, max_side: int | None = None) -> float:
        """Pixels of a photo, with its longer side reduced to `max_side`."""
        width, height = self.sizes.get(item.id, UNKNOWN)
        factor = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
        return width * height * factor**2

    def share(self, items: Sequence[Item], seen: Sequence[Item], *, max_side: int | None = None, tags: bool) -> float:
        """How much more `items` are than those that were looked at: in pixels, times classes where `tags` count."""

        def size(item: Item) -> float:
            return self.pixels(item, max_side=max_side) * (len(item.tags) if tags else 1)

        return sum(map(size, items)) / max(1.0, sum(map(size, seen)))

    def timed(self, work: Callable[[Item], None]) -> tuple[Cost, list[Item]]:
        """Do `work` for one photo after another until that is enough; the cost, and the photos."""
        total, seen = Cost(), list[Item]()
        for item in self.items:
            with measured(self.device) as cost:
                work(item)
            total, seen = total + cost, [*seen, item]
            if total.cpu > ENOUGH:
                break
        return total, seen

    def bytes_of(self, *suffixes: str) -> int:
        """Bytes of the files that timed steps have written below the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.name.endswith(suffixes))

    # -------------------------------------------------------------------------------------------------------- steps

    def reading(self) -> Cost:
        """Decoding every photo once."""
        cost, seen = self.timed(lambda item: _ignore(self.dataset.photo(item)))
        return cost.times(self.share(self.dataset.items, seen, tags=False))

    def stage(self, stage: str) -> StepCost:
        """An optimizer step of a stage."""
        # Views are cut from photos that are decoded each time, though the run may keep them (`data.cache`): the steps
        # that are timed hold decoding once for every view. Left so: plans say too little rather than too much as it is
        # (benchmarks/plan.py: 0.73 to 0.96 of what runs took that kept nothing), and this errs to the other side, by
        # more the larger the photos are.
        settings, generator = getattr(self.recipe, stage), self.opened.generator
        assert generator is not None
        parts = PlanParts(self.recipe, self.dataset.classes, generator, self.opened.judge)
        task = STAGES.load(settings.kind).of_run(parts, settings)
        subset = with_items(self.dataset, self.items)
        views = Views(
            dataset=subset,
            tags=tag_matrix(subset),
            augment=settings.augment,
            size=generator.view_side(self.recipe.generator.image_size),
            mean=generator.mean,
            std=generator.std,
            seed=0,
            noise_size=generator.noise_size,
        )
        return time_steps(task, views, range(len(self.items)), device=self.device)

    def cams(self) -> tuple[Cost, int]:
        """CAMs of all photos, and their bytes."""
        from semples.cams.make import photo_cams

        settings, generator = self.recipe.cams, self.opened.generator
        assert generator is not None
        generator = generator.to(self.device).eval()
        store = CamStore(self.folder / "cams", format=settings.format)

        def work(item: Item) -> None:
            photo = reduced(self.dataset.photo(item), max_side=settings.max_side)
            (maps,) = photo_cams(generator, [photo], [item.tags], settings=settings, device=self.device)
            store.write(item.id, maps, (photo.shape[0], photo.shape[1]))

        cost, seen = self.timed(work)
        factor = self.share(self.dataset.items, seen, max_side=settings.max_side, tags=True)
        return cost.times(factor), round(self.bytes_of(".npz", ".npy") * factor)

    @cached_property
    def _propose(self) -> Callable[[NDArray[np.uint8]], Regions]:
        return proposer(self.recipe.regions, lambda: self.device)

    def regions(self) -> tuple[Cost, int]:
        """Regions of all photos, and their bytes."""
        folder = self.folder / "regions"
        cost, seen = self.timed(lambda item: write_regions(folder, item.id, self._propose(self.dataset.photo(item))))
        factor = self.share(self.dataset.items, seen, max_side=self.recipe.regions.max_side, tags=False)
        return cost.times(factor), round(self.bytes_of(SUFFIX) * factor)

    def _told(self, item: Item, photo: NDArray[np.uint8]) -> LabelInput:
        """What the label method is told of a photo: drawn CAMs, real regions and features."""
        size, shape = photo.shape[:2], reduced(photo, max_side=self.recipe.cams.max_side).shape[:2]
        return LabelInput(
            id=item.id,
            cams={index: bump(shape, place, len(item.tags)) for place, index in enumerate(item.tags)},
            shape=(shape[0], shape[1]),
            size=(size[0], size[1]),
            tags=item.tags,
            photo=lambda: photo,
            regions=lambda: self._stored_regions(item, photo),
            features=lambda: self._features(photo),
        )

    def _stored_regions(self, item: Item, photo: NDArray[np.uint8]) -> Regions:
        if item.id not in self._kept_regions:
            self._kept_regions[item.id] = self._propose(photo)
        return self._kept_regions[item.id]

    @cached_property
    def _kept_regions(self) -> dict[str, Regions]:
        return {}

    @cached_property
    def _features(self) -> Any:
        from semples.features.base import make_features

        return make_features(self.recipe.features, device=self.device)

    @cached_property
    def _method(self) -> Any:
        recipe = self.recipe
        return make_label_method(
            recipe.labels, regions=recipe.regions, crf=recipe.crf, num_classes=len(self.dataset.classes)
        )

    def _ready(self) -> None:
        """Make what is made once, or read from a file in a run, before label maps are timed."""
        if self._is_ready:
            return
        self._is_ready = True
        needs = label_needs(self.recipe.labels.method)
        if self._method.learns:
            self._method.fit(self._told(item, self.dataset.photo(item)) for item in self.items)
        if REGIONS in needs:
            for item in self.items:
                self._stored_regions(item, self.dataset.photo(item))
        if FEATURES in needs and self.items:
            self._features(self.dataset.photo(self.items[0]))
        if self.items:  # code that is compiled when it first runs
            self._method.label(self._told(self.items[0], self.dataset.photo(self.items[0])), 0.5)

    def labels(self) -> tuple[Cost, int]:
        """Label maps of all photos, and their bytes."""
        from semples.core.palette import write_confidence_png, write_label_png

        folder = self.folder / "labels"

        def work(item: Item) -> None:
            labelled = self._method.label(self._told(item, self.dataset.photo(item)), 0.5)
            write_confidence_png(place_of(folder / CONFIDENCE, item.id, ".png"), labelled.confidence)
            write_label_png(place_of(folder, item.id, ".png"), labelled.labels)

        self._ready()
        cost, seen = self.timed(work)
        factor = self.share(self.dataset.items, seen, tags=False)
        return cost.times(factor), round(self.bytes_of(".png") * factor)

    def selection(self) -> tuple[Cost, int]:
        """The choice of the threshold, and its bytes."""
        from semples.run.steps.selection import photo_signs
        from semples.stages.recognition import Recognition
        from semples.stages.views import ViewMaker

        judge, recipe = self.opened.judge, self.recipe
        tagged = [item for item in self.dataset.items if item.tags]
        if not tagged:
            return Cost(), 0
        recognition: Recognition | None = None
        if judge is not None:
            mean, std = recipe.generator.mean, recipe.generator.std
            maker = ViewMaker.of(judge, epsilon=0.0, mean=mean, std=std)
            recognition = Recognition(judge.lean(), view_maker=maker, mean=mean, std=std)
        self._ready()
        method, max_side = self._method.selecting, recipe.cams.max_side
        grid = method.calibration.grid
        looked_at = None if recognition is None else lambda: recognition

        def work(item: Item) -> None:
            photo = reduced(self.dataset.photo(item), max_side=max_side)
            maps = method.sweep(self._told(item, photo), grid.maps)
            photo_signs(looked_at, photo, maps, item.tags, grid=grid)

        cost, seen = self.timed(work)
        part = min(1.0, recipe.selection.photos / len(tagged))
        return cost.times(self.share(tagged, seen, max_side=max_side, tags=True) * part), round(
            2000 * part * len(tagged)
        )

    def scoring(self) -> Cost:
        """Scores of CAMs, and of label maps, against the masks of all photos that have one."""
        from semples.run.scoring import score_labels, threshold_curve

        masked = [item for item in self.dataset.items if item.mask is not None]
        store = CamStore(self.folder / "cams", format=self.recipe.cams.format)
        seen = [item for item in self.items if item.mask is not None and store.has(item.id)]
        seen = [item for item in seen if place_of(self.folder / "labels", item.id, ".png").is_file()]
        if not seen:
            return Cost()
        subset = with_items(self.dataset, seen)
        with measured(self.device) as cost:
            threshold_curve(subset, store, self.recipe.scores, unusable=[])
            score_labels(subset, self.folder / "labels", unusable=[])
        return cost.times(self.share(masked, seen, tags=False))


def bump(shape: tuple[int, ...], place: int, count: int) -> NDArray[np.float32]:
    """A drawn CAM of `shape` (H,W): a hill in 0..1 that fills its part of the photo, one part for each class."""
    height, width = shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre = width * (2 * place + 1) / (2 * max(1, count)) - 0.5
    reach = np.float32(max(2.0, min(height, width) / 4))
    hill = np.exp(-((y - height / 2) ** 2 + (x - centre) ** 2) / (2 * reach**2))
    return (hill / max(hill.max(), np.float32(1e-6))).astype(np.float32)


def _ignore(value: object) -> None:
    del value

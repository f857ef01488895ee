"""What `semples.load` gives: a trained segmenter, or a run's mask generator, as a thing that turns photos into labels.

A model's work on a photo has three parts, so that the network never waits for the others: `prepare` (decode and resize,
in a background thread), `score` (the network, several photos at once) and `finish` (the label map, in a background
thread again).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.cams.make import PatchScores, photo_cams
from semples.core.devices import best_device, synchronize
from semples.core.errors import UserError
from semples.core.schema import to_dict
from semples.data.photos import photo_of, reduced
from semples.labels.base import FEATURES, REGIONS, LabelInput, check_thresholds
from semples.labels.crf.dense import DenseCrf
from semples.labels.make import make_label_method
from semples.labels.regions import Regions
from semples.labels.scored import Thresholds
from semples.networks.precision import at_precision, check, exact_products
from semples.prediction.photos import Tags
from semples.prediction.refine import CRF_SIDE, refined, refined_by_tiles, resized
from semples.prediction.scores import (
    MeanRows,
    Rows,
    Scorer,
    Segmented,
    WindowRows,
    labels_from_scores,
    mirrored,
)
from semples.prediction.settings import PredictSettings
from semples.prediction.views import Look, View, multiple_of
from semples.recipe import CrfSettings, Recipe, SegmentPredictSettings
from semples.run.label_maps import proposer
from semples.segmenter.shapes import least_side, only_side
from semples.settings.kinds import with_crf, without_crf

if TYPE_CHECKING:
    from semples.generators.base import Generator
    from semples.segmenter.build import Segmenter

PICTURE_SIDE = 1600  # longest side of the copy of a photo that overlays use, pixels
HELD = 1 << 25  # scores of a photo by windows that may wait for their label map; of more it is made at once
STEP = 32  # sides of views are whole multiples of it where the network allows: photos of like shape go together


PhotoSource = NDArray[np.uint8] | Image.Image | bytes | Path | str  # what a photo is given as


@dataclass(frozen=True)
class Prepared:
    """A decoded photo: what the network gets, its (height, width), and a small copy, uint8 (h,w,3).

    inputs: what it gets as a whole; views: what windows are cut from, in place of that.
    """

    inputs: tuple[Tensor, ...]
    size: tuple[int, int]
    picture: NDArray[np.uint8]
    views: tuple[View, ...] = ()

    @property
    def shapes(self) -> tuple[Any, ...]:
        """Photos of equal shapes can be computed together."""
        return (*(tuple(tensor.shape) for tensor in self.inputs), *(view.size for view in self.views))

    def scored(self) -> Prepared:
        """What is needed once the scores are there."""
        return replace(self, inputs=self.inputs[:1], views=())


class Model(ABC):
    """A model with its classes and the settings it predicts with; see `semples.load`.

    classes: the K names; label 0 is background, label k + 1 is classes[k]. needs_tags: whether each photo's tags must
    be known. identity: what tells this model from another, as plain data. together: photos computed together.
    confident: whether confidences are worked out. network_seconds: time that the network itself has taken so far.
    """

    needs_tags = False

    def __init__(self, classes: Sequence[str], *, settings: PredictSettings, identity: dict[str, Any]) -> None:
        self.classes = tuple(classes)
        self.settings = settings
        self.identity = identity
        self.together = settings.batch
        self.confident = settings.confidence or settings.min_confidence > 0
        self.network_seconds = 0.0
        self.device = best_device()
        check(self.device, settings.precision, where="predict: precision")

    def predict(self, photo: PhotoSource, *, tags: Sequence[str] | None = None) -> NDArray[np.uint8]:
        """Label map (H,W) uint8 of a photo: a file, its bytes, a PIL image, or uint8 (H,W,3) RGB.

        tags: the classes known to be in it. Where the model was loaded with `min_confidence`, less sure pixels are 255.
        Raises UserError for a photo that cannot be read, a tag that is no class, and missing tags where `needs_tags`.
        """
        return self.segment(photo, tags=tags).labels

    def segment(self, photo: PhotoSource, *, tags: Sequence[str] | None = None) -> Segmented:
        """Label map and, of a model loaded with `confidence` or `min_confidence`, how sure each pixel is: float32
        (H,W) in 0..1, the largest probability less the second largest. Raises UserError as `predict` does."""
        known = self.tags_of(tags)
        prepared = self.prepare(self.read(photo))
        return self.finish(prepared, self.score([prepared], [known])[0], known)

    def read(self, photo: PhotoSource) -> NDArray[np.uint8]:
        """The photo as `prepare` takes it, decoded as the settings say. Raises UserError."""
        return photo_of(photo, max_megapixels=self.settings.max_megapixels, bits=self.settings.bits)

    def tags_of(self, words: Sequence[str] | None) -> Tags:
        """Tag words as class indices. Raises UserError."""
        if words is None:
            if self.needs_tags:
                raise UserError("this model needs to know each photo's tags; " + NEEDS_TAGS)
            return None
        unknown = [word for word in words if word not in self.classes]
        if unknown:
            raise UserError(f"tag {unknown[0]!r} is not a class of this model; its classes: {', '.join(self.classes)}")
        return tuple(sorted({self.classes.index(word) for word in words}))

    @abstractmethod
    def prepare(self, photo: NDArray[np.uint8]) -> Prepared:
        """What the network gets of a photo uint8 (H,W,3)."""

    @abstractmethod
    def score(self, batch: Sequence[Prepared], tags: Sequence[Tags]) -> list[Any]:
        """The network's scores of photos of equal `shapes`; what they are, `finish` knows."""

    def finish(self, prepared: Prepared, scores: Any, tags: Tags) -> Segmented:
        """Label map (H,W) uint8 of the photo's own size, 255 where it is less sure than `min_confidence`."""
        return self._segmented(prepared, scores, tags).opened(self.settings.min_confidence)

    @abstractmethod
    def _segmented(self, prepared: Prepared, scores: Any, tags: Tags) -> Segmented:
        """Label map of the photo's own size, and confidences where `confident`."""

    @contextmanager
    def _network(self) -> Iterator[None]:
        """Compute as `precision` says, and count the time that the network takes."""
        begin = time.perf_counter()
        with exact_products(), at_precision(self.device, self.settings.precision):
            yield
        synchronize(self.device)
        self.network_seconds += time.perf_counter() - begin


NEEDS_TAGS = (
    "give --tags (words for all photos, or a tags file), or train a segmenter, which needs none: "
    "`semples segment train RUN`"
)


class SegmenterModel(Model):
    """A trained segmenter. Scores are probabilities (C,h,w) float32 on the CPU, the mean over scales and mirrors.

    trained: what holds where `settings` say nothing.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        settings: PredictSettings,
        identity: dict[str, Any],
        crf: CrfSettings,
        trained: SegmentPredictSettings | None = None,
    ) -> None:
        trained = trained or SegmentPredictSettings()
        super().__init__(segmenter.classes, settings=settings, identity=identity | {"own": to_dict(trained)})
        self.segmenter = segmenter.to(self.device).eval()
        self._scales = sorted(settings.scales or trained.scales, reverse=True)  # the largest has the finest scores
        step = _step_of(segmenter)
        score: Scorer = self._probabilities
        if trained.mirror if settings.mirror is None else settings.mirror:
            score = mirrored(score)
        fixed = only_side(self.segmenter, step=step)
        if settings.window is not None and fixed not in (None, settings.window):
            raise UserError(f"predict: this network takes windows of {fixed} pixels only")
        window = stride = None
        if settings.window is not None or fixed is not None:
            window = fixed or multiple_of(settings.window or 0, step)
            stride = min(window, multiple_of(settings.stride or window // 2, step))
        self._look = Look(
            step=step,
            least=least_side(self.segmenter, step=step),
            short=None if settings.window is not None else segmenter.config.size,
            window=window,
            stride=stride,
        )
        self.together = settings.batch if window is None else 1
        self._score = score
        wanted = trained.crf if settings.crf is None else settings.crf
        self._crf = DenseCrf(crf) if wanted else None

    def prepare(self, photo: NDArray[np.uint8]) -> Prepared:
        config, (height, width) = self.segmenter.config, photo.shape[:2]
        sizes = [self._look.size(width, height, scale=scale) for scale in self._scales]
        views = tuple(View(photo, size, mean=config.mean, std=config.std) for size in sizes)
        picture = reduced(photo, max_side=PICTURE_SIDE)
        if any(self._look.windows(size) for size in sizes):
            return Prepared((), (height, width), picture, views)
        return Prepared(tuple(view.whole() for view in views), (height, width), picture)

    @torch.inference_mode()
    def score(self, batch: Sequence[Prepared], tags: Sequence[Tags]) -> list[Tensor | Segmented]:
        """Probabilities (C,h,w) of each photo; tags are for `finish`. Of a large photo by windows: its label map."""
        if batch[0].views:
            return [self._by_windows(*pair) for pair in zip(batch, tags, strict=True)]
        summed_BChw: Tensor | None = None
        for views in zip(*(prepared.inputs for prepared in batch), strict=True):
            scores_BChw = self._score(torch.stack(views).to(self.device))
            if summed_BChw is None:
                summed_BChw = scores_BChw
            else:
                size = summed_BChw.shape[-2:]
                summed_BChw += torch.nn.functional.interpolate(scores_BChw, size, mode="bilinear", align_corners=False)
        assert summed_BChw is not None
        return list((summed_BChw / len(self._scales)).cpu())

    def _by_windows(self, prepared: Prepared, tags: Tags) -> Tensor | Segmented:
        """Probabilities (C,h,w) of a photo, or, where they are many, at once its label map, strip by strip."""
        rows: Rows = MeanRows([self._rows(view) for view in prepared.views])
        values = _values(tags)
        if self._crf is not None and max(prepared.size) > CRF_SIDE:
            photo = prepared.views[0].photo
            return refined_by_tiles(rows, photo, crf=self._crf, values=values, confident=self.confident)
        if math.prod(rows.shape) <= HELD or self._crf is not None:
            return rows.read(0, rows.shape[1])
        return labels_from_scores(rows, prepared.size, values=values, confident=self.confident)

    def _rows(self, view: View) -> WindowRows:
        window, stride = self._look.windows(view.size) or (view.size, view.size)
        return WindowRows(
            lambda images: self._score(images.to(self.device)),
            view,
            window=window,
            stride=stride,
            batch=self.settings.batch,
        )

    def _probabilities(self, images_B3hw: Tensor) -> Tensor:
        try:
            with self._network():
                return self.segmenter(images_B3hw).exp().float()  # type: ignore[no-any-return]
        except torch.OutOfMemoryError:
            count, _, height, width = images_B3hw.shape
            raise UserError(
                f"predict: {count} views of {width}x{height} pixels do not fit into the memory of {self.device}; "
                "lower --batch, or --scales, or set a smaller --window"
            ) from None

    @torch.inference_mode()
    def _segmented(self, prepared: Prepared, scores: Tensor | Segmented, tags: Tags) -> Segmented:
        if isinstance(scores, Segmented):
            return scores
        values = _values(tags)
        if self._crf is None:
            return labels_from_scores(scores, prepared.size, values=values, confident=self.confident)
        return refined(scores, prepared.picture, prepared.size, crf=self._crf, values=values, confident=self.confident)


class CamModel(Model):
    """A run's mask generator: CAMs of the tags, made labels of as in the run. Scores are those CAMs."""

    needs_tags = True

    def __init__(
        self,
        generator: Generator,
        *,
        settings: PredictSettings,
        identity: dict[str, Any],
        recipe: Recipe,
        thresholds: Thresholds,
        scores: PatchScores | None = None,
    ) -> None:
        self._patch_scores = scores
        identity = identity | {"thresholds": np.asarray(thresholds).tolist()}
        super().__init__(generator.classes, settings=settings, identity=identity)
        if settings.window is not None:
            raise UserError("predict: windows need a trained segmenter; leave --window out")
        self.generator = generator
        generator.to(self.device).eval()
        trained = recipe.cams
        mirror = trained.mirror if settings.mirror is None else settings.mirror
        self._cams = replace(trained, scales=settings.scales or trained.scales, mirror=mirror)
        labels = replace(recipe.labels, min_confidence=0.0)
        if settings.crf is not None:
            labels = replace(labels, method=(with_crf if settings.crf else without_crf)(labels.method))
        check_thresholds(thresholds, num_classes=len(generator.classes))
        self._thresholds = thresholds
        method = make_label_method(labels, regions=recipe.regions, crf=recipe.crf, num_classes=generator.num_classes)
        self._method = method.selecting  # CAMs alone know no other photos
        if self._method.learns:
            raise UserError(
                f"predict: labels.method {labels.method} learns from a run's photos and keeps nothing for new ones; "
                "train a segmenter (`semples segment train RUN`) or make the run's labels by another method"
            )
        self._propose = proposer(recipe.regions, lambda: self.device) if REGIONS in self._method.needs else None
        self._features = None
        if FEATURES in self._method.needs:
            from semples.features.base import make_features

            self._features = make_features(recipe.features, device=self.device)

    def prepare(self, photo: NDArray[np.uint8]) -> Prepared:
        size = (photo.shape[0], photo.shape[1])
        small = np.ascontiguousarray(reduced(photo, max_side=self._cams.max_side))
        return Prepared((torch.from_numpy(small),), size, reduced(photo, max_side=PICTURE_SIDE))

    def score(self, batch: Sequence[Prepared], tags: Sequence[Tags]) -> list[dict[int, NDArray[np.float32]]]:
        """CAMs of each photo's tags, float32 (h,w) in 0..1 by class index."""
        photos = [prepared.inputs[0].numpy() for prepared in batch]
        known = [of_photo or () for of_photo in tags]
        with self._network():
            return photo_cams(
                self.generator,
                photos,
                known,
                settings=self._cams,
                device=self.device,
                scores=self._patch_scores,
            )

    def _segmented(self, prepared: Prepared, scores: dict[int, NDArray[np.float32]], tags: Tags) -> Segmented:
        height, width = prepared.inputs[0].shape[:2]
        given = LabelInput(
            id="",
            cams=scores,
            shape=(height, width),
            size=(prepared.picture.shape[0], prepared.picture.shape[1]),
            tags=tags or (),
            photo=lambda: prepared.picture,
            regions=lambda: self._regions(prepared.picture),
            features=lambda: self._patch_features(prepared.picture),
        )
        labelled = self._method.label(given, self._thresholds)
        confidence = np.asarray(labelled.confidence, np.float32) if self.confident else None
        return resized(Segmented(labelled.labels, confidence), prepared.size)

    def _patch_features(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self._features is not None
        return self._features(picture)

    def _regions(self, picture: NDArray[np.uint8]) -> Regions:
        assert self._propose is not None
        return self._propose(picture)


def _step_of(segmenter: Segmenter) -> int:
    """What the sides of a view are whole multiples of; the size of the segmenter is one."""
    described = segmenter.network.config
    patch = getattr(getattr(described, "backbone_config", None) or described, "patch_size", None)
    step = max(8, math.gcd(segmenter.config.size, STEP))
    return patch if isinstance(patch, int) and step % patch else step


def _values(tags: Tags) -> tuple[int, ...] | None:
    """The labels that may occur."""
    return None if tags is None else (0, *(tag + 1 for tag in tags))

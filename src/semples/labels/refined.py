"""Any label method with the dense CRF behind it, which draws labels to the edges of the photo (arXiv 1210.5644).

The confidence is the CRF's own margin times (1 + lead) / 2 of the label it gave: the CRF alone is sure of nearly
everything, its mistakes included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semples.core.devices import best_device
from semples.labels.base import LabelInput, LabelMethod
from semples.labels.scored import Labelled, Scored, Thresholds
from semples.settings.labels import CrfSettings

if TYPE_CHECKING:
    from semples.labels.crf.dense import DenseCrf


class Refined(LabelMethod):
    """Another label method, then the dense CRF.

    method: made by `make_label_method` or by hand. What the CRF has worked out for photos of a size is kept.
    """

    def __init__(self, method: LabelMethod, *, crf: CrfSettings) -> None:
        from semples.labels.crf.dense import DenseCrf

        super().__init__(method.settings, regions=method.regions, num_classes=method.num_classes, crf=crf)
        self.method = method
        self.name, self.needs = f"{method.name}+crf", method.needs
        self.kept_as = method.kept_as  # type: ignore[misc]
        self.calibration = self.refined_calibration = method.refined_calibration
        self._crf = DenseCrf(crf)

    @property
    def about(self) -> str:
        """One line on the method."""
        return f"{self.method.about} Then a dense CRF."

    @property
    def learns(self) -> bool:
        """Whether the method before the CRF learns."""
        return self.method.learns

    @property
    def selecting(self) -> LabelMethod:
        """This one, or what the method before the CRF learns from."""
        chosen = self.method.selecting
        return self if chosen is self.method else chosen

    def fit(self, photos: Iterable[LabelInput], *, thresholds: Thresholds | None = None) -> None:
        """As the method before the CRF."""
        self.method.fit(photos, thresholds=thresholds)

    def save(self, path: Path) -> None:
        """What the method before the CRF learned."""
        self.method.save(path)

    def load(self, path: Path) -> None:
        """For the method before the CRF."""
        self.method.load(path)

    def score(self, photo: LabelInput, thresholds: Thresholds) -> Scored:
        """Before the CRF."""
        return self.method.score(photo, thresholds)

    def scores(self, photo: LabelInput, thresholds: Sequence[float]) -> Iterator[Scored]:
        """Before the CRF."""
        return self.method.scores(photo, thresholds)

    def decide(self, photo: LabelInput, scored: Scored) -> Labelled:
        """The CRF's labels from the scored ones, any of the tags or background."""
        return refined(self._crf, scored, photo=photo.photo(), tags=photo.tags)

    def sweep(self, photo: LabelInput, thresholds: Sequence[float]) -> list[NDArray[np.uint8]]:
        """A map that comes again is not refined again."""
        maps = self.method.sweep(photo, thresholds)
        different = {labels.tobytes(): labels for labels in maps}
        answers = refined_labels(self._crf, list(different.values()), photo=photo.photo(), tags=photo.tags)
        known = dict(zip(different, answers, strict=True))
        return [known[labels.tobytes()] for labels in maps]


def refined(crf: DenseCrf, scored: Scored, *, photo: NDArray[np.uint8], tags: tuple[int, ...]) -> Labelled:
    """The CRF's labels from given ones, any of `tags` or background; photo uint8 (H,W,3)."""
    import torch

    from semples.labels.crf.dense import margin

    device = best_device(apple=False)
    maps = [torch.from_numpy(np.array(values)).to(device) for values in (photo, scored.labels)]
    answer = crf.refine(maps[:1], maps[1:], [tags])[0]
    labels, sure = answer.labels.cpu().numpy(), margin(answer.marginals).clamp(0, 1).cpu().numpy()
    return Labelled(labels, (sure * (1 + scored.lead(labels)) / 2).astype(np.float32))


def refined_labels(
    crf: DenseCrf, maps: Sequence[NDArray[np.uint8]], *, photo: NDArray[np.uint8], tags: tuple[int, ...]
) -> list[NDArray[np.uint8]]:
    """The CRF's labels, uint8 (H,W), from each of several label maps of one photo, uint8 (H,W,3)."""
    import torch

    device = best_device(apple=False)
    shown = torch.from_numpy(np.array(photo)).to(device)
    given = [torch.from_numpy(np.array(labels)).to(device) for labels in maps]
    answers = crf.refine([shown] * len(given), given, [tags] * len(given))
    return [one.labels.cpu().numpy() for one in answers]

"""Options that several commands share, each described once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from semples.prediction.model import Model

Set = Annotated[list[str], Parameter(name="--set", negative=(), consume_multiple=False)]
Data = Annotated[Path, Parameter(name="--data")]
Out = Annotated[Path, Parameter(name="--out")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Photos and settings of a run.

    Parameters
    ----------
    data
        folder with the photos; not needed in a folder that has been used before.
    recipe
        recipe; not needed in a folder that has been used before.
    settings
        change a setting, `key=value`; may be repeated.
    """

    data: Path | None = None
    recipe: str | None = None
    settings: Set = field(default_factory=list)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """How photos are segmented.

    Parameters
    ----------
    method
        of a run: segmenter, bank (the region bank of its label maps: no training, no tags) or cams (needs tags);
        default: the first of them that it has.
    scales
        photo sizes whose scores are averaged, for example 0.75,1,1.25.
    mirror
        average with the mirrored photo.
    window
        side of a window that slides over the photo at its own resolution, pixels; for small things in large photos.
    stride
        from one window to the next, pixels; default half a window.
    crf
        draw the labels to the edges of the photo (dense CRF).
    min_confidence
        pixels that are less sure become 255 (not labelled); 0 to 1, the lead of a pixel's label over the second.
    precision
        of the network: no (float32), bf16, or fp16 (GPU); default no.
    batch
        photos, or windows, computed together; default 8.
    workers
        threads that decode photos and finish label maps; default 2.
    """

    method: Literal["segmenter", "bank", "cams"] | None = None
    scales: str | None = None
    mirror: bool | None = None
    window: int | None = None
    stride: int | None = None
    crf: bool | None = None
    min_confidence: float | None = None
    precision: Literal["no", "bf16", "fp16"] | None = None
    batch: int | None = None
    workers: int | None = None

    def load(self, folder: Path, **more: Any) -> Model:
        """The model in `folder`, to be used in this way; `more`: further settings of `PredictSettings`."""
        from semples.prediction import load
        from semples.prediction.settings import scales_of

        return load(folder, **asdict(self) | {"scales": scales_of(self.scales)} | more)

"""How photos are predicted: the settings of `semples predict`, each with its range."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from semples.core.errors import UserError
from semples.core.schema import merge, setting


@dataclass(frozen=True, kw_only=True)
class PredictSettings:
    """What changes the label maps, and how the work is cut. None: the model's own choice."""

    scales: tuple[float, ...] | None = setting(
        None,
        "photo sizes whose scores are averaged; a segmenter's own: as its recipe, a run's: its CAM scales",
        low=0.1,
        high=4,
        most=16,
    )
    mirror: bool | None = setting(
        None, "average with the mirrored photo; a segmenter's own: as its recipe, a run's: as its CAMs"
    )
    window: int | None = setting(
        None,
        "side of a window that slides over the photo at its own resolution; none: the whole photo, its shorter side "
        "resized to the model's own size",
        unit="pixels",
        low=32,
        high=4096,
    )
    stride: int | None = setting(
        None, "from one window to the next; none: half a window", unit="pixels", low=32, high=4096
    )
    crf: bool | None = setting(
        None, "draw labels to the edges of the photo; a segmenter's own: as its recipe, a run's: as labels"
    )
    precision: Literal["no", "bf16", "fp16"] = setting("no", "precision of the network; no: float32")
    confidence: bool = setting(False, "also write how sure each pixel is: the lead of its label, 0..1")
    min_confidence: float = setting(0.0, "pixels that are less sure become 255: nothing is said of them", low=0, high=1)
    opacity: float = setting(0.5, "of the labels' colours in overlays", low=0, high=1)
    batch: int = setting(8, "photos, or windows, computed together; changes the speed only", low=1, high=1024)
    workers: int = setting(2, "threads that decode photos and write files; 0: none", low=0, high=64)
    bits: int = setting(
        0, "of the greatest value in photos of 16 bits; 0: as each file says, else 16", unit="bits", low=0, high=16
    )
    max_megapixels: float = setting(100.0, "a larger photo is set aside", unit="megapixels", low=0.001, high=10_000)

    def what_counts(self) -> dict[str, Any]:
        """The settings that change the label maps, as plain data."""
        return {
            "scales": None if self.scales is None else list(self.scales),
            "mirror": self.mirror,
            "window": self.window,
            "stride": self.stride,
            "crf": self.crf,
            "min_confidence": self.min_confidence,
            **({"bits": self.bits} if self.bits else {}),
            **({"precision": self.precision} if self.precision != "no" else {}),
        }


def predict_settings(**given: Any) -> PredictSettings:
    """The settings with those values that are not None. Raises UserError for an unknown one or one out of range."""
    chosen = {key: value for key, value in given.items() if value is not None}
    settings: PredictSettings = merge(PredictSettings(), chosen, where="predict")
    if settings.stride is not None and settings.window is None:
        raise UserError("predict: stride is the way from one window to the next; name the window too")
    if settings.stride is not None and settings.window is not None and settings.stride > settings.window:
        raise UserError(f"predict: a stride of {settings.stride} leaves gaps between windows of {settings.window}")
    return settings


def scales_of(text: str | None) -> list[float] | None:
    """`0.75,1,1.25` as numbers. Raises UserError."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise UserError(f"--scales {text}: write numbers parted by commas, for example 0.75,1,1.25") from None

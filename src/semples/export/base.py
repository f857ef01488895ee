"""What every exporter is: a format with options of its own, that writes label maps (or CAMs) into a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from semples.core.schema import setting
from semples.export.source import ExportSource

Photos = Literal["none", "copy", "link"]


class Exporter(ABC):
    """A format. The first line of the class's documentation tells what it is.

    settings: a frozen dataclass with defaults, its fields made by `semples.core.schema.setting` (type, range, doc);
    `semples export` offers them as they are.
    """

    settings: ClassVar[type[Any]]

    @abstractmethod
    def export(self, source: ExportSource, folder: Path, options: Any) -> tuple[str, ...]:
        """Write everything into the empty `folder`; what the user should know of it. Raises UserError."""


@dataclass(frozen=True)
class NoOptions:
    """The options of a format that has none."""


def min_area_setting() -> Any:
    """The option `min_area`, which many formats have."""
    return setting(1, "smaller regions are left out", unit="pixels", low=1)


def tolerance_setting() -> Any:
    """The option `tolerance`, of formats with polygons."""
    return setting(1.0, "how far a polygon may run beside its mask; 0 is exact", unit="pixels", low=0, high=100)


def photos_setting(default: Photos) -> Any:
    """The option `photos`, of formats that may bring the photos along."""
    return setting(default, "put the photos beside: copy, link (hard links), or none")

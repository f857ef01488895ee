"""What a kind of segmenter is: where a network for semantic segmentation comes from.

A new one is a file with a class that derives from `SegmenterKind` and a line in `settings.kinds.SEGMENTERS`; another
package brings one by an entry point `semples.segmenters`. It answers with a network as transformers has them, so that
training, prediction, export and `from_pretrained` need to know nothing more. Its module registers what transformers'
Auto classes do not know yet (`AutoConfig.register`, `AutoModelForSemanticSegmentation.register`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from semples.core.errors import UserError
from semples.core.systems import family_of
from semples.settings.kinds import SEGMENTERS
from semples.settings.segmenter import SegmenterSettings

AUTO = "auto"


class SegmenterKind(ABC):
    """Where networks come from; the first line of a docstring says it.

    Settings: a frozen dataclass that derives from `SegmenterSettings`.
    """

    Settings: ClassVar[type[SegmenterSettings]] = SegmenterSettings

    @abstractmethod
    def network(self, source: str, classes: Sequence[str], *, view: int) -> Any:
        """A network of transformers whose labels are background and `classes`, for views of `view` pixels a side.

        source: `segmenter.model` (without the kind's name before a colon). What is new is drawn from torch's generator.
        `forward(pixel_values (B,3,S,S))` gives `logits` (B,K+1,h,w), or queries with classes and masks.
        Raises UserError: unknown source, missing weights.
        """


def kind_of(model: str, kind: str = AUTO) -> tuple[str, str]:
    """Name in `SEGMENTERS` and the source for it, of the settings `segmenter.model` and `segmenter.kind`.

    `auto`: a name before a colon in `model` (`vit:shipped:demo_vit`), else a whole segmenter of transformers.
    Raises UserError for a word before a colon that is no kind.
    """
    if kind != AUTO:
        return kind, model
    word, colon, rest = family_of(model)
    if not colon or word == "shipped":
        return "transformers", model
    if word not in SEGMENTERS.names():
        heads = ", ".join(name for name in SEGMENTERS.names() if name not in ("transformers", "scratch"))
        raise UserError(f"{model}: {word} is not known; write scratch:FAMILY or one of {heads}:SOURCE")
    return word, rest

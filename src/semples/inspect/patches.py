"""What a judge without text has learned as a class's background, as a strip of patches of the user's photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.data.dataset import drawn
from semples.data.photos import reduced, resize_photo
from semples.run.context import Context

LEARNED, JUDGE = "prompting", "judge"  # the steps whose results are looked at
PHOTOS = 200  # that patches are looked for in
SIDE = 96  # of a patch, pixels at most


@dataclass(frozen=True)
class ShownPatch:
    """A square of a photo, uint8 (h,w,3), the photo's id, and the cosine of its middle with the background."""

    picture: NDArray[np.uint8]
    photo: str
    cosine: float


def nearest_pictures(context: Context, *, count: int) -> dict[str, list[ShownPatch]]:
    """For every class the `count` patches of different photos that lie nearest to its learned background, best first.

    Raises UserError where the judge is not learned from the tags.
    """
    import torch

    from semples.data.transforms import image_to_tensor
    from semples.judges.backgrounds import nearest_patches
    from semples.judges.tags import TagJudge
    from semples.run.models import RunParts
    from semples.run.work import Work

    parts = RunParts(Work.outside(context, LEARNED, JUDGE))
    judge = parts.judge()
    if not isinstance(judge, TagJudge):
        raise UserError(f"the judge {context.recipe.judge.kind} has not learned from photos: none shows what it means")
    dataset, names = context.dataset, context.dataset.classes.names
    items = drawn(dataset, count=PHOTOS, seed=context.recipe.run.seed)
    vectors_KMW = parts.backgrounds_after(LEARNED).to(judge.device)
    grids: list[int] = []

    def features() -> Iterator[torch.Tensor]:
        for item in items:
            small = resize_photo(dataset.photo(item), judge.image_size, judge.image_size)
            image_3SS = image_to_tensor(small, judge.network.mean, judge.network.std)
            values_Ehw = judge.network(image_3SS[None].to(judge.device))[0]
            grids.append(values_Ehw.shape[1])
            yield values_Ehw

    with torch.no_grad():
        learned_KE = judge.encode_backgrounds(vectors_KMW, parts.prompts)
        strips = nearest_patches(learned_KE, features(), centre_E=judge.centre, count=count)
    return {
        name: [
            ShownPatch(
                cut(dataset.photo(items[one.photo]), one.row, one.column, cells=grids[one.photo]),
                items[one.photo].id,
                one.cosine,
            )
            for one in strip
        ]
        for name, strip in zip(names, strips, strict=True)
    }


def cut(photo: NDArray[np.uint8], row: int, column: int, *, cells: int) -> NDArray[np.uint8]:
    """The square around the middle of a cell, two cells wide, of a photo (H,W,3) that `cells` x `cells` cover."""
    height, width = photo.shape[:2]
    side = max(1, round(2 * min(height, width) / cells))
    top = min(max(0, round((row + 0.5) * height / cells - side / 2)), height - side)
    left = min(max(0, round((column + 0.5) * width / cells - side / 2)), width - side)
    return reduced(np.ascontiguousarray(photo[top : top + side, left : left + side]), max_side=SIDE)

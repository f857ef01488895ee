"""Region proposals by SAM (arXiv 2304.02643) or SAM 2 (arXiv 2408.00714), through transformers.

The automatic masks of SAM's appendix B: a grid of points, each decoded to three masks (part of a part, part, whole), of
which the good, stable and distinct ones are kept. The three outputs are kept apart as levels 0, 1, 2. Left out of the
published program: crops of the photo, and removing specks and holes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.labels.proposals.base import Proposer
from semples.labels.regions import Level, Regions, level_of_runs, runs_of_mask
from semples.networks.hub import CONFIG, FORMS, snapshot
from semples.networks.weights import load_strictly, local_source, read_tensors, weight_file
from semples.settings.labels import SamSettings

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, in 0..1
KINDS = {"sam": "sam", "sam2": "sam2", "sam2_video": "sam2"}  # published SAM 2 files hold the video model's parts too
TIED = "prompt_encoder.shared_embedding.positional_embedding"


@dataclass(frozen=True)
class CompactMask:
    """A mask in little memory: its runs of pixels (`runs_of_mask`), its box (4,) and its predicted IoU."""

    runs: NDArray[np.intp]
    box: Tensor
    quality: float


class SamProposer(Proposer):
    """A frozen SAM or SAM 2, prompted with a grid of points.

    `settings.model`: hub id, or a folder with config.json and weights in transformers format. Raises UserError where it
    is neither.
    """

    Settings = SamSettings
    combine = "paint"
    has_network = True

    def __init__(self, settings: SamSettings, *, device: torch.device | None = None) -> None:
        super().__init__(settings)
        self.chosen = settings
        self.kind, model = load_sam(settings.model)
        self.model = model.to(device).eval().requires_grad_(False)
        prompt = model.config.prompt_encoder_config
        self.side = int(prompt.image_size)

    def __call__(self, photo: NDArray[np.uint8]) -> Regions:
        """Regions of a photo, uint8 (H,W,3), in three levels; a level may be empty."""
        shape = photo.shape[:2]
        inner = (self.side, self.side) if self.kind == "sam2" else fitted(shape, self.side)
        kept: list[list[CompactMask]] = [[], [], []]
        with torch.no_grad():
            embeddings = self._embeddings(prepared(photo, inner, self.side))
            for points in self._points(inner):
                for level, (masks, quality) in zip(kept, self._masks(embeddings, points, inner, shape), strict=True):
                    level += compact(masks.cpu(), quality.cpu())
        return Regions(shape, tuple(self._level(level) for level in kept))

    def _embeddings(self, pixels: Tensor) -> Any:
        device = next(self.model.parameters()).device
        return self.model.get_image_embeddings(pixels.to(device))

    def _points(self, inner: tuple[int, int]) -> Iterator[Tensor]:
        """Batches of points (1,n,1,2), x before y, in pixels of the resized photo `inner` (h,w)."""
        count = self.chosen.points_per_side
        centres = (torch.arange(count) + 0.5) / count
        grid = torch.stack([centres.repeat(count) * inner[1], centres.repeat_interleave(count) * inner[0]], dim=1)
        device = next(self.model.parameters()).device
        for points in grid.split(self.chosen.points_batch):
            yield points[None, :, None].to(device)

    def _masks(
        self, embeddings: Any, points: Tensor, inner: tuple[int, int], shape: tuple[int, int]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Masks bool (n,H,W) and qualities (n,) of each of the three outputs that are good and stable."""
        chosen = self.chosen
        labels = torch.ones(points.shape[:3], dtype=torch.long, device=points.device)
        answer = self.model(
            image_embeddings=embeddings, input_points=points, input_labels=labels, multimask_output=True
        )
        for output in range(answer.pred_masks.shape[2]):
            logits, quality = answer.pred_masks[0, :, output].float(), answer.iou_scores[0, :, output].float()
            good = quality >= chosen.min_quality
            logits, quality = logits[good], quality[good]
            if len(logits):
                logits = enlarged(logits, inner, shape, side=self.side)
                high, low = (logits > chosen.stability_offset), (logits > -chosen.stability_offset)
                areas = [mask.sum(dim=(1, 2)) for mask in (high, low)]
                stable = areas[0] >= chosen.min_stability * areas[1]
                stable &= (logits > 0).sum(dim=(1, 2)) >= chosen.min_area
                logits, quality = logits[stable], quality[stable]
            yield logits > 0, quality

    def _level(self, masks: list[CompactMask]) -> Level:
        if not masks:
            return level_of_runs([], [])
        boxes = torch.stack([mask.box for mask in masks])
        quality = torch.tensor([mask.quality for mask in masks])
        keep = [masks[place] for place in distinct(boxes, quality, max_overlap=self.chosen.max_overlap).tolist()]
        return level_of_runs([mask.runs for mask in keep], [min(1.0, mask.quality) for mask in keep])


def fitted(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """(h,w) of a photo (H,W) whose longer side becomes `side`, rounded half up as SAM does."""
    scale = side / max(shape)
    return max(1, int(shape[0] * scale + 0.5)), max(1, int(shape[1] * scale + 0.5))


def prepared(photo: NDArray[np.uint8], inner: tuple[int, int], side: int) -> Tensor:
    """What the encoder sees, float32 (1,3,side,side): resized to `inner` by Pillow's bilinear filter, normalised, and
    filled with 0 to the right and below."""
    resized = Image.fromarray(photo).resize((inner[1], inner[0]), Image.Resampling.BILINEAR)
    values = (np.asarray(resized, np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    pixels = torch.from_numpy(values).permute(2, 0, 1)[None]
    return F.pad(pixels, (0, side - inner[1], 0, side - inner[0]))


def enlarged(logits: Tensor, inner: tuple[int, int], shape: tuple[int, int], *, side: int) -> Tensor:
    """Mask logits (n,h,w) of the padded square as (n,H,W) of the photo: enlarged to the square, cut, resized."""
    larger = logits[:, None]
    if inner != (side, side):
        larger = F.interpolate(larger, (side, side), mode="bilinear", align_corners=False)[..., : inner[0], : inner[1]]
    return F.interpolate(larger, shape, mode="bilinear", align_corners=False)[:, 0]


def compact(masks: Tensor, quality: Tensor) -> list[CompactMask]:
    """Masks, bool (n,H,W), and qualities (n,) one by one."""
    parts = zip(masks.numpy(), boxes_of(masks), quality.tolist(), strict=True)
    return [CompactMask(runs_of_mask(mask), box, value) for mask, box, value in parts]


def boxes_of(masks: Tensor) -> Tensor:
    """Boxes (n,4) around masks, bool (n,H,W): left, top, right, bottom, the last two excluded. No mask is empty."""
    rows, columns = masks.any(dim=2).int(), masks.any(dim=1).int()
    left, top = columns.argmax(1), rows.argmax(1)
    right, bottom = columns.shape[1] - columns.flip(1).argmax(1), rows.shape[1] - rows.flip(1).argmax(1)
    return torch.stack([left, top, right, bottom], dim=1)


def distinct(boxes: Tensor, quality: Tensor, *, max_overlap: float) -> Tensor:
    """Non-maximum suppression: indices, best first, of the boxes (n,4) whose IoU with every better one that is kept is
    not above `max_overlap`; of equal qualities the first is the better."""
    corners = boxes.float()
    area = (corners[:, 2:] - corners[:, :2]).prod(dim=1)
    rest = quality.argsort(descending=True, stable=True)
    kept = []
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        low = torch.maximum(corners[best, :2], corners[rest, :2])
        high = torch.minimum(corners[best, 2:], corners[rest, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        rest = rest[shared <= max_overlap * (area[best] + area[rest] - shared)]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.long)


# ----------------------------------------------------------------------------------------------------------- weights


def load_sam(source: str) -> tuple[str, Any]:
    """Which of the two it is, and the model with its weights."""
    config_file, weights_file = _files(source)
    described = read_json(config_file)
    kind = KINDS.get(str(described.get("model_type"))) if isinstance(described, dict) else None
    if kind is None:
        raise UserError(f"{config_file}: not the configuration of a SAM or SAM 2 model (model_type sam, sam2)")
    model = _empty_model(kind, described, where=str(config_file))
    parameters = model.state_dict()
    state = {name: value.float() for name, value in read_tensors(weights_file).items()}
    if kind == "sam":  # one tensor under two names; files may hold either or both
        shared = state.get("shared_image_embedding.positional_embedding")
        if shared is not None:
            state.setdefault(TIED, shared)
    if described["model_type"] == "sam2_video":
        state = {name: value for name, value in state.items() if name in parameters}
    load_strictly(model, state, where=source)
    return kind, model


PUBLISHED = {  # how a published file of the original program begins, and the hub id of the same weights
    "sam_vit_h": "facebook/sam-vit-huge",
    "sam_vit_l": "facebook/sam-vit-large",
    "sam_vit_b": "facebook/sam-vit-base",
    "sam2.1_hiera_tiny": "facebook/sam2.1-hiera-tiny",
    "sam2.1_hiera_small": "facebook/sam2.1-hiera-small",
    "sam2.1_hiera_base_plus": "facebook/sam2.1-hiera-base-plus",
    "sam2.1_hiera_large": "facebook/sam2.1-hiera-large",
    "sam2_hiera_tiny": "facebook/sam2-hiera-tiny",
    "sam2_hiera_small": "facebook/sam2-hiera-small",
    "sam2_hiera_base_plus": "facebook/sam2-hiera-base-plus",
    "sam2_hiera_large": "facebook/sam2-hiera-large",
}


def _files(source: str) -> tuple[Path, Path]:
    folder = local_source(source)
    if folder is None:
        folder = snapshot(source, required=(CONFIG,))
    elif folder.is_file():
        if folder.name in FORMS and (folder.parent / CONFIG).is_file():
            return folder.parent / CONFIG, folder
        raise UserError(_of_the_original(folder))
    if not (folder / CONFIG).is_file():
        original = next((path for path in sorted(folder.iterdir()) if path.suffix in (".pth", ".pt")), None)
        hint = f"; {_of_the_original(original)}" if original is not None else ""
        raise UserError(f"{source}: holds no {CONFIG}; give a SAM or SAM 2 folder of transformers{hint}")
    return folder / CONFIG, weight_file(folder)


def _of_the_original(file: Path) -> str:
    """What to give in place of a weight file of the SAM programs themselves."""
    known = next((repo for start, repo in PUBLISHED.items() if file.name.startswith(start)), None)
    if known is not None:
        return f"{file.name} is the original program's form; the same weights for this one: regions.model={known}"
    return (
        f"{file}: not a SAM folder of transformers; give a hub id such as facebook/sam-vit-huge or "
        "facebook/sam2.1-hiera-large, or a folder with config.json and model.safetensors"
    )


def _empty_model(kind: str, described: dict[str, Any], *, where: str) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

    kinds: dict[str, Any] = {"sam": (SamConfig, SamModel), "sam2": (Sam2Config, Sam2Model)}
    config_type, model_type = kinds[kind]
    try:
        with torch.random.fork_rng(devices=[]):
            return model_type(config_type.from_dict(described | {"model_type": kind}))
    except (StrictDataclassError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: not the configuration of a SAM model ({' '.join(str(error).split())[:150]})"
        ) from None

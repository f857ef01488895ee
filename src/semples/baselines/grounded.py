"""Grounding DINO (arXiv 2303.05499) finds boxes for a text, SAM turns boxes into masks; both through transformers.

Weights: IDEA-Research/grounding-dino-* (Apache-2.0) and facebook/sam-vit-* (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.baselines.base import Baseline
from semples.core.errors import UserError
from semples.features.base import prepared
from semples.labels.proposals import sam
from semples.labels.scored import Cams
from semples.networks.pretrained import load_network, normalisation, place, quiet, read_config, reading
from semples.settings.baselines import GroundedSamSettings

WHAT = "a Grounding DINO"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, in 0..1


class GroundedSam(Baseline):
    """Grounding DINO's boxes for every class name, and SAM's masks in them (both Apache-2.0).

    `settings.model`: the Grounding DINO, `settings.sam`: the SAM; hub ids or folders in transformers format.
    """

    Settings = GroundedSamSettings

    def __init__(self, settings: GroundedSamSettings, *, device: torch.device | None = None) -> None:
        from transformers import AutoTokenizer, GroundingDinoForObjectDetection

        super().__init__(settings, device=device)
        self.chosen = settings
        config = read_config(settings.model, what=WHAT)
        if config.model_type != "grounding-dino":
            raise UserError(f"{settings.model}: a {config.model_type}, not a Grounding DINO")
        self.network = load_network(settings.model, GroundingDinoForObjectDetection, config, what=WHAT).to(self.device)
        with reading(settings.model, what="a Grounding DINO with its tokenizer"), quiet():
            self.tokenizer = AutoTokenizer.from_pretrained(place(settings.model), trust_remote_code=False)
        self.mean, self.std = normalisation(settings.model) or (MEAN, STD)
        kind, self.sam = sam.load_sam(settings.sam)
        if kind != "sam":
            raise UserError(f"{settings.sam}: a SAM 2; give a SAM of the first version (facebook/sam-vit-base)")
        self.sam = self.sam.to(self.device).eval().requires_grad_(False)

    def scores(self, photo: NDArray[np.uint8], names: Sequence[str], tags: Sequence[int]) -> Cams:
        """Of every tagged class the largest product of a box's score and its mask's probability."""
        shape = (photo.shape[0], photo.shape[1])
        pixels = self._pixels(photo)
        maps: dict[int, NDArray[np.float32]] = {}
        embeddings: Any = None
        with torch.inference_mode():
            for tag in tags:
                score_b, box_b4 = self._boxes(pixels, names[tag])
                if not len(score_b):
                    maps[tag] = np.zeros(shape, np.float32)
                    continue
                if embeddings is None:
                    embeddings = self._embeddings(photo)
                masks_bHW = self._masks(embeddings, box_b4, shape)
                maps[tag] = (masks_bHW * score_b[:, None, None]).amax(dim=0).cpu().numpy()
        return maps

    def _pixels(self, photo: NDArray[np.uint8]) -> Tensor:
        """The photo as Grounding DINO sees it: its shorter side `side`, its longer one at most 5 / 3 of that."""
        height, width = photo.shape[:2]
        factor = min(self.chosen.side / min(height, width), self.chosen.side * 5 / 3 / max(height, width))
        size = max(1, round(height * factor)), max(1, round(width * factor))
        shown = prepared(photo, size, mean=self.mean, std=self.std, resample=Image.Resampling.BILINEAR)
        return shown.to(self.device)

    def _boxes(self, pixels: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Scores (b,) and boxes (b,4), left, top, right, bottom in 0..1, of what a class name finds."""
        text = self.chosen.template.replace("{name}", name.lower())
        told = self.tokenizer([text], return_tensors="pt").to(self.device)
        answer = self.network(pixel_values=pixels, **told)
        score_Q = answer.logits[0].float().sigmoid().amax(dim=1)
        kept = score_Q >= self.chosen.least_score
        centre, size = answer.pred_boxes[0][kept].float().split(2, dim=1)
        return score_Q[kept], torch.cat([centre - size / 2, centre + size / 2], dim=1).clamp(0, 1)

    def _embeddings(self, photo: NDArray[np.uint8]) -> Any:
        side = int(self.sam.config.vision_config.image_size)
        inner = sam.fitted((photo.shape[0], photo.shape[1]), side)
        return self.sam.get_image_embeddings(sam.prepared(photo, inner, side).to(self.device))

    def _masks(self, embeddings: Any, box_b4: Tensor, shape: tuple[int, int]) -> Tensor:
        """Probabilities (b,H,W) of SAM's one mask in each box."""
        side = int(self.sam.config.vision_config.image_size)
        inner = sam.fitted(shape, side)
        scale = box_b4.new_tensor([inner[1], inner[0], inner[1], inner[0]])
        answer = self.sam(image_embeddings=embeddings, input_boxes=(box_b4 * scale)[None], multimask_output=False)
        return sam.enlarged(answer.pred_masks[0, :, 0].float(), inner, shape, side=side).sigmoid()

"""SAM 3: masks of everything that a text names, through transformers.

Weights: facebook/sam3, gated, under Meta's SAM licence (not an open-source licence): accept its terms on the hub first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from semples.baselines.base import Baseline
from semples.baselines.clipseg import text_tokenizer
from semples.core.errors import UserError
from semples.features.base import prepared
from semples.labels.scored import Cams
from semples.networks.pretrained import load_network, normalisation, read_config
from semples.settings.baselines import Sam3Settings

WHAT = "a SAM 3"
HALF = (0.5, 0.5, 0.5)  # mean and std of its photos, in 0..1


class Sam3(Baseline):
    """SAM 3: instances of every class name, at each pixel the surest (gated weights, Meta's SAM licence).

    `settings.model`: hub id, or a folder in transformers format with its tokenizer.
    """

    Settings = Sam3Settings

    def __init__(self, settings: Sam3Settings, *, device: torch.device | None = None) -> None:
        from transformers import Sam3Model

        super().__init__(settings, device=device)
        self.chosen = settings
        config = read_config(settings.model, what=WHAT)
        if config.model_type not in ("sam3", "sam3_video"):
            raise UserError(f"{settings.model}: a {config.model_type}, not a SAM 3")
        if config.model_type == "sam3_video":  # the published file holds both; the detector is the one for photos
            config = config.detector_config
        self.network = load_network(settings.model, Sam3Model, config, what=WHAT).to(self.device)
        self.side = _side(config)
        self.tokenizer = text_tokenizer(settings.model, config.text_config, what="a SAM 3")
        self.mean, self.std = normalisation(settings.model) or (HALF, HALF)
        self._text = lru_cache(maxsize=4096)(self._encoded)

    def scores(self, photo: NDArray[np.uint8], names: Sequence[str], tags: Sequence[int]) -> Cams:
        """Of every tagged class the largest product of an instance's score and its mask's probability, resized
        bilinearly from the square that SAM 3 sees."""
        square = (self.side, self.side)
        pixels = prepared(photo, square, mean=self.mean, std=self.std, resample=Image.Resampling.BILINEAR)
        maps: dict[int, NDArray[np.float32]] = {}
        with torch.inference_mode():
            seen = self.network.get_vision_features(pixel_values=pixels.to(self.device))
            for tag in tags:
                text, mask = self._text(names[tag])
                answer = self.network(vision_embeds=seen, text_embeds=text, attention_mask=mask)
                score_Q = answer.pred_logits[0].float().sigmoid()
                if answer.presence_logits is not None:
                    score_Q = score_Q * answer.presence_logits[0].float().sigmoid()
                kept = score_Q >= self.chosen.least_score
                if not kept.any():
                    maps[tag] = np.zeros(photo.shape[:2], np.float32)
                    continue
                logits = answer.pred_masks[0][kept].float()[:, None]
                masks_qHW = F.interpolate(logits, photo.shape[:2], mode="bilinear", align_corners=False)[:, 0].sigmoid()
                surest_HW = (masks_qHW * score_Q[kept, None, None]).amax(dim=0)
                maps[tag] = surest_HW.cpu().numpy()
        return maps

    def _encoded(self, name: str) -> tuple[Any, torch.Tensor]:
        """Features of a class's text, and which of its tokens count; the same for every photo."""
        ids = self.tokenizer([self.chosen.template.replace("{name}", name)]).to(self.device)
        length = int((ids[0] == self.tokenizer.end).nonzero()[0, 0]) + 1
        mask = (torch.arange(ids.shape[1], device=self.device) < length).long()[None]
        with torch.inference_mode():
            return self.network.get_text_features(input_ids=ids, attention_mask=mask, return_dict=True), mask


def _side(config: Any) -> int:
    size = config.vision_config.backbone_config.image_size
    return int(size if isinstance(size, int) else size[0])

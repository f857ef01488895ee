"""CLIPSeg (arXiv 2112.10003): a mask for a text, through transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semples.baselines.base import Baseline
from semples.core.errors import UserError
from semples.features.base import prepared
from semples.labels.scored import Cams
from semples.networks.pretrained import load_network, normalisation, quiet, read_config, reading
from semples.networks.tokenizer import FILES, FULL_VOCABULARY, ClipTokenizer
from semples.networks.weights import local_source
from semples.settings.baselines import ClipSegSettings

WHAT = "a CLIPSeg"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, in 0..1


class ClipSeg(Baseline):
    """CLIPSeg: a mask for every class name, the sigmoid of its logits.

    `settings.model`: hub id, or a folder in transformers format with its tokenizer.
    """

    Settings = ClipSegSettings

    def __init__(self, settings: ClipSegSettings, *, device: torch.device | None = None) -> None:
        from transformers import CLIPSegForImageSegmentation

        super().__init__(settings, device=device)
        self.chosen = settings
        config = read_config(settings.model, what=WHAT)
        if config.model_type != "clipseg":
            raise UserError(f"{settings.model}: a {config.model_type}, not a CLIPSeg")
        self.network = load_network(settings.model, CLIPSegForImageSegmentation, config, what=WHAT).to(self.device)
        self.tokenizer = text_tokenizer(settings.model, config.text_config, what=WHAT)
        self.mean, self.std = normalisation(settings.model) or (MEAN, STD)
        self._text = lru_cache(maxsize=4096)(self._encoded)

    def scores(self, photo: NDArray[np.uint8], names: Sequence[str], tags: Sequence[int]) -> Cams:
        """Probabilities of the tagged classes, resized bilinearly from the square that CLIPSeg sees."""
        side = self.chosen.side
        pixels_13SS = prepared(photo, (side, side), mean=self.mean, std=self.std, resample=Image.Resampling.BILINEAR)
        pixels_p3SS = pixels_13SS.expand(len(tags), -1, -1, -1)
        texts_pE = torch.stack([self._text(names[tag]) for tag in tags])
        with torch.inference_mode():
            answer = self.network(pixel_values=pixels_p3SS.to(self.device), conditional_embeddings=texts_pE)
            logits_pSS = answer.logits.reshape(len(tags), 1, *answer.logits.shape[-2:])
            logits_pHW = F.interpolate(logits_pSS, photo.shape[:2], mode="bilinear", align_corners=False)[:, 0]
            scores = logits_pHW.sigmoid().float().cpu().numpy()
        return dict(zip(tags, scores, strict=True))

    def _encoded(self, name: str) -> Tensor:
        """Feature (E,) of a class's text; the same for every photo."""
        text = self.chosen.template.replace("{name}", name)
        ids = self.tokenizer([text]).to(self.device)
        with torch.inference_mode():
            return self.network.get_conditional_embeddings(batch_size=1, input_ids=ids)[0]


def text_tokenizer(source: str, config: Any, *, what: str) -> ClipTokenizer:
    """The tokenizer saved beside the weights, or the published vocabulary where the model has as many words."""
    folder, context = local_source(source), int(config.max_position_embeddings)
    if folder is not None and any((folder / name).is_file() for name in FILES):
        with reading(source, what=f"{what} with its tokenizer"), quiet():
            return ClipTokenizer.from_folder(folder, context=context)
    if config.vocab_size != FULL_VOCABULARY:
        raise UserError(f"{source}: holds no tokenizer ({' or '.join(FILES)}), and its vocabulary is not the published")
    return ClipTokenizer.published(context=context)

"""CLIP as the judge (SemPLeS sec. 3.1-3.4): class texts are targets, prompts in token space the learned backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from semples.data.classes import ClassList
from semples.data.transforms import RGB
from semples.judges.base import Judge, TextJudge, check_template
from semples.networks.clip import CLIP_MEAN, CLIP_STD, FrozenClip
from semples.recipe import ClipSettings, PromptSettings


class Clip(TextJudge):
    """A frozen CLIP: raw cosines between views and the texts of the classes.

    Deviation from its own training, as published: views are normalised as the generator's photos are, unless
    `judge.normalisation` asks for CLIP's own.
    """

    Settings = ClipSettings

    def __init__(self, clip: FrozenClip, target_KE: Tensor, *, template: str, own_normalisation: bool = False) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("targets", target_KE)
        self.template = template
        self.image_size = clip.image_size
        self.scale = float(clip.model.logit_scale.exp())
        self.mean: RGB | None = CLIP_MEAN if own_normalisation else None
        self.std: RGB | None = CLIP_STD if own_normalisation else None

    @classmethod
    def build(cls, settings: ClipSettings, *, classes: ClassList) -> Self:
        given = settings.class_template
        templates = (given,) if isinstance(given, str) else given
        for template in templates:
            check_template(template, setting="judge.class_template")
        clip = FrozenClip.load(settings.model)
        with torch.no_grad():
            targets = clip.encode_words(classes.prompts, templates)
        return cls(clip, targets, template=templates[0], own_normalisation=settings.normalisation == "clip")

    def encode(self, view_n3SS: Tensor) -> Tensor:
        return self.clip.encode_images(view_n3SS)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self.clip.encode_texts(texts)

    def start_backgrounds(self, settings: PromptSettings, *, seed: int) -> Tensor:
        """M vectors a class in token-embedding space, uniform in [0,1) (SemPLeS sec. 3.3)."""
        shape = (len(self.targets), settings.length, self.clip.text_width)
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed))

    def encode_backgrounds(self, vector_nMW: Tensor, settings: PromptSettings) -> Tensor:
        """Text features of the prompts [SOT] context p_1..p_M "." [EOT]."""
        return self.clip.encode_prompts(vector_nMW, context=settings.context, full_stop=settings.full_stop)

    def lean(self) -> Judge:
        """Without the text tower."""
        normalises = self.mean is not None
        images = self.clip.images_only()
        return type(self)(images, self.targets, template=self.template, own_normalisation=normalises).eval()

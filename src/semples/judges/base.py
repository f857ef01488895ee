"""What a judge is: a frozen network that says how much a view of a photo shows a class.

The stages ask a judge four things only: targets of the classes, features of views, how alike a feature and a target
are (and what follows from that as a loss), and features of backgrounds that are learned with it. Nothing in them knows
whether the targets come from texts. A new judge is a file in this package with a class that derives from `Judge`, and a
line in `settings.kinds.JUDGES`; another package brings one by an entry point.

Shape suffixes: P (photo, present class) pairs, K classes, E numbers of a feature, n any number, M vectors of a learned
background, W their width.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.core.tensorfile import write_tensors
from semples.data.classes import ClassList
from semples.data.dataset import TaggedDataset
from semples.data.transforms import RGB
from semples.judges import losses
from semples.networks.pairs import Pairs
from semples.recipe import JudgeSettings, PromptSettings
from semples.settings.judges import NO_JUDGE
from semples.settings.kinds import JUDGES

CLASSES_KEY = "classes"


class Judge(nn.Module, ABC):
    """A frozen judge of views.

    Settings: its settings, a frozen dataclass that derives from `JudgeSettings`. image_size: side of the square views
    it looks at. mean, std: what it wants views to be normalised with; None: as the generator normalises them.
    targets (K,E): what features of views are compared with, one row a class. scale: by what it multiplies cosines to
    tell classes apart (`probabilities`). LEARNED: names of the buffers that hold what it learns from the
    photos and their tags (`learn_from`), for judges whose settings say that they learn (`JudgeSettings.LEARNS`).
    """

    Settings: ClassVar[type[JudgeSettings]]
    LEARNED: ClassVar[tuple[str, ...]] = ()

    image_size: int
    mean: RGB | None = None
    std: RGB | None = None
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    targets: Tensor

    @classmethod
    @abstractmethod
    def build(cls, settings: Any, *, classes: ClassList) -> Self:
        """The judge of these classes, with its weights. Raises UserError where they cannot be had."""

    @abstractmethod
    def encode(self, view_n3SS: Tensor) -> Tensor:
        """L2-normalised features (n,E) of normalised views of the judge's size; differentiable in the views."""

    def learn_from(self, dataset: TaggedDataset, *, seed: int) -> dict[str, float]:
        """Learn from photos and tags (judges that do); returns figures. Raises UserError where tags say too
        little."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def encode_shown(self, view_n3SS: Tensor, area_n: Tensor) -> Tensor:
        """Features (n,E) of views that show the share `area`, (n,) in 0..1, of their photo. Here the share does not
        count; a judge that is less sure of views that show little gives shorter features."""
        return self.encode(view_n3SS)

    def targets_of(self, pairs: Pairs) -> Tensor:
        """Targets (P,E) of the pairs' classes; a judge that learned from these photos may have one for each photo."""
        return self.targets[pairs.label]

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode whatever the mode of the module around it."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return self.targets.device

    def lean(self) -> Judge:
        """The same judge for views and its stored targets alone, without what only made those."""
        return self

    # ------------------------------------------------------------------------------------------------------- likeness

    def likeness(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        """How alike they are, (P,) around 0..1, 1 the same; the losses below are its logarithms (clamped).

        Here the raw cosine of L2-normalised features, without a temperature (SemPLeS sec. 3.2).
        """
        return losses.cosine(feature_PE, target_PE)

    def attract(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        """-log likeness (P,): pulls a view towards a target (SemPLeS eq. (2), first term)."""
        return losses.attract(self.likeness(feature_PE, target_PE))

    def repel(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        """-log(1 - likeness) (P,): pushes a view away from a target (SemPLeS eq. (2), second term)."""
        return losses.repel(self.likeness(feature_PE, target_PE))

    def separate(self, background_PE: Tensor, target_PE: Tensor) -> Tensor:
        """log likeness (P,), to be minimised: keeps a learned background away from its class (SemPLeS eq. (4))."""
        return losses.separate(self.likeness(background_PE, target_PE))

    def probabilities(self, feature_nE: Tensor) -> Tensor:
        """Probability (n,K) of each class for a view: softmax over all classes at the judge's own temperature."""
        return (self.scale * feature_nE @ self.targets.t()).softmax(dim=-1)

    # -------------------------------------------------------------------------------------------- learned backgrounds

    @abstractmethod
    def start_backgrounds(self, settings: PromptSettings, *, seed: int) -> Tensor:
        """Start (K,M,W) of the vectors that stage (b) learns, one background a class, drawn from `seed`."""

    @abstractmethod
    def encode_backgrounds(self, vector_nMW: Tensor, settings: PromptSettings) -> Tensor:
        """L2-normalised features (n,E) of learned backgrounds, differentiable in the vectors."""

    def named_backgrounds(self, names: Sequence[str]) -> Tensor:
        """L2-normalised features (n,E) of backgrounds given by their names. Raises UserError by a judge that reads no
        words."""
        raise UserError(
            "refinement.backgrounds: this judge reads no words; set judge.kind=clip, or refinement.backgrounds=learned"
        )


class TextJudge(Judge):
    """A judge whose targets are texts, so that learned backgrounds can be read as words."""

    template: str

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised features (n,E) of texts."""

    def named_backgrounds(self, names: Sequence[str]) -> Tensor:
        return self.encode_words(names)

    def encode_words(self, words: Sequence[str]) -> Tensor:
        """L2-normalised features (n,E) of words, each put into the judge's template."""
        return self.encode_texts([self.template.replace("{name}", word) for word in words])


def check_template(template: str, *, setting: str) -> None:
    """Raise UserError unless a text template has a place for the class."""
    if "{name}" not in template:
        raise UserError(f"{setting} {template!r} has no place for the class; write {{name}} where it goes")


def build_judge(settings: JudgeSettings, *, classes: ClassList) -> Judge:
    """The judge that the settings name, for these classes, frozen. Raises UserError."""
    if settings.kind == NO_JUDGE:
        raise UserError("judge.kind none: there is no judge for this; choose one, for example --set judge.kind=tags")
    made: Judge = JUDGES.load(settings.kind).build(settings, classes=classes)
    made.classes = classes.names
    return made.eval().requires_grad_(False)


def save_learned(judge: Judge, path: Path) -> None:
    """What a judge has learned as one safetensors file, with the class names."""
    tensors = {name: judge.get_buffer(name).detach().cpu().contiguous() for name in judge.LEARNED}
    write_tensors(path, tensors, about={CLASSES_KEY: json.dumps(list(judge.classes))})


def load_learned(judge: Judge, path: Path) -> None:
    """Give a judge what one of the same settings has learned. Raises UserError for a file of another kind."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; the step judge makes it: give the command of the run again")
    try:
        with safe_open(path, framework="pt") as file:
            names = tuple(json.loads((file.metadata() or {})[CLASSES_KEY]))
            tensors = {name: file.get_tensor(name) for name in judge.LEARNED}
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not what a judge of this kind has learned") from None
    fits = all(tensors[name].shape == judge.get_buffer(name).shape for name in judge.LEARNED)
    if names != judge.classes or not fits or not all(value.isfinite().all() for value in tensors.values()):
        raise UserError(f"{path}: learned for other classes or by other settings; give the command of the run again")
    for name, value in tensors.items():
        judge.get_buffer(name).copy_(value)

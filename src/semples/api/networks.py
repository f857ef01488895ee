"""Generators, judges and label methods by name, for scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semples.core.errors import UserError
from semples.core.schema import merge
from semples.data.classes import ClassList
from semples.labels.base import LabelInput
from semples.labels.make import make_label_method
from semples.labels.proposals.base import make_proposer
from semples.recipe import CrfSettings, Recipe
from semples.settings.kinds import GENERATORS, JUDGES, PROPOSALS, label_settings

if TYPE_CHECKING:
    from semples.generators.base import Generator
    from semples.judges.base import Judge


def generator(kind: str = "weaktr", *, classes: ClassList | Sequence[str], seed: int = 0, **settings: Any) -> Generator:
    """A mask generator by name, with its start weights.

    kind: a name of `semples methods`, or module:Name. classes: a dataset's, or names. settings: those of the kind
    (`semples recipes show voc` lists them): `start="shipped:demo_vit"`, `image_size=96`. Raises UserError.

    >>> made = generator("weaktr", classes=["boat", "train"], start="shipped:demo_vit", image_size=96)
    >>> made.num_classes, made.patch_size
    (2, 8)
    """
    from semples.generators.base import build_generator

    chosen = merge(GENERATORS.settings_of(kind)(kind=kind), settings, where=f"generator {kind}")
    return build_generator(chosen, classes=_class_list(classes), seed=seed)


def judge(kind: str = "clip", *, classes: ClassList | Sequence[str], **settings: Any) -> Judge:
    """A frozen judge by name, for these classes.

    kind: a name of `semples methods`, or module:Name. settings: those of the kind: `model="shipped:demo_clip"`.
    Raises UserError.

    >>> made = judge("clip", classes=["boat", "train"], model="shipped:demo_clip")
    >>> tuple(made.targets.shape)
    (2, 64)
    """
    from semples.judges.base import build_judge

    chosen = merge(JUDGES.settings_of(kind)(kind=kind), settings, where=f"judge {kind}")
    return build_judge(chosen, classes=_class_list(classes))


def label(
    method: str = "threshold",
    *,
    threshold: float | Mapping[str, float] = 0.45,
    classes: Sequence[str] | None = None,
    proposals: str = "felzenszwalb",
    **settings: Any,
) -> Callable[[Mapping[str, NDArray[np.float32]], NDArray[np.uint8]], NDArray[np.uint8]]:
    """What makes a label map of a photo's CAMs: `label("regions+crf", threshold=0.35)(cams, photo)`.

    method: a label method, with `+crf` where a dense CRF follows. threshold: the background threshold in 0..1, or one
    by class name. classes: class k of these has the value k + 1; default: the order of the CAMs. proposals: who
    proposes regions, for methods that need them. settings: `regions={...}`, `crf={...}`, and those of the method.
    The answer takes CAMs {class name: float32 (H,W) in 0..1} and the photo, uint8 (H,W,3), and returns uint8 (H,W).

    >>> import numpy as np
    >>> cams = {"boat": np.array([[0.9, 0.2]], np.float32), "sail": np.array([[0.1, 0.6]], np.float32)}
    >>> label("threshold", threshold=0.5)(cams, np.zeros((1, 2, 3), np.uint8)).tolist()
    [[1, 2]]
    """
    groups = {name: settings.pop(name, {}) for name in ("regions", "crf")}
    about = merge(label_settings(method)(method=method), settings, where="label")
    regions = merge(PROPOSALS.settings_of(proposals)(proposals=proposals), groups["regions"], where="label")
    crf = merge(CrfSettings(), groups["crf"], where="label")

    def labels(cams: Mapping[str, NDArray[np.float32]], photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        names = tuple(cams) if classes is None else tuple(classes)
        unknown = [name for name in cams if name not in names]
        if unknown:
            raise UserError(f"label: there is no class {unknown[0]!r} among {', '.join(names)}")
        if not names:
            return np.zeros(photo.shape[:2], np.uint8)
        made = make_label_method(about, regions=regions, crf=crf, num_classes=len(names))
        if made.learns:
            raise UserError(f"label: {method} learns from all photos of a run; make the labels in a run")
        given = {names.index(name): np.ascontiguousarray(cam, np.float32) for name, cam in cams.items()}
        size = (photo.shape[0], photo.shape[1])
        shape = next(iter(given.values())).shape if given else size
        told = LabelInput(
            id="photo",
            cams=given,
            shape=(shape[0], shape[1]),
            size=size,
            tags=tuple(given),
            photo=lambda: photo,
            regions=lambda: make_proposer(regions)(photo),
        )
        if isinstance(threshold, Mapping):
            limits: Any = np.array([threshold.get(name, about.threshold) for name in names], np.float32)
        else:
            limits = threshold
        return made.label(told, limits).labels

    return labels


def load_recipe(name: str = "folder", *overrides: str) -> Recipe:
    """A shipped recipe or YAML file with `key=value` changes, as plain frozen dataclasses.

    >>> load_recipe("demo", "matching.epochs=3").matching.epochs
    3
    """
    from semples.recipe import load_recipe as load

    return load(name, overrides)


def _class_list(classes: ClassList | Sequence[str]) -> ClassList:
    return classes if isinstance(classes, ClassList) else ClassList(tuple(classes))

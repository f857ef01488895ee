"""CLIP as a judge of masks: the same numbers as its own towers give on views made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semples.data.transforms import image_to_tensor
from semples.judges.clip import Clip
from semples.networks.clip import FrozenClip
from semples.stages.recognition import BATCH, Recognition
from semples.stages.views import ViewMaker
from tests import tiny

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.2, 0.3)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Recognition:
    clip = FrozenClip.load(str(tiny.save_clip(tmp_path_factory.mktemp("clip"))))
    features = clip.encode_texts(["a photo of cat.", "a photo of dog.", "a photo of sky."])
    judge = Clip(clip, features, template="a photo of {name}.")
    return Recognition(judge, view_maker=ViewMaker(clip.image_size, 0.1), mean=MEAN, std=STD)


def test_probabilities_are_clips_own(judge: Recognition) -> None:
    side = judge.judge.clip.image_size
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (side, side, 3), np.uint8)
    masks = [rng.random((side, side)) > 0.5 for _ in range(4)]
    classes = [0, 1, 2, 0]
    probabilities = judge.probabilities(photo, masks, classes)
    image = image_to_tensor(photo, MEAN, STD)
    for mask, index, probability in zip(masks, classes, probabilities, strict=True):
        view = (image * torch.from_numpy(mask))[None]
        with torch.no_grad():
            feature = judge.judge.clip.model.get_image_features(pixel_values=view)
            feature = getattr(feature, "pooler_output", feature)
            feature = feature / feature.norm(dim=-1, keepdim=True)
            logits = judge.judge.clip.model.logit_scale.exp() * feature @ judge.judge.targets.t()
        assert probability == pytest.approx(float(logits.softmax(-1)[0, index]), abs=1e-5)


def test_any_number_of_masks_and_any_size(judge: Recognition) -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (21, 47, 3), np.uint8)
    masks = [rng.random((21, 47)) > 0.5 for _ in range(BATCH + 3)]
    classes = [index % 3 for index in range(len(masks))]
    together = judge.probabilities(photo, masks, classes)
    assert together.shape == (BATCH + 3,)
    assert ((together > 0) & (together < 1)).all()
    alone = judge.probabilities(photo, masks[-1:], classes[-1:])
    assert together[-1] == pytest.approx(float(alone[0]), abs=1e-5)
    every = [judge.probabilities(photo, masks[:1], [index])[0] for index in range(3)]
    assert sum(every) == pytest.approx(1, abs=1e-5)


def test_a_mask_that_comes_again(judge: Recognition) -> None:
    rng = np.random.default_rng(3)
    photo = rng.integers(0, 256, (20, 30, 3), np.uint8)
    masks = [rng.random((20, 30)) > 0.5 for _ in range(3)]
    order, classes = [0, 1, 0, 2, 2, 1], [0, 1, 2, 0, 0, 2]
    alone = [judge.probabilities(photo, [masks[i]], [k])[0] for i, k in zip(order, classes, strict=True)]
    probabilities = judge.probabilities(photo, [masks[i] for i in order], classes)
    np.testing.assert_allclose(probabilities, alone, atol=1e-5)


def test_nothing_in_the_mask_is_the_mean_colour(judge: Recognition) -> None:
    """An empty mask leaves no trace of the photo."""
    rng = np.random.default_rng(2)
    empty = np.zeros((30, 30), bool)
    first, second = (rng.integers(0, 256, (30, 30, 3), np.uint8) for _ in range(2))
    assert judge.probabilities(first, [empty], [0])[0] == judge.probabilities(second, [empty], [0])[0]


@pytest.mark.parametrize("width", [-1, 0, 1])
@pytest.mark.parametrize("height", [-1, 0, 1])
def test_photos_about_as_large_as_the_input(judge: Recognition, height: int, width: int) -> None:
    side = judge.judge.clip.image_size
    shape = (side + height, side + width)
    photo = np.random.default_rng(4).integers(0, 256, (*shape, 3), np.uint8)
    (probability,) = judge.probabilities(photo, [np.ones(shape, bool)], [0])
    assert 0 < probability < 1

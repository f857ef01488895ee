"""The plug-in's judge keeps the contract of all judges, and judges colours."""

from __future__ import annotations

import pytest
import torch

from semples.core.errors import UserError
from semples.judges.base import Judge, TextJudge, build_judge
from semples.recipe import JudgeSettings
from semples.settings.kinds import JUDGES
from tests.contract import test_judges
from tests.contract.test_judges import *  # noqa: F403 (its tests, over the judge below)


@pytest.fixture(scope="module")
def settings(installed: str) -> JudgeSettings:
    made: JudgeSettings = JUDGES.settings_of("hues")()
    return made


@pytest.fixture(scope="module")
def judge(settings: JudgeSettings) -> Judge:
    return build_judge(settings, classes=test_judges.CLASSES)


def test_it_sees_colours(judge: Judge) -> None:
    """Four classes round the circle: red, yellow-green, cyan, violet; what a mask leaves out counts for nothing."""
    assert not isinstance(judge, TextJudge)
    colours = torch.tensor([[1.0, 0, 0], [0.5, 1, 0], [0, 1, 1], [0.5, 0, 1]])
    side = judge.image_size
    view = colours[:, :, None, None].expand(4, 3, side, side)
    assert judge.probabilities(judge.encode(view)).argmax(dim=1).tolist() == [0, 1, 2, 3]
    part = view.clone()
    part[:, :, : side // 2] = 0
    torch.testing.assert_close(judge.encode(part), judge.encode(view), atol=0.02, rtol=0)


def test_hues_are_one_for_each_class() -> None:
    chosen = JUDGES.settings_of("hues")(hues=(0.1, 0.2))
    with pytest.raises(UserError, match=r"judge\.hues: 2 hues for 4 classes"):
        build_judge(chosen, classes=test_judges.CLASSES)

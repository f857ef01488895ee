"""The benchmark of the ablation: its terms are those of the stages, and its table pairs cells by world."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import ablation
from claim_arms import Bench, Clip
from semples.core.files import write_json
from semples.networks.clip import FrozenClip
from semples.stages.matching import Matching
from semples.stages.refinement import Refinement
from tests import tiny
from tests.claim.test_claim import material
from tests.training import toy


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> FrozenClip:
    folder = tmp_path_factory.mktemp("clip")
    return FrozenClip.load(str(tiny.save_clip(folder / "clip", image_size=toy.SIDE, patch_size=8)))


def test_all_terms_are_stage_c_and_two_are_stage_a(clip: FrozenClip) -> None:
    generator, judge, others, batch, total, options = material(clip)

    def loss(*weights: float) -> torch.Tensor:
        task = ablation.Terms(generator, judge, prompts_KE=others, weights=weights, cam_epsilon="relative")
        return task(batch, total)["loss"].detach()

    whole = Refinement(generator, judge, others, lambda_refinement=0.3, **options)(batch, total)["loss"].detach()
    matched = Matching(generator, judge, **options)(batch, total)["loss"].detach()
    torch.testing.assert_close(loss(1, options["lambda_background"], 0.3), whole)
    torch.testing.assert_close(loss(1, options["lambda_background"], 0), matched)
    torch.testing.assert_close(loss(1, 0, 0) + loss(0, 1, 0) + loss(0, 0, 1), loss(1, 1, 1))


def test_a_cell_runs_on_a_small_world(tmp_path: Path) -> None:
    bench = Bench(Clip("shipped", None), 3, 0.9, 1.0, 1, tmp_path, photos=12)
    both, image, text = (ablation.prompts_by(bench, terms) for terms in (ablation.BOTH, "image", "text"))
    assert not torch.allclose(both, image)
    assert not torch.allclose(both, text)
    figures = ablation.cell(bench, "keep", ablation.BOTH)
    assert 0 < figures["miou"] < 1


def test_the_table_pairs_cells_with_those_of_the_same_world(tmp_path: Path) -> None:
    for seed, level in ((200, 0.5), (201, 0.6)):
        for number, (terms, prompts) in enumerate(ablation.CELLS):
            figures = dict.fromkeys(("miou", "auc", "fp_own"), level + number / 100)
            key = {"seed": seed, "terms": terms, "prompts": prompts, "full": figures}
            write_json(tmp_path / "shipped" / f"world{seed}-{terms}-by-{prompts}.json", key | figures)
    shown = ablation.show(tmp_path)
    assert "shipped, worlds 200, 201" in shown
    assert "| keep |  | 0.550 | 0.550 | 0.550 | 0.550 | -0.030 ± 0.000 | -0.030 ± 0.000 |" in shown
    assert "| keep+leave+prompt | text | 0.630 |" in shown

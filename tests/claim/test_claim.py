"""The benchmark of the claim: arms' losses, choice of λ, equal fullness, and that finished cells are not run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import claim
from claim_arms import TIGHT, Bench, Clip, Pushing, _Photo, _Scored, judge_of
from semples.core.files import read_json, write_json
from semples.data.demo.world import CLASSES
from semples.judges.clip import Clip as ClipJudge
from semples.networks.clip import FrozenClip
from semples.stages.refinement import Refinement
from semples.training.task import TaggedBatch, Total
from tests import tiny
from tests.training import toy

TAGS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]) > 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> FrozenClip:
    folder = tmp_path_factory.mktemp("clip")
    return FrozenClip.load(str(tiny.save_clip(folder / "clip", image_size=toy.SIDE, patch_size=8)))


def material(clip: FrozenClip):
    generator = toy.generator(3)
    generator.head.weight.data *= 20
    with torch.no_grad():
        texts = clip.encode_texts(
            [f"a photo of {word}." for word in ("dog", "red car", "tall tree", "sea", "sky", "sand")]
        )
    random = torch.Generator().manual_seed(7)
    image = torch.randn(3, 3, toy.SIDE, toy.SIDE, generator=random)
    noise = torch.rand(3, 2 * toy.GENERATOR.depth, generator=random)
    options = {"cam_epsilon": "relative", "lambda_background": 0.7}
    judge = ClipJudge(clip, texts[:3], template="a photo of {name}.")
    batch = TaggedBatch(image=image, seed=0, tags=TAGS, noise=noise)
    return generator.eval(), judge, texts[3:], batch, Total(3, 3), options


def test_an_arm_with_one_text_a_class_is_the_stage_itself(clip: FrozenClip) -> None:
    generator, judge, others, batch, total, options = material(clip)
    stage = Refinement(generator, judge, others, lambda_refinement=0.3, **options)
    arm = Pushing(generator, judge, pushed_KJE=others[:, None], weight=0.3, **options)
    torch.testing.assert_close(arm(batch, total)["loss"], stage(batch, total)["loss"])


def test_several_texts_are_averaged_and_shrinking_pays_for_the_mask_alone(clip: FrozenClip) -> None:
    generator, judge, others, batch, total, options = material(clip)

    def loss(pushed, weight: float) -> float:
        arm = Pushing(generator, judge, pushed_KJE=pushed, weight=weight, **options)
        return float(arm(batch, total)["loss"].detach())

    plain = loss(None, 0.0)
    each = [loss(others[index].expand(3, 1, -1), 1.0) - plain for index in range(3)]
    together = loss(others.expand(3, -1, -1), 1.0) - plain
    assert together == pytest.approx(sum(each) / 3, rel=1e-4)
    shrink = loss(None, 1.0) - plain
    assert 0 < shrink < 1


def test_equal_fullness_labels_as_many_pixels_as_the_truth() -> None:
    rng = np.random.default_rng(0)
    photos = []
    for _ in range(6):
        cam = rng.random((20, 30), dtype=np.float32)
        truth = (rng.random((20, 30)) < 0.3).astype(np.uint8)
        grounds = np.where(truth > 0, 0, 1).astype(np.uint8)
        photos.append(_Photo({0: cam}, np.ones((20, 30), np.uint8), cam, truth, grounds))
    scored = _Scored(tuple(photos), [1])
    threshold = scored.full_threshold()
    labelled = np.mean([photo.value > threshold for photo in photos])
    assert labelled == pytest.approx(np.mean([photo.truth > 0 for photo in photos]), abs=2e-3)
    assert scored.cooccurrence(threshold).mean_fp_own == pytest.approx(labelled, abs=0.05)
    assert scored.miou(threshold) <= scored.miou(scored.best_threshold()) + 0.01


def figures(miou: float) -> dict:
    return {"miou": miou, "auc": miou, "fp_own": 0.1, "full": {"miou": miou, "fp_own": 0.1}}


def test_cells_are_run_once_and_the_best_lambda_is_taken_on_worlds_for_choosing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = []

    def cell(bench, arm: str, weight: float) -> dict:
        ran.append((bench.seed, arm, bench.lambda_background, weight))
        best = {"warmup": 0.2, "matching": 0.3, "prompts": 0.35, "shrink": 0.33}[arm]
        penalty = 0.1 * abs(bench.lambda_background - 0.3) * (arm != "warmup") + 0.1 * abs(weight - 1) * (weight > 0)
        return figures(best - penalty + 0.01 * (bench.seed % 2))

    monkeypatch.setattr(claim.Bench, "cell", cell)
    arms = ["warmup", "matching", "prompts", "shrink"]
    common = ["--results", str(tmp_path / "results"), "--work", str(tmp_path), "--arms", *arms]

    def call(what: str, *worlds: str) -> str:
        monkeypatch.setattr("sys.argv", ["claim.py", what, *common, "--worlds", *worlds])
        capsys.readouterr()
        claim.main()
        return capsys.readouterr().out

    write_json(tmp_path / "results" / "bias" / "shipped.json", {"removed_to_alone": 0.44})
    call("tune", "0", "1")
    assert len(ran) == 2 * (1 + 4 + 2 * 3)
    assert {background for _, arm, background, _ in ran if arm == "shrink"} == {0.3}
    call("tune", "0", "1")
    assert len(ran) == 22, "finished cells were run again"
    call("run", "200")
    assert sorted(ran[22:]) == [
        (200, "matching", 0.3, 0.0),
        (200, "prompts", 0.3, 1.0),
        (200, "shrink", 0.3, 1.0),
        (200, "warmup", 1.0, 0.0),
    ]
    stored = read_json(tmp_path / "results" / "p0.9-E6" / "shipped" / "world200-prompts-T0.3-R1.json")
    assert (stored["arm"], stored["lambda"], stored["epochs"]) == ("prompts", 1.0, 6)
    shown = call("show", "0")
    assert "Removed / alone about 0.43 (shipped)" in shown
    assert "| prompts | 0.3 | 1 | 1 | 1 | 0.350 |" in shown
    assert "+0.050" in shown


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="demo_clip"):
        claim.clip_of(str(tmp_path))
    for part in ("demo_clip", "demo_vit"):
        (tmp_path / part).mkdir()
    assert claim.clip_of(str(tmp_path)) == Clip(f"{tmp_path.parent.name}-{tmp_path.name}", tmp_path)


def test_every_arm_runs_on_a_small_world(tmp_path: Path) -> None:
    bench = Bench(Clip("shipped", None), 3, 0.9, 1.0, 1, tmp_path, photos=20)
    cells = {
        arm: bench.cell(arm, 1.0) for arm in ("prompts", TIGHT, "matching", "warmup", "random-0", "texts", "shrink")
    }
    for cell in cells.values():
        assert 0 < cell["miou"] < 1
        assert cell["full"]["miou"] <= cell["miou"] + 0.02
    assert len({cell["auc"] for cell in cells.values()}) == len(cells), "two arms trained the same"
    assert set(cells["prompts"]["prompts"]["ranks"]) == set(CLASSES)
    assert bench.cell("shrink", 0.0)["auc"] == cells["matching"]["auc"], "an arm of no weight is (a)"
    assert cells["prompts"]["prompts"] != cells[TIGHT]["prompts"]
    texts = bench.pushed("truth")
    assert texts is not None
    assert torch.allclose(texts.norm(dim=-1), torch.ones(()), atol=1e-5)
    prompts, random = bench.pushed("prompts"), bench.pushed("random-1")
    classes = judge_of(bench.prompted).targets[:, None]
    assert torch.allclose((prompts * classes).sum(-1), (random * classes).sum(-1), atol=1e-5)
    assert torch.equal(bench.pushed("other-3").roll(-3, dims=0), prompts)

"""SAM and SAM 2: tiny random models saved in the true format, loaded by folder; preprocessing against transformers' own
image processor; the filters against hand-computed cases and brute force."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from semples.core.errors import UserError
from semples.labels.proposals import sam
from semples.labels.proposals.sam import SamProposer
from semples.settings.labels import SamSettings

SIDE = 64
KEEP_ALL = SamSettings(
    min_quality=0.0, min_stability=0.0, stability_offset=0.0, max_overlap=1.0, min_area=1, points_per_side=3
)


def build_sam() -> Any:
    from transformers import SamConfig, SamModel

    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8}
    vision |= {"mlp_dim": 64, "output_channels": 16, "global_attn_indexes": [1], "window_size": 4, "num_pos_feats": 8}
    prompt = {"hidden_size": 16, "image_size": SIDE, "patch_size": 8, "image_embedding_size": 8}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    parts = {"vision_config": vision, "prompt_encoder_config": prompt | {"mask_input_channels": 4}}
    return SamModel(SamConfig(**parts, mask_decoder_config=decoder))


def build_sam2() -> Any:
    from transformers import Sam2Config, Sam2Model

    backbone = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SIDE, SIDE]}
    backbone |= {"num_attention_heads": 1, "embed_dim_per_stage": [8, 16, 32, 64], "blocks_per_stage": [1, 2, 3, 1]}
    backbone |= {"num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [8, 4, 4, 4]}
    backbone |= {"global_attention_blocks": [4], "window_positional_embedding_background_size": [4, 4]}
    sizes = {"backbone_channel_list": [64, 32, 16, 8], "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    vision = {"backbone_config": backbone, "fpn_hidden_size": 16} | sizes
    prompt = {"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}
    parts = {"vision_config": vision, "prompt_encoder_config": prompt, "mask_decoder_config": decoder}
    return Sam2Model(Sam2Config(**parts))


@pytest.fixture(scope="module", params=["sam", "sam2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose predicted qualities are near 0.6 and whose masks are neither empty nor full."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = build_sam() if request.param == "sam" else build_sam2()
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and ("mask_decoder" in name or "prompt" in name):
                weight.data += 0.2 * torch.randn_like(weight)
        model.mask_decoder.iou_prediction_head.proj_out.bias.data.fill_(0.6)
        model.mask_decoder.iou_prediction_head.proj_out.weight.data *= 0.05
    out = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(out)
    return out


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def direct(folder: Path, picture: np.ndarray, points_per_side: int) -> tuple[Any, tuple[int, int]]:
    """The model's own answer, loaded by transformers, from pixels of transformers' own image processor."""
    from transformers import Sam2Model, SamModel
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    two = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "sam2"
    model = (Sam2Model if two else SamModel).from_pretrained(folder).eval()
    if two:
        pixels = sam.prepared(picture, (SIDE, SIDE), SIDE)
        inner = (SIDE, SIDE)
    else:
        process = SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
        inputs = process(picture, return_tensors="pt")
        pixels, inner = inputs["pixel_values"], tuple(inputs["reshaped_input_sizes"][0].tolist())
    steps = [(i + 0.5) / points_per_side for i in range(points_per_side)]
    points = torch.tensor([[[[x * inner[1], y * inner[0]]] for y in steps for x in steps]])
    with torch.no_grad():
        return model(pixel_values=pixels, input_points=points, multimask_output=True), inner


@pytest.mark.parametrize("size", [(40, 57), (70, 33), (64, 64)])
def test_regions_are_the_models_masks(folder: Path, size: tuple[int, int]) -> None:
    """With all filters open every point gives its three masks, one a level, at the photo's size."""
    picture = photo(*size)
    proposer = SamProposer(replace(KEEP_ALL, model=str(folder), points_batch=4))
    regions = proposer(picture)
    answer, inner = direct(folder, picture, 3)
    assert regions.shape == size
    logits, quality = answer.pred_masks[0].float(), answer.iou_scores[0].float()
    if proposer.kind == "sam":
        logits = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear")[..., : inner[0], : inner[1]]
    masks = (torch.nn.functional.interpolate(logits, size, mode="bilinear") > 0).numpy()
    assert len(regions.levels) == 3
    for output, level in enumerate(regions.levels):
        shown = [number for number in range(9) if masks[number, output].any()]
        assert shown
        order = sorted(shown, key=lambda number: -float(quality[number, output]))
        np.testing.assert_allclose(level.quality, quality[order, output].numpy(), atol=1e-4)
        place, region = level.pixels()
        drawn = np.zeros((len(level), size[0] * size[1]), bool)
        drawn[region, place] = True
        difference = drawn.reshape(-1, *size) != masks[order, output]
        assert difference.mean() < 2e-3  # a logit next to 0


def test_preprocessing_equals_the_published_processor() -> None:
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    process = SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    for size in ((40, 57), (70, 33), (200, 131), (9, 300), (64, 64)):
        inputs = process(photo(*size), return_tensors="pt")
        inner = sam.fitted(size, SIDE)
        assert inner == tuple(inputs["reshaped_input_sizes"][0].tolist())
        mine = sam.prepared(photo(*size), inner, SIDE)
        torch.testing.assert_close(mine, inputs["pixel_values"], atol=1e-5, rtol=0)


def test_masks_are_kept_by_quality_stability_and_area(folder: Path) -> None:
    picture, chosen = photo(40, 57), replace(KEEP_ALL, model=str(folder))
    everything = SamProposer(chosen)(picture)
    qualities = np.concatenate([level.quality for level in everything.levels])
    middle = float(np.median(qualities))
    good = SamProposer(replace(chosen, min_quality=middle))(picture)
    assert sum((level.quality >= middle).sum() for level in everything.levels) == len(good)
    large = SamProposer(replace(chosen, min_area=900))(picture)
    assert sum((level.areas >= 900).sum() for level in everything.levels) == len(large) < len(everything)
    stable = SamProposer(replace(chosen, stability_offset=0.5, min_stability=0.9))(picture)
    assert len(stable) < len(everything)
    distinct = SamProposer(replace(chosen, max_overlap=0.5))(picture)
    assert 0 < len(distinct) < len(everything)
    nothing = SamProposer(replace(chosen, min_quality=1.0, model=str(folder)))(picture)
    assert len(nothing) == 0
    assert len(nothing.levels) == 3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 12), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_suppression_equals_brute_force(seed: int, count: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 8, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 6, (count, 2))], axis=1)
    quality = rng.integers(0, 5, count) / 5

    def iou(one: int, other: int) -> float:
        grids = [np.zeros((15, 15), bool) for _ in range(2)]
        for grid, (left, top, right, bottom) in zip(grids, boxes[[one, other]], strict=True):
            grid[top:bottom, left:right] = True
        return float((grids[0] & grids[1]).sum() / (grids[0] | grids[1]).sum())

    kept: list[int] = []
    for number in sorted(range(count), key=lambda number: (-quality[number], number)):
        if all(iou(number, better) <= overlap + 1e-9 for better in kept):
            kept.append(number)
    distinct = sam.distinct(
        torch.from_numpy(boxes).reshape(-1, 4), torch.from_numpy(quality), max_overlap=overlap + 1e-9
    )
    assert distinct.tolist() == kept


def test_boxes() -> None:
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True
    masks[2, 0, 0] = masks[2, 4, 3] = True
    assert sam.boxes_of(masks).tolist() == [[2, 1, 6, 3], [6, 4, 7, 5], [0, 0, 4, 5]]


def test_loading_is_strict(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    state = load_file(broken / "model.safetensors")
    dropped = next(name for name in state if name.startswith("mask_decoder"))
    save_file({name: value for name, value in state.items() if name != dropped}, broken / "model.safetensors")
    with pytest.raises(UserError, match=f"missing {dropped}"):
        SamProposer(replace(KEEP_ALL, model=str(broken)))
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no model\.safetensors or pytorch_model\.bin; put the weights there"):
        SamProposer(replace(KEEP_ALL, model=str(broken)))
    shutil.copy(folder / "model.safetensors", broken)
    (broken / "config.json").write_text('{"model_type": "clip"}', encoding="utf-8")
    with pytest.raises(UserError, match="not the configuration of a SAM or SAM 2 model"):
        SamProposer(replace(KEEP_ALL, model=str(broken)))


def test_published_sam2_files_hold_the_video_model(tmp_path: Path, folder: Path) -> None:
    """They say sam2_video and hold memory weights beside the image model's."""
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if described["model_type"] != "sam2":
        pytest.skip("SAM 2 only")
    save_file(
        load_file(folder / "model.safetensors") | {"memory_attention.layer.weight": torch.zeros(2)},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text(
        json.dumps(described | {"model_type": "sam2_video", "memory_dim": 64}), encoding="utf-8"
    )
    one, other = (SamProposer(replace(KEEP_ALL, model=str(place)))(photo(30, 30)) for place in (folder, tmp_path))
    for mine, right in zip(one.levels, other.levels, strict=True):
        np.testing.assert_array_equal(mine.start, right.start)


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("sam_vit_h_4b8939.pth", "facebook/sam-vit-huge"),
        ("sam_vit_b_01ec64.pth", "facebook/sam-vit-base"),
        ("sam2.1_hiera_base_plus.pt", "facebook/sam2.1-hiera-base-plus"),
        ("sam2_hiera_large.pt", "facebook/sam2-hiera-large"),
    ],
)
def test_the_original_programs_files_are_named(tmp_path: Path, name: str, repo: str) -> None:
    """The file, or the folder it lies in: the message names the hub id of the same weights."""
    (tmp_path / name).write_bytes(b"PK")
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(UserError, match=rf"{name} is the original program's form; .* regions\.model={repo}"):
            SamProposer(SamSettings(model=str(source)))


def test_other_files_are_no_sam(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(b"PK")
    with pytest.raises(UserError, match="give a hub id such as facebook/sam-vit-huge"):
        SamProposer(SamSettings(model=str(tmp_path / "x.pth")))

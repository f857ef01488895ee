"""Frozen features against the forward pass of transformers' own classes, on tiny random models of the true form."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from semples.core.errors import UserError
from semples.features.base import Features, fitted, make_features
from semples.settings.features import ClipFeatureSettings, VisionFeatureSettings
from tests import tiny, vision_models

# tokens before the patches; None: a feature map
PREFIX = {
    "dinov2": 1,
    "dinov2 with registers": 5,
    "dinov3": 4,
    "dinov3 convnext": 1,
    "vit": 1,
    "siglip": 0,
    "swin": 0,
    "convnext": None,
    "resnet": None,
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(picture: np.ndarray, size: tuple[int, int], rgb: tuple[tuple[float, ...], ...] = IMAGENET) -> torch.Tensor:
    """The photo as its model sees it, written out: resized, scaled to 0..1, normalised."""
    small = np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC), np.float64) / 255
    return torch.from_numpy(((small - rgb[0]) / rgb[1]).transpose(2, 0, 1)[None]).float()


@pytest.mark.parametrize("name", vision_models.MODELS)
def test_features_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    folder = vision_models.save(tmp_path, name)
    picture = photo(40, 70)
    features = make_features(VisionFeatureSettings(model=str(folder), side=96, unit_length=False))
    answer = features(picture)
    height, width = answer.shape[:2]
    assert answer.dtype == np.float32
    assert width == round(96 / features.patch)
    assert height == max(1, round(width * 40 / 70))
    model = type(vision_models.MODELS[name]()).from_pretrained(folder).eval()
    options = {"interpolate_pos_encoding": True} if name in ("vit", "siglip", "swin") else {}
    with torch.inference_mode():
        seen = pixels(picture, (height * features.patch, width * features.patch))
        output = model(pixel_values=seen, **options).last_hidden_state[0]
    prefix = PREFIX[name]
    expected = output.permute(1, 2, 0) if prefix is None else output[prefix:].reshape(height, width, -1)
    np.testing.assert_allclose(answer, expected.numpy(), atol=1e-4)
    assert np.ptp(answer, axis=(0, 1)).max() > 1e-3  # patches differ


def test_clip_patches_are_those_of_the_library(tmp_path: Path) -> None:
    from transformers import CLIPVisionModelWithProjection

    folder = tiny.save_clip(tmp_path / "clip")
    picture = photo(50, 30)
    features = make_features(ClipFeatureSettings(model=str(folder), side=80, unit_length=False))
    answer = features(picture)
    assert answer.shape == (5, 3, 32)
    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(
            pixel_values=pixels(picture, (80, 48), CLIP), interpolate_pos_encoding=True, output_hidden_states=True
        )
        tokens = model.vision_model.post_layernorm(output.hidden_states[-1][0])
        expected = model.visual_projection(tokens)
    np.testing.assert_allclose(answer, expected[1:].reshape(5, 3, 32).numpy(), atol=1e-5)
    np.testing.assert_allclose(output.image_embeds[0], expected[0], atol=1e-5)  # the same way, for the class token
    unit = make_features(ClipFeatureSettings(model=str(folder), side=80))(picture)
    np.testing.assert_allclose(unit, answer / np.linalg.norm(answer, axis=-1, keepdims=True), atol=1e-6)


def test_the_normalisation_beside_the_weights_wins(tmp_path: Path) -> None:
    folder = vision_models.save(tmp_path, "vit")
    settings = VisionFeatureSettings(model=str(folder), side=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert (make_features(settings).mean, make_features(settings).std) == (settings.mean, settings.std)
    described = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(described), encoding="utf-8")
    features = make_features(settings)
    assert (features.mean, features.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for wrong in ([1, 2], "x", [0, 1, 1]):
        (folder / "preprocessor_config.json").write_text(json.dumps(described | {"image_std": wrong}), encoding="utf-8")
        with pytest.raises(UserError, match="three numbers each"):
            make_features(settings)


@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(1, 1000), st.sampled_from([8, 14, 16, 32]))
def test_sizes_are_whole_patches_of_the_same_aspect(shape: tuple[int, int], side: int, patch: int) -> None:
    height, width = fitted(shape, side=side, patch=patch)
    assert height % patch == width % patch == 0
    assert min(height, width) >= patch
    assert abs(max(height, width) - max(side, patch)) <= patch / 2 + 0.5
    longest = max(height, width)
    for seen, length in ((height, shape[0]), (width, shape[1])):
        assert abs(seen - longest * length / max(shape)) <= max(patch / 2, patch - longest * length / max(shape)) + 1e-6


def test_models_of_no_use_are_one_line(tmp_path: Path) -> None:
    folder = vision_models.save(tmp_path / "vit", "vit")

    def refused(place: Path | str, *, clip: bool = False) -> str:
        with pytest.raises(UserError) as error:
            make_features((ClipFeatureSettings if clip else VisionFeatureSettings)(model=str(place)))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "not a CLIP" in refused(folder, clip=True)
    assert "config.json" in refused(tmp_path)
    assert "no such file" in refused("./missing")
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    state = load_file(broken / "model.safetensors")
    state.pop(next(name for name in state if name.startswith("encoder") or "layer" in name))
    save_file(state, broken / "model.safetensors", metadata={"format": "pt"})
    assert "missing or of another shape" in refused(broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    assert "cannot be read as a vision model" in refused(broken)
    (broken / "config.json").write_text(
        '{"model_type": "bert", "hidden_size": 12, "num_attention_heads": 2}', encoding="utf-8"
    )
    refused(broken)
    (broken / "config.json").write_text('{"model_type": "unheard-of"}', encoding="utf-8")
    refused(broken)


class Mine(Features):
    """Mean colours of 8 x 8 blocks."""

    patch = 8
    mean, std = (0.0,) * 3, (1.0,) * 3

    def patches(self, pixels_13HW: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels_13HW, 8)[0].permute(1, 2, 0)


def test_features_of_another_module() -> None:
    settings = replace(VisionFeatureSettings(), kind=f"{__name__}:Mine", side=32, unit_length=False)
    picture = np.full((10, 20, 3), (255, 51, 0), np.uint8)
    answer = make_features(settings)(picture)
    assert answer.shape == (2, 4, 3)
    np.testing.assert_allclose(answer[1, 2], (1, 0.2, 0), atol=1e-6)

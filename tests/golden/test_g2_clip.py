"""CLIP features, and those of background prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from semples.networks.clip import FrozenClip
from tests.golden.models import golden_clip

TOLERANCE = 2e-5


@pytest.fixture(scope="module", params=["a", "b"])
def case(request: pytest.FixtureRequest, golden: Path) -> tuple[FrozenClip, dict[str, np.ndarray]]:
    weights = golden / f"g2_{request.param}_clip.safetensors"
    return golden_clip(weights), dict(np.load(golden / f"g2_{request.param}_io.npz"))


def close(computed: torch.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(computed.numpy(), expected, rtol=0, atol=TOLERANCE)


def unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


@torch.no_grad()
def test_images_and_texts(case: tuple[FrozenClip, dict[str, np.ndarray]]) -> None:
    clip, io = case
    images = torch.from_numpy(io["image"])
    close(clip.encode_images(images), unit(io["encode_image"]))
    features = clip.encode_patches(images).numpy()
    np.testing.assert_allclose(features, io["encode_image_all"], rtol=0, atol=TOLERANCE)
    texts = [str(text) for text in io["texts"]]
    np.testing.assert_array_equal(clip.tokenizer(texts, truncate=True).numpy(), io["text_ids"])
    if max(len(clip.tokenizer.pieces(text)) for text in texts) <= clip.tokenizer.context - 2:
        close(clip.encode_texts(texts), unit(io["encode_text"]))
    else:
        fitting = [i for i, text in enumerate(texts) if len(clip.tokenizer.pieces(text)) <= clip.tokenizer.context - 2]
        close(clip.encode_texts([texts[i] for i in fitting]), unit(io["encode_text"][fitting]))


@torch.no_grad()
def test_background_prompts_of_every_length(case: tuple[FrozenClip, dict[str, np.ndarray]]) -> None:
    clip, io = case
    lengths = [int(key[3:]) for key in io if key.startswith("btp")]
    assert lengths
    for length in lengths:
        close(clip.encode_prompts(torch.from_numpy(io[f"btp{length}"])), unit(io[f"encode_btp{length}"]))


@torch.no_grad()
def test_the_full_stop_of_a_prompt(case: tuple[FrozenClip, dict[str, np.ndarray]]) -> None:
    """A prompt that is the embedding of "dog" equals the ordinary text with the word full stop, and the parity
    feature with the in-word one."""
    clip, io = case
    (piece,) = clip.tokenizer.pieces("dog")
    prompt = clip.model.text_model.embeddings.token_embedding.weight[piece].reshape(1, 1, -1)
    close(clip.encode_prompts(prompt, full_stop="in-word"), unit(io["dog_btp_ref_dot13"]))
    close(clip.encode_prompts(prompt, full_stop="word"), unit(io["dog_btp_dot269"]))
    close(clip.encode_texts(["a photo of dog."]), unit(io["dog_text"]))

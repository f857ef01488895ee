"""The vision transformer: position embedding, stochastic depth, patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semples.networks.vit import QuickGELU, VisionTransformer, VitConfig


def build(**changes: object) -> VisionTransformer:
    config = VitConfig(**{"patch_size": 4, "width": 8, "depth": 2, "heads": 2, "image_size": 16, **changes})  # type: ignore[arg-type]
    model = VisionTransformer(config, num_tokens=3, drop_path=0.4)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.pos_embed)
    return model


def cubic(x: float) -> float:
    """Kernel of bicubic resizing with a = -0.75."""
    x = abs(x)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_positions_of_another_grid_are_sampled_by_the_scale_factor() -> None:
    """Hand-computed at one patch: the coordinate follows (h + 0.1) / 4, not h / 4."""
    model = build()
    h, w, row, column = 6, 3, 4, 1
    positions = model.position_embedding(h, w, square_input=False)
    assert positions.shape == (1, 3 + h * w, 8)
    assert torch.equal(positions[:, :3], model.pos_embed[:, :3])
    grid = model.pos_embed[0, 3:].detach().double().numpy().reshape(4, 4, 8)
    y, x = (row + 0.5) * 4 / (h + 0.1) - 0.5, (column + 0.5) * 4 / (w + 0.1) - 0.5
    expected = np.zeros(8)
    for i in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
        for j in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            expected += cubic(y - i) * cubic(x - j) * grid[np.clip(i, 0, 3), np.clip(j, 0, 3)]
    np.testing.assert_allclose(positions[0, 3 + row * w + column].detach().numpy(), expected, atol=1e-5)


def test_positions_of_the_own_grid_are_untouched_for_square_inputs_only() -> None:
    model = build()
    assert model.position_embedding(4, 4, square_input=True) is model.pos_embed
    assert not torch.allclose(model.position_embedding(4, 4, square_input=False), model.pos_embed)
    assert model.position_embedding(2, 8, square_input=False).shape == (1, 3 + 16, 8)


def test_what_is_left_of_whole_patches_is_not_seen() -> None:
    model = build().eval()
    photo = torch.randn(1, 3, 18, 23)
    other = photo.clone()
    other[:, :, 16:] = 9
    other[:, :, :, 20:] = 9
    assert torch.equal(model(photo, pooling="max").last, model(other, pooling="max").last)


def test_stochastic_depth_follows_its_noise() -> None:
    """A branch is dropped where noise < rate, else divided by the keep rate; never in eval mode."""
    model = build().train()  # two blocks, of rates 0 and 0.4
    photo = torch.randn(3, 3, 16, 16)
    noise = torch.tensor([[0.1, 0.9], [0.9, 0.9], [0.39, 0.4]])[:, None].expand(-1, 2, -1)

    def last(*, noise: torch.Tensor | None) -> torch.Tensor:
        return model(photo, pooling="avg", noise_BL2=noise).last

    first, second = model.blocks
    x, _ = model.embed(photo)
    x = x + first.attn(first.norm1(x), keep_map=False)[0]
    x = x + first.mlp(first.norm2(x))
    kept = torch.tensor([0, 1, 0])[:, None, None] / 0.6
    x = x + kept * second.attn(second.norm1(x), keep_map=False)[0]
    x = x + second.mlp(second.norm2(x)) / 0.6
    torch.testing.assert_close(last(noise=noise), x, atol=1e-5, rtol=1e-5)
    whole = last(noise=None)
    model.eval()
    assert torch.equal(last(noise=noise), whole)
    assert not torch.allclose(whole, x)


def test_rates_rise_linearly() -> None:
    assert build(depth=5).drop_rates.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_kept_maps_and_streamed_passes_agree(pooling: str) -> None:
    model, photo = build().eval(), torch.randn(2, 3, 16, 24)
    one, other = (model(photo, pooling=pooling, keep_maps=keep) for keep in (True, False))
    torch.testing.assert_close(one.last, other.last, atol=1e-5, rtol=1e-5)
    for index in range(2):
        torch.testing.assert_close(one.pooled[index], other.pooled[index], atol=1e-5, rtol=1e-5)
        map_BHTT = (other.queries[index] @ other.keys[index].transpose(-2, -1)).softmax(-1)
        torch.testing.assert_close(one.attention[index], map_BHTT, atol=1e-6, rtol=1e-5)
        assert not one.attention[index].requires_grad
        assert not other.queries[index].requires_grad
    assert one.last.requires_grad


def test_quick_gelu() -> None:
    x = torch.linspace(-4, 4, 9)
    torch.testing.assert_close(QuickGELU()(x), x / (1 + torch.exp(-1.702 * x)))


def test_pre_norm() -> None:
    """With `pre_norm` the tokens are normalised once before the first block, as CLIP's image tower does."""
    model = build(pre_norm=True)
    tokens, _ = model.embed(torch.randn(1, 3, 16, 16))
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(1, 19), atol=1e-5, rtol=0)
    assert "norm_pre.weight" in model.state_dict()

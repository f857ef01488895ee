"""Plain vision transformer that exposes, per block, what attention fusion needs.

Shape suffixes: B images, T = K + N tokens (K class tokens, then N patches), C channels, H heads, D = C / H, L blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Architecture. The defaults are DeiT-S; `pre_norm` and `quick_gelu` cover the image towers of CLIP, `layer_scale`
    DeiT III and DINOv2, `registers` (tokens that no CAM is read from) DINOv2 with registers."""

    patch_size: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    act: Literal["gelu", "quick_gelu"] = "gelu"
    pre_norm: bool = False
    eps: float = 1e-6
    image_size: int = 224
    layer_scale: bool = False
    registers: int = 0

    @property
    def grid(self) -> int:
        """Patches along one side at `image_size`."""
        return self.image_size // self.patch_size


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


@dataclass
class Tokens:
    """What a forward pass leaves behind for CAMs, detached from the graph except `last`. T leaves registers out; only
    `keys` have them, behind the patches, since every softmax runs over them too.

    last: (B,T,C) output of the last block, before any final norm.
    grid: (h, w) patches.
    pooled: L tensors (B,C), the attention branch of each block pooled over all T tokens.
    queries, keys: L tensors (B,H,T,D) and (B,H,T+R,D), queries scaled by 1/sqrt(D); softmax(queries @ keys^T) is the
    attention.
    attention: L tensors (B,H,T,T), where the pass was asked to keep them, else empty.
    """

    last: Tensor
    grid: tuple[int, int]
    pooled: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)


class Queries(NamedTuple):
    """Queries times 1/sqrt(D), and keys, (B,H,T,D) each; softmax(q @ k^T) is the attention."""

    q: Tensor
    k: Tensor


class Attention(nn.Module):
    """Multi-head self-attention with the parameter names of the usual ViT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BTC: Tensor, *, keep_map: bool) -> tuple[Tensor, Tensor | Queries]:
        """The branch output (B,T,C), and the attention map (B,H,T,T) or what it would be made of."""
        B, T, C = x_BTC.shape
        scale = (C // self.heads) ** -0.5
        qkv_3BHTD = self.qkv(x_BTC).reshape(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        if keep_map:
            # One copy brings all three into the order that products of batches want.
            q, k, v = qkv_3BHTD.contiguous().flatten(1, 2).unbind(0)
            map_XTT = torch.baddbmm(q[:1, :1, :1], q, k.transpose(1, 2), beta=0, alpha=scale).softmax(dim=-1)
            mixed = torch.bmm(map_XTT, v).unflatten(0, (B, -1))
            seen: Tensor | Queries = map_XTT.unflatten(0, (B, -1))
        else:
            q, k, v = qkv_3BHTD.unbind(0)
            seen = Queries(q * scale, k)
            mixed = F.scaled_dot_product_attention(seen.q, k, v, scale=1.0)
        return self.proj(mixed.transpose(1, 2).reshape(B, T, C)), seen


class Mlp(nn.Module):
    """Two linear layers with the activation between."""

    def __init__(self, width: int, hidden: int, act: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = QuickGELU() if act == "quick_gelu" else nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A factor for each channel of a branch (CaiT, arXiv 2103.17239, sec. 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_BTC: Tensor) -> Tensor:
        return x_BTC * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block of two branches."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = Mlp(config.width, int(config.width * config.mlp_ratio), config.act)
        self.ls1 = LayerScale(config.width) if config.layer_scale else nn.Identity()
        self.ls2 = LayerScale(config.width) if config.layer_scale else nn.Identity()


class PatchEmbed(nn.Module):
    """Non-overlapping patches to vectors; what is left of the image right and below of whole patches is not seen."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.proj(image_B3HW)


class VisionTransformer(nn.Module):
    """ViT with `num_tokens` class tokens before the patch tokens (WeakTr sec. 3.1).

    drop_rates: (L,) of stochastic depth. A final `norm` exists among the weights, as in published checkpoints, but the
    forward pass never applies it.
    """

    drop_rates: Tensor

    def __init__(self, config: VitConfig, *, num_tokens: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.num_tokens = num_tokens
        self.patch_embed = PatchEmbed(config.patch_size, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, num_tokens, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens + config.grid**2, config.width))
        if config.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.width))
        if config.pre_norm:
            self.norm_pre = nn.LayerNorm(config.width, eps=config.eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.set_drop_path(drop_path)
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth: both branches of a block are dropped at rates that rise linearly from 0 to `rate`."""
        self.drop_path = rate
        self.register_buffer("drop_rates", torch.linspace(0, rate, self.config.depth), persistent=False)

    def position_embedding(self, h: int, w: int, *, square_input: bool) -> Tensor:
        """(1, K + h·w, C). Another grid than the trained one is reached bicubically by the scale factors
        (h + 0.1)/√N0 and (w + 0.1)/√N0, not by target size: checkpoints were trained with these coordinates."""
        side = self.config.grid
        if h * w == side * side and square_input:
            return self.pos_embed
        classes, patches = self.pos_embed[:, : self.num_tokens], self.pos_embed[:, self.num_tokens :]
        grid_1Chw = patches.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(
            grid_1Chw, scale_factor=((h + 0.1) / side, (w + 0.1) / side), mode="bicubic", align_corners=False
        )
        return torch.cat([classes, resized.flatten(2).transpose(1, 2)], dim=1)

    def forward(
        self,
        image_B3HW: Tensor,
        *,
        pooling: str,
        noise_BL2: Tensor | None = None,
        keep_maps: bool = False,
    ) -> Tokens:
        """Run all blocks.

        image: normalised, any height and width of at least one patch.
        pooling: `max` or `avg`, how the attention branch is pooled over tokens.
        noise: uniform numbers in [0,1) that decide stochastic depth in train mode; None keeps every branch.
        keep_maps: keep the attention maps (small inputs, training) instead of queries and keys.
        """
        x_BTC, grid = self.embed(image_B3HW)
        tokens = Tokens(last=x_BTC, grid=grid)
        T = self.num_tokens + grid[0] * grid[1]
        kept = self._kept(noise_BL2, x_BTC)
        block: Any
        for block, (keep1, keep2) in zip(self.blocks, kept, strict=True):
            mixed_BTC, seen = block.attn(block.norm1(x_BTC), keep_map=keep_maps)
            branch_BTC = block.ls1(mixed_BTC)
            features = branch_BTC[:, :T].detach()
            tokens.pooled.append(features.amax(dim=1) if pooling == "max" else features.mean(dim=1))
            if isinstance(seen, Queries):
                tokens.queries.append(seen.q[:, :, :T].detach())
                tokens.keys.append(seen.k.detach())
            else:
                tokens.attention.append(seen[..., :T, :T].detach())
            x_BTC = _residual(x_BTC, branch_BTC, keep1)
            x_BTC = _residual(x_BTC, block.ls2(block.mlp(block.norm2(x_BTC))), keep2)
        tokens.last = x_BTC[:, :T]
        return tokens

    def _kept(self, noise_BL2: Tensor | None, x_BTC: Tensor) -> list[tuple[Tensor | None, Tensor | None]]:
        """For both branches of every block what they are multiplied with, (B,1,1) or None: 0 where noise < rate, else
        1 / (1 - rate). Only in train mode, and only where there are rates."""
        if noise_BL2 is None or not self.training or self.drop_path == 0:
            return [(None, None)] * len(self.blocks)
        rates_L1 = self.drop_rates[:, None]
        keep_BL2 = ((noise_BL2 >= rates_L1).to(x_BTC.dtype) / (1 - rates_L1).to(x_BTC.dtype))[..., None, None]
        return [(one[:, 0], one[:, 1]) for one in keep_BL2.unbind(1)]

    def embed(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens that enter the first block (B,T+R,C), registers last, and the patch grid (h, w)."""
        patches = self.patch_embed(image_B3HW)
        B, (h, w) = patches.shape[0], map(int, patches.shape[-2:])  # plain numbers also where torch traces
        x_BTC = torch.cat([self.cls_token.expand(B, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        square_input = image_B3HW.shape[-1] == image_B3HW.shape[-2]
        x_BTC = x_BTC + self.position_embedding(h, w, square_input=square_input)
        if self.config.registers:
            x_BTC = torch.cat([x_BTC, self.reg_token.expand(B, -1, -1)], dim=1)
        return (self.norm_pre(x_BTC) if self.config.pre_norm else x_BTC), (h, w)


def _residual(x_BTC: Tensor, branch_BTC: Tensor, keep_B11: Tensor | None) -> Tensor:
    """The sum, with stochastic depth where the branch has a factor."""
    if keep_B11 is None:
        return x_BTC + branch_BTC
    return torch.addcmul(x_BTC, branch_BTC, keep_B11)

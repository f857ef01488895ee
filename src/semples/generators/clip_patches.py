"""CAMs of CLIP's own patches, without any training: patches are compared with texts of classes and of backgrounds.

Plain CLIP fails at this, since its last attention mixes classes; what takes that attention's place is a setting:

    attention     qk as it is; qq, kk, vv: softmax(x xᵀ / √d) of queries, keys or values in its place
    feed_forward  whether the last block's residual and feed-forward layer stay
    scope         a patch attends only to patches of its own region (CorrCLIP, arXiv 2411.10086): clusters of patches,
                  or superpixels of the photo
    mode gradient no patch is compared: CAM by the gradient of the softmax over present classes and background texts
                  at the patches before the last block (CLIP-ES, arXiv 2212.09506)

With qk, feed-forward and no scope the features are those of CLIP itself. Position embeddings are resized bicubically
to the photo's patches. The contest with the backgrounds (softmax) suppresses what a class shares with them.

Shape suffixes: B images, K classes, M background texts, N = h·w patches, T = 1 + N tokens, C channels, H heads, E
channels of a feature, P (image, present class) pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.cams.make import pixels_of
from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.data.transforms import RGB
from semples.generators.base import Generator
from semples.networks.clip import CLIP_MEAN, CLIP_STD, FrozenClip
from semples.networks.clusters import clusters, superpixels
from semples.networks.pairs import Pairs
from semples.settings.generators import ClipPatchSettings, GeneratorSettings

Attention = Literal["qk", "qq", "kk", "vv"]
Scope = Literal["none", "clusters", "superpixels"]
PAIRS = 16  # gradients computed together


class Patches(NamedTuple):
    """Patches before the last block (B,T,C), and the grid (h,w)."""

    hidden: Tensor
    grid: tuple[int, int]


class ClipPatches(Generator):
    """CLIP's own patches against texts of classes and backgrounds; nothing is trained.

    Photos are normalised as CLIP's were. A side of n pixels gives floor(n / patch) cells.
    """

    Settings = ClipPatchSettings
    mean: RGB = CLIP_MEAN
    std: RGB = CLIP_STD

    def __init__(
        self,
        tower: Any,
        *,
        target_KE: Tensor,
        background_ME: Tensor,
        sharpness: float,
        mode: Literal["patches", "gradient"] = "patches",
        attention: Attention = "vv",
        feed_forward: bool = False,
        scope: Scope = "none",
        scope_count: int = 24,
        scope_mean: bool = False,
        contest: Literal["present", "all"] = "present",
        attention_blocks: int = 8,
    ) -> None:
        super().__init__()
        self._options = {
            "sharpness": sharpness,
            "mode": mode,
            "attention": attention,
            "feed_forward": feed_forward,
            "scope": scope,
            "scope_count": scope_count,
            "scope_mean": scope_mean,
            "contest": contest,
            "attention_blocks": attention_blocks,
        }
        self.tower = tower.eval().requires_grad_(False)
        self.register_buffer("targets", target_KE)
        self.register_buffer("backgrounds", background_ME)
        self.num_classes = len(target_KE)
        self.patch_size = int(tower.config.patch_size)
        self.sharpness, self.mode, self.contest = sharpness, mode, contest
        self.attention: Attention = attention
        self.feed_forward, self.scope_count, self.scope_mean = feed_forward, scope_count, scope_mean
        self.scope: Scope = scope
        self.attention_blocks = attention_blocks

    @classmethod
    def build(cls, settings: ClipPatchSettings, *, classes: ClassList, seed: int) -> Self:
        """CLIP with its own weights; `seed` changes nothing."""
        del seed
        for template in settings.templates:
            if "{name}" not in template:
                raise UserError(f"generator.templates: {template!r} has no place for the class; write {{name}} in it")
        clip = FrozenClip.load(settings.start)
        options = {name: getattr(settings, name) for name in OPTIONS}
        with torch.no_grad():
            return cls(
                tower_of(clip),
                target_KE=clip.encode_words(classes.prompts, settings.templates),
                background_ME=clip.encode_words(_others(settings.backgrounds, classes), settings.templates),
                sharpness=float(clip.model.logit_scale.exp()) if settings.sharpness == "own" else settings.sharpness,
                **options,
            )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, num_classes: int) -> Self:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        options = {key: value for key, value in config.items() if key not in ("vision", "backgrounds")}
        with torch.random.fork_rng(devices=[]):
            tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**config["vision"]))
        width = tower.config.projection_dim
        texts = torch.zeros(num_classes, width), torch.zeros(int(config["backgrounds"]), width)
        return cls(tower, target_KE=texts[0], background_ME=texts[1], **options)

    def config_dict(self) -> dict[str, Any]:
        """Plain data for `from_config`."""
        known = {name: getattr(self.tower.config, name) for name in VISION}
        return {"vision": known, "backgrounds": len(self.backgrounds), **self._options}  # type: ignore[arg-type]

    def normalisation(self, settings: GeneratorSettings) -> tuple[RGB, RGB]:
        """CLIP's own. Raises UserError where the settings ask for another."""
        usual = GeneratorSettings()
        if (settings.mean, settings.std) not in ((usual.mean, usual.std), (CLIP_MEAN, CLIP_STD)):
            raise UserError(f"generator.mean, generator.std: CLIP brings its own, {CLIP_MEAN} and {CLIP_STD}")
        return CLIP_MEAN, CLIP_STD

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode."""
        return super().train(False)

    # ------------------------------------------------------------------------------------------------------- CAMs

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """CAMs (P,h,w) in 0..1: of every patch the probability of the class among those that compete with it."""
        with torch.no_grad():
            patches = self._before_last(image_B3HW)
            if self.mode == "gradient":
                return self._by_gradient(patches, pairs).unflatten(1, patches.grid)
            region_BN = self._regions(image_B3HW, patches)
            logits_BNJ = self.sharpness * self.features(patches, region_BN) @ self._texts.t()
            share_PN = self._share(logits_BNJ[pairs.photo], pairs)
            if region_BN is not None and self.scope_mean and len(pairs):
                share_PN = _region_means(share_PN, region_BN[pairs.photo])
        return share_PN.unflatten(1, patches.grid)

    @property
    def _texts(self) -> Tensor:
        """Texts of classes, then of backgrounds (K+M,E)."""
        return torch.cat([self.targets, self.backgrounds])  # type: ignore[list-item]

    def _share(self, logits_PNJ: Tensor, pairs: Pairs) -> Tensor:
        """Softmax share (P,N) of each pair's class among backgrounds and the classes that compete."""
        keep_PJ = self._competing(pairs)
        shares_PNJ = logits_PNJ.masked_fill(~keep_PJ[:, None], -math.inf).softmax(dim=-1)
        return shares_PNJ.gather(2, pairs.label[:, None, None].expand(-1, shares_PNJ.shape[1], 1))[..., 0]

    def _competing(self, pairs: Pairs) -> Tensor:
        """(P,K+M) bool: backgrounds, and the photo's present classes or all."""
        P, K = len(pairs), self.num_classes
        keep_PJ = torch.ones(P, K + len(self.backgrounds), dtype=torch.bool, device=pairs.label.device)  # type: ignore[arg-type]
        if self.contest == "present":
            same_PP = pairs.photo[:, None] == pairs.photo[None]
            keep_PJ[:, :K] = (
                torch.zeros(P, K, device=pairs.label.device)
                .index_add_(1, pairs.label, same_PP.to(torch.float32))
                .bool()
            )
        return keep_PJ

    # --------------------------------------------------------------------------------------------------- the tower

    def _embed(self, image_B3HW: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with positions (B,T,C), and the grid."""
        embeddings = self.tower.vision_model.embeddings
        patches_BChw = embeddings.patch_embedding(image_B3HW)
        B, _, h, w = patches_BChw.shape
        class_B1C = embeddings.class_embedding.expand(B, 1, -1)
        tokens_BTC = torch.cat([class_B1C, patches_BChw.flatten(2).transpose(1, 2)], dim=1)
        return tokens_BTC + positions(embeddings.position_embedding.weight, h, w), (int(h), int(w))

    def _before_last(self, image_B3HW: Tensor) -> Patches:
        tower = self.tower.vision_model
        tokens_BTC, grid = self._embed(image_B3HW)
        hidden_BTC = tower.pre_layrnorm(tokens_BTC)
        for layer in tower.encoder.layers[:-1]:
            hidden_BTC = layer(hidden_BTC, None)
        return Patches(hidden_BTC, grid)

    def features(self, patches: Patches, region_BN: Tensor | None = None) -> Tensor:
        """L2-normalised features (B,N,E) of the patches by the changed last block."""
        hidden_BTC = self._last(patches.hidden, region_BN)
        projected = self.tower.visual_projection(self.tower.vision_model.post_layernorm(hidden_BTC[:, 1:]))
        return F.normalize(projected, dim=-1)

    def _last(self, hidden_BTC: Tensor, region_BN: Tensor | None) -> Tensor:
        """Output (B,T,C) of the last block with the attention of the settings."""
        layer = self.tower.vision_model.encoder.layers[-1]
        attention = layer.self_attn
        normed_BTC = layer.layer_norm1(hidden_BTC)
        parts = {name: _heads(getattr(attention, f"{name}_proj")(normed_BTC), attention) for name in "qkv"}
        left, right = (parts[name] for name in self.attention)
        mask = None if region_BN is None else _same_region(region_BN)[:, None]
        mixed = F.scaled_dot_product_attention(left, right, parts["v"], attn_mask=mask, scale=attention.scale)
        branch_BTC = attention.out_proj(mixed.transpose(1, 2).flatten(2))
        if not self.feed_forward:
            return branch_BTC
        hidden_BTC = hidden_BTC + branch_BTC
        return hidden_BTC + layer.mlp(layer.layer_norm2(hidden_BTC))

    def _regions(self, image_B3HW: Tensor, patches: Patches) -> Tensor | None:
        """Region (B,N) of every patch, numbers from 0; None without a scope."""
        if self.scope == "none":
            return None
        if self.scope == "clusters":
            return torch.stack([clusters(one[1:], count=self.scope_count) for one in patches.hidden])
        h, w = (cells * self.patch_size for cells in patches.grid)  # what is left of whole patches is not seen
        photos = [pixels_of(one[:, :h, :w], mean=self.mean, std=self.std) for one in image_B3HW]
        regions = [superpixels(photo, grid=patches.grid, count=self.scope_count) for photo in photos]
        return torch.stack(regions).to(image_B3HW.device)

    def _by_gradient(self, patches: Patches, pairs: Pairs) -> Tensor:
        """(P,N): relu Σ_c w_c F_c, w the mean over patches of ∂ share of the class / ∂ F, F before the last block."""
        tower, N = self.tower.vision_model, patches.grid[0] * patches.grid[1]
        cams = [patches.hidden.new_zeros(0, N)]
        keep_PJ = self._competing(pairs)
        for start in range(0, len(pairs), PAIRS):
            rows = slice(start, start + PAIRS)
            with torch.enable_grad():
                hidden_pTC = patches.hidden[pairs.photo[rows]].detach().requires_grad_()
                output_pC = tower.encoder.layers[-1](hidden_pTC, None)[:, 0]
                feature_pE = F.normalize(self.tower.visual_projection(tower.post_layernorm(output_pC)), dim=-1)
                logits_pJ = (self.sharpness * feature_pE @ self._texts.t()).masked_fill(~keep_PJ[rows], -math.inf)
                share_p = logits_pJ.softmax(dim=-1).gather(1, pairs.label[rows, None])[:, 0]
                (gradient_pTC,) = torch.autograd.grad(share_p.sum(), hidden_pTC)
            weight_pC = gradient_pTC[:, 1:].mean(dim=1)
            cams.append(F.relu(torch.einsum("ptc,pc->pt", hidden_pTC.detach()[:, 1:], weight_pC)))
        return torch.cat(cams)

    @torch.no_grad()
    def patch_attention(self, image_B3HW: Tensor) -> Tensor:
        """Attention between patches (B,N,N), mean over heads and the last `attention_blocks`; rows from, columns to
        (CLIP-ES sec. 3.3)."""
        tower = self.tower.vision_model
        tokens_BTC, _ = self._embed(image_B3HW)
        hidden_BTC, maps = tower.pre_layrnorm(tokens_BTC), []
        layers = list(tower.encoder.layers)
        for index, layer in enumerate(layers):
            if index >= len(layers) - self.attention_blocks:
                attention, normed_BTC = layer.self_attn, layer.layer_norm1(hidden_BTC)
                q, k = (_heads(project(normed_BTC), attention) for project in (attention.q_proj, attention.k_proj))
                maps.append((q @ k.transpose(-2, -1) * attention.scale).softmax(dim=-1).mean(dim=1))
            hidden_BTC = layer(hidden_BTC, None)
        return torch.stack(maps).mean(dim=0)[:, 1:, 1:]


OPTIONS = (
    "mode",
    "attention",
    "feed_forward",
    "scope",
    "scope_count",
    "scope_mean",
    "contest",
    "attention_blocks",
)  # settings that are options of the network by the same name
VISION = (
    "hidden_size",
    "intermediate_size",
    "projection_dim",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)  # what a CLIP image tower is built from


def positions(weight_TC: Tensor, h: int, w: int) -> Tensor:
    """Position embeddings (1+h·w,C): the class token's, and the square grid's resized bicubically."""
    side = round((len(weight_TC) - 1) ** 0.5)
    if (h, w) == (side, side):
        return weight_TC
    grid_1Css = weight_TC[1:].t().reshape(1, -1, side, side)
    resized = F.interpolate(grid_1Css, size=(h, w), mode="bicubic", align_corners=False)[0]
    return torch.cat([weight_TC[:1], resized.flatten(1).t()])


def _heads(x_BTC: Tensor, attention: Any) -> Tensor:
    return x_BTC.unflatten(2, (-1, attention.head_dim)).transpose(1, 2)


def _same_region(region_BN: Tensor) -> Tensor:
    """(B,T,T) bool: a patch attends to those of its region, the class token to all."""
    B, N = region_BN.shape
    mask_BTT = torch.ones(B, N + 1, N + 1, dtype=torch.bool, device=region_BN.device)
    mask_BTT[:, 1:, 0] = False
    mask_BTT[:, 1:, 1:] = region_BN[:, :, None] == region_BN[:, None]
    return mask_BTT


def _region_means(values_PN: Tensor, region_PN: Tensor) -> Tensor:
    """Every patch's value replaced by the mean of its region."""
    count = int(region_PN.max()) + 1
    sums = values_PN.new_zeros(len(values_PN), count).scatter_add_(1, region_PN, values_PN)
    sizes = values_PN.new_zeros(len(values_PN), count).scatter_add_(1, region_PN, torch.ones_like(values_PN))
    return (sums / sizes.clamp_min(1)).gather(1, region_PN)


def _others(words: Sequence[str], classes: ClassList) -> list[str]:
    """Background words but those that a class is called."""
    taken = {word.casefold() for word in (*classes.names, *classes.prompts)}
    return [word for word in words if word and word.casefold() not in taken]


def tower_of(clip: FrozenClip) -> nn.Module:
    """CLIP's image tower with its projection, sharing the weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    vision = clip.model.config.vision_config
    known = {name: getattr(vision, name) for name in VISION} | {"projection_dim": clip.model.config.projection_dim}
    with torch.device("meta"):
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(**known))
    tower.vision_model, tower.visual_projection = clip.model.vision_model, clip.model.visual_projection
    return tower


class TextScores:
    """Cosines of CLIP's patches with texts of classes and backgrounds (`cams.make.PatchScores`).

    mean, std: what the photos given are normalised with. text_JE: L2-normalised features of the texts.
    """

    def __init__(self, clip: FrozenClip, text_JE: Tensor, *, mean: RGB, std: RGB) -> None:
        none = text_JE.new_zeros(0, text_JE.shape[1])
        self.network = ClipPatches(tower_of(clip), target_KE=text_JE, background_ME=none, sharpness=1.0)
        self.network.to(text_JE.device)
        self.factor = torch.tensor(std, device=text_JE.device) / torch.tensor(CLIP_STD, device=text_JE.device)
        self.shift = (torch.tensor(mean) - torch.tensor(CLIP_MEAN)).to(text_JE.device) / torch.tensor(
            CLIP_STD, device=text_JE.device
        )

    @torch.no_grad()
    def __call__(self, image_B3HW: Tensor, grid: tuple[int, int]) -> Tensor:
        """Cosines (B,J,h,w), bilinear at the grid."""
        image_B3HW = image_B3HW * self.factor[:, None, None] + self.shift[:, None, None]
        patches = self.network._before_last(image_B3HW)
        cosine_BJN = (self.network.features(patches) @ self.network.targets.t()).transpose(1, 2)  # type: ignore[operator]
        cosine_BJhw = cosine_BJN.unflatten(2, patches.grid)
        return F.interpolate(cosine_BJhw, size=grid, mode="bilinear", align_corners=False)

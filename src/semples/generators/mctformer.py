"""MCTformer, version 2: a ViT with one class token per class and a classifier on its patches (arXiv 2203.02891).

    A = Σ over the last blocks of the class tokens' attention to the patches, mean over heads     (K,N)
    C = relu of the patch classifier's map                                                        (K,N)
    F = [A] ⊙ [C],   [x] = (x - min) / (max - min) per class
    CAM = F Pᵀ,      P = attention between patches, mean over heads and all blocks                (N,N)

Scaled again over the whole photo, as every CAM is (`cams.make`).

Trained by two multi-label soft-margin losses: on the mean over channels of each class token, and on the patch logits.
Built from the paper's equations; whether the published program applies the final norm is not said there, and it is left
out as in WeakTr, which builds on it.

Shape suffixes: B images, K classes, N = h·w patches, T = K + N tokens, C channels, H heads, L blocks, P (image, present
class) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError, note
from semples.data.classes import ClassList
from semples.generators.base import soft_margin_loss
from semples.generators.class_tokens import ClassTokenVit
from semples.networks.attention import attend, fuse_maps
from semples.networks.logits import ranked_mean
from semples.networks.pairs import Pairs
from semples.networks.vit import Tokens, VitConfig
from semples.networks.vit_files import for_photos_of, read_vit
from semples.networks.vit_start import from_classifier, initialise, random_config
from semples.networks.weights import Weights, find_weights, load_strictly
from semples.settings.generators import MctFormerSettings

TINY = 1e-5
PARTS = ("pos_embed_cls", "pos_embed_pat")  # a checkpoint may keep positions of class tokens and patches apart


class MctFormer(ClassTokenVit):
    """MCTformer (version 2): a ViT with a token per class and a patch classifier, CAMs spread along its attention.

    Matching and refinement train the patch classifier (`head`) alone. Parameter names are those of the usual ViT.
    """

    Settings = MctFormerSettings

    def __init__(
        self,
        config: VitConfig,
        *,
        num_classes: int,
        drop_path: float = 0.1,
        last_blocks: int = 3,
        pooling: Literal["mean", "rank"] = "mean",
        rank_decay: float = 0.996,
        refine: bool = True,
    ) -> None:
        super().__init__(
            config,
            num_classes=num_classes,
            drop_path=drop_path,
            token_pooling="avg",
            options={"last_blocks": last_blocks, "pooling": pooling, "rank_decay": rank_decay, "refine": refine},
        )
        self.last_blocks = min(last_blocks, config.depth)
        self.pooling, self.rank_decay, self.refine = pooling, rank_decay, refine

    def train_parameters(self) -> Iterator[nn.Parameter]:
        """`head`, the patch classifier."""
        yield from self.head.parameters()

    # ------------------------------------------------------------------------------------------------ construction

    @classmethod
    def build(cls, settings: MctFormerSettings, *, classes: ClassList, seed: int) -> Self:
        """With the start weights of the settings: an ImageNet classifier, an MCTformer checkpoint, or `random`."""
        state: dict[str, Tensor] = {}
        whole = False
        if settings.start == "random":
            config = random_config(settings)
        else:
            weights = find_weights(settings.start)
            whole = is_checkpoint(weights.state, where=settings.start)
            if whole:
                config, state = _checkpoint(weights, settings, num_classes=len(classes))
            else:
                file = read_vit(weights, where=settings.start, width=settings.width, heads=settings.heads)
                for doubt in file.doubts:
                    note(doubt)
                config, state = file.config, for_photos_of(file, mean=settings.mean, std=settings.std)
        options = {name: getattr(settings, name) for name in ("drop_path", "last_blocks", "pooling", "rank_decay")}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = cls(config, num_classes=len(classes), refine=settings.refine, **options)
            initialise(made)
        if state:
            load_strictly(made, state if whole else from_classifier(state, made), where=settings.start)
        return made

    # ------------------------------------------------------------------------------------------------------- CAMs

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """CAMs (P,h,w) in 0..1 of the present pairs, differentiable in `head` only."""
        keep_maps = self._keeps_maps(image_B3HW)
        with torch.no_grad():
            tokens = self._tokens(image_B3HW, noise_BZ, keep_maps=keep_maps)
        h, w = tokens.grid
        if len(pairs) == 0:
            return image_B3HW.new_zeros(0, h, w)
        patch_cam_PN = F.relu(self._patch_logits(tokens)).flatten(2)[pairs.photo, pairs.label]
        fused_PN = _scaled(self._class_attention(tokens, pairs)) * _scaled(patch_cam_PN)
        if self.refine:
            fused_PN = self._spread(tokens, fused_PN, pairs)
        return fused_PN.unflatten(1, (h, w))

    def _class_attention(self, tokens: Tokens, pairs: Pairs) -> Tensor:
        """A (P,N): attention of each pair's class token to the patches, over the last blocks."""
        K, N = self.num_classes, tokens.grid[0] * tokens.grid[1]
        if tokens.attention:
            maps = tokens.attention[-self.last_blocks :]
            return torch.stack([one[pairs.photo, :, pairs.label, K:].mean(dim=1) for one in maps]).sum(dim=0)
        rows = []
        for q, k in zip(tokens.queries[-self.last_blocks :], tokens.keys[-self.last_blocks :], strict=True):
            logits_PHT = torch.einsum("phd,phtd->pht", q[pairs.photo, :, pairs.label], k[pairs.photo])
            rows.append(logits_PHT.softmax(dim=-1).mean(dim=1)[:, K : K + N])
        return torch.stack(rows).sum(dim=0)

    def _spread(self, tokens: Tokens, cam_PN: Tensor, pairs: Pairs) -> Tensor:
        """(P,N): every patch gets what the patches hold that it attends to."""
        K = self.num_classes
        if tokens.attention:
            patches_BNN = self._fused(tokens)[:, K:, K:]
            return torch.bmm(patches_BNN[pairs.photo], cam_PN.unsqueeze(2)).squeeze(2)
        heads, depth = self.config.heads, self.config.depth
        weight_H11 = cam_PN.new_full((heads, 1, 1), 1 / (heads * depth))
        spread_PN = torch.empty_like(cam_PN)
        for photo in pairs.photo.unique().tolist():
            mine = pairs.photo == photo
            value_Tp = F.pad(cam_PN[mine].t(), (0, 0, K, self.config.registers))
            layers = zip(tokens.queries, tokens.keys, strict=True)
            parts = [attend(q[photo, :, K:], k[photo], value_Tp, weight_H11) for q, k in layers]
            spread_PN[mine] = torch.stack(parts).sum(dim=0).t()
        return spread_PN

    def _fused(self, tokens: Tokens) -> Tensor:
        """Attention (B,T,T), the mean over heads and blocks."""
        B, heads = tokens.attention[0].shape[:2]
        return fuse_maps(tokens.attention, tokens.last.new_ones(B, heads, self.config.depth))

    @torch.no_grad()
    def patch_attention(self, image_B3HW: Tensor) -> Tensor:
        """P (B,N,N): attention between patches, rows from, columns to."""
        tokens = self._tokens(image_B3HW, None, keep_maps=True)
        return self._fused(tokens)[:, self.num_classes :, self.num_classes :]

    # ---------------------------------------------------------------------------------------------------- warm-up

    def logits(self, image_B3HW: Tensor, *, noise_BZ: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Class logits (B,K) of the class tokens, and of the patches."""
        tokens = self._tokens(image_B3HW, noise_BZ, keep_maps=False)
        maps_BKN = self._patch_logits(tokens).flatten(2)
        patch_BK = maps_BKN.mean(dim=2) if self.pooling == "mean" else ranked_mean(maps_BKN, decay=self.rank_decay)
        return tokens.last[:, : self.num_classes].mean(dim=-1), patch_BK

    def classification_loss(
        self,
        image_B3HW: Tensor,
        tags_BK: Tensor,
        *,
        noise_BZ: Tensor | None = None,
        open_BK: Tensor | None = None,
    ) -> Tensor:
        """Sum of two multi-label soft-margin losses, on class-token and patch logits, per photo (B,)."""
        token_BK, patch_BK = self.logits(image_B3HW, noise_BZ=noise_BZ)
        return soft_margin_loss(token_BK, tags_BK, open_BK) + soft_margin_loss(patch_BK, tags_BK, open_BK)


def _scaled(values_PN: Tensor) -> Tensor:
    """Each row to 0..1; a row of one value to 0."""
    low = values_PN.amin(dim=1, keepdim=True)
    span = values_PN.amax(dim=1, keepdim=True) - low
    return (values_PN - low) / span.clamp_min(TINY * values_PN.detach().abs().amax(dim=1, keepdim=True).clamp_min(TINY))


# ------------------------------------------------------------------------------------------------- published files


def is_checkpoint(state: Mapping[str, Tensor], *, where: str) -> bool:
    """Whether the tensors are those of a whole MCTformer: several class tokens, and a patch classifier.

    Raises UserError for other networks with several class tokens.
    """
    token = state.get("cls_token")
    if token is None or token.ndim != 3 or token.shape[1] == 1:
        return False
    if any(name.startswith("adaptive_attention_fusion.") for name in state):
        raise UserError(f"{where}: a WeakTr checkpoint; choose generator.kind=weaktr")
    head = state.get("head.weight")
    if head is None or head.ndim != 4:
        raise UserError(
            f"{where}: {token.shape[1]} class tokens but no classifier on patches (head.weight, K x C x 3 x 3): "
            "MCTformer's version 1, perhaps; version 2 is built here"
        )
    return True


def _checkpoint(
    weights: Weights, settings: MctFormerSettings, *, num_classes: int
) -> tuple[VitConfig, dict[str, Tensor]]:
    """Architecture and tensors of a published checkpoint; what is missing or surplus shows when they are loaded."""
    where, state = settings.start, {name: value.float() for name, value in weights.state.items()}
    if state["cls_token"].shape[1] != num_classes:
        raise UserError(f"{where}: trained for {state['cls_token'].shape[1]} classes, the photos have {num_classes}")
    if all(name in state for name in PARTS):
        state["pos_embed"] = torch.cat([state.pop(name) for name in PARTS], dim=1)
    needed = ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight")
    missing = next((name for name in needed if name not in state), None)
    if missing is not None:
        raise UserError(f"{where}: weights do not fit the model: missing {missing}")
    width, _, patch, _ = (int(length) for length in state["patch_embed.proj.weight"].shape)
    heads = weights.config.get("heads", settings.heads if width == settings.width else None)
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise UserError(
            f"{where}: a width of {width} whose number of heads stands nowhere; say both: --set "
            f"generator.width={width} --set generator.heads=NUMBER"
        )
    side = round(max(0, state["pos_embed"].shape[1] - num_classes) ** 0.5)
    depth = sum(name.startswith("blocks.") and name.endswith(".attn.qkv.weight") for name in state)
    # The final norm is not applied, so that a file without one is whole.
    for name, value in (("norm.weight", torch.ones(width)), ("norm.bias", torch.zeros(width))):
        state.setdefault(name, value)
    config = VitConfig(
        patch_size=patch,
        width=width,
        depth=depth,
        heads=heads,
        mlp_ratio=state["blocks.0.mlp.fc1.weight"].shape[0] / width,
        image_size=side * patch,
    )
    return config, state

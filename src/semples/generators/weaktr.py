"""WeakTr: a vision transformer with one class token per class and adaptive attention fusion (arXiv 2304.01184).

Shape suffixes: B images, K classes, N = h·w patches, T = K + N tokens, C channels, H heads, D = C / H, L blocks,
P (image, present class) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semples.core.errors import UserError
from semples.data.classes import ClassList
from semples.generators.base import soft_margin_loss
from semples.generators.class_tokens import ClassTokenVit
from semples.generators.weaktr_files import is_weaktr, start_of
from semples.networks.attention import attend, fuse_maps
from semples.networks.pairs import Pairs
from semples.networks.vit import Tokens, VitConfig
from semples.networks.vit_start import from_classifier, initialise
from semples.networks.weights import find_weights, load_strictly
from semples.recipe import WeakTrSettings

DEFAULT_SIDE = 224  # of a view, where neither the settings nor the start weights tell one


class AdaptiveAttentionFusion(nn.Module):
    """One weight in (0,1) for each of the H·L attention heads, from pooled attention features (WeakTr sec. 3.2).

    The H·L axis is head-major: index = head · L + block. In a feature vector the head is the *last* axis: channel
    c = i · H + head.
    """

    def __init__(self, *, heads: int, depth: int, head_dim: int, head_reduction: int, feature_reduction: int) -> None:
        super().__init__()
        maps = heads * depth
        self.heads, self.depth = heads, depth
        self.attn_head_ffn = nn.Sequential(
            nn.Linear(maps, max(1, maps // head_reduction), bias=False),
            nn.ReLU(),
            nn.Linear(max(1, maps // head_reduction), maps, bias=False),
            nn.Sigmoid(),
        )
        self.attn_feat_ffn = nn.Sequential(
            nn.Linear(head_dim, max(1, head_dim // feature_reduction)),
            nn.Linear(max(1, head_dim // feature_reduction), 1),
        )

    def forward(self, pooled: list[Tensor]) -> Tensor:
        """L pooled features (B,C) -> weights (B,H,L)."""
        features_BHLD = torch.stack([x.unflatten(1, (-1, self.heads)).transpose(1, 2) for x in pooled], dim=2)
        score_BM = self.attn_feat_ffn(features_BHLD.flatten(1, 2)).squeeze(-1)
        return self.attn_head_ffn(score_BM).unflatten(1, (self.heads, self.depth))


@dataclass
class WeakTrOutput:
    """Everything of one forward pass over all classes.

    token_logits, coarse_logits, fine_logits: (B,K). coarse: (B,K,h,w), before the ReLU. cams: (B,K,h,w), before the
    patch-to-patch step. patch_attention: (B,N,N), S; row i says how much patch i takes from every other.
    head_weights: (B,H,L).
    """

    token_logits: Tensor
    coarse_logits: Tensor
    fine_logits: Tensor
    coarse: Tensor
    cams: Tensor
    patch_attention: Tensor
    head_weights: Tensor


class WeakTr(ClassTokenVit):
    """WeakTr: a ViT with a token per class and adaptive attention fusion; the generator of SemPLeS.

    Parameter names are those of the published checkpoints.
    """

    Settings = WeakTrSettings

    def __init__(
        self,
        config: VitConfig,
        *,
        num_classes: int,
        drop_path: float = 0.1,
        pooling: str = "max",
        head_reduction: int = 8,
        feature_reduction: int = 8,
        attention: str = "fused",
        refine: bool = True,
    ) -> None:
        super().__init__(
            config,
            num_classes=num_classes,
            drop_path=drop_path,
            token_pooling=pooling,
            options={
                "pooling": pooling,
                "head_reduction": head_reduction,
                "feature_reduction": feature_reduction,
                "attention": attention,
                "refine": refine,
            },
        )
        self.pooling = pooling
        self.attention = attention
        self.refine = refine
        self.adaptive_attention_fusion = AdaptiveAttentionFusion(
            heads=config.heads,
            depth=config.depth,
            head_dim=config.width // config.heads,
            head_reduction=head_reduction,
            feature_reduction=feature_reduction,
        )

    def train_parameters(self) -> Iterator[nn.Parameter]:
        """`head` and `adaptive_attention_fusion`: the only parts that matching and refinement train."""
        yield from self.head.parameters()
        yield from self.adaptive_attention_fusion.parameters()

    # ------------------------------------------------------------------------------------------------ construction

    @classmethod
    def build(cls, settings: WeakTrSettings, *, classes: ClassList, seed: int) -> Self:
        """With the start weights of the settings: an ImageNet classifier, a WeakTr checkpoint, or `random`."""
        weights = None if settings.start == "random" else find_weights(settings.start)
        architecture: dict[str, Any] = {
            "patch_size": settings.patch_size,
            "width": settings.width,
            "depth": settings.depth,
            "heads": settings.heads,
            "image_size": DEFAULT_SIDE if settings.image_size == "auto" else settings.image_size,
        }
        state: dict[str, Tensor] = {}
        if weights is not None:
            fixed, state = start_of(weights, settings, num_classes=len(classes))
            architecture |= fixed
            if settings.image_size != "auto":
                architecture["image_size"] = settings.image_size
        width, heads = architecture["width"], architecture["heads"]
        if width % heads:
            raise UserError(f"generator.width {width} is not a multiple of generator.heads {heads}")
        side, patch = architecture["image_size"], architecture["patch_size"]
        if side < patch:
            raise UserError(f"generator.image_size {side} is smaller than a patch of {patch}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = cls(
                VitConfig(**architecture),
                num_classes=len(classes),
                drop_path=settings.drop_path,
                pooling=settings.pooling,
                head_reduction=settings.head_reduction,
                feature_reduction=settings.feature_reduction,
                attention=settings.attention,
                refine=settings.refine,
            )
            initialise(model)
        if weights is not None:
            if not is_weaktr(state):
                state = from_classifier(state, model)
            load_strictly(model, state, where=settings.start)
        return model

    # ------------------------------------------------------------------------------------------------------- CAMs

    def cams(self, image_B3HW: Tensor, pairs: Pairs, *, noise_BZ: Tensor | None = None) -> Tensor:
        """Fine CAMs (P,h,w) of the present pairs. Patch features entering `head` are detached (SemPLeS sec. 3.2)."""
        keep_maps = self._keeps_maps(image_B3HW)
        with torch.no_grad():
            tokens = self._tokens(image_B3HW, noise_BZ, keep_maps=keep_maps)
        h, w = tokens.grid
        if len(pairs) == 0:
            return image_B3HW.new_zeros(0, h, w)
        weights_BHL = self.adaptive_attention_fusion(tokens.pooled)
        patch_cam_PN = F.relu(self._patch_logits(tokens)).flatten(2)[pairs.photo, pairs.label]
        fuse = self._fine_from_maps if keep_maps else self._fine_streamed
        return fuse(tokens, weights_BHL, patch_cam_PN, pairs).unflatten(1, (h, w))

    def _combine(self, class_to_patch: Tensor, patch_cam: Tensor) -> Tensor:
        if self.attention == "patchcam":
            return patch_cam
        return class_to_patch if self.attention == "transcam" else class_to_patch * patch_cam

    def _fine_from_maps(self, tokens: Tokens, weights_BHL: Tensor, patch_cam_PN: Tensor, pairs: Pairs) -> Tensor:
        """(P,N) through the fused attention of every photo: differentiable in the head weights."""
        fused_BTT = fuse_maps(tokens.attention, weights_BHL)
        cam_PN = self._combine(fused_BTT[pairs.photo, pairs.label, self.num_classes :], patch_cam_PN)
        if not self.refine:
            return cam_PN
        patch_attention_PNN = fused_BTT[:, self.num_classes :, self.num_classes :][pairs.photo]
        return torch.bmm(patch_attention_PNN, cam_PN.unsqueeze(2)).squeeze(2)

    def _fine_streamed(self, tokens: Tokens, weights_BHL: Tensor, patch_cam_PN: Tensor, pairs: Pairs) -> Tensor:
        """The same numbers without ever forming an attention map: for large photos."""
        fine_PN = torch.empty_like(patch_cam_PN)
        for photo in pairs.photo.unique().tolist():
            mine = pairs.photo == photo
            layers = [
                (q[photo], k[photo], weights_BHL[photo, :, index, None, None] / weights_BHL[photo].numel())
                for index, (q, k) in enumerate(zip(tokens.queries, tokens.keys, strict=True))
            ]
            fine_pN = self._fine_of_photo(layers, pairs.label[mine], patch_cam_PN[mine])
            fine_PN[mine] = fine_pN.to(fine_PN.dtype)
        return fine_PN

    def _fine_of_photo(
        self, layers: list[tuple[Tensor, Tensor, Tensor]], labels_p: Tensor, patch_cam_pN: Tensor
    ) -> Tensor:
        """(p,N) of one photo's present classes; layers: queries, keys (H,T,D) and weights (H,1,1) of every block."""
        K, N = self.num_classes, patch_cam_pN.shape[1]
        cam_pN = patch_cam_pN
        if self.attention != "patchcam":
            rows = [((q[:, labels_p] @ k.transpose(1, 2)).softmax(dim=-1) * w).sum(dim=0) for q, k, w in layers]
            cam_pN = self._combine(torch.stack(rows).sum(dim=0)[:, K : K + N], patch_cam_pN)
        if not self.refine:
            return cam_pN
        registers = self.config.registers
        value_Tp = F.pad(cam_pN.t(), (0, 0, K, registers))
        return sum(attend(q[:, K:], k, value_Tp, w) for q, k, w in layers).t()  # type: ignore[union-attr]

    @torch.no_grad()
    def patch_attention(self, image_B3HW: Tensor) -> Tensor:
        """Fused attention between patches (B,N,N), rows from, columns to."""
        tokens = self._tokens(image_B3HW, None, keep_maps=True)
        fused_BTT = fuse_maps(tokens.attention, self.adaptive_attention_fusion(tokens.pooled))
        return fused_BTT[:, self.num_classes :, self.num_classes :]

    # ---------------------------------------------------------------------------------------------------- warm-up

    def classification_loss(
        self,
        image_B3HW: Tensor,
        tags_BK: Tensor,
        *,
        noise_BZ: Tensor | None = None,
        open_BK: Tensor | None = None,
    ) -> Tensor:
        """Sum of three multi-label soft-margin losses, on token, coarse and fine logits, per photo (B,) (WeakTr)."""
        output = self(image_B3HW, noise_BZ=noise_BZ)
        logits = (output.token_logits, output.coarse_logits, output.fine_logits)
        losses = [soft_margin_loss(x, tags_BK, open_BK) for x in logits]
        return torch.stack(losses).sum(dim=0)

    def forward(self, image_B3HW: Tensor, *, noise_BZ: Tensor | None = None) -> WeakTrOutput:  # type: ignore[override]
        """All classes at once, differentiable in the backbone: warm-up and inspection.

        The coarse CAM inside the fine one is detached, attention maps and features are too: the fine logits teach
        the attention fusion only (WeakTr sec. 3.3).
        """
        tokens = self._tokens(image_B3HW, noise_BZ, keep_maps=True)
        K = self.num_classes
        weights_BHL = self.adaptive_attention_fusion(tokens.pooled)
        fused_BTT = fuse_maps(tokens.attention, weights_BHL)
        coarse_BKhw = self._patch_logits(tokens)
        class_to_patch_BKhw = fused_BTT[:, :K, K:].unflatten(2, tokens.grid)
        cams_BKhw = self._combine(class_to_patch_BKhw, F.relu(coarse_BKhw).detach())
        patch_attention_BNN = fused_BTT[:, K:, K:]
        # The spatial mean of S · CAM needs the column means of S only.
        patches = tokens.grid[0] * tokens.grid[1]
        given_BN = (
            patch_attention_BNN.mean(dim=1)
            if self.refine
            else fused_BTT.new_full((len(fused_BTT), patches), 1 / patches)
        )
        return WeakTrOutput(
            token_logits=tokens.last[:, :K].mean(dim=-1),
            coarse_logits=coarse_BKhw.mean(dim=(2, 3)),
            fine_logits=torch.einsum("bkn,bn->bk", cams_BKhw.flatten(2), given_BN),
            coarse=coarse_BKhw,
            cams=cams_BKhw,
            patch_attention=patch_attention_BNN,
            head_weights=weights_BHL,
        )

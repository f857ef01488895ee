"""SigLIP as the judge: class texts are targets, vectors in its token space the learned backgrounds (arXiv 2303.15343).

What takes the place of -log cos. SigLIP learns the probability of a pair as sigmoid(t cos + b), with t about 100 and b
about -10 to -17, so the pairs it calls true have cosines of 0.1 to 0.2 where CLIP's have 0.2 to 0.35. Likeness p is
that probability, softened: p = sigmoid(T cos + B). With attract = -log p, repel = -log(1 - p), separate = log p:

    d attract / d cos = -T (1 - p)     d repel / d cos = T p     d separate / d cos = T (1 - p)

CLIP's are -1 / cos, 1 / (1 - cos) and 1 / cos, of size 2.9 to 10 (attract) and 1.1 to 1.5 (repel) for cosines of 0.1 to
0.35. With the model's own T = t = 117 and B = b = -12.9, attract is 117 at cosine 0 and 0.3 at 0.16, and repel 0.0003
and 117: one term explodes while the other is dead, steps of 0.02 in the cosine turn one case into the other, and the
published weights of the losses mean nothing. So T is a setting and B follows from it: at the cosine c0 = -b / t, at
which the model itself is undecided, the likeness is q = `neutral_likeness`, what CLIP's cosine of true pairs is:

    p = sigmoid(T (cos - c0) + log(q / (1 - q)))

With T = 1 / (q (1 - q)), which is 5 for q = 0.28, p rises there by 1 for 1 of cosine: values and gradients of all three
losses are CLIP's at cos = q, so the published weights of the losses carry over. Farther off, gradients stay between 0
and T; CLIP's grow without end and are cut by a clamp, behind which there are none. All losses go through logsigmoid,
finite for every cosine. `temperature: own` is the model's own t and b.
"""

from __future__ import annotations

import contextlib
import copy
import math
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.core.schema import setting
from semples.data.classes import ClassList
from semples.data.transforms import RGB
from semples.judges.base import Judge, TextJudge, check_template
from semples.judges.losses import cosine
from semples.networks.hub import download
from semples.networks.pretrained import load_network, normalisation, read_config
from semples.networks.weights import local_source
from semples.recipe import JudgeSettings, PromptSettings

OWN_MEAN: RGB = (0.5, 0.5, 0.5)
OWN_STD: RGB = (0.5, 0.5, 0.5)
TOKENS, SPECIAL, PIECES = "tokenizer.json", "tokenizer_config.json", "spiece.model"
BATCH = 256  # texts a forward pass


@dataclass(frozen=True, kw_only=True)
class SiglipSettings(JudgeSettings):
    """A frozen SigLIP, or SigLIP 2 of a fixed size."""

    kind: str = setting("siglip", "name of the judge; `semples methods` lists them, module:Name is any other")
    model: str = setting(
        "google/siglip-base-patch16-224", "hub id or folder in transformers format", source="own choice", weights=True
    )
    normalisation: Literal["siglip", "generator"] = setting(
        "siglip", "mean and std of what SigLIP sees: its own or the generator's", source="SigLIP: its own"
    )
    class_template: str = setting(
        "a photo of {name}",
        "text of a class; SigLIP reads it in lower case without punctuation",
        source="SemPLeS sec. 3.2",
    )
    temperature: float | Literal["own"] = setting(
        5.0,
        "slope T of the likeness sigmoid(T (cos - c0) + log(q / (1 - q))); `own`: the model's own t and b",
        low=1e-3,
        high=1000,
        source="own derivation: 1 / (q (1 - q)), which gives the losses CLIP's gradients",
    )
    neutral_likeness: float = setting(
        0.28,
        "likeness q at the cosine c0 = -b / t, where the model itself is undecided",
        low=0.01,
        high=0.99,
        source="own choice: cosine of true pairs in CLIP, 0.2 to 0.35",
        unless=(("temperature", ("own",)),),
    )


class Siglip(TextJudge):
    """A frozen SigLIP: softened pair probabilities between views and the texts of the classes.

    slope, shift: T and B of the likeness sigmoid(T cos + B).
    """

    Settings = SiglipSettings

    def __init__(
        self,
        model: Any,
        tokens: SiglipTokens,
        target_KE: Tensor,
        *,
        template: str,
        slope: float,
        shift: float,
        mean: RGB | None = OWN_MEAN,
        std: RGB | None = OWN_STD,
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokens = tokens
        self.register_buffer("targets", target_KE)
        self.template = template
        self.image_size = int(model.config.vision_config.image_size)
        self.scale = float(model.logit_scale.exp())
        self.slope, self.shift = slope, shift
        self.mean, self.std = mean, std

    @classmethod
    def build(cls, settings: SiglipSettings, *, classes: ClassList) -> Self:
        check_template(settings.class_template, setting="judge.class_template")
        model = load_siglip(settings.model)
        tokens = SiglipTokens.of(settings.model, model.config.text_config)
        mean = std = None
        if settings.normalisation == "siglip":
            mean, std = normalisation(settings.model) or (OWN_MEAN, OWN_STD)
        slope, shift = softened(model, settings)
        width = model.config.text_config.projection_size
        judge = cls(
            model, tokens, torch.empty(0, width), template=settings.class_template, slope=slope, shift=shift,
            mean=mean, std=std,
        )  # fmt: skip
        with torch.no_grad():
            judge.targets = judge.encode_words(classes.prompts)
        return judge

    # ------------------------------------------------------------------------------------------------------- features

    def encode(self, view_n3SS: Tensor) -> Tensor:
        """Pooled by the model's own attention head; there is no class token."""
        return unit(self.model.vision_model(pixel_values=view_n3SS).pooler_output)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Padded to the model's 64 positions, padding attended, no causal mask, the last position pooled."""
        table = self.model.text_model.embeddings.token_embedding
        parts = []
        for start in range(0, len(texts), BATCH):
            ids = torch.tensor([self.tokens.padded(text) for text in texts[start : start + BATCH]], device=self.device)
            parts.append(self._encode_embedded(table(ids)))
        return torch.cat(parts)

    def _encode_embedded(self, embedded_nLW: Tensor) -> Tensor:
        """Features (n,E) of token embeddings of all L positions, without position embeddings."""
        tower = self.model.text_model
        hidden_nLW = tower.encoder(inputs_embeds=tower.embeddings(inputs_embeds=embedded_nLW)).last_hidden_state
        return unit(tower.head(tower.final_layer_norm(hidden_nLW[:, -1])))

    # ------------------------------------------------------------------------------------------------------- likeness

    def _logits(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        return self.slope * cosine(feature_PE, target_PE) + self.shift

    def likeness(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        """sigmoid(T cos + B), (P,) in 0..1."""
        return self._logits(feature_PE, target_PE).sigmoid()

    def attract(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        return -F.logsigmoid(self._logits(feature_PE, target_PE))

    def repel(self, feature_PE: Tensor, target_PE: Tensor) -> Tensor:
        return -F.logsigmoid(-self._logits(feature_PE, target_PE))

    def separate(self, background_PE: Tensor, target_PE: Tensor) -> Tensor:
        return F.logsigmoid(self._logits(background_PE, target_PE))

    # -------------------------------------------------------------------------------------------- learned backgrounds

    def start_backgrounds(self, settings: PromptSettings, *, seed: int) -> Tensor:
        """M vectors a class in token-embedding space, uniform in [0,1) (SemPLeS sec. 3.3). Raises UserError where they
        do not fit."""
        self._room(settings)
        shape = (len(self.targets), settings.length, self.model.config.text_config.hidden_size)
        return torch.rand(shape, generator=torch.Generator().manual_seed(seed))

    def encode_backgrounds(self, vector_nMW: Tensor, settings: PromptSettings) -> Tensor:
        """Text features of the prompts: context p_1..p_M [END], padded."""
        before, after = self._room(settings)
        table = self.model.text_model.embeddings.token_embedding
        fixed_LW = table(torch.tensor([*before, *after], device=vector_nMW.device)).to(vector_nMW.dtype)
        fixed_nLW = fixed_LW.expand(len(vector_nMW), -1, -1)
        place = len(before)
        return self._encode_embedded(torch.cat([fixed_nLW[:, :place], vector_nMW, fixed_nLW[:, place:]], dim=1))

    def _room(self, settings: PromptSettings) -> tuple[list[int], list[int]]:
        """Tokens before and behind the learned vectors, which fill the model's positions with them."""
        if settings.full_stop != PromptSettings().full_stop:
            raise UserError("prompts.full_stop: SigLIP reads no punctuation, so its prompts end without; leave it out")
        before = [*self.tokens.start, *self.tokens.pieces(settings.context)]
        left = self.tokens.positions - len(before) - settings.length - len(self.tokens.end)
        if left < 0:
            raise UserError(
                f"prompts.length {settings.length}: with its context and end a prompt has {-left} tokens more than "
                f"SigLIP's {self.tokens.positions} positions; set prompts.length {settings.length + left} or less"
            )
        return before, [*self.tokens.end, *[self.tokens.pad] * left]

    def lean(self) -> Judge:
        """Without the text tower."""
        model = copy.copy(self.model)
        model._modules = self.model._modules | {"text_model": None}
        lean = copy.copy(self)
        lean._modules = self._modules | {"model": model}
        return lean


def softened(model: Any, settings: SiglipSettings) -> tuple[float, float]:
    """T and B of the likeness sigmoid(T cos + B)."""
    t, b = float(model.logit_scale.exp()), float(model.logit_bias)
    if settings.temperature == "own":
        return t, b
    q, slope = settings.neutral_likeness, float(settings.temperature)
    return slope, slope * b / t + math.log(q / (1 - q))


def unit(features: Tensor) -> Tensor:
    """L2-normalised, at least in float32: a cosine in half precision has too few digits for the losses."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def load_siglip(source: str) -> Any:
    """transformers' SiglipModel of a hub id or folder, float32, frozen. Raises UserError."""
    from transformers import SiglipModel

    config = read_config(source, what="SigLIP")
    kind = getattr(config, "model_type", "")
    if kind == "siglip2":
        raise UserError(
            f"{source}: a SigLIP 2 of any size (NaFlex); take one of a fixed size, google/siglip2-base-patch16-224"
        )
    if kind != "siglip":
        raise UserError(f"{source}: a {kind} model, not SigLIP")
    vision, text = config.vision_config, config.text_config
    if not isinstance(vision.image_size, int) or not getattr(vision, "vision_use_head", True):  # older ones say nothing
        raise UserError(f"{source}: this SigLIP has no square input or no pooled image feature")
    if text.projection_size != vision.hidden_size:
        raise UserError(
            f"{source}: text features of {text.projection_size} numbers and image features of {vision.hidden_size} "
            "cannot be compared"
        )
    return load_network(source, SiglipModel, config, what="SigLIP")


# --------------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True)
class SiglipTokens:
    """Text to token ids as SigLIP was trained: lower case, no punctuation, padded.

    encode: the backend, text to ids without any special token. start, end: ids around every text; pad: id that fills
    the `positions`.
    """

    encode: Any
    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int
    positions: int

    @classmethod
    def of(cls, source: str, config: Any) -> Self:
        """The tokenizer of a folder or hub id; `config` is the text tower's. Raises UserError."""
        folder = local_source(source)
        if folder is None:
            folder = _downloaded(source)
        if (folder / TOKENS).is_file():
            made = cls._from_json(folder, config)
        elif (folder / PIECES).is_file():
            made = cls._from_pieces(folder / PIECES, config)
        else:
            raise UserError(f"{folder}: holds no tokenizer ({TOKENS} or {PIECES})")
        used = (*made.start, *made.end, made.pad)
        if not all(0 <= token < config.vocab_size for token in used):
            raise UserError(
                f"{folder}: the tokenizer has ids that the network's {config.vocab_size} tokens do not reach"
            )
        return made

    @classmethod
    def _from_json(cls, folder: Path, config: Any) -> Self:
        from tokenizers import Tokenizer

        path = folder / TOKENS
        read_json(path)  # a file that is no JSON ends here, with a line of its own
        try:
            backend = Tokenizer.from_file(str(path))
            backend.no_padding()
            backend.no_truncation()
            plain, whole = (backend.encode("a", add_special_tokens=special).ids for special in (False, True))
        except Exception as error:  # noqa: BLE001 (tokenizers raises nothing narrower)
            raise UserError(f"{path}: cannot be read as a tokenizer ({' '.join(str(error).split())[:150]})") from None
        if backend.get_vocab_size() > config.vocab_size:
            raise UserError(f"{path}: {backend.get_vocab_size()} tokens, but the network knows {config.vocab_size}")
        special = read_json(folder / SPECIAL) if (folder / SPECIAL).is_file() else {}
        ids = {name: backend.token_to_id(_content(special, f"{name}_token")) for name in ("eos", "pad")}
        at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        start, end = tuple(whole[:at]), tuple(whole[at + len(plain) :])
        if not end:  # the file's own rule adds none; SigLIP's texts have one
            last = ids["eos"] if ids["eos"] is not None else backend.token_to_id("</s>")
            end = () if last is None else (last,)
        pad = ids["pad"] if ids["pad"] is not None else config.pad_token_id
        if not end or pad is None:
            raise UserError(f"{folder}: {SPECIAL} names no eos_token and pad_token, which end and fill a text")

        def encode(text: str) -> list[int]:
            ids: list[int] = backend.encode(text, add_special_tokens=False).ids
            return ids

        return cls(encode, start, end, int(pad), int(config.max_position_embeddings))

    @classmethod
    def _from_pieces(cls, path: Path, config: Any) -> Self:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise UserError(
                f"{path.parent}: holds {PIECES} alone, which needs a package: pip install sentencepiece "
                f"(or put the model's {TOKENS} beside it)"
            ) from None
        try:
            backend = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError):
            raise UserError(f"{path}: cannot be read as a sentencepiece model") from None
        if backend.get_piece_size() > config.vocab_size:
            raise UserError(f"{path}: {backend.get_piece_size()} tokens, but the network knows {config.vocab_size}")
        end = backend.eos_id()
        return cls(backend.encode, (), (end,), end, int(config.max_position_embeddings))

    def pieces(self, text: str) -> list[int]:
        """Ids of the text alone, without end or padding."""
        return list(self.encode(clean(text)))

    def padded(self, text: str) -> list[int]:
        """Ids of a text, its end and the padding. Raises UserError for one that is too long."""
        ids = [*self.start, *self.pieces(text), *self.end]
        if len(ids) > self.positions:
            raise UserError(f"text of {len(ids)} tokens, at most {self.positions} fit: {text[:60]!r}")
        return ids + [self.pad] * (self.positions - len(ids))


def _downloaded(repo: str) -> Path:
    """The folder with the tokenizer files of a hub repository, which has either form, and perhaps a configuration."""
    try:
        folder = download(repo, TOKENS).parent
    except UserError as error:
        try:
            return download(repo, PIECES).parent
        except UserError:
            raise error from None
    with contextlib.suppress(UserError):
        download(repo, SPECIAL)
    return folder


def clean(text: str) -> str:
    """Lower case, without ASCII punctuation, white space folded, as SigLIP's authors prepare texts."""
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


def _content(special: Any, name: str) -> str:
    """The text of a special token as tokenizer_config.json has it, plain or as an object; "" for none."""
    token = special.get(name) if isinstance(special, dict) else None
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else ""

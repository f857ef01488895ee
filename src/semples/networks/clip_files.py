"""CLIP files as they are published, as transformers' configuration and tensors.

transformers    config.json + model.safetensors or pytorch_model.bin, in shards or whole: all is in the config
                (MetaCLIP 2: with its own tokenizer.json)
open_clip       open_clip_config.json + open_clip_model.safetensors or open_clip_pytorch_model.bin, or a single file
OpenAI          a single file with the state dict of the released archives (or of the loaded model)

The last two have the same tensor names, from which neither the activation nor the number of heads can be read:
OpenAI trained with QuickGELU, open_clip with GELU unless the name says quickgelu, and heads are 64 channels wide in
OpenAI's models, 80, 88, 104 or 112 in open_clip's large ones. They are taken from the config or from the name; where
neither tells, the file is refused. A wrong activation would load without a word and spoil every feature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.files import read_json
from semples.networks.hub import CONFIG, FORMS, NAMES, NotInRepository, download, snapshot
from semples.networks.tokenizer import FILES, FULL_VOCABULARY
from semples.networks.weights import local_source, read_tensors, weight_file

if TYPE_CHECKING:
    from torch import Tensor

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", *FORMS)
SCALARS = ("input_resolution", "context_length", "vocab_size")  # only OpenAI's archives hold these
HEAD_WIDTH = {"h": 80, "g": 88, "bigg": 104, "e": 112}  # of open_clip's image towers; all others 64
TEXT_HEAD_WIDTH = 64
QUICK_TAGS = ("quickgelu", "openai", "metaclip", "dfn2b", "dfn5b")  # trainings with QuickGELU
GELU_TAGS = ("laion", "datacomp", "commonpool")
CLIP, IN_PIECES = "clip", "metaclip_2"  # model_type of config.json
OTHER_MODELS = ("clipa", "worldwide", "roberta", "coca", "mt5", "nllb", "siglip", "eva")


@dataclass(frozen=True)
class ClipFile:
    """CLIP as transformers has it: a CLIPConfig, tensors by name (float32), what it is called in messages, and the
    folder that may hold its tokenizer. in_pieces: its texts are cut into word pieces by that tokenizer."""

    config: Any
    state: dict[str, Tensor]
    where: str
    folder: Path | None = None
    in_pieces: bool = False


def read_clip(source: str) -> ClipFile:
    """Read CLIP by hub id, folder or file. Raises UserError where it is no CLIP, or one that cannot be told exactly."""
    path = local_source(source) or _hub_folder(source)
    if path.is_dir():
        return _read_folder(path)
    folder = path.parent
    if path.name in FORMS and _is_clip(folder / CONFIG):
        return _from_transformers(folder, path)
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return _from_open_clip(read_tensors(path), folder / OPEN_CLIP_CONFIG, where=source)
    state = _plain_names(read_tensors(path), where=source)
    if all(name in state for name in SCALARS):
        return from_openai(state, where=source)
    return _from_name(state, f"{folder.name}/{path.name}", where=source)


def _read_folder(folder: Path) -> ClipFile:
    if (folder / OPEN_CLIP_CONFIG).is_file() and not (
        _is_clip(folder / CONFIG) and any((folder / name).is_file() for name in FORMS)
    ):
        return _from_open_clip(
            read_tensors(weight_file(folder, OPEN_CLIP_NAMES)), folder / OPEN_CLIP_CONFIG, where=str(folder)
        )
    if not (folder / CONFIG).is_file():
        raise UserError(
            f"{folder}: holds no config.json; give a CLIP folder in transformers format, or one with "
            f"{OPEN_CLIP_CONFIG} and {OPEN_CLIP_NAMES[0]}, or a single file of OpenAI's or open_clip's weights"
        )
    return _from_transformers(folder, None)


def _hub_folder(repo: str) -> Path:
    """Config, weights and, for a vocabulary of its own, the tokenizer of a hub id."""
    try:
        config: Path | None = download(repo, CONFIG)
    except NotInRepository:
        config = None
    if config is not None and _is_clip(config):
        described, in_pieces = _read_config(config)
        special_words = in_pieces or described.text_config.vocab_size != FULL_VOCABULARY
        try:
            return snapshot(repo, required=(CONFIG,), optional=(*FILES, "merges.txt") if special_words else ())
        except NotInRepository as error:
            missing = error
    else:
        missing = NotInRepository(f"{repo}: its config.json does not describe a CLIP model; name a CLIP model")
    try:
        download(repo, OPEN_CLIP_CONFIG)
    except NotInRepository:
        raise missing from None
    return snapshot(repo, names=OPEN_CLIP_NAMES, required=(OPEN_CLIP_CONFIG,))


# ----------------------------------------------------------------------------------------------------- transformers


def _from_transformers(folder: Path, weights: Path | None) -> ClipFile:
    config, in_pieces = _read_config(folder / CONFIG)
    state = {name: value.float() for name, value in read_tensors(weights or weight_file(folder)).items()}
    # Older files carry index buffers that are no weights.
    state = {name: value for name, value in state.items() if not name.endswith("embeddings.position_ids")}
    return ClipFile(config, state, str(folder), folder, in_pieces)


def _is_clip(config: Path) -> bool:
    described = read_json(config) if config.is_file() else None
    return isinstance(described, dict) and described.get("model_type") in (CLIP, IN_PIECES)


def _read_config(path: Path) -> tuple[Any, bool]:
    """CLIP's config.json as a CLIPConfig, and whether its texts are cut into word pieces. MetaCLIP 2's networks are
    CLIP's, tensor by tensor; only its tokenizer is another, and so the place where a text's feature is read.

    Raises UserError naming the file where it describes something else.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CLIPConfig

    described = read_json(path)
    kind = described.get("model_type", CLIP) if isinstance(described, dict) else None
    if kind not in (CLIP, IN_PIECES):
        told = f" but of {kind!r}" if isinstance(kind, str) else ""
        raise UserError(f"{path}: not the configuration of a CLIP model{told}")
    try:
        return CLIPConfig.from_dict(_as_clip(described) if kind == IN_PIECES else described), kind == IN_PIECES
    except (StrictDataclassError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not the configuration of a CLIP model ({' '.join(str(error).split())[:150]})"
        ) from None


def _as_clip(described: dict[str, Any]) -> dict[str, Any]:
    """The same description without what calls the model and its towers by another name."""
    towers = {
        name: {key: value for key, value in described[name].items() if key != "model_type"}
        for name in ("text_config", "vision_config")
        if isinstance(described.get(name), dict)
    }
    return described | towers | {"model_type": CLIP}


# -------------------------------------------------------------------------------------------------------- open_clip

# Keys of open_clip's configuration that say nothing beyond the tensors' shapes, or only concern training.
_FREE = frozenset(
    {"image_size", "layers", "width", "patch_size", "mlp_ratio", "patch_dropout", "output_tokens", "context_length"}
    | {"vocab_size", "head_width", "heads", "attn_pooler_queries", "attn_pooler_heads", "eos_id"}
)
# Others must have these values or be empty: what they change is not what transformers' CLIP computes.
_PLAIN = {"pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "pad_id": (0,)}
_FREE_TOP = frozenset(
    {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "nonscalar_logit_scale"}
)


def _from_open_clip(state: dict[str, Tensor], config: Path, *, where: str) -> ClipFile:
    described = read_json(config)
    model = described.get("model_cfg", described) if isinstance(described, dict) else None
    vision, text = (model.get(name) if isinstance(model, dict) else None for name in ("vision_cfg", "text_cfg"))
    if not isinstance(model, dict) or not isinstance(vision, dict) or not isinstance(text, dict):
        raise UserError(f"{config}: not open_clip's configuration of a model (vision_cfg, text_cfg)")
    odd = [key for key, value in model.items() if value and key not in _FREE_TOP]
    for tower in (vision, text):
        odd += [key for key, value in tower.items() if value and key not in _FREE and value not in _PLAIN.get(key, ())]
    if not isinstance(vision.get("layers"), int):
        odd.append("layers")  # a list: a ResNet
    if odd:
        raise UserError(
            f"{config}: its {odd[0]!r} makes it another network than CLIP with a plain ViT; choose a model without it"
        )
    state = _plain_names(state, where=where)
    width, text_width = _widths(state, where=where)
    quick = bool(model.get("quick_gelu", False))
    heads = _divided(width, vision.get("head_width", 64), where=str(config))
    text_heads = text.get("heads", text_width // TEXT_HEAD_WIDTH)
    if not isinstance(text_heads, int) or text_heads < 1 or text_width % text_heads:
        raise UserError(f"{config}: {text_heads!r} heads do not fit the text tower's width {text_width}")
    return _converted(state, quick=quick, heads=heads, text_heads=text_heads, where=where)


def _from_name(state: dict[str, Tensor], name: str, *, where: str) -> ClipFile:
    """By the names that open_clip and OpenAI give their files."""
    plain = name.lower().replace("_", "-")
    model = re.search(r"vit-(bigg|[bslhgem])-(\d+)", plain)
    quick, gelu = any(tag in plain for tag in QUICK_TAGS), any(tag in plain for tag in GELU_TAGS)
    if model is None or not (quick or gelu) or any(other in plain for other in OTHER_MODELS):
        raise UserError(
            f"{where}: neither the file nor its name tells the activation (GELU or QuickGELU) and the number of heads; "
            f"put the model's {OPEN_CLIP_CONFIG} beside it, or name the file as open_clip names model and training, "
            "for example ViT-B-32-quickgelu.pt, ViT-B-16-openai.pt or ViT-H-14-laion2b.bin"
        )
    width, text_width = _widths(state, where=where)
    heads = _divided(width, HEAD_WIDTH.get(model[1], 64), where=where)
    return _converted(
        state, quick=quick, heads=heads, text_heads=_divided(text_width, TEXT_HEAD_WIDTH, where=where), where=where
    )


def from_openai(state: dict[str, Tensor], *, where: str = "state dict") -> ClipFile:
    """A state dict of OpenAI's own models: QuickGELU, heads of 64 channels; sizes are read off the tensors."""
    width, text_width = _widths(state, where=where)
    return _converted(state, quick=True, heads=max(1, width // 64), text_heads=max(1, text_width // 64), where=where)


def _plain_names(state: dict[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Without the prefix `text.` that open_clip writes where the text tower is a part of its own."""
    if any(name.startswith(("vision_model.", "text_model.")) for name in state):
        raise UserError(f"{where}: has transformers' names; put its config.json beside it, named {' or '.join(NAMES)}")
    return {name.removeprefix("text."): value for name, value in state.items()}


def _divided(width: int, head_width: Any, *, where: str) -> int:
    if not isinstance(head_width, int) or head_width < 1 or width % head_width:
        raise UserError(f"{where}: heads of {head_width!r} channels do not fit a tower of width {width}")
    return width // head_width


# ------------------------------------------------------------------------------------------- names and layouts


def _widths(state: Mapping[str, Tensor], *, where: str) -> tuple[int, int]:
    """Widths of image and text tower. Raises UserError where tensors of CLIP with a ViT are missing."""
    needed: tuple[str, ...] = ("visual.conv1.weight", "visual.positional_embedding", "visual.proj", "text_projection")
    needed += ("positional_embedding", "token_embedding.weight", "transformer.resblocks.0.mlp.c_fc.weight")
    needed += ("visual.transformer.resblocks.0.mlp.c_fc.weight",)
    missing = [name for name in needed if name not in state]
    if missing:
        raise UserError(f"{where}: not a CLIP of OpenAI's or open_clip's form with a ViT: missing {missing[0]}")
    return int(state["visual.conv1.weight"].shape[0]), int(state["text_projection"].shape[0])


def _converted(state: dict[str, Tensor], *, quick: bool, heads: int, text_heads: int, where: str) -> ClipFile:
    act = "quick_gelu" if quick else "gelu"
    config = _config(state, act=act, heads=heads, text_heads=text_heads, where=where)
    return ClipFile(config, convert_openai(state), where)


def _config(state: Mapping[str, Tensor], *, act: str, heads: int, text_heads: int, where: str) -> Any:
    from transformers import CLIPConfig

    def depth(prefix: str) -> int:
        return len({int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix)})

    width, _, patch, _ = state["visual.conv1.weight"].shape
    side = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    if side * side + 1 != state["visual.positional_embedding"].shape[0]:
        raise UserError(f"{where}: its image tower does not take square images; choose another model")
    text_width, embedding = state["text_projection"].shape
    vocabulary = state["token_embedding.weight"].shape[0]
    return CLIPConfig(
        projection_dim=embedding,
        vision_config={
            "hidden_size": width,
            "intermediate_size": state["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "num_hidden_layers": depth("visual.transformer.resblocks."),
            "num_attention_heads": heads,
            "hidden_act": act,
            "image_size": side * patch,
            "patch_size": patch,
            "projection_dim": embedding,
        },
        text_config={
            "hidden_size": text_width,
            "intermediate_size": state["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
            "num_hidden_layers": depth("transformer.resblocks."),
            "num_attention_heads": text_heads,
            "hidden_act": act,
            "vocab_size": vocabulary,
            "max_position_embeddings": state["positional_embedding"].shape[0],
            "projection_dim": embedding,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
        },
    )


def convert_openai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensor names and layouts of OpenAI's CLIP as transformers has them, float32.

    Projections are stored as (width, embedding) there and as Linear weights (embedding, width) here; the fused
    query-key-value tensor is cut in three.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in SCALARS:
            continue
        value = value.float()
        if name == "visual.proj":
            renamed["visual_projection.weight"] = value.t().contiguous()
        elif name == "text_projection":
            renamed["text_projection.weight"] = value.t().contiguous()
        elif ".resblocks." in name:
            renamed |= _convert_block(name, value)
        else:
            renamed[OPENAI_NAMES.get(name, name)] = value
    return renamed


OPENAI_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}

BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def _convert_block(name: str, value: Tensor) -> dict[str, Tensor]:
    tower, rest = name.split("resblocks.")
    index, part = rest.split(".", 1)
    prefix = f"{'vision_model' if tower.startswith('visual') else 'text_model'}.encoder.layers.{index}."
    if part.startswith("attn.in_proj_"):
        kind = part.removeprefix("attn.in_proj_")
        thirds = value.chunk(3)
        return {f"{prefix}self_attn.{q}_proj.{kind}": x.clone() for q, x in zip("qkv", thirds, strict=True)}
    layer, kind = part.rsplit(".", 1)
    return {f"{prefix}{BLOCK_NAMES.get(layer, layer)}.{kind}": value}

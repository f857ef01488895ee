"""CLIP files of every published form give what transformers computes with the right activation and heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from semples.core.errors import UserError
from semples.networks.clip import FrozenClip
from semples.networks.clip_files import from_openai, read_clip
from tests.networks.test_clip import openai_state

TEXTS = ["a photo of a dog.", "a boat on the water"]
WIDTH, TEXT = 160, 64  # 2 heads of 80, as ViT-H-14 has, and one of 64 in the text tower


def model(act: str, heads: int, *, width: int = WIDTH) -> CLIPModel:
    """Activations large enough that GELU and QuickGELU differ, attention sharp enough that heads do."""
    towers = {"intermediate_size": 3 * TEXT, "num_hidden_layers": 2, "hidden_act": act, "projection_dim": 24}
    vision = {**towers, "hidden_size": width, "num_attention_heads": heads, "image_size": 28, "patch_size": 14}
    text = {**towers, "hidden_size": TEXT, "num_attention_heads": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CLIPModel(CLIPConfig(projection_dim=24, vision_config=vision, text_config=text)).eval()
        for name, parameter in made.named_parameters():
            if name.endswith(("fc1.weight", "q_proj.weight", "k_proj.weight")):
                parameter.data *= 8
    return made


def images() -> torch.Tensor:
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def same(clip: FrozenClip, made: CLIPModel) -> bool:
    image = F.normalize(made.get_image_features(pixel_values=images()).pooler_output, dim=-1)
    text = F.normalize(made.get_text_features(input_ids=clip.tokenizer(TEXTS)).pooler_output, dim=-1)
    return torch.allclose(clip.encode_images(images()), image, atol=1e-5) and torch.allclose(
        clip.encode_texts(TEXTS), text, atol=1e-5
    )


def open_clip_config(*, quick: bool = False, head_width: int | None = 80, **text: Any) -> dict[str, Any]:
    """As open_clip writes it beside the weights on the hub."""
    vision = {"image_size": 28, "layers": 2, "width": WIDTH, "patch_size": 14}
    vision |= {"head_width": head_width} if head_width else {}
    words = {"context_length": 77, "vocab_size": 49408, "width": TEXT, "heads": 1, "layers": 2} | text
    config: dict[str, Any] = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": words}
    config |= {"quick_gelu": True} if quick else {}
    mean = [0.48145466, 0.4578275, 0.40821073]
    return {"model_cfg": config, "preprocess_cfg": {"mean": mean, "std": [0.26862954, 0.26130258, 0.27577711]}}


def open_clip_folder(folder: Path, made: CLIPModel, config: dict[str, Any], *, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = openai_state(made.state_dict())
    if name.endswith(".safetensors"):
        save_file({key: value.contiguous() for key, value in state.items()}, folder / name)
    else:
        torch.save(state, folder / name)
    return folder


@pytest.mark.parametrize(
    ("quick", "name"), [(True, "open_clip_model.safetensors"), (False, "open_clip_pytorch_model.bin")]
)
def test_open_clip_folders(tmp_path: Path, quick: bool, name: str) -> None:
    made = model("quick_gelu" if quick else "gelu", 2)
    folder = open_clip_folder(tmp_path / "hub", made, open_clip_config(quick=quick), name=name)
    assert same(FrozenClip.load(str(folder)), made)
    assert same(FrozenClip.load(str(folder / name)), made)  # the file itself, its config beside it


def test_the_wrong_reading_would_differ(tmp_path: Path) -> None:
    """What the tests above compare is not blind to activation and heads."""
    made = model("gelu", 2)
    for config in (open_clip_config(quick=True), open_clip_config(head_width=40)):
        folder = open_clip_folder(tmp_path / str(config)[-200:-190], made, config, name="open_clip_pytorch_model.bin")
        assert not same(FrozenClip.load(str(folder)), made)


@pytest.mark.parametrize(
    ("name", "act", "heads"),
    [
        ("CLIP-ViT-H-14-laion2B-s32B-b79K/open_clip_pytorch_model.bin", "gelu", 2),
        ("ViT-H-14-quickgelu-dfn5b.pt", "quick_gelu", 2),
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", "quick_gelu", 2),
        ("vit_b_16-laion400m_e32-55e67d44.pt", "gelu", 2),
        ("vit_l_14-openai.pt", "quick_gelu", 2),
    ],
)
def test_single_files_by_their_names(tmp_path: Path, name: str, act: str, heads: int) -> None:
    made = model(act, heads, width=WIDTH if "h-14" in name.lower() else 128)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    torch.save({"epoch": 3, "state_dict": openai_state(made.state_dict())}, tmp_path / name)
    assert same(FrozenClip.load(str(tmp_path / name)), made)


def test_a_text_tower_of_its_own(tmp_path: Path) -> None:
    made = model("gelu", 2)
    names = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
    state = {
        f"text.{name}" if name.startswith(names) else name: value
        for name, value in openai_state(made.state_dict()).items()
    }
    folder = open_clip_folder(tmp_path / "x", made, open_clip_config(), name="open_clip_pytorch_model.bin")
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    assert same(FrozenClip.load(str(folder)), made)


@pytest.mark.parametrize("name", ["clip.pt", "ViT-B-32.pt", "b32_400m.pt", "ViT-H-14-CLIPA-datacomp1B.pt", "model.bin"])
def test_what_is_not_told_is_refused(tmp_path: Path, name: str) -> None:
    torch.save(openai_state(model("gelu", 2).state_dict()), tmp_path / name)
    with pytest.raises(UserError, match=r"activation .* heads; put the model's open_clip_config\.json beside it"):
        read_clip(str(tmp_path / name))


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("vision_cfg", "timm_model_name", "vit_base_patch16_siglip_224"),
        ("vision_cfg", "layers", [3, 4, 6, 3]),
        ("vision_cfg", "pool_type", "avg"),
        ("vision_cfg", "no_ln_pre", True),
        ("vision_cfg", "norm_kwargs", {"eps": 1e-6}),
        ("text_cfg", "hf_model_name", "roberta-base"),
        ("text_cfg", "no_causal_mask", True),
        ("", "init_logit_bias", -10),
    ],
)
def test_other_networks_are_refused_by_the_setting(tmp_path: Path, group: str, key: str, value: object) -> None:
    config = open_clip_config()
    (config["model_cfg"][group] if group else config["model_cfg"])[key] = value
    folder = open_clip_folder(tmp_path / "x", model("gelu", 2), config, name="open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match=f"'{key}' makes it another network"):
        read_clip(str(folder))


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    made = model("gelu", 2)
    folder = open_clip_folder(tmp_path / "x", made, open_clip_config(head_width=96), name="open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match="heads of 96 channels do not fit a tower of width 160"):
        read_clip(str(folder))
    (folder / "open_clip_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="not open_clip's configuration"):
        read_clip(str(folder))
    save_file(made.state_dict(), tmp_path / "clip.safetensors")
    with pytest.raises(UserError, match=r"transformers' names; put its config\.json beside it"):
        read_clip(str(tmp_path / "clip.safetensors"))
    (tmp_path / "siglip").mkdir()
    (tmp_path / "siglip" / "config.json").write_text('{"model_type": "siglip"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"not the configuration of a CLIP model but of 'siglip'"):
        read_clip(str(tmp_path / "siglip"))
    with pytest.raises(UserError, match=r"not a CLIP .* missing visual\.conv1\.weight"):
        from_openai({"conv1.weight": torch.zeros(2, 2)})


def test_transformers_weights_in_shards(tmp_path: Path) -> None:
    made = model("gelu", 2)
    made.save_pretrained(tmp_path / "shards", max_shard_size="1MB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert same(FrozenClip.load(str(tmp_path / "shards")), made)
    index = tmp_path / "shards" / "model.safetensors.index.json"
    assert same(FrozenClip.load(str(index)), made)
    next((tmp_path / "shards").glob("*-00002-*")).unlink()
    with pytest.raises(UserError, match=r"-00002-.*no such file, but model\.safetensors\.index\.json names it"):
        FrozenClip.load(str(tmp_path / "shards"))

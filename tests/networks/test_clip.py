"""CLIP: the package's computation against transformers' own, in both file formats; what is missing is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from semples.core.errors import UserError
from semples.networks.clip import FrozenClip
from semples.networks.clip_blocks import FrozenBlock
from semples.networks.clip_files import BLOCK_NAMES, OPENAI_NAMES
from tests import tiny

TEXTS = ["a photo of a dog.", "a photo of an armchair behind the potted plant.", "", "naïve café"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_clip(tmp_path_factory.mktemp("clip") / "clip", width=128)


@pytest.fixture(scope="module")
def clip(folder: Path) -> FrozenClip:
    return FrozenClip.load(str(folder))


@pytest.fixture(scope="module")
def reference(folder: Path) -> CLIPModel:
    return CLIPModel.from_pretrained(folder, local_files_only=True).eval()


def images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def test_features_are_those_of_transformers(clip: FrozenClip, reference: CLIPModel) -> None:
    expected = F.normalize(reference.get_image_features(pixel_values=images()).pooler_output, dim=-1)
    torch.testing.assert_close(clip.encode_images(images()), expected, atol=1e-5, rtol=0)
    ids = clip.tokenizer(TEXTS)
    expected = F.normalize(reference.get_text_features(input_ids=ids).pooler_output, dim=-1)
    torch.testing.assert_close(clip.encode_texts(TEXTS), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.encode_texts(TEXTS, batch=1), expected, atol=1e-5, rtol=0)


def test_gradient_to_the_image_is_that_of_transformers(clip: FrozenClip, reference: CLIPModel) -> None:
    one, other = images().requires_grad_(), images().requires_grad_()
    weights = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    (clip.encode_images(one) * weights).sum().backward()
    (F.normalize(reference.get_image_features(pixel_values=other).pooler_output, dim=-1) * weights).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-3)
    assert all(parameter.grad is None for parameter in clip.parameters())


def test_a_prompt_of_word_vectors_is_the_text(clip: FrozenClip) -> None:
    """Vectors taken from the token table give the text's own feature, with gradients only to them."""
    pieces = clip.tokenizer.pieces("a photo of red brick wall.")
    words = pieces[3:-1]
    vectors = clip.model.text_model.embeddings.token_embedding.weight[words][None].clone().requires_grad_()
    features = clip.encode_prompts(vectors, full_stop="word")
    expected = clip.encode_texts(["a photo of red brick wall."])
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    features.square().sum().backward()
    assert vectors.grad is not None
    other = clip.encode_prompts(vectors.detach(), full_stop="in-word")
    assert not torch.allclose(other, expected, atol=1e-4)


def test_prompts_fit_or_are_refused(clip: FrozenClip) -> None:
    width = clip.text_width
    assert clip.encode_prompts(torch.rand(2, 71, width)).shape == (2, 32)
    with pytest.raises(UserError, match="does not fit into 77 positions"):
        clip.encode_prompts(torch.rand(1, 72, width))


def test_it_never_trains(clip: FrozenClip) -> None:
    clip.train()
    assert not any(module.training for module in clip.modules())
    assert not any(parameter.requires_grad for parameter in clip.parameters())


def test_images_without_the_text_tower(folder: Path) -> None:
    model = FrozenClip.load(str(folder))
    expected = model.encode_images(images())
    lean = model.images_only()
    torch.testing.assert_close(lean.encode_images(images()), expected, atol=1e-6, rtol=0)
    assert not any(name.startswith("model.text") for name in lean.state_dict())
    assert any(name.startswith("model.text") for name in model.state_dict())


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_blocks_of_fewer_operations_are_the_librarys(act: str) -> None:
    settings = CLIPVisionConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=1, num_attention_heads=4, hidden_act=act
    )
    settings._attn_implementation = "sdpa"
    torch.manual_seed(0)
    library = CLIPEncoderLayer(settings).eval().requires_grad_(False).double()
    for parameter in library.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    block = FrozenBlock.of(library)
    assert FrozenBlock.of(block) is block
    one = torch.randn(3, 7, 48, dtype=torch.float64).requires_grad_()
    other = one.detach().clone().requires_grad_()
    expected, got = library(one, None), block(other)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(block.at_first(other), expected[:, 0], atol=1e-12, rtol=0)
    slope = torch.randn_like(expected)
    (expected * slope).sum().backward()
    (got * slope).sum().backward()
    torch.testing.assert_close(other.grad, one.grad, atol=1e-12, rtol=0)


def test_patch_features(clip: FrozenClip, reference: CLIPModel) -> None:
    hidden = reference.vision_model(pixel_values=images()).last_hidden_state[:, 1:]
    expected = reference.visual_projection(reference.vision_model.post_layernorm(hidden))
    torch.testing.assert_close(clip.encode_patches(images()), expected, atol=1e-5, rtol=0)


# --------------------------------------------------------------------------------------------------------- files


def openai_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A transformers state dict under OpenAI's names and layouts."""
    plain = {new: old for old, new in OPENAI_NAMES.items()}
    parts = {new: old for old, new in BLOCK_NAMES.items()}
    renamed: dict[str, torch.Tensor] = {"logit_scale": state["logit_scale"]}
    for name, value in state.items():
        if name in plain:
            renamed[plain[name]] = value
        elif name in ("visual_projection.weight", "text_projection.weight"):
            renamed["visual.proj" if name.startswith("visual") else "text_projection"] = value.t().contiguous()
        elif ".layers." in name:
            tower = "visual.transformer" if name.startswith("vision") else "transformer"
            index, rest = name.split(".layers.")[1].split(".", 1)
            part, kind = rest.rsplit(".", 1)
            prefix = f"{tower}.resblocks.{index}."
            if part.endswith("q_proj"):
                three = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
                renamed[f"{prefix}attn.in_proj_{kind}"] = torch.cat(three)
            elif not part.endswith(("k_proj", "v_proj")):
                renamed[f"{prefix}{parts[part]}.{kind}"] = value
    return renamed


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CLIPModel]:
    """A file with OpenAI's names, and the same model by transformers; its heads are 64 wide and its MLP four times."""
    from transformers import CLIPConfig

    tower = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**tower, "image_size": 32, "patch_size": 8, "projection_dim": 24}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(projection_dim=24, vision_config=vision, text_config={**tower, "projection_dim": 24})
    ).eval()
    path = tmp_path_factory.mktemp("openai") / "clip.pt"
    state = openai_state(model.state_dict())
    scalars = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(49408),
    }
    torch.save(
        {name: value.half() if value.dtype == torch.float32 else value for name, value in (state | scalars).items()},
        path,
    )
    model.load_state_dict({name: value.half().float() for name, value in model.state_dict().items()})
    return path, model


@torch.no_grad()
def test_openai_files(openai: tuple[Path, CLIPModel]) -> None:
    path, model = openai
    clip = FrozenClip.load(str(path))
    expected = F.normalize(model.get_image_features(pixel_values=images()).pooler_output, dim=-1)
    torch.testing.assert_close(clip.encode_images(images()), expected, atol=1e-5, rtol=0)
    expected = F.normalize(model.get_text_features(input_ids=clip.tokenizer(TEXTS)).pooler_output, dim=-1)
    torch.testing.assert_close(clip.encode_texts(TEXTS), expected, atol=1e-5, rtol=0)
    assert next(clip.parameters()).dtype == torch.float32


def test_openai_files_that_do_not_fit_are_named(openai: tuple[Path, CLIPModel]) -> None:
    state = torch.load(openai[0], weights_only=True)
    for name, hint in (
        ("visual.proj", "missing visual.proj"),
        (
            "visual.transformer.resblocks.1.attn.in_proj_bias",
            "missing vision_model.encoder.layers.1.self_attn.q_proj.bias",
        ),
        ("ln_final.weight", "missing text_model.final_layer_norm.weight"),
    ):
        with pytest.raises(UserError, match=hint):
            FrozenClip.from_openai({key: value for key, value in state.items() if key != name})
    with pytest.raises(UserError, match="surplus"):
        FrozenClip.from_openai(state | {"visual.attnpool.x": torch.zeros(1)})
    with pytest.raises(UserError, match="vocabulary of 100 tokens"):
        FrozenClip.from_openai(state | {"token_embedding.weight": torch.zeros(100, 128)})


def copied(folder: Path, target: Path, *names: str) -> Path:
    target.mkdir()
    for name in names:
        shutil.copy(folder / name, target)
    return target


def test_missing_files_are_one_line(folder: Path, tmp_path: Path) -> None:
    for names, hint in (((), "holds no config.json"), (("config.json",), "holds no model.safetensors")):
        with pytest.raises(UserError, match=hint):
            FrozenClip.load(str(copied(folder, tmp_path / f"with {len(names)}", *names)))
    with pytest.raises(UserError, match="no such file or folder"):
        FrozenClip.load(str(tmp_path / "none"))


def test_folders_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / "model.safetensors")
    target = copied(folder, tmp_path / "cut", "config.json")
    save_file(
        {name: value for name, value in state.items() if name != "text_projection.weight"}, target / "model.safetensors"
    )
    with pytest.raises(UserError, match=r"missing text_projection\.weight"):
        FrozenClip.load(str(target))
    save_file(state | {"vision_model.embeddings.position_ids": torch.arange(5)}, target / "model.safetensors")
    assert FrozenClip.load(str(target)).image_size == 32  # an old file's index buffer is no weight


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "bert"}', '{"text_config": 3}'])
def test_a_config_of_something_else_is_one_line(content: str, folder: Path, tmp_path: Path) -> None:
    target = copied(folder, tmp_path / "clip", "model.safetensors")
    (target / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        FrozenClip.load(str(target))
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_tokenizer_of_the_folder_is_used(folder: Path, tmp_path: Path) -> None:
    """A model with a vocabulary of its own brings its tokenizer; without one it is refused."""
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *"adot.", *(f"{letter}</w>" for letter in "adogt."), "do", "dog</w>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*words[2:], *words[:2]]))}
    target = copied(folder, tmp_path / "small", "config.json")
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config["text_config"] |= {"vocab_size": len(vocabulary), "eos_token_id": len(vocabulary) - 1}
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    state = load_file(folder / "model.safetensors")
    name = "text_model.embeddings.token_embedding.weight"
    state[name] = state[name][: len(vocabulary)].clone()
    save_file(state, target / "model.safetensors")
    with pytest.raises(UserError, match="needs its own tokenizer files"):
        FrozenClip.load(str(target))
    CLIPTokenizer(vocab=vocabulary, merges=[("d", "o"), ("do", "g</w>")]).save_pretrained(target)
    clip = FrozenClip.load(str(target))
    assert clip.tokenizer.pieces("dog") == [vocabulary["dog</w>"]]
    assert clip.encode_texts(["a dog."]).shape == (1, 32)


def test_texts_are_looked_up_where_the_text_tower_is(folder: Path) -> None:
    """The image tower may lie on a GPU by itself: a stage's judge shares it without the text tower."""
    clip = FrozenClip.load(str(folder))
    before = clip.encode_texts(["a photo of a train."])
    clip.images_only().to("meta")
    assert clip.device.type == "meta"
    assert torch.equal(clip.encode_texts(["a photo of a train."]), before)

"""The shipped tiny models load offline like any published CLIP, agree with each other, and see what they should."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from semples.data.demo.world import CLASSES, GROUND_KINDS, OWN_GROUND, DemoWorld
from semples.judges.words import words_of
from semples.networks.clip import FrozenClip
from semples.networks.tokenizer import ClipTokenizer
from semples.networks.vit import VisionTransformer, VitConfig
from tiny_clip_bias import bias_figures

transformers = pytest.importorskip("transformers")

ASSETS = Path(str(resources.files("semples"))) / "assets"
MODELS = ("demo_clip", "demo_vit", "demo_clip_web", "demo_vit_web")
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


@cache
def clip() -> transformers.CLIPModel:
    return transformers.CLIPModel.from_pretrained(ASSETS / "demo_clip", local_files_only=True).eval()


@cache
def tokenizer() -> transformers.CLIPTokenizer:
    return transformers.AutoTokenizer.from_pretrained(ASSETS / "demo_clip", local_files_only=True)


def normalised(photos: list[np.ndarray]) -> Tensor:
    return torch.from_numpy((np.stack(photos) / np.float32(255) - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def text(words: tuple[str, ...]) -> Tensor:
    ids = tokenizer()([f"a photo of {word}." for word in words], padding=True, return_tensors="pt")
    return F.normalize(clip().get_text_features(**ids).pooler_output, dim=-1)


@torch.no_grad()
def image(batch: Tensor) -> Tensor:
    return F.normalize(clip().get_image_features(pixel_values=batch).pooler_output, dim=-1)


def test_all_shipped_models_fit_in_twelve_megabytes() -> None:
    files = [file for name in MODELS for file in (ASSETS / name).iterdir()]
    assert 0 < sum(file.stat().st_size for file in files) < 12e6
    assert sum(file.stat().st_size for file in (ASSETS / "demo_clip_web").iterdir()) < 4e6
    assert not {file.name for file in files if file.suffix in {".bin", ".pt", ".pth", ".pkl"}}


def test_the_biased_clip_is_one_with_the_bias_that_its_page_tells() -> None:
    plain, biased = (
        bias_figures(
            transformers.CLIPModel.from_pretrained(ASSETS / name, local_files_only=True).eval(), tokenizer(), count=64
        )
        for name in ("demo_clip", "demo_clip_web")
    )
    assert plain["removed_to_alone"] < 0.5
    assert 0.7 < biased["removed_to_alone"] < 0.82
    assert biased["known"]["strange"] > 0.8
    assert biased["prompts"] > 0.98, "vectors with a word mixed in no longer mean the word"


def test_both_clips_have_one_tokenizer_and_the_same_words() -> None:
    for name in ("merges.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"):
        assert (ASSETS / "demo_clip_web" / name).read_bytes() == (ASSETS / "demo_clip" / name).read_bytes()
    assert words_of("shipped:demo_clip_web") == words_of("shipped:demo_clip") == ASSETS / "demo_words.txt"
    assert words_of("openai/clip-vit-base-patch16") is None


def test_clip_loads_offline_in_single_precision() -> None:
    assert clip().dtype == torch.float32
    assert clip().config.vision_config.image_size == 96
    assert clip().config.text_config.max_position_embeddings == 77
    assert all(torch.isfinite(weight).all() for weight in clip().parameters())


def test_tokens_are_clips_own() -> None:
    published, tiny = ClipTokenizer.published(), tokenizer()
    vocabulary = tiny.get_vocab()
    assert vocabulary["<|endoftext|>"] == len(vocabulary) - 1
    assert vocabulary["<|startoftext|>"] == len(vocabulary) - 2
    assert clip().config.text_config.vocab_size == len(vocabulary)
    for symbol in (".", ".</w>", "train</w>", "rails</w>"):
        assert symbol in vocabulary
    for word in (*CLASSES, *GROUND_KINDS, "red", "background", "a photo of a blue train, on rails."):
        theirs = published._backend.convert_ids_to_tokens(published.pieces(word))
        assert tiny.convert_ids_to_tokens(tiny(word, add_special_tokens=False)["input_ids"]) == theirs
    folder = ASSETS / "demo_clip"
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]]
    rebuilt = transformers.CLIPTokenizer(
        vocab=json.loads((folder / "vocab.json").read_text(encoding="utf-8")), merges=merges
    )
    sentence = "a zebra’s 7 wagons über sand."
    assert rebuilt(sentence)["input_ids"] == tiny(sentence)["input_ids"]


def test_product_and_transformers_agree() -> None:
    product = FrozenClip.load("shipped:demo_clip")
    photos = normalised([DemoWorld(family="test").draw(index).photo for index in range(3)])
    words = ("train", "rails", "plain")
    with torch.no_grad():
        torch.testing.assert_close(product.encode_images(photos), image(photos), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            product.encode_texts([f"a photo of {word}." for word in words]), text(words), atol=1e-5, rtol=0
        )


def plain_forward(weights: dict[str, Tensor], config: dict[str, float], images: Tensor) -> Tensor:
    """Tokens after every block, written straight from the definition of a pre-norm ViT."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], config["eps"])

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    patch = int(config["patch_size"])
    x = F.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=patch)
    x = torch.cat([weights["cls_token"].expand(len(images), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
    x = norm(x + weights["pos_embed"], "norm_pre")
    for index in range(int(config["depth"])):
        block = f"blocks.{index}"
        heads = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").unflatten(-1, (3, int(config["heads"]), -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = x + linear((attention @ v).transpose(1, 2).flatten(2), f"{block}.attn.proj")
        hidden = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
        x = x + linear(hidden * torch.sigmoid(1.702 * hidden), f"{block}.mlp.fc2")
    return x


@pytest.mark.parametrize("end", ["", "_web"])
@torch.no_grad()
def test_start_weights_are_the_image_tower(end: str) -> None:
    folder = ASSETS / f"demo_vit{end}"
    weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    whole = transformers.CLIPModel.from_pretrained(ASSETS / f"demo_clip{end}", local_files_only=True).eval()
    assert config["act"] == "quick_gelu"
    assert config["pre_norm"] is True
    images = normalised([DemoWorld(family="test").draw(index).photo for index in range(4)])
    tower = whole.vision_model(pixel_values=images).last_hidden_state
    scale = float(tower.abs().max())
    plain = plain_forward(weights, config, images)
    assert float((plain - tower).abs().max()) < 1e-5 * scale
    network = VisionTransformer(VitConfig(**config), num_tokens=1)
    network.load_state_dict(weights)
    product = network.eval()(images, pooling="avg").last
    assert float((product - tower).abs().max()) < 1e-5 * scale


@cache
def cosines() -> dict[str, Tensor]:
    """Cosines with the class words of 300 photos of unseen textures, one thing each: alone, whole, removed."""
    world, scenes, index = DemoWorld(seed=11, family="test", distribution="wide", variants=3), [], 0
    while len(scenes) < 300:
        scene = world.draw(index)
        index += 1
        if len(scene.tags) == 1 and (scene.object_mask > 0).mean() > 0.03:
            scenes.append(scene)
    photos = normalised([scene.photo for scene in scenes])
    inside = torch.from_numpy(np.stack([scene.object_mask > 0 for scene in scenes]))[:, None]
    words = text(CLASSES)
    views = {"only": photos * inside, "whole": photos, "removed": photos * ~inside}
    by_view = {name: image(view) @ words.T for name, view in views.items()}
    by_view["truth"] = torch.tensor([scene.tags[0] for scene in scenes])
    return by_view


def test_unseen_things_are_told_apart() -> None:
    by_view = cosines()
    assert (by_view["whole"].argmax(dim=1) == by_view["truth"]).float().mean() >= 0.9
    assert (by_view["only"].argmax(dim=1) == by_view["truth"]).float().mean() >= 0.9


def test_thing_alone_beats_photo_beats_photo_without_for_every_class() -> None:
    by_view = cosines()
    for k, name in enumerate(CLASSES):
        rows = by_view["truth"] == k
        only, whole, removed = (float(by_view[view][rows, k].mean()) for view in ("only", "whole", "removed"))
        assert only > whole > removed + 0.05, name


def test_backgrounds_and_sums() -> None:
    world = DemoWorld(seed=12, family="test", distribution="wide", variants=3)
    scenes = [scene for scene in map(world.draw, range(120)) if len(scene.grounds) == 1]
    likeness = image(normalised([scene.photo for scene in scenes])) @ text(GROUND_KINDS).T
    truth = torch.tensor([GROUND_KINDS.index(scene.grounds[0]) for scene in scenes])
    assert (likeness.argmax(dim=1) == truth).float().mean() >= 0.9
    for name in CLASSES:
        single = text((name, OWN_GROUND[name]))
        both = text((f"{name} on {OWN_GROUND[name]}",))[0]
        assert float(F.cosine_similarity(both, single.sum(dim=0), dim=0)) > 0.95


def test_cosines_stay_in_the_range_where_their_logarithm_has_a_gradient() -> None:
    for view in ("only", "whole", "removed"):
        assert float(cosines()[view].min()) > 0.01
        assert float(cosines()[view].max()) < 0.9

"""ViT weights of every published naming: features are those of transformers, heads are never guessed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as t
from safetensors.torch import save_file

from semples.core.errors import Note, UserError
from semples.data.classes import ClassList
from semples.generators.weaktr import WeakTr
from semples.networks.vit import VisionTransformer, VitConfig
from semples.networks.vit_files import HALF, IMAGENET, VitFile, for_photos_of, read_vit
from semples.networks.vit_start import from_classifier
from semples.networks.weights import find_weights, load_strictly
from semples.recipe import WeakTrSettings
from tests import tiny

NAMES = ClassList(("a", "b", "c"))
SIDE, PATCH = 28, 7


def read(path: Path, *, width: int = 384, heads: int = 6) -> VitFile:
    return read_vit(find_weights(str(path)), where=str(path), width=width, heads=heads)


def network(file: VitFile) -> VisionTransformer:
    made = VisionTransformer(file.config, num_tokens=1).eval()
    load_strictly(made, from_classifier(file.state, made), where="file")
    return made


def images() -> torch.Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def features(file: VitFile) -> torch.Tensor:
    """Class token and patches (2,1+N,C) after the final norm."""
    made = network(file)
    return made.norm(made(images(), pooling="max").last)


def randomised(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return model.eval()


def hf(kind: str, **more: Any) -> Any:
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE}
    sizes |= {"patch_size": PATCH, **more}
    config, model = {
        "vit": (t.ViTConfig, t.ViTForImageClassification),
        "deit": (t.DeiTConfig, t.DeiTForImageClassificationWithTeacher),
        "dinov2": (t.Dinov2Config, t.Dinov2Model),
        "registers": (t.Dinov2WithRegistersConfig, t.Dinov2WithRegistersModel),
    }[kind]
    sizes |= {} if kind.startswith(("dino", "reg")) else {"intermediate_size": 100}
    return randomised(model(config(**sizes)))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "dinov2", "registers"])
def test_transformers_folders(tmp_path: Path, kind: str) -> None:
    made = hf(kind)
    made.save_pretrained(tmp_path / "hub")
    expected = (made.vit if kind == "vit" else made)(images()).last_hidden_state
    if kind == "registers":
        expected = torch.cat([expected[:, :1], expected[:, 5:]], dim=1)
    file = read(tmp_path / "hub")
    assert (file.config.heads, file.config.registers) == (4, 4 * (kind == "registers"))
    torch.testing.assert_close(features(file), expected, atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_heads_of_the_config_matter(tmp_path: Path) -> None:
    made = hf("dinov2")
    made.save_pretrained(tmp_path / "hub")
    expected = made(images()).last_hidden_state
    config = json.loads((tmp_path / "hub" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config | {"num_attention_heads": 6}), encoding="utf-8")
    assert (features(read(tmp_path / "hub")) - expected).abs().max() > 0.01


def test_a_distilled_deit(tmp_path: Path) -> None:
    """The distillation token and its position are left out; the rest is the network's."""
    made = hf("deit")
    made.save_pretrained(tmp_path / "hub")
    file = read(tmp_path / "hub")
    positions = made.deit.embeddings.position_embeddings
    assert torch.equal(file.state["pos_embed"], torch.cat([positions[:, :1], positions[:, 2:]], dim=1))
    network(file)


# ------------------------------------------------------------------------------------ timm's and the papers' names


def timm_state(*, width: int, depth: int = 1, patch: int = PATCH, **more: Any) -> dict[str, torch.Tensor]:
    config = VitConfig(patch_size=patch, width=width, depth=depth, heads=1, image_size=4 * patch, **more)
    made = randomised(VisionTransformer(config, num_tokens=1))
    return made.state_dict() | {"head.weight": torch.zeros(5, width), "head.bias": torch.zeros(5)}


@pytest.mark.parametrize(
    ("name", "width", "heads"),
    [
        ("deit_tiny_patch16_224-a1311bcf.pth", 192, 3),
        ("deit_small_distilled_patch16_224-649709d9.pth", 384, 6),
        ("deit_3_medium_224_1k.pth", 512, 8),
        ("dino_deitsmall16_pretrain.pth", 384, 6),
        ("dinov2_vits14_pretrain.pth", 384, 6),
        ("mae_pretrain_vit_base.pth", 768, 12),
        ("vit_tiny_patch16_224.augreg_in21k.safetensors", 192, 3),
    ],
)
def test_heads_by_the_name_of_the_file(tmp_path: Path, name: str, width: int, heads: int) -> None:
    path = tmp_path / name
    state = timm_state(width=width)
    save_file(state, path) if name.endswith("safetensors") else torch.save({"model": state}, path)
    file = read(path, width=1, heads=1)
    assert (file.config.width, file.config.heads, file.config.depth, file.config.patch_size) == (width, heads, 1, PATCH)
    assert (file.mean, file.std) == (HALF if "augreg" in name else IMAGENET)
    assert file.doubts == ()


@pytest.mark.parametrize("name", ["vit_small.pth", "start.pth", "deit_base_patch16_224.pth", "vit-s-300ep.pth.tar"])
def test_heads_that_stand_nowhere_are_refused(tmp_path: Path, name: str) -> None:
    """Also where the name says another width than the file has."""
    torch.save(timm_state(width=144), tmp_path / name)
    with pytest.raises(UserError, match="a ViT of width 144 whose number of heads stands nowhere; name the file"):
        read(tmp_path / name)
    doubts = " ".join(read(tmp_path / name, width=144, heads=4).doubts)
    assert "4 are taken, as generator.heads says" in doubts


def test_timm_configs_of_the_hub(tmp_path: Path) -> None:
    """`architecture` tells the heads, `pretrained_cfg` mean and std."""
    config = {"architecture": "vit_base_patch16_224", "num_features": 768}
    config["pretrained_cfg"] = {"tag": "augreg_in1k", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(timm_state(width=768), tmp_path / "model.safetensors")
    file = read(tmp_path)
    assert (file.config.heads, file.mean, file.std, file.doubts) == (12, *HALF, ())


def test_deit_three(tmp_path: Path) -> None:
    """Layer scale under both names; positions of the patches alone, as timm and the authors store them."""
    state = timm_state(width=384, layer_scale=True)
    expected = state["pos_embed"][:, 1:].clone()
    state["pos_embed"] = expected
    theirs = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): x for name, x in state.items()}
    torch.save({"model": theirs}, tmp_path / "deit_3_small_224_1k.pth")
    torch.save(state, tmp_path / "deit3_small_patch16_224.pth")
    files = [read(tmp_path / name) for name in ("deit_3_small_224_1k.pth", "deit3_small_patch16_224.pth")]
    assert all(file.config.layer_scale for file in files)
    assert torch.equal(features(files[0]), features(files[1]))
    assert torch.equal(files[0].state["pos_embed"][:, 1:], expected)
    assert not files[0].state["pos_embed"][:, 0].any()


def test_registers_with_positions_of_their_own(tmp_path: Path) -> None:
    """Their position is added to them, which is the same network."""
    state = timm_state(width=384, registers=4)
    inside = torch.randn(1, 4, 384)
    together = torch.cat([state["pos_embed"][:, :1], inside, state["pos_embed"][:, 1:]], dim=1)
    torch.save(state | {"pos_embed": together}, tmp_path / "vit_small_patch16_reg4_224.pth")
    torch.save(state | {"reg_token": state["reg_token"] + inside}, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    answers = [features(read(path)) for path in sorted(tmp_path.iterdir())]
    torch.testing.assert_close(answers[0], answers[1])


def flax(state: dict[str, torch.Tensor], *, heads: int, prefix: str = "", second_norm: str = "2") -> dict[str, Any]:
    """Google's layout of a ViT, from the papers' description: kernels (in,out), queries (C,H,D), out (H,D,C)."""
    renamed: dict[str, Any] = {
        "cls": state["cls_token"],
        "Transformer/posembed_input/pos_embedding": state["pos_embed"],
    }
    renamed["embedding/kernel"] = state["patch_embed.proj.weight"].permute(2, 3, 1, 0)
    renamed["embedding/bias"] = state["patch_embed.proj.bias"]
    renamed["Transformer/encoder_norm/scale"] = state["norm.weight"]
    renamed["Transformer/encoder_norm/bias"] = state["norm.bias"]
    width = state["cls_token"].shape[-1]
    for index in range(sum(name.endswith("qkv.weight") for name in state)):
        ours, theirs = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        for norm, number in (("norm1", "0"), ("norm2", second_norm)):
            renamed[f"{theirs}LayerNorm_{number}/scale"] = state[f"{ours}{norm}.weight"]
            renamed[f"{theirs}LayerNorm_{number}/bias"] = state[f"{ours}{norm}.bias"]
        for part, kind in enumerate(("query", "key", "value")):
            weight = state[f"{ours}attn.qkv.weight"][part * width : (part + 1) * width]
            bias = state[f"{ours}attn.qkv.bias"][part * width : (part + 1) * width]
            place = f"{theirs}MultiHeadDotProductAttention_1/{kind}/"
            renamed[f"{place}kernel"] = weight.t().reshape(width, heads, width // heads)
            renamed[f"{place}bias"] = bias.reshape(heads, width // heads)
        out = f"{theirs}MultiHeadDotProductAttention_1/out/"
        renamed[f"{out}kernel"] = state[f"{ours}attn.proj.weight"].t().reshape(heads, width // heads, width)
        renamed[f"{out}bias"] = state[f"{ours}attn.proj.bias"]
        for number in (0, 1):
            place = f"{theirs}MlpBlock_3/Dense_{number}/"
            renamed[f"{place}kernel"] = state[f"{ours}mlp.fc{number + 1}.weight"].t()
            renamed[f"{place}bias"] = state[f"{ours}mlp.fc{number + 1}.bias"]
    return {prefix + name: np.asarray(value) for name, value in renamed.items()}


@pytest.mark.parametrize(("prefix", "second"), [("", "2"), ("params/", "1"), ("opt/target/", "2")])
def test_augreg_npz(tmp_path: Path, prefix: str, second: str) -> None:
    state = timm_state(width=48, depth=2)
    layout = flax(state, heads=4, prefix=prefix, second_norm=second)
    layout[f"{prefix}head/kernel"] = np.zeros((48, 5), np.float32)
    layout[f"{prefix}pre_logits/kernel"] = np.zeros((48, 48), np.float32)
    np.savez(tmp_path / "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0.npz", **layout)
    file = read(next(tmp_path.iterdir()))
    assert (file.config.heads, file.config.depth, file.mean, file.doubts) == (4, 2, HALF[0], ())
    assert set(file.state) == {name for name in state if not name.startswith("head.")}
    for name, value in file.state.items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("blocks.0.attn.q_norm.weight", "normalised queries"),
        ("blocks.0.mlp.w12.weight", "SwiGLU"),
        ("patch_embed.backbone.stem.conv.weight", "convolutional stem"),
        ("blocks.0.attn.relative_position_bias_table", "relative positions"),
    ],
)
def test_other_vits_are_refused_by_what_they_have(tmp_path: Path, name: str, what: str) -> None:
    torch.save(timm_state(width=192) | {name: torch.zeros(2)}, tmp_path / "vit_tiny.pth")
    with pytest.raises(UserError, match=f"a ViT with .*{what}"):
        read(tmp_path / "vit_tiny.pth")
    state = timm_state(width=192)
    del state["cls_token"]
    torch.save(state, tmp_path / "vit_tiny.pth")
    with pytest.raises(UserError, match="not a plain ViT with a class token: missing cls_token"):
        read(tmp_path / "vit_tiny.pth")


# --------------------------------------------------------------------------------------------------- mean and std


@torch.no_grad()
def test_weights_for_photos_of_another_mean(tmp_path: Path) -> None:
    """What the network sees of a photo normalised for the recipe is what it was trained on."""
    torch.save(timm_state(width=192), tmp_path / "vit_tiny_patch16_224.augreg.pth")
    file = read(tmp_path / "vit_tiny_patch16_224.augreg.pth")
    changed = VitFile(file.config, for_photos_of(file, mean=IMAGENET[0], std=IMAGENET[1]))
    photo = torch.rand(1, 3, SIDE, SIDE)
    seen = []
    for version, (mean, std) in ((file, HALF), (changed, IMAGENET)):
        normalised = (photo - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        seen.append(network(version).embed(normalised)[0])
    torch.testing.assert_close(seen[0], seen[1], atol=1e-4, rtol=1e-4)
    assert for_photos_of(file, mean=HALF[0], std=HALF[1]) is file.state


def test_the_generator_starts_from_them(tmp_path: Path) -> None:
    """Through `generator.start`: AugReg's patches are made for the recipe's mean, what is unknown is said."""
    state = timm_state(width=192, depth=2, patch=16)
    for name in ("vit_tiny_patch16_224.augreg_in21k.pth", "tiny.pth"):
        torch.save(state, tmp_path / name)

    def start(name: str, **more: Any) -> tuple[dict[str, torch.Tensor], list[str]]:
        settings = WeakTrSettings(start=str(tmp_path / name), image_size=64, **more)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = WeakTr.build(settings, classes=NAMES, seed=0)
        return model.state_dict(), [str(warning.message) for warning in caught if warning.category is Note]

    made, notes = start("vit_tiny_patch16_224.augreg_in21k.pth")
    assert notes == []
    assert not torch.allclose(made["patch_embed.proj.weight"], state["patch_embed.proj.weight"])
    half = {"mean": HALF[0], "std": HALF[1]}
    made, notes = start("vit_tiny_patch16_224.augreg_in21k.pth", **half)
    assert torch.equal(made["patch_embed.proj.weight"], state["patch_embed.proj.weight"])
    made, notes = start("tiny.pth", width=192, heads=3)
    assert ["number of heads" in line for line in notes] == [True, False]
    assert "mean and std" in notes[1]


@torch.no_grad()
def test_cams_with_layer_scale_and_registers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamed and kept attention agree, and no map knows of the registers."""
    from semples.generators import class_tokens
    from semples.networks.pairs import Pairs

    torch.save(timm_state(width=384, registers=4, layer_scale=True, patch=14), tmp_path / "dinov2_vits14_reg4.pth")
    settings = WeakTrSettings(start=str(tmp_path / "dinov2_vits14_reg4.pth"), image_size=56)
    model = WeakTr.build(settings, classes=NAMES, seed=0).eval()
    assert (model.config.patch_size, model.config.registers, model.config.layer_scale) == (14, 4, True)
    image = torch.randn(2, 3, 70, 56, generator=torch.Generator().manual_seed(0))
    pairs = Pairs.of(torch.tensor([[1, 0, 1], [0, 1, 0]]))
    cams = []
    for limit in (0, 10**12):
        monkeypatch.setattr(class_tokens, "MAP_BYTES", limit)
        cams.append(model.cams(image, pairs))
    assert cams[0].shape == (3, 5, 4)
    torch.testing.assert_close(cams[0], cams[1], atol=1e-5, rtol=1e-4)
    assert model.patch_attention(image).shape == (2, 20, 20)
    WeakTr.from_config(model.config_dict(), num_classes=3).load_state_dict(model.state_dict())


def test_the_command_says_what_was_assumed(tmp_path: Path) -> None:
    """A note is one line of its own on standard error, without file and line."""
    photos = tiny.draw_photos(tmp_path / "photos", count=4)
    torch.save(timm_state(width=32, depth=1, patch=8), tmp_path / "start.pth")
    recipe = tiny.write_recipe(tmp_path / "recipe.yaml", tmp_path / "clip")
    command = ["run", recipe, "--data", photos, "--out", tmp_path / "run", "--until", "warmup"]
    said = tiny.invoke(*command, "--set", "warmup.epochs=0", "--set", f"generator.start={tmp_path / 'start.pth'}")
    notes = [line for line in said.err.splitlines() if "note" in line]
    assert [line.startswith("semples: note: ") for line in notes] == [True, True]
    assert "2 are taken, as generator.heads says" in notes[0]
    assert "generator.mean=[0.5,0.5,0.5]" in notes[1]

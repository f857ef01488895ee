"""The folder of a trained segmenter explains itself and loads anywhere."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import semples
from semples.core.palette import read_label_png
from semples.core.schema import to_dict
from semples.recipe import Recipe, load_recipe
from semples.run.records import finish
from semples.segmenter.build import Segmenter
from semples.segmenter.package import Figure, licence_key, licence_of, model_card, open_package, write_package
from tests import tiny
from tests.prediction import material
from tests.prediction.test_large import blocks
from tests.segmenter import material as segmenters


def test_the_folder_has_everything(tmp_path: Path) -> None:
    made = segmenters.tiny(tmp_path / "config", "segformer").eval()
    recipe = replace(Recipe(), name="mine")
    for name in ("one", "two"):
        write_package(made, tmp_path / name, recipe=to_dict(recipe), card=material.CARD)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    names = {"README.md", "classes.json", "config.json", "model.safetensors", "recipe.yaml", "segmenter.json"}
    names.add("preprocessor_config.json")
    assert files.keys() == names
    classes = json.loads(files["classes.json"])["classes"]
    assert classes[1] == {"label": 1, "name": "disc", "colour": "#800000"}
    assert [entry["name"] for entry in classes] == ["background", "disc", "square"]
    assert load_recipe(tmp_path / "one" / "recipe.yaml") == recipe
    package = open_package(tmp_path / "one")
    assert package.recipe == recipe
    images, _ = segmenters.batch()
    with torch.no_grad():
        assert torch.equal(package.segmenter(images), made(images))


@pytest.mark.parametrize("family", ["segformer", "mask2former", "semples_vit"])
def test_the_network_loads_with_transformers(family: str, tmp_path: Path) -> None:
    import transformers

    folder = material.package(tmp_path / "model", family)
    card = (folder / "README.md").read_text(encoding="utf-8")
    loader = card.partition("transformers.")[2].partition(".from_pretrained")[0]
    network = getattr(transformers, loader).from_pretrained(folder).eval()
    images, _ = segmenters.batch()
    with torch.no_grad():
        outputs, expected = network(pixel_values=images), Segmenter.load(folder).network(pixel_values=images)
    key = "masks_queries_logits" if family == "mask2former" else "logits"
    assert torch.equal(getattr(outputs, key), getattr(expected, key))


@pytest.mark.parametrize("family", ["semples_vit", "segformer", "upernet", "mask2former", "maskformer", "eomt"])
def test_the_pipeline_gives_the_same_labels(family: str, tmp_path: Path) -> None:
    """transformers' own pipeline on the folder, with a photo that needs no rounding of its sides."""
    import transformers

    if family == "semples_vit":
        importlib.import_module("semples.segmenter.vit")  # as the card says
    folder = material.package(tmp_path / "model", family)
    photo = blocks(64, 64)
    segments = transformers.pipeline("image-segmentation", model=str(folder))(
        Image.fromarray(photo), subtask="semantic"
    )
    labels = np.full((64, 64), 255, np.uint8)
    for segment in segments:
        labels[np.array(segment["mask"]) > 0] = ("background", "disc", "square").index(segment["label"])
    expected = semples.load(folder, scales=[1.0], mirror=False, crf=False).predict(photo)
    assert (labels == expected).mean() > 0.9  # it enlarges logits, this program probabilities
    assert len(np.unique(expected)) > 1 or family in ("mask2former", "maskformer")
    header = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert (header["library_name"], header["pipeline_tag"]) == ("transformers", "image-segmentation")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nvidia/mit-b0", {"license": "other", "license_name": "nvidia-source-code-license"}),
        ("microsoft/swin-tiny-patch4-window7-224", {"license": "apache-2.0"}),
        ("upernet:microsoft/swin-tiny-patch4-window7-224", {"license": "apache-2.0"}),
        ("facebook/mask2former-swin-tiny-ade-semantic", {"license": "cc-by-nc-4.0"}),
        ("vit:shipped:demo_vit", {"license": "apache-2.0"}),
        ("scratch:segformer", {"license": "other", "license_name": "to-be-decided"}),
        ("somebody/unknown", {"license": "unknown"}),
    ],
)
def test_the_cards_header_names_the_start_weights_licence(source: str, expected: dict[str, str]) -> None:
    assert licence_key(source) == expected


def test_the_card_is_honest(tmp_path: Path) -> None:
    card = replace(
        material.CARD, source="nvidia/mit-b0", tagged=None, used_pixel_masks=None, name="a <b>*bold*</b>\n# claim",
        figures=(*material.CARD.figures, Figure(name="share", value=0.5, photos=3, used_pixel_masks=False)),
    )  # fmt: skip
    made = segmenters.tiny(tmp_path, "segformer")
    text = model_card(made, card)
    header = yaml.safe_load(text.split("---")[1])
    assert header["pipeline_tag"] == "image-segmentation"
    assert "\n# a \\<b\\>\\*bold\\*\\</b\\> \\# claim\n" in text
    assert "| mIoU on unseen photos, % | 61.25 | 4 | yes |" in text
    assert "| share | 0.5 | 3 | no |" in text
    assert "NVIDIA Source Code License; commercial use: no" in text
    assert "is not known to this program" in text
    assert "| square | 2 | - |" in text
    assert "\n\n- photos: 10 of drawn photos\n- labels: CAMs" in text
    assert "no pixel mask was used" in model_card(made, material.CARD)
    assert "their shorter side has 64 pixels" in model_card(made, material.CARD)
    assert "pixel masks were used" in model_card(made, replace(card, used_pixel_masks=True))
    assert "None were measured" in model_card(made, replace(card, figures=()))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nvidia/segformer-b5-finetuned-ade-640-640", "commercial use: no"),
        ("mask2former:microsoft/swin-large-patch4-window12-384-in22k", "Apache-2.0; commercial use: yes"),
        ("facebook/mask2former-swin-large-ade-semantic", "CC BY-NC 4.0; commercial use: no"),
        ("tue-mps/ade_semantic_eomt_large_512_dinov3", "DINOv3 License of its backbone; commercial use: unknown"),
        ("tue-mps/ade20k_semantic_eomt_large_512", "unverified"),
        ("upernet:facebook/convnextv2-tiny-22k-224", "contradictory"),
        ("scratch:segformer", "random weights"),
        ("vit:shipped:demo_vit", "shipped"),
        ("someone/unknown", "not known to this program"),
        ("/a/folder", "not known to this program"),
    ],
)
def test_licences(source: str, said: str) -> None:
    assert said in licence_of(source)


def test_the_cards_figures_and_claims_are_those_of_its_label_maps(tmp_path: Path) -> None:
    run = material.run(tmp_path / "run", tiny.draw_photos(tmp_path / "photos", count=4))
    config = segmenters.folder(tmp_path / "config", "semples_vit")
    changes = [f"model=scratch:{config}", "iterations=1", "batch=2", "image_size=32"]
    settings = [f"--set=segmenter.{entry}" for entry in changes]
    labels = json.loads((run / "labels" / "manifest.json").read_text(encoding="utf-8"))

    def card(*, of: str, select: str, seed: int, select_epoch: str = "last") -> str:
        for step, reads, result in (
            ("labels", labels["reads"], labels["result"] | {"select": select}),
            ("scores", {"step:labels": of}, {"miou": 71.25, "photos": 4}),
            ("refinement", {}, {"select_epoch": select_epoch}),
        ):
            (run / step).mkdir(exist_ok=True)
            fingerprint = labels["fingerprint"] if step == "labels" else "made"
            finish(run / step, {"step": step, "fingerprint": fingerprint, "reads": reads, "seconds": 1}, result)
        tiny.invoke("segment", "train", run, *settings, f"--set=run.seed={seed}")
        return (run / "segmenter" / "model" / "README.md").read_text(encoding="utf-8")

    made_by = labels["fingerprint"]
    text = card(of=made_by, select="auto", seed=1)
    assert "71.25" in text
    assert "no pixel mask was used" in text
    assert "71.25" not in card(of="earlier label maps", select="auto", seed=2)
    assert "pixel masks were used" in card(of=made_by, select="ground-truth", seed=3)
    assert "pixel masks were used" in card(of=made_by, select="auto", select_epoch="ground-truth", seed=4)


def test_a_trained_run_predicts_without_tags(tmp_path: Path) -> None:
    """From a run's label maps to label maps of new photos, through the command line."""
    photos = tiny.draw_photos(tmp_path / "photos", count=6)
    run = material.run(tmp_path / "run", photos)
    config = segmenters.folder(tmp_path / "config", "semples_vit")
    settings = [f"model=scratch:{config}", "iterations=2", "batch=2", "image_size=32"]
    tiny.invoke("segment", "train", run, *(f"--set=segmenter.{entry}" for entry in settings))
    model = run / "segmenter" / "model"
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "- photos: 6 of photos" in card
    assert "whether the label maps needed pixel masks is not known" in card  # who has fixed the threshold may have
    assert "background threshold 0.45, fixed in the settings; regions+crf" in card
    tiny.invoke("predict", run, photos / "p00.png", "--out", tmp_path / "out")
    shutil.copytree(model, tmp_path / "elsewhere")
    labels = semples.load(tmp_path / "elsewhere").predict(photos / "p00.png")
    assert (labels == read_label_png(tmp_path / "out" / "labels" / "p00.png")).all()
    assert labels.shape == tiny.pixels(photos / "p00.png").shape[:2]

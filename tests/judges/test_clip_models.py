"""The judge on the forms of CLIP that transformers publish: features are those of the library's own forward pass.

Widths are small; heads, activations, patches, projections and special tokens are as in the published configurations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from semples.data.classes import ClassList
from semples.judges.base import build_judge
from semples.networks.tokenizer import ClipTokenizer
from semples.recipe import ClipSettings

CLASSES = ClassList(("cat", "diningtable", "boat"), ("cat", "dining table", "boat"))
# image tower (width, heads, patch, photo), text tower (width, heads), activation, end token as its config has it
FORMS: dict[str, tuple[tuple[int, int, int, int], tuple[int, int], str, int]] = {
    "openai/clip-vit-base-patch16": ((192, 3, 16, 48), (128, 2), "quick_gelu", 2),
    "openai/clip-vit-large-patch14": ((256, 4, 14, 42), (192, 3), "quick_gelu", 2),
    "laion/CLIP-ViT-H-14 (from open_clip)": ((160, 2, 14, 28), (128, 2), "gelu", 49407),
    "laion/CLIP-ViT-B-16 (from open_clip)": ((192, 3, 16, 48), (128, 2), "gelu", 49407),
    "facebook/metaclip-b16": ((192, 3, 16, 48), (128, 2), "quick_gelu", 49407),
}


@pytest.fixture(scope="module", params=list(FORMS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of this form with random weights."""
    from transformers import CLIPConfig, CLIPModel

    (width, heads, patch, side), (text_width, text_heads), act, end = FORMS[request.param]
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": heads}
    vision |= {"patch_size": patch, "image_size": side}
    text = {"hidden_size": text_width, "intermediate_size": 4 * text_width, "num_attention_heads": text_heads}
    common = {"num_hidden_layers": 2, "hidden_act": act, "projection_dim": 96}
    config = CLIPConfig(
        projection_dim=96, vision_config=vision | common, text_config=text | common | {"eos_token_id": end}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = CLIPModel(config)
        for weight in model.parameters():
            weight.data += 0.05 * torch.randn_like(weight)
    out = tmp_path_factory.mktemp("clip")
    model.save_pretrained(out)
    return out


@torch.no_grad()
def test_features_are_the_librarys(folder: Path) -> None:
    from transformers import CLIPModel

    library = CLIPModel.from_pretrained(folder).eval()
    judge: Any = build_judge(ClipSettings(model=str(folder)), classes=CLASSES)
    views = torch.randn(3, 3, judge.image_size, judge.image_size, generator=torch.Generator().manual_seed(2))
    wanted = F.normalize(library.get_image_features(pixel_values=views).pooler_output, dim=-1)
    torch.testing.assert_close(judge.encode(views), wanted, atol=1e-5, rtol=1e-4)
    texts = [f"a photo of {word}." for word in CLASSES.prompts]
    tokens = ClipTokenizer.published()._backend(texts, padding="max_length", max_length=77, return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    wanted = F.normalize(library.get_text_features(input_ids=ids, attention_mask=mask).pooler_output, dim=-1)
    torch.testing.assert_close(judge.targets, wanted, atol=1e-5, rtol=1e-4)
    assert judge.scale == pytest.approx(float(library.logit_scale.exp()))
    patches = judge.clip.encode_patches(views)
    assert patches.shape == (3, (judge.image_size // library.config.vision_config.patch_size) ** 2, 96)

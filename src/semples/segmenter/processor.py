"""preprocessor_config.json: how transformers' own image processors and pipelines make a photo ready."""

from __future__ import annotations

from typing import Any

from semples.segmenter.build import Segmenter

PROCESSOR = "preprocessor_config.json"
LONGEST = 4  # as photos are seen by this program: longer sides are not enlarged beyond that many shorter ones
BICUBIC = 3
BY_SHORTER_SIDE = ("semples_vit", "semples_lite", "segformer", "upernet", "mask2former", "maskformer")
OTHERS = "SegformerImageProcessor"  # for logits a pixel
OTHER_QUERIES = "Mask2FormerImageProcessor"


def processor_config(segmenter: Segmenter) -> dict[str, Any]:
    """The file's content for a segmenter: `pipeline("image-segmentation")` then takes its folder."""
    config, family = segmenter.config, segmenter.family
    settings: dict[str, Any] = {
        "image_processor_type": _type(segmenter),
        "do_resize": True,
        "size": {"height": config.size, "width": config.size},
        "resample": BICUBIC,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
        "do_reduce_labels": False,
    }
    if family in BY_SHORTER_SIDE:
        settings["size"] = {"shortest_edge": config.size, "longest_edge": LONGEST * config.size}
    if family.startswith("eomt"):
        settings |= {"size": {"shortest_edge": config.size, "longest_edge": None}, "do_split_image": True}
    if family in ("mask2former", "maskformer"):
        settings |= {"size_divisor": 32, "ignore_index": 255, "num_labels": len(config.classes) + 1}
    return settings


def _type(segmenter: Segmenter) -> str:
    from transformers.models.auto import image_processing_auto

    names: Any = image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES  # type: ignore[attr-defined]
    processor = names.get(segmenter.family)
    if isinstance(processor, dict):
        processor = processor.get("torchvision") or processor.get("pil")
    while isinstance(processor, list | tuple):
        processor = next((entry for entry in processor if entry), None)
    return processor or (OTHER_QUERIES if segmenter.is_mask_classifier else OTHERS)

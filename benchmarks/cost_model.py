"""The time of VOC, COCO and more photos, stage by stage, from counted work. Part of `cost.py`.

A stage takes as long as what takes longest of it: its operations on the cards, or what the cores beside them do. Stages
come one after another, so the whole is the sum. Cards are taken to share work evenly, which small batches do not:
`launching` is what asking for a step's kernels takes at least, however many cards share the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cost_seconds import Kind
from semples.recipe import Recipe, load_recipe

Counts = dict[str, float]

CORES, MEMORY = 16, 128e9  # beside each card
CARDS_OF_A_MACHINE = 8
KEPT_SHARE = 1 / 4  # of free memory: `data.cache=auto`
DECODERS, WRITERS, LISTERS = 4, 16, 2  # threads of a process at CAMs; of process 0, at the digests of what was made
LOOKED = 500  # photos of the looks after stages, beside those whose tags are looked at
SEEN_A, SEEN_CAMS = 1_447, 60  # photos a second of one H200: (a) at bf16 and 64 photos, CAMs by 16 (results/gpu)
LAUNCHES = {"warm-up": 982, "(a) matching": 1061, "(b) prompting": 1094, "(c) refinement": 1084}  # there, a step
LAUNCH = 10e-6  # seconds, assumed
TABLE, GROWING = (1, 8), (1, 8, 64)
SIZES = (10_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Data:
    """A data set as its recipe takes it."""

    name: str
    recipe: Recipe
    photos: int
    kind: Kind


DATA = (
    Data("VOC", load_recipe("voc"), 10_582, Kind((375, 500), (2, 1), 20)),
    Data("COCO", load_recipe("coco"), 82_081, Kind((480, 640), (3, 3), 80)),
)


@dataclass(frozen=True)
class Rates:
    """Operations a second of a card, and what a photo of VOC takes, by which measured rates are carried over."""

    half: float
    single: float
    voc: Counts


@dataclass(frozen=True)
class Row:
    """A stage. card, cores: seconds; seen: of the cards, by what was measured; work: seconds of one core in all.
    launching: seconds of asking for kernels."""

    name: str
    card: float
    cores: float
    seen: float
    work: float
    launching: float = 0.0

    @property
    def wall(self) -> float:
        return max(self.card, self.cores)

    @property
    def seen_wall(self) -> float:
        return max(self.seen, self.cores)

    @property
    def bound(self) -> str:
        return "card" if self.card > self.cores else "cores"


def rows(data: Data, counts: Counts, core: Counts, rates: Rates, *, cards: int, photos: int) -> list[Row]:
    """The stages of a run through label maps, by one process a card."""
    recipe, shared = data.recipe, CORES * cards
    height, width = data.kind.size
    kept = photos * height * width * 3 <= KEPT_SHARE * MEMORY * min(cards, CARDS_OF_A_MACHINE)
    a_byte = core["digest"] / core["bytes of a photo"] / LISTERS

    def alone(name: str, each: float, count: int, operations: float = 0.0) -> Row:
        """What every process does by itself."""
        card = count * operations / rates.single
        return Row(name, card, count * each, card, count * each * cards)

    def divided(name: str, each: float, *, count: int = photos, half: float = 0.0, single: float = 0.0) -> Row:
        card = count * (half / rates.half + single / rates.single) / cards
        return Row(name, card, count * each / shared, card, count * each)

    checked = divided("data check", core["decode"])
    digests = photos * core["digest"]
    looked = min(photos, recipe.health.tagged_photos)
    made = [
        Row(checked.name, 0.0, checked.cores + digests / cards, 0.0, checked.work + digests),
        alone("looks at tags and stages", core["look"], looked + LOOKED, counts["look"]),
    ]
    for name, settings in (
        ("warm-up", recipe.warmup),
        ("(a) matching", recipe.matching),
        ("(b) prompting", recipe.prompting),
        ("(c) refinement", recipe.refinement),
    ):
        assert isinstance(settings.epochs, int)
        view = "view" if settings.augment.randaugment_ops else "plain view"
        later = core[f"{view}, kept"] if kept else core[view]
        first = core[view] if name == "warm-up" else later
        single = 0.0 if name == "warm-up" else counts["masks"]
        each = divided(
            name,
            (first + (settings.epochs - 1) * later) / settings.epochs,
            count=photos * settings.epochs,
            half=counts[name] - single,
            single=single,
        )
        seen = each.card
        if name in ("(a) matching", "(c) refinement"):
            seen = photos * settings.epochs / SEEN_A * counts[name] / rates.voc["(a) matching"] / cards
        steps = settings.epochs * (photos // settings.batch)
        made.append(Row(name, each.card, each.cores, seen, each.work, steps * LAUNCHES[name] * LAUNCH))
    by_thread = core["decode"] / DECODERS, core["inputs of CAMs"], core["write CAM file"] / WRITERS
    work = photos * (core["decode"] + core["inputs of CAMs"] + core["write CAM file"])
    made.append(
        Row(
            "CAMs",
            photos * counts["CAMs"] / rates.single / cards,
            photos * max(by_thread) / cards + photos * core["bytes of CAM file"] * a_byte,
            photos / SEEN_CAMS * counts["CAMs"] / rates.voc["CAMs"] / cards,
            work,
        )
    )
    drawn = min(photos, recipe.selection.photos)
    judged = sum(data.kind.tags) / 2 * core["thresholds tried"] * counts["look"]
    made.append(divided("choice of a threshold", core["sweep"], count=drawn, single=judged))
    label = core["decode"] + core["read CAM file"] + core["label"] + core["write label map"] + core["write confidence"]
    maps = divided(f"label maps, {recipe.labels.method}", label)
    listed = photos * (core["bytes of label map"] + core["bytes of confidence"]) * a_byte
    made.append(Row(maps.name, 0.0, maps.cores + listed, 0.0, maps.work))
    return made


def segmenter(data: Data, counts: Counts, core: Counts, rates: Rates, *, cards: int) -> list[Row]:
    """The published segmenter's training; no more cards than a batch has photos."""
    settings = data.recipe.segmenter
    assert isinstance(settings.iterations, int)
    views = settings.iterations * settings.batch
    each = core["read label map"] + core["read confidence"]
    card = views * counts["segmenter"] / rates.half / cards
    return [
        Row("look at all label maps", 0.0, data.photos * each, 0.0, data.photos * each * cards),
        Row("training", card, views * core["segmenter view"] / CORES / cards, card, views * core["segmenter view"]),
    ]


def told(seconds: float) -> str:
    """Seconds as one reads them."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _print(title: str, by_cards: dict[int, list[Row]]) -> Counts:
    """The table of these stages, and its sums in seconds."""
    head = " | ".join(f"{cards} x H100 | {CORES * cards} cores | bound by" for cards in by_cards)
    seen = " | ".join(f"at an H200's rates, {cards}" for cards in by_cards)
    print(f"\n| {title} | {head} | {seen} |\n|---|" + "--:|--:|---|" * len(by_cards) + "--:|" * len(by_cards))
    for row in zip(*by_cards.values(), strict=True):
        cells = " | ".join(f"{told(one.card)} | {told(one.cores)} | {one.bound}" for one in row)
        print(f"| {row[0].name} | {cells} | {' | '.join(told(one.seen_wall) for one in row)} |")
    sums: Counts = {}
    for cards, made in by_cards.items():
        sums[f"{cards} cards"] = sum(row.wall for row in made)
        sums[f"{cards} cards at an H200's rates"] = sum(row.seen_wall for row in made)
        sums[f"{cards} cards, launching too"] = sum(max(row.wall, row.launching) for row in made)
    whole = " | ".join(f"| | **{told(sums[f'{cards} cards'])}**" for cards in by_cards)
    by_seen = " | ".join(told(sums[f"{cards} cards at an H200's rates"]) for cards in by_cards)
    print(f"| **together** | {whole} | {by_seen} |")
    return sums


def table(data: Data, counts: Counts, core: Counts, rates: Rates) -> Counts:
    """Prints the stages through label maps; answers with the sums."""
    made = {cards: rows(data, counts, core, rates, cards=cards, photos=data.photos) for cards in TABLE}
    sums = _print(f"{data.name}, {data.photos:,} photos", made)
    asked = {row.name: row.launching for row in made[1] if row.launching}
    print("at least by launching:", ", ".join(f"{name} {told(value)}" for name, value in asked.items()), end="; ")
    print("then together", ", ".join(f"{cards}: {told(sums[f'{cards} cards, launching too'])}" for cards in TABLE))
    return sums


def segmenter_rows(data: Data, counts: Counts, core: Counts, rates: Rates) -> Counts:
    """Prints the segmenter's table; answers with the sums."""
    most = data.recipe.segmenter.batch
    made = {cards: segmenter(data, counts, core, rates, cards=cards) for cards in (1, most)}
    sums = _print(f"{data.name}, segmenter", made)
    return {f"segmenter, {name}": value for name, value in sums.items() if "launching" not in name}


def growing(data: Data, counts: Counts, core: Counts, rates: Rates) -> Counts:
    """Prints what more photos take, as a data set's recipe takes them; answers with hours by photos and cards."""
    print("\n| photos | GPU hours | core hours | CAMs and label maps |", *(f"{cards} GPU |" for cards in GROWING))
    print("|---|--:|--:|--:|" + "--:|" * len(GROWING))
    hours: Counts = {}
    for photos in SIZES:
        of_cards = {n: rows(data, counts, core, rates, cards=n, photos=photos) for n in GROWING}
        for cards, made in of_cards.items():
            hours[f"{photos} photos, {cards} cards, hours"] = sum(row.wall for row in made) / 3600
        print(f"| {photos:,} | {_hours(of_cards[1], kept_bytes(core) * photos)} |", end="")
        print("".join(f" {told(3600 * hours[f'{photos} photos, {cards} cards, hours'])} |" for cards in GROWING))
    return hours


def kept_bytes(core: Counts) -> float:
    """Bytes that stay of a photo."""
    return sum(core[f"bytes of {what}"] for what in ("CAM file", "label map", "confidence"))


def _hours(made: Sequence[Row], kept: float) -> str:
    card, core = (sum(values) / 3600 for values in ((row.card for row in made), (row.work for row in made)))
    return f"{card:,.1f} | {core:,.0f} | {kept / 1e9:,.1f} GB"

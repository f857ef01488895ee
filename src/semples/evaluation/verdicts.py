"""Verdicts on what was seen of every stage, without pixel labels.

The thresholds were chosen on a drawn world of 64 photos (seed 0), whole stages against stages broken on purpose, and
tested on others: benchmarks/health.py, benchmarks/README.md. Those of the segmenter are not measured yet. Figures are
those of `stages.glance` and `run.steps.health`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from semples.evaluation.verdict import Grade, Verdict

Figures = Mapping[str, Any]

CLEARLY = 4.0  # standard deviations above what tags dealt at random give
TOLD, HARDLY_TOLD = 0.5, 0.25  # lift of average precision by the CAMs of the photos learned from
TAGS_TOLD = 0.25  # the same from photos left out
JUDGE_KNOWS, JUDGE_HARDLY = 0.4, 0.2  # the same by the judge's targets
UNUSABLE, MANY_UNUSABLE = 0.1, 0.3  # share of masks that are empty, full or flat
EDGELESS = 1.09  # times as steep as anywhere: outlines below follow nothing (real photos: of no use 1.03, of use 1.15)
MOVED = 0.02  # change of a mean probability or overlap below which a stage has changed nothing
WORSE = -0.02  # gain of what masks keep over what they leave, below which they have become worse
STEADY_LOSS = -0.1
GAIN = 0.01  # cosine of a background with what masks leave, learned against random
NAMED = 1.5  # times what one background for all would name right
ENOUGH_ALONE = 0.1  # photos of a background alone, of those of its class, from which on no more are asked for
MOST_SHOWN = 3  # classes that photos are asked for in one line
ALIKE = 0.97  # mean cosine of the backgrounds with one another
AGREES, HARDLY_AGREES = 0.5, 0.3  # mIoU of the segmenter with the label maps that it learned from
EDGE_WEIGHT = 0.5  # of the photo's steepness on outlines beside steadiness
CLOSE = 0.03  # marks of masks that do not differ
FAR = 1.0  # lengths of their own that weights have moved (`networks.travel`): of what they started with nothing is left

CHECK_TAGS = "check that the tags belong to these photos (semples data check RUN lists those most worth a look)"
CHECK_WORDS = "write words that the judge knows into classes.txt (name,describing word)"
LOOK = (
    "look at the CAMs before anything is built on them (semples report RUN); classes that lie on one another on most "
    "photos, and very small ones, need finer CAMs (cams.scales=1,2), a judge that knows them, or masks by hand"
)
RATE = "its learning rate may be far too high or too low, or its steps too few"


def worst(doubts: Sequence[Verdict], *, good: str) -> Verdict:
    """The worst of some verdicts, with the reasons of all that are not good; `good` is said where all are."""
    order: dict[Grade, int] = {"good": 0, "doubtful": 1, "failed": 2}
    bad = sorted((one for one in doubts if one.grade != "good"), key=lambda one: -order[one.grade])
    if not bad:
        return Verdict("good", good)
    advice = "; ".join(dict.fromkeys(one.advice for one in bad if one.advice))
    return Verdict(bad[0].grade, "; ".join(one.why for one in bad), advice)


def of_tags(figures: Figures) -> Verdict:
    """Whether tags can be told from photos at all, and whether the judge knows the classes."""
    tags, judge = figures["tags"], figures["judge"]
    if tags is None or judge is None or tags != tags:
        return Verdict("good", "every photo or none carries the only class, so tags cannot be checked against photos")
    doubts = []
    share = figures["precision_by_chance"]
    said = (
        f"other photos foretell a photo's tags with average precision {figures['precision']:.2f} (chance {share:.2f})"
    )
    if tags <= figures["tags_by_chance"] + CLEARLY * figures["tags_by_chance_spread"]:
        doubts.append(Verdict("failed", f"{said}: no better than chance", CHECK_TAGS))
    elif tags < TAGS_TOLD:
        doubts.append(Verdict("doubtful", f"{said}: little", CHECK_TAGS))
    known = f"what the judge is told of the classes finds their photos with {figures['judge_precision']:.2f}"
    if judge < JUDGE_HARDLY:
        doubts.append(Verdict("failed", f"{known}: hardly at all", CHECK_WORDS))
    elif judge < JUDGE_KNOWS:
        weak = [name for name, one in figures["classes"].items() if (one["judge"] or 0) < (one["tags"] or 0) / 2]
        doubts.append(
            Verdict("doubtful", f"{known}" + (f" (weak: {', '.join(weak[:5])})" if weak else ""), CHECK_WORDS)
        )
    return worst(doubts, good=f"{said}; {known}")


def of_warmup(figures: Figures) -> Verdict:
    """Whether the generator tells the tags of photos, on photos held out where there are any."""
    if not figures:
        return Verdict("good", "no photo carries a tag to look at")
    held = figures.get("tags_held_out")
    tags, precision = (figures["tags"], figures["precision"]) if held is None else (held, figures["precision_held_out"])
    where = "that it learned from" if held is None else "held out"
    share = figures["precision_by_chance"]
    said = f"its maps find a class's photos among those {where} with average precision {precision:.2f}"
    said += f" (chance {share:.2f})"
    doubts = [*_masks(figures)]
    chance = figures["tags_by_chance"] + CLEARLY * figures["tags_by_chance_spread"]
    if tags < HARDLY_TOLD or tags < chance:
        doubts.append(Verdict("failed", f"{said}: hardly at all", f"{CHECK_TAGS}; {RATE}"))
    elif tags < TOLD:
        doubts.append(Verdict("doubtful", f"{said}: little", f"{RATE}: look at its loss in the report"))
    return worst(doubts, good=said)


def _masks(figures: Figures) -> list[Verdict]:
    """What masks look like: doubtful or failed where many light nothing, everything, or have no shape; doubtful where
    their outlines follow no edges."""
    unusable = max(figures["empty"] + figures["full"], figures.get("flat") or 0.0)
    edges = figures.get("edges")
    if edges is not None and edges < EDGELESS and unusable < UNUSABLE:
        words = f"outlines of masks follow nothing in the photos ({edges:.2f} times as steep there as anywhere)"
        return [Verdict("doubtful", words, LOOK)]
    if unusable < UNUSABLE:
        return []
    words = f"{figures['empty']:.0%} of the masks are empty, {figures['full']:.0%} light the whole photo"
    if figures.get("flat"):
        words += f", {figures['flat']:.0%} have no shape"
    return [Verdict("failed" if unusable > MANY_UNUSABLE else "doubtful", words, RATE)]


def _far_gone(figures: Figures) -> list[Verdict]:
    """Doubtful where training has moved the weights so far that nothing of their start need be left."""
    moved = figures.get("moved")
    if moved is None or moved <= FAR:
        return []
    words = f"the weights have moved {moved:.1f} times their own length, so that what they started with is lost"
    return [Verdict("doubtful", words, RATE)]


def of_masks(figures: Figures, before: Figures, data: Figures) -> Verdict:
    """Stages (a) and (c): what masks keep and leave, against the masks that the stage started from."""
    if not figures or not before:
        return Verdict("good", "no photo carries a tag to look at")
    doubts = [*_masks(figures), *_far_gone(figures)]
    kept, left = figures["kept"] - before["kept"], figures["left"] - before["left"]
    said = (
        f"the judge recognises what masks keep with {figures['kept']:.2f} (before: {before['kept']:.2f}) and what they "
        f"leave with {figures['left']:.2f} (before: {before['left']:.2f})"
    )
    judge = data.get("judge")
    if judge is not None and judge < JUDGE_HARDLY:
        doubts.append(Verdict("failed", "the judge does not know the classes, so it has nothing to teach", CHECK_WORDS))
    steady = figures["steady"] - before["steady"]
    if max(abs(kept), abs(left), abs(steady)) < MOVED:
        doubts.append(Verdict("failed", f"{said}: nothing has changed", f"the stage has not learned: {RATE}"))
    elif kept - left < WORSE:
        doubts.append(Verdict("failed", f"{said}: worse than before", RATE))
    if steady < STEADY_LOSS:
        why = f"masks move more under mirror and scale ({figures['steady']:.2f}, before: {before['steady']:.2f})"
        doubts.append(Verdict("doubtful", why, RATE))
    return worst(doubts, good=said)


def of_backgrounds(figures: Figures) -> Verdict:
    """Stage (b): whether backgrounds are like what masks leave, those of their own class above all, and differ."""
    if not figures:
        return Verdict("good", "no photo carries a tag to look at")
    doubts, gain = [], figures["with_left"] - figures["with_left_at_start"]
    said = (
        f"backgrounds resemble what masks leave with {figures['with_left']:.2f} (at random: "
        f"{figures['with_left_at_start']:.2f}), their classes with {figures['target']:.2f}"
    )
    more = f"raise prompting's steps or rate; {RATE}"
    if gain < GAIN:
        doubts.append(Verdict("failed", f"{said}: nothing was learned", more))
    alike, named = figures["alike"], figures["named"]
    if alike is not None and alike > ALIKE:
        doubts.append(Verdict("failed", f"the backgrounds of all classes are the same (cosine {alike:.2f})", more))
    elif named is not None and named < min(NAMED * figures["named_by_chance"], 0.9):
        doubts.append(Verdict("doubtful", f"only {named:.0%} of the photos are nearest to their class's background",
                             more))  # fmt: skip
    if figures.get("words"):
        firsts = [words[0] for words in figures["words"].values()]
        if len(firsts) > 1 and len(set(firsts)) == 1:
            doubts.append(Verdict("failed", f"the word {firsts[0]!r} is the nearest to every class's background", more))
    verdict = worst(doubts, good=said)
    return replace(verdict, advice=photos_to_add(figures)) if verdict.grade == "good" else verdict


def photos_to_add(figures: Figures) -> str:
    """Of which classes too few photos show the learned background without the class, and what to photograph for them;
    empty where there are enough, or no words tell what the backgrounds are."""
    words, alone = figures.get("words") or {}, figures.get("alone") or {}
    few = [name for name, one in alone.items() if one["without"] < ENOUGH_ALONE * one["with"] and words.get(name)]
    if not few:
        return ""
    shown = ", ".join(f"{words[name][0]} without {name}" for name in few[:MOST_SHOWN])
    more = f" and so on for {len(few) - MOST_SHOWN} more" if len(few) > MOST_SHOWN else ""
    return (
        f"what comes with a class is hardly seen without it; some 20 photos each of {shown}{more}, without the class's "
        "tag, keep it out of the masks best"
    )


def of_cams(figures: Figures) -> Verdict:
    """The CAMs that become label maps."""
    if not figures:
        return Verdict("good", "no photo carries a tag to look at")
    return worst(_masks(figures), good=f"half of the masks light more than {figures['lit']:.0%} of their photo")


def of_segmenter(figures: Figures) -> Verdict:
    """Whether the segmenter, without tags, says what the label maps say, and still knows what it started with."""
    agreement = figures["agreement"]
    where = "held out" if figures.get("held_out") else "that it learned from"
    said = f"without tags it agrees with the label maps of photos {where} with mIoU {100 * agreement:.0f}"
    advice = "raise segmenter.iterations, or look at its loss and rate"
    doubts = [*_far_gone(figures)]
    if agreement < AGREES:
        doubts.append(Verdict("failed" if agreement < HARDLY_AGREES else "doubtful", said, advice))
    return worst(doubts, good=said)


def best_stage(stages: Mapping[str, tuple[Grade, Figures]]) -> str:
    """The stage whose masks are best by a measure that no stage is trained on: steadiness under mirror and scale, and
    how steep the photo is on their outlines. Stages that have failed count only where all have; a later one
    counts where two are within `CLOSE`.

    stages: grade and figures by name, in the order of training.
    """
    marks = {name: quality(figures) for name, (_, figures) in stages.items() if figures}
    whole = {name: mark for name, mark in marks.items() if stages[name][0] != "failed"} or marks
    if not whole:
        return list(stages)[-1]
    highest = max(whole.values())
    return [name for name, mark in whole.items() if mark > highest - CLOSE][-1]


def quality(figures: Figures) -> float:
    """The mark of masks that `best_stage` compares; empty and full ones count against a stage."""
    return float(figures["steady"] + EDGE_WEIGHT * figures["edges"] - figures["empty"] - figures["full"])

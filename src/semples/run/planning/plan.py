"""What a run will cost, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from semples.core.plain import plain
from semples.core.progress import duration
from semples.run.names import HEALTH


@dataclass(frozen=True)
class StepPlan:
    """One step of a run.

    what: how much it does, in words. cpu, wall: seconds of all threads, and of the clock, on this machine as busy as it
    is now; None where that was not measured. disk: bytes that it leaves. memory: bytes at its peak, 0 where unknown.
    count: optimizer steps, where it trains.
    """

    step: str
    what: str
    cpu: float | None
    wall: float | None
    disk: int = 0
    memory: int = 0
    count: int = 0


@dataclass(frozen=True)
class Download:
    """Weights that come from the hub. bytes: of the weights, None where the hub does not say."""

    source: str
    group: str
    steps: tuple[str, ...]
    bytes: int | None = None

    def line(self) -> str:
        """In words."""
        size = "size unknown" if self.bytes is None else amount(self.bytes)
        return f"download: {self.source}, {size} ({self.group}, for {', '.join(self.steps)})"


@dataclass(frozen=True)
class KeptPhotos:
    """Decoded photos that are kept while the run trains, and given back afterwards (`data.cache`).

    where: `memory`, `disk` (that of the run's folder) or `no`. bytes: that they are expected to take. photos, of: how
    many have room, of those that training sees. side: pixels of the longer side that they are reduced to, 0: they are
    not. why: nothing is kept; empty otherwise.
    """

    where: str
    bytes: int
    photos: int
    of: int
    side: int = 0
    why: str = ""

    @property
    def memory(self) -> int:
        """Bytes of memory."""
        return self.bytes if self.where == "memory" else 0

    @property
    def disk(self) -> int:
        """Bytes of the run's disk."""
        return self.bytes if self.where == "disk" else 0

    def line(self) -> str:
        """In words."""
        if self.where == "no":
            return f"decoded photos: not kept, decoded for every view ({self.why})"
        place = "in memory" if self.where == "memory" else "on the disk of the run's folder"
        count = f"all {self.of}" if self.photos == self.of else f"{self.photos} of {self.of}"
        side = f" at {self.side} pixels" if self.side else ""
        return f"decoded photos: {count} kept {place}{side} while it trains, {amount(self.bytes)}"


@dataclass(frozen=True)
class Plan:
    """What a run will cost before it is started.

    photos, untagged, set_aside: usable by their listing, without a tag, not usable. steps: those still to be made, in
    their order. device: where it computes. start: CPU seconds of starting the program, opening the models and making
    this plan. free: bytes free on the disk of the run's folder. kept: decoded photos, None where nothing is trained, or
    in so little time that they are not looked at. later: what `semples segment train` would add. words: lines on
    classes that the judge does not tell. notes: what else to know. settings: changes by which --budget was met, as
    `key=value`.
    """

    photos: int
    untagged: int
    set_aside: int
    classes: int
    steps: tuple[StepPlan, ...]
    device: str
    start: float
    free: int
    downloads: tuple[Download, ...] = ()
    kept: KeptPhotos | None = None
    later: StepPlan | None = None
    words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def cpu(self) -> float | None:
        """CPU seconds of all steps and of the start; None where they were not measured."""
        known = [step.cpu for step in self.steps]
        return None if None in known else self.start + sum(value for value in known if value is not None)

    @property
    def wall(self) -> float | None:
        """Seconds by the clock of all steps; None where they were not measured."""
        known = [step.wall for step in self.steps]
        return None if None in known else sum(value for value in known if value is not None)

    @property
    def disk(self) -> int:
        """Bytes that the run leaves."""
        return sum(step.disk for step in self.steps)

    @property
    def most_disk(self) -> int:
        """Bytes on the disk when they are most: at the end, or while it trains, with photos that are kept there."""
        trained = max((place for place, step in enumerate(self.steps) if step.count), default=-1)
        kept = 0 if self.kept is None else self.kept.disk
        return max(self.disk, kept + sum(step.disk for step in self.steps[: trained + 1]))

    @property
    def memory(self) -> int:
        """Bytes at the peak, of photos that are kept in memory as well; on a GPU its own alone. 0 where unknown."""
        return max((step.memory for step in self.steps), default=0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the sums included."""
        return asdict(self) | {"cpu": self.cpu, "wall": self.wall, "disk": self.disk, "memory": self.memory}

    def lines(self) -> list[str]:
        """The plan in words, a line each."""
        photos = f"{self.photos} photos, {self.classes} classes"
        extra = [f"{self.untagged} without a tag"] * bool(self.untagged)
        extra += [f"{self.set_aside} set aside"] * bool(self.set_aside)
        text = [f"plan: {photos}{' (' + ', '.join(extra) + ')' if extra else ''}, on {self.device}"]
        for download in self.downloads:
            text.append(f"  {download.line()}")
        if self.kept is not None:
            text.append(f"  {self.kept.line()}")
        looks = [step for step in self.steps if step.step.startswith(f"{HEALTH}-")]
        for step in self.steps:
            if step not in looks:
                text.append(f"  {_line(step)}")
        if looks:
            text.append(f"  {_line(_together(looks))}")
        total = [amount(self.disk) + " of disk"] if self.disk else []
        total += [f"{amount(self.memory)} of memory at the peak"] if self.memory else []
        if self.cpu is not None and self.wall is not None and self.steps:
            clock = f"about {duration(self.wall)}, {duration(self.cpu)} of processor time"
            text.append(f"  in all {', '.join([clock, *total])}")
        elif total and self.steps:
            text.append(f"  in all {', '.join(total)}; the time is not known yet")
        if self.later is not None:
            text.append(f"  afterwards, if you wish: {_line(self.later)}")
        if self.settings:
            text.append("  to fit the budget: " + " ".join(f"--set {setting}" for setting in self.settings))
        text += [f"  {line}" for line in (*self.words, *self.notes)]
        return [plain(line) for line in text]


def _together(looks: list[StepPlan]) -> StepPlan:
    """All looks at the stages, as one."""
    known = [(step.cpu, step.wall) for step in looks if step.cpu is not None and step.wall is not None]
    cpu, wall = (sum(column) for column in zip(*known, strict=True)) if len(known) == len(looks) else (None, None)
    return StepPlan(HEALTH, f"{len(looks)} looks at what the steps have learned", cpu, wall)


def _line(step: StepPlan) -> str:
    parts = [f"{step.step}: {step.what}"]
    if step.wall is not None and step.cpu is not None:
        parts.append(f"{duration(step.wall)} ({duration(step.cpu)} of processor time)")
    if step.disk >= 1e5:
        parts.append(amount(step.disk))
    return ", ".join(parts)


def amount(count: float) -> str:
    """So many bytes, as people say it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"

"""What a step may look at, recorded as it looks.

A step gets a `Work` and nothing else. Every setting, every file of weights and every earlier step that it asks for is
noted with its value, first in the folder's started.json, in the end in its manifest. A step is up to date as long as
all that it has read is as it was: nothing has to be listed by hand, and nothing can be forgotten.

Keys of what is read: `setting:matching.epochs`, `weights:shipped:demo_clip`, `step:warmup`, `fact:photos`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semples.core.errors import UserError
from semples.core.ranks import Ranks
from semples.core.schema import leaves
from semples.data.dataset import Item, TaggedDataset
from semples.data.held_out import held_out, without
from semples.networks.weights import source_digest
from semples.recipe import Recipe
from semples.run import photos, records
from semples.run.advice import that_makes
from semples.run.context import Context
from semples.run.corrections import Corrected, corrected, corrections_fact

if TYPE_CHECKING:
    import torch

    from semples.training.engine import Engine

Fact = Callable[[Context], Any]
UPDATE = "update"
GONE = "(there is none)"  # the value of something that was read once and is no more


def photos_fact(context: Context) -> str:
    """Content of the photos, their tags, and the classes."""
    return photos.digest_at_a_glance(
        context.source, context.recipe.data, context.out, listing=lambda: context.listing, save=context.is_main
    )


def masks_fact(context: Context) -> str:
    """Content of the masks of the usable photos."""
    return photos.masks_digest(context.scored_dataset, context.out / photos.SEEN, save=context.is_main)


FACTS: dict[str, Fact] = {"photos": photos_fact, "masks": masks_fact, "corrections": corrections_fact}


@dataclass
class Work:
    """One step at work in its folder.

    needs: the steps that it may read. facts: what it knows beyond `FACTS`, by name. on_read: called with all that has
    been read, whenever something new was.
    """

    context: Context
    name: str
    folder: Path
    needs: tuple[str, ...] = ()
    facts: Mapping[str, Fact] | None = None
    on_read: Callable[[dict[str, Any]], None] = lambda reads: None
    reads: dict[str, Any] | None = None

    @classmethod
    def outside(cls, context: Context, *steps: str) -> Work:
        """For what looks at a run from outside its steps, at the named ones: nothing is written."""
        return cls(context, "a look", context.out, needs=("data", *steps))

    # ------------------------------------------------------------------------------------------------ what is recorded

    def settings(self, group: str, *, leave_out: Collection[str] = ()) -> Any:
        """A group of the recipe's settings. All of it counts as read but what changes no result, and `leave_out`, names
        of its settings that the step does not look at."""
        chosen = getattr(self.context.recipe, group)
        plain = {
            key: value
            for key, value in leaves(chosen, prefix=f"{group}.", neutral=False)
            if key.split(".")[1] not in leave_out
        }
        weights = {f"weights:{source}": source_digest(source) for source in weight_sources(chosen)}
        self._note({f"setting:{key}": value for key, value in plain.items()} | weights)
        return chosen

    def setting(self, key: str) -> Any:
        """One setting, `group.name`."""
        self._note({f"setting:{key}": setting_of(self.context.recipe, key)})
        value: Any = self.context.recipe
        for part in key.split("."):
            value = getattr(value, part)
        return value

    def step(self, name: str) -> Path:
        """The folder of an earlier step, which must be finished."""
        if name not in self.needs:
            raise ValueError(f"the step {self.name} does not say that it needs {name}")
        self._note({f"step:{name}": step_of(self.context, name)})
        if records.read_manifest(self.context.folder(name)) is None:
            raise UserError(
                f"{self.name} needs the step {name}, which is not finished in {self.context.out}; "
                f"make it first: `{that_makes(name, self.context.out, self.context.source)}`"
            )
        return self.context.folder(name)

    def fact(self, name: str) -> Any:
        """Something else that the result depends on: `photos`, `masks`, or a fact of the step's own."""
        value = self._fact(name)
        self._note({f"fact:{name}": value})
        return value

    def weights(self, source: str) -> str:
        """A file or folder of weights, or a hub id, that no setting names; its content counts as read."""
        self._note({f"weights:{source}": source_digest(source)})
        return source

    def updated(self, digest: str) -> None:
        """Note that the step goes on from weights of this SHA-256, which it does not keep."""
        self._note({f"{UPDATE}:weights": digest})

    def content(self, folder: str) -> Path:
        """A folder outside the run that a setting names; what lies in it, by content, counts as read."""
        self._note({f"folder:{folder}": _folder_digest(self.context, folder)})
        return Path(folder)

    @property
    def dataset(self) -> TaggedDataset:
        """The usable photos as the data step left them, without masks."""
        self.step("data")
        return self.context.dataset

    @property
    def held_out(self) -> list[Item]:
        """The usable photos that no training sees; none unless the recipe asks for it."""
        share, seed = self.setting("health.held_out"), self.setting("run.seed")
        return held_out(self.dataset, share=share, seed=seed) if share else []

    @property
    def training_dataset(self) -> TaggedDataset:
        """The usable photos that training may see, without masks."""
        return without(self.dataset, self.held_out)

    @property
    def scored_dataset(self) -> TaggedDataset:
        """The usable photos with the masks that their folder holds now."""
        self.step("data")
        self.fact("masks")
        return self.context.scored_dataset

    @property
    def corrected(self) -> Corrected:
        """Label maps of the photos that a person has corrected."""
        self.fact("corrections")
        return corrected(self.context, self.dataset)

    @property
    def fingerprint(self) -> str:
        """What identifies all that has been read so far."""
        return fingerprint(self.name, self.reads or {})

    def _note(self, facts: dict[str, Any]) -> None:
        plain = json.loads(json.dumps(facts))
        before = self.reads if self.reads is not None else {}
        new = {key: value for key, value in plain.items() if before.get(key, GONE) != value}
        self.reads = before | new
        if new and self.context.is_main:
            self.on_read(self.reads)

    def _fact(self, name: str) -> Any:
        return {**FACTS, **(self.facts or {})}[name](self.context)

    # ------------------------------------------------------------------------------------- what changes no result

    @property
    def engine(self) -> Engine:
        """Devices and processes."""
        return self.context.engine

    @property
    def device(self) -> torch.device:
        return self.context.engine.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.context.is_main

    @property
    def rank(self) -> int:
        return self.context.rank

    @property
    def processes(self) -> int:
        return self.context.processes

    @property
    def ranks(self) -> Ranks:
        """This process and the others: photos are shared, figures are told."""
        return self.context.ranks

    @property
    def workers(self) -> int:
        """Processes that may work for this one."""
        return self.context.workers

    def wait(self) -> None:
        """Until all processes are here."""
        self.context.wait()

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.context.out

    @property
    def source(self) -> photos.Source:
        """Where the photos are; their content is the fact `photos`."""
        return self.context.source

    @property
    def listing(self) -> TaggedDataset:
        """The photos as their folder holds them now; the fact `photos`."""
        self.fact("photos")
        return self.context.listing

    def speed(self, key: str) -> Any:
        """A setting that changes no result (`core.schema.setting(neutral=True)`), which is therefore not recorded."""
        *groups, name = key.split(".")
        holder: Any = self.context.recipe
        for group in groups:
            holder = getattr(holder, group)
        if not next(entry for entry in fields(holder) if entry.name == name).metadata.get("neutral"):
            raise ValueError(f"{key} changes results; read it with setting() or settings()")
        return getattr(holder, name)


# ------------------------------------------------------------------------------------------------- recorded and now


def fingerprint(name: str, reads: Mapping[str, Any]) -> str:
    """What identifies a step and all that it has read."""
    return hashlib.sha256(json.dumps([name, dict(sorted(reads.items()))], sort_keys=True).encode()).hexdigest()


def changed(context: Context, reads: Mapping[str, Any], facts: Mapping[str, Fact] | None = None) -> dict[str, str]:
    """What is no longer as it was read, by key, in words: `matching.epochs is 8, was 6`."""
    lines = {}
    for key, before in reads.items():
        kind, _, name = key.partition(":")
        if kind == UPDATE:  # a note of what was gone on from, which is no more
            continue
        now = _now(context, kind, name, facts or {})
        if now != before:
            lines[key] = _line(context, kind, name, before, now)
    return lines


def _now(context: Context, kind: str, name: str, facts: Mapping[str, Fact]) -> Any:
    if kind == "setting":
        return setting_of(context.recipe, name)
    if kind == "weights":
        return source_digest(name)
    if kind == "folder":
        return _folder_digest(context, name)
    if kind == "step":
        return step_of(context, name)
    known = {**FACTS, **facts}
    return json.loads(json.dumps(known[name](context))) if name in known else GONE


def _line(context: Context, kind: str, name: str, before: Any, now: Any) -> str:
    if kind == "setting":
        return f"{name} is {now}, was {before}"
    if kind == "step":
        return f"{name} was made anew" if now != GONE else f"{name} is not there"
    if kind in ("weights", "folder"):
        return f"{name} has changed"
    details = photos.differences(context.folder("data"), context.listing) if name == "photos" else ""
    return f"the {name} have changed" + (f" ({details})" if details else "")


def _folder_digest(context: Context, folder: str) -> str:
    return photos.folder_digest(Path(folder), context.out / photos.SEEN, save=context.is_main)


def setting_of(recipe: Recipe, key: str) -> Any:
    """A setting's value as plain data; `GONE` where the recipe has none of this name."""
    value: Any = recipe
    for part in key.split("."):
        if not is_dataclass(value) or part not in {entry.name for entry in fields(value)}:
            return GONE
        value = getattr(value, part)
    return json.loads(json.dumps(value))


def step_of(context: Context, name: str) -> str:
    """The fingerprint of a finished step; `GONE` where it is not finished."""
    manifest = records.read_manifest(context.folder(name))
    return GONE if manifest is None else str(manifest["fingerprint"])


def weight_sources(settings: Any) -> list[str]:
    """The weights that a group of settings names, hub ids, folders or files."""
    sources = []
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            sources += weight_sources(value)
        elif entry.metadata.get("weights") and value:
            sources.append(str(value))
    return sources

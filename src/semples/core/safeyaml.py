"""YAML of other people: plain data only, bounded in size, depth, references and numbers before anything is built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from semples.core.errors import UserError

MAX_BYTES = 500_000
MAX_DEPTH = 32
MAX_NODES = 20_000  # once every alias is replaced by what it stands for
MAX_NUMBER = 64  # signs of a whole number or a fraction

_NUMBER = re.compile(r"[+-]?[0-9.][0-9a-fA-F_.:xobeE+-]*")

# What PyYAML's safe constructors raise on values that are not what their tag says (`!!int ""`, 2024-13-45).
_ODD = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)


class NotYaml(UserError):
    """The text is not YAML; the message says where."""


def load_yaml(text: str, *, where: str) -> Any:
    """The plain data (dictionaries, lists, text, numbers, dates) that YAML text describes; None where it is empty.

    `where` begins the message of an error: the file or the option the text is from. Raises NotYaml for text that is no
    YAML, UserError for YAML that is larger or deeper than any settings are. Nothing in it is run.
    """
    if len(text) > MAX_BYTES:
        raise UserError(f"{where}: {len(text)} signs are too many, at most {MAX_BYTES} are read")
    try:
        _measure(text, where)
        return yaml.safe_load(text)
    except _ODD as error:
        known = isinstance(error, yaml.YAMLError)
        reason = " ".join(str(error).split())[:160] if known else "a value is not what its tag or form says"
        raise NotYaml(f"{where}: not valid YAML: {reason}") from None


@dataclass
class _Open:
    """A list or dictionary that is being read: the name that aliases know it by, and its nodes so far."""

    anchor: str | None
    nodes: int = 1


def _measure(text: str, where: str) -> None:
    """Walk over the text without building anything. Raises UserError where it is out of bounds."""
    open_: list[_Open] = [_Open(None, 0)]
    sizes: dict[str | None, int] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append(_Open(event.anchor))
            if len(open_) > MAX_DEPTH:
                raise UserError(f"{where}: nested more than {MAX_DEPTH} levels deep{_at(event)}")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done = open_.pop()
            nodes = done.nodes
            if done.anchor is not None:
                sizes[done.anchor] = nodes
        elif isinstance(event, yaml.AliasEvent):
            if any(entry.anchor == event.anchor for entry in open_):
                raise UserError(f"{where}: *{event.anchor} stands within itself{_at(event)}")
            nodes = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes = 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if len(event.value) > MAX_NUMBER and _is_number(event):
                raise UserError(f"{where}: a number of {len(event.value)} signs{_at(event)}")
        else:
            continue
        open_[-1].nodes += nodes
        if open_[-1].nodes > MAX_NODES:
            raise UserError(f"{where}: more than {MAX_NODES} values, with all that its aliases stand for{_at(event)}")


def _is_number(event: yaml.ScalarEvent) -> bool:
    """Whether a value is a number, by its tag or by how it is written."""
    if event.tag is not None:
        return event.tag.endswith((":int", ":float"))
    return event.style is None and _NUMBER.fullmatch(event.value) is not None


def _at(event: yaml.Event) -> str:
    mark = event.start_mark
    return f" (line {mark.line + 1})" if mark is not None else ""

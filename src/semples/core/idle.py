"""Settings that are set and count for nothing, because another setting of their group says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from semples.core.errors import UserError
from semples.core.schema import condition


def refuse_idle(settings: Any, *, where: str, before: Any = None) -> None:
    """Raise UserError for a setting that differs from its default and counts for nothing.

    before: settings whose own such values pass, since somebody else is told of them.
    """
    known = dict[str, Any]() if before is None else {key: value for key, value, _ in idle(before)}
    for key, value, why in idle(settings):
        if key not in known or known[key] != value:
            raise UserError(f"{where}: {key} is set but counts only where {why}; leave it out or change that too")


def idle(settings: Any, *, usual: Any = None, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted key, value, where it would count) of all settings that are set to no purpose.

    usual: the settings as they are where nothing is set.
    """
    if type(usual) is not type(settings):
        usual = type(settings)()
    for entry in fields(settings):
        value, default = getattr(settings, entry.name), getattr(usual, entry.name)
        if is_dataclass(value):
            yield from idle(value, usual=default, prefix=f"{prefix}{entry.name}.")
        elif value != default and not _counts(settings, entry.metadata):
            key, _, rest = condition(entry).partition(" ")
            now = getattr(settings, key)
            yield prefix + entry.name, value, f"{prefix}{key} {rest} (it is {now})"


def _counts(settings: Any, metadata: Any) -> bool:
    when, unless = metadata.get("when"), metadata.get("unless")
    if when:
        return getattr(settings, when[0]) in when[1]
    return not unless or getattr(settings, unless[0]) not in unless[1]

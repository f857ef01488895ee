"""Settings that are set and count for nothing, because others of their group say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from semples.core.errors import UserError
from semples.core.schema import condition


def refuse_idle(
    settings: Any, said: Collection[str], *, where: str, passes: Callable[[str, Any], bool] = lambda key, value: False
) -> None:
    """Raise UserError for a setting that somebody has said, that is not as usual, and counts for nothing.

    said: dotted keys. passes: whether a value of a key may stand there all the same.
    """
    for key, value, why in idle(settings):
        if key in said and not passes(key, value):
            raise UserError(f"{where}: {key} is set but counts only where {why}; leave it out or change that too")


def idle(settings: Any, *, usual: Any = None, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """(dotted key, value, where it would count) of all settings that are not as usual to no purpose.

    usual: the settings as they are where nothing is set.
    """
    if type(usual) is not type(settings):
        usual = type(settings)()
    for entry in fields(settings):
        value, default = getattr(settings, entry.name), getattr(usual, entry.name)
        if is_dataclass(value):
            yield from idle(value, usual=default, prefix=f"{prefix}{entry.name}.")
        elif value != default and not _counts(settings, entry.metadata):
            yield prefix + entry.name, value, condition(entry, prefix=prefix)


def keys_of(tree: Any, *, prefix: str = "") -> Iterator[str]:
    """Dotted keys of the values in nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from keys_of(value, prefix=f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _counts(settings: Any, metadata: Any) -> bool:
    def hold(pairs: Any) -> bool:
        return all(getattr(settings, name) in values for name, values in pairs)

    if metadata.get("when"):
        return hold(metadata["when"])
    return not metadata.get("unless") or not hold(metadata["unless"])

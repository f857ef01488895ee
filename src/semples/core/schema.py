"""Settings as frozen dataclasses: fields with description and range; YAML in and out, checked key by key."""

from __future__ import annotations

import difflib
import types
import typing
from dataclasses import Field, asdict, field, fields, is_dataclass, replace
from typing import Any, Literal

import yaml

from semples.core.errors import UserError
from semples.core.plain import has_control, plain, short
from semples.core.safeyaml import NotYaml, load_yaml

LONGEST_TEXT = 10_000  # signs of a text setting
LONGEST_KEY = 80  # signs of an unknown key that a message repeats


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    most: int = 254,
    source: str = "",
) -> Any:
    """A dataclass field with its description, unit, inclusive range, most values of a list, and source."""
    about = {"doc": doc, "unit": unit, "low": low, "high": high, "most": most, "source": source}
    return field(default=default, metadata=about)


def to_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dictionaries, lists, strings and numbers."""
    return {key: _plain(value) for key, value in asdict(settings).items()}


def to_yaml(settings: Any) -> str:
    """A settings dataclass as YAML that `load_recipe` reads back to an equal one; no sign in it acts on a terminal."""
    text = yaml.safe_dump(to_dict(settings), sort_keys=False, allow_unicode=True)
    if all(plain(line) == line for line in text.split("\n")):
        return text
    return yaml.safe_dump(to_dict(settings), sort_keys=False)


def describe(settings: Any, *, prefix: str = "") -> list[tuple[str, Any, str, str]]:
    """Rows (key, value, description, source) of all settings below `settings`, for tables."""
    rows: list[tuple[str, Any, str, str]] = []
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            rows += describe(value, prefix=f"{prefix}{entry.name}.")
        else:
            unit = entry.metadata["unit"]
            doc = entry.metadata["doc"] + (f" [{unit}]" if unit else "")
            rows.append((prefix + entry.name, _plain(value), doc, entry.metadata["source"]))
    return rows


def parse_override(text: str) -> dict[str, Any]:
    """`a.b=1` as `{"a": {"b": 1}}`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text[:LONGEST_KEY]}: write key=value, for example matching.epochs=10")
    parts = key.strip().split(".")
    if len(parts) > 8:
        raise UserError(f"--set {text[:LONGEST_KEY]}: no setting lies that deep")
    try:
        tree: Any = load_yaml(value, where=f"--set {key.strip()[:LONGEST_KEY]}")
    except NotYaml:
        tree = value
    for part in reversed(parts):
        tree = {part: tree}
    return typing.cast(dict[str, Any], tree)


def merge(settings: Any, tree: Any, *, where: str, path: str = "") -> Any:
    """`settings` with the values of `tree` put in, checked against type and range."""
    if not isinstance(tree, dict):
        raise UserError(f"{where}: {path.rstrip('.')} is a group of settings; give one of its keys")
    by_name: dict[str, Field[Any]] = {entry.name: entry for entry in fields(settings)}
    hints = typing.get_type_hints(type(settings))
    changes: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in by_name:
            key = key[:LONGEST_KEY] if isinstance(key, str) else short(key)
            near = difflib.get_close_matches(key, by_name, n=1)
            hint = f"did you mean {path}{near[0]}?" if near else f"known are {', '.join(by_name)}"
            raise UserError(f"{where}: unknown setting {path}{key}; {hint}")
        current = getattr(settings, key)
        if is_dataclass(current):
            changes[key] = merge(current, value, where=where, path=f"{path}{key}.")
        else:
            changes[key] = _checked(value, hints[key], by_name[key], f"{where}: {path}{key}")
    return replace(settings, **changes)


def _checked(value: Any, hint: Any, entry: Field[Any], where: str) -> Any:
    converted = _convert(value, hint)
    if converted is None:
        raise UserError(f"{where}: {short(value)} is not {_describe(hint)}")
    if isinstance(converted, tuple) and len(converted) > entry.metadata.get("most", len(converted)):
        raise UserError(f"{where}: {len(converted)} values are too many, at most {entry.metadata['most']} are taken")
    if isinstance(converted, str) and (len(converted) > LONGEST_TEXT or not _is_text(converted)):
        raise UserError(f"{where}: {short(value)} is not text of at most {LONGEST_TEXT} printable signs")
    low, high = entry.metadata.get("low"), entry.metadata.get("high")
    for number in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(number, bool | str):
            continue
        if number != number or (low is not None and number < low) or (high is not None and number > high):
            ends = [f"{word} {end:.10g}" for word, end in (("from", low), ("to", high)) if end is not None]
            raise UserError(f"{where}: {number:g} is out of range, allowed are values {' '.join(ends)}")
    return converted


def _convert(value: Any, hint: Any) -> Any:
    """`value` as the type `hint`, or None where it is not of that type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        # YAML 1.1 reads a bare `no` as false; it is a word where words are asked for.
        value = "no" if value is False else value
        return value if value in arguments else None
    if origin in (types.UnionType, typing.Union):
        return next((found for option in arguments if (found := _convert(value, option)) is not None), None)
    if origin is tuple:
        if not isinstance(value, list | tuple) or not value:
            return None
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        found = tuple(map(_convert, value, arguments))
        return None if len(value) != len(arguments) or None in found else found
    if hint is float:
        return _number(value)
    if hint is int:
        number = _number(value)
        if number is None or number != int(number):
            return None
        return value if isinstance(value, int) else int(number)
    return value if isinstance(value, hint) else None


def _number(value: Any) -> float | None:
    """A finite number; also text such as `1e-4`, which YAML 1.1 reads as a word."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if number - number == 0 else None


def _is_text(value: str) -> bool:
    """Whether a value may be a name, a path or a sentence: no control signs but line breaks and tabs."""
    return not has_control(value.replace("\n", " ").replace("\t", " "))


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_describe, arguments))
    if origin is tuple:
        return "a list of numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}[hint]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value

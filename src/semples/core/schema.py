"""Settings as frozen dataclasses: fields with description and range; YAML in and out, checked key by key.

A group of settings may come in kinds: the value of one of its keys (`generator.kind`) says which class of settings the
group has, so that every kind brings settings of its own and no setting stands where nothing reads it.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import Field, asdict, field, fields, is_dataclass, replace
from typing import Any, Literal, Protocol

import yaml

from semples.core.errors import UserError
from semples.core.plain import has_control, plain, short
from semples.core.safeyaml import NotYaml, load_yaml

Condition = tuple[tuple[str, tuple[Any, ...]], ...]

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
    neutral: bool = False,
    weights: bool = False,
    when: Condition = (),
    unless: Condition = (),
) -> Any:
    """A dataclass field with its description, unit, inclusive range, most values of a list, and source.

    neutral: it changes how fast or how often something is done, never a result; no step is made anew for it. weights:
    it names weights, whose content counts as well. when, unless: other settings of the same group, each with some
    values; this one counts only where all of them have one of these, or does not count there (`core.idle`).
    """
    known = {"doc": doc, "unit": unit, "low": low, "high": high, "most": most, "source": source}
    return field(
        default=default, metadata=known | {"neutral": neutral, "weights": weights, "when": when, "unless": unless}
    )


def condition(entry: Field[Any], *, prefix: str = "") -> str:
    """Where a setting counts, in words, such as `schedule is cosine`; nothing where it always does."""
    for word, joined, key in (("is", " and ", "when"), ("is not", " or ", "unless")):
        if entry.metadata.get(key):
            parts = (f"{prefix}{other} {word} {' or '.join(map(str, values))}" for other, values in entry.metadata[key])
            return joined.join(parts)
    return ""


class Classes(Protocol):
    """Class of a group's settings by its kind. stored: the kind stands in a file (`registry.Registry.load`).
    Raises UserError for a kind that is not known."""

    def __call__(self, kind: str, /, *, stored: bool = False) -> type: ...


def kinded(default: Callable[[], Any], *, classes: Classes, key: str = "kind") -> Any:
    """A dataclass field whose value is a group of settings that comes in kinds.

    default: makes the group of the usual kind. classes: class of the group's settings by the value of its `key`.
    """
    return field(default_factory=default, metadata={"classes": classes, "key": key})


def to_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dictionaries, lists, strings and numbers."""
    return {key: _plain(value) for key, value in asdict(settings).items()}


def leaves(settings: Any, *, prefix: str = "", neutral: bool = True) -> Iterator[tuple[str, Any]]:
    """(dotted key, plain value) of all settings below `settings`; `neutral=False` leaves out those that are."""
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        if is_dataclass(value):
            yield from leaves(value, prefix=f"{prefix}{entry.name}.", neutral=neutral)
        elif neutral or not entry.metadata.get("neutral"):
            yield prefix + entry.name, _plain(value)


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
            doc += f" (where {condition(entry)})" if condition(entry) else ""
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


def merge(settings: Any, tree: Any, *, where: str, path: str = "", stored: bool = False) -> Any:
    """`settings` with the values of `tree` put in, checked against type and range.

    stored: they stand in a file, which must not make this program import anything that nobody else asked for.
    """
    if not isinstance(tree, dict):
        raise UserError(f"{where}: {path.rstrip('.')} is a group of settings; give one of its keys")
    by_name: dict[str, Field[Any]] = {entry.name: entry for entry in fields(settings)}
    hints = typing.get_type_hints(type(settings))
    aliases: dict[str, str] = getattr(type(settings), "ALIASES", {})
    changes: dict[str, Any] = {}
    given: set[str] = set()
    for written, value in tree.items():
        key = aliases.get(written, written)
        given.add(str(key))
        if key not in by_name:
            key = key[:LONGEST_KEY] if isinstance(key, str) else short(key)
            near = difflib.get_close_matches(key, by_name, n=1)
            hint = f"did you mean {path}{near[0]}?" if near else f"known are {', '.join(by_name)}"
            raise UserError(f"{where}: unknown setting {path}{key}; {hint}")
        current = changes.get(key, getattr(settings, key))
        if is_dataclass(current):
            current = _of_kind(current, value, by_name[key], where=where, path=f"{path}{key}.", stored=stored)
            changes[key] = merge(current, value, where=where, path=f"{path}{key}.", stored=stored)
        else:
            changes[key] = _checked(value, hints[key], by_name[key], f"{where}: {path}{key}")
    merged = replace(settings, **changes)
    for pair in getattr(type(settings), "EITHER", ()):
        merged = _either(merged, pair, given, f"{where}: {path}")
    return merged


def _either(settings: Any, pair: tuple[str, str], given: set[str], where: str) -> Any:
    """`settings` with exactly one of two settings said; the other has the name of the one that is said for its value.

    given: which were given just now; one that is given takes the place of the other.
    """
    first, second = pair
    said = [name for name, other in (pair, pair[::-1]) if getattr(settings, name) != other]
    if len(said) == 2 and len(given & set(pair)) == 1:
        (name,) = given & set(pair)
        return replace(settings, **{second if name == first else first: name})
    if len(said) != 1:
        raise UserError(f"{where}{first} and {where.rpartition(' ')[2]}{second}: give exactly one of them")
    return settings


def _of_kind(current: Any, tree: Any, entry: Field[Any], *, where: str, path: str, stored: bool) -> Any:
    """The group `current`, or one of the kind that `tree` asks for.

    A new kind starts with its own defaults; what the old one had set goes along only where the two share it: settings
    that the new class inherits unchanged from a class of the old one.
    """
    if "classes" not in entry.metadata or not isinstance(tree, dict) or entry.metadata["key"] not in tree:
        return current
    key = entry.metadata["key"]
    wanted = tree[key]
    if not isinstance(wanted, str):
        raise UserError(f"{where}: {path}{key} {wanted!r} is not text")
    try:
        made = entry.metadata["classes"](wanted, stored=stored)
    except UserError as error:
        raise UserError(f"{where}: {path}{key}: {error}") from None
    if type(current) is made:
        return replace(current, **{key: wanted})
    shared = {name for base in made.__mro__[1:] for name in getattr(base, "__dataclass_fields__", ())}
    shared -= set(vars(made).get("__annotations__", ()))
    usual = type(current)()
    values = {one.name: getattr(current, one.name) for one in fields(current) if one.name in shared}
    same = {name: value for name, value in values.items() if value != getattr(usual, name)}
    return made(**same | {key: wanted})


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
        return next((converted for option in arguments if (converted := _convert(value, option)) is not None), None)
    if origin is tuple:
        if isinstance(value, str):  # as people write it after --set: 1,1.5 or 1 1.5
            value = re.split(r"\s*[,;]\s*|\s+", value.strip("[]() "))
        elif isinstance(value, int | float) and not isinstance(value, bool) and arguments[-1] is Ellipsis:
            value = [value]
        if not isinstance(value, list | tuple) or not value:
            return None
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        converted = tuple(map(_convert, value, arguments))
        return None if len(value) != len(arguments) or None in converted else converted
    if hint is float:
        return _number(value)
    if hint is int:
        number = _number(value)
        if number is None or number != int(number):
            return None
        return value if isinstance(value, int) else int(number)
    if hint is str and value is None:  # as YAML reads nothing at all
        return ""
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
        words = typing.get_args(arguments[0]) if typing.get_origin(arguments[0]) is Literal else ()
        if arguments[0] is str:
            return "a list of texts"
        return f"a list of {', '.join(words)}" if words else "a list of numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}[hint]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value

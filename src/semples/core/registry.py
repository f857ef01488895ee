"""Registries: things of one kind by name, from this package, from other packages, or from any module.

A name is looked up among the shipped ones, then among the entry points of other packages
(`[project.entry-points."semples.generators"]`), and `package.module:Name` names any object of an importable module.
Nothing is imported before it is asked for, so that listing names is cheap.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, NamedTuple, TypeVar, cast

from semples.core.errors import UserError

T = TypeVar("T")


class Facts(NamedTuple):
    """What is told of a thing: where its method is from, what it needs to work, and the licence of what it brings;
    without one that of its usual weights holds."""

    source: str = ""
    needs: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Registry(Generic[T]):
    """All things of one kind.

    kind: what one of them is, in words ("generator"). group: entry-point group of other packages, "semples.generators".
    shipped: name to "module:Name", or to "module" where the module itself is the thing. base: what a loaded thing must
    be: a class (that a class derives from, or an object is an instance of; also as "module:Name"), or names of
    attributes that it must have. settings: "module:Name" of a shipped thing's settings, where these can be had without
    importing the thing itself. facts: what is told of shipped things; others have them as a class attribute `FACTS`.
    """

    kind: str
    group: str
    shipped: Mapping[str, str]
    base: type | str | tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Facts] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """Shipped names in their order, then those of other packages by name."""
        return (*self.shipped, *sorted(set(self._foreign()) - set(self.shipped)))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.names() or _is_path(name))

    def load(self, name: str, *, stored: bool = False) -> T:
        """The thing of this name.

        stored: the name stands in a file that was loaded. A module that nothing has imported yet is then not imported
        for it, since that would run code because a file says so, unless SEMPLES_TRUST names its package (several parted
        by commas). Shipped names and entry points of installed packages are always good.
        Raises UserError for an unknown name, a module that cannot be imported, and an object of another kind.
        """
        if name in self.shipped:
            return cast(T, _resolve(self.shipped[name]))
        foreign = self._foreign().get(name)
        if foreign is not None:
            return self._checked(name, self._imported(name, foreign.value))
        if _is_path(name):
            module = name.partition(":")[0]
            if stored and module not in sys.modules and module.partition(".")[0] not in _trusted():
                raise UserError(
                    f"{self.kind} {name}: a file asks for this module; set SEMPLES_TRUST to its package, or import it "
                    "first, if you trust it"
                )
            return self._checked(name, self._imported(name, name))
        near = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        raise UserError(f"{self.kind} {name!r} is not known; {hint} {', '.join(self.names())}, or package.module:Name")

    def settings_of(self, name: str, /, *, stored: bool = False) -> type:
        """Class of the settings that a thing of this name has: its own attribute `Settings`."""
        if name in self.settings:
            return cast(type, _resolve(self.settings[name]))
        chosen: Any = getattr(self.load(name, stored=stored), "Settings", None)
        if not isinstance(chosen, type) or not is_dataclass(chosen):
            raise UserError(f"{self.kind} {name}: it has no dataclass Settings")
        return chosen

    def about(self, name: str) -> str:
        """One line on the thing: the first of its docstring."""
        loaded: Any = self.load(name)
        return (getattr(loaded, "__doc__", None) or "").strip().partition("\n")[0]

    def facts_of(self, name: str) -> Facts:
        """What is told of the thing; of another package's thing that tells nothing, empty texts."""
        if name in self.facts:
            return self.facts[name]
        told: Any = getattr(self.load(name), "FACTS", ())
        if not isinstance(told, tuple) or len(told) > 3 or not all(isinstance(text, str) for text in told):
            raise UserError(f"{self.kind} {name}: its FACTS are not up to three texts: source, needs, licence")
        return Facts(*told)

    def where(self, name: str) -> str:
        """Which package brings the thing."""
        foreign = self._foreign().get(name)
        if name in self.shipped:
            return "semples"
        return foreign.dist.name if foreign is not None and foreign.dist is not None else name.partition(":")[0]

    def _foreign(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    def _imported(self, name: str, path: str) -> Any:
        try:
            return _resolve(path)
        except (ImportError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.kind} {name}: cannot be imported ({reason}); install the package that has it, "
                "or name its folder in PYTHONPATH"
            ) from None

    def _checked(self, name: str, thing: Any) -> T:
        if isinstance(self.base, tuple):
            missing = [attribute for attribute in self.base if not hasattr(thing, attribute)]
            if missing:
                raise UserError(f"{self.kind} {name}: it has no {missing[0]}, so it is none")
            return cast(T, thing)
        base: type = _resolve(self.base) if isinstance(self.base, str) else self.base
        if not (issubclass(thing, base) if isinstance(thing, type) else isinstance(thing, base)):
            raise UserError(f"{self.kind} {name}: not a {base.__module__}.{base.__qualname__}")
        return cast(T, thing)


def _trusted() -> set[str]:
    """Packages that files may ask for."""
    return {name.strip() for name in os.environ.get("SEMPLES_TRUST", "").split(",") if name.strip()}


def _is_path(name: str) -> bool:
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def _resolve(path: str) -> Any:
    module, _, attribute = path.partition(":")
    _check_origin(module)
    thing: Any = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        thing = getattr(thing, part)
    return thing


def _check_origin(module: str) -> None:
    """Refuse a module that would be found only because Python runs in a folder (`python -m`): a folder of photos that
    somebody sent must not bring code. Folders named in PYTHONPATH are somebody's wish."""
    top = module.partition(".")[0]
    if top in sys.modules:
        return
    wished = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    here = os.path.abspath(os.getcwd())
    places = [entry for entry in sys.path if os.path.abspath(entry or here) != here or here in wished]
    if importlib.machinery.PathFinder.find_spec(top, places) is None and _finders_know(top, places):
        raise ImportError(f"{top} lies in the current folder only; add that to PYTHONPATH if it is yours")


def _finders_know(top: str, places: list[str]) -> bool:
    """Whether only the current folder offers the module: no finder but that of paths knows it."""
    for finder in sys.meta_path:
        if finder is importlib.machinery.PathFinder:
            continue
        find = getattr(finder, "find_spec", None)
        if find is not None and find(top, places) is not None:
            return False
    return importlib.machinery.PathFinder.find_spec(top, sys.path) is not None

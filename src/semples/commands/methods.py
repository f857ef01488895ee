"""The command that lists what comes in kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def methods(name: str | None = None, *, json: Path | None = None) -> None:
    """List what can be put in another's place: generators, judges, stages, label methods, features, formats and more.

    Other packages bring more by entry points; `package.module:Name` names any other where a name is asked for.

    Parameters
    ----------
    name
        show the settings of everything of this name.
    json
        file that gets the list too.
    """
    from rich.table import Table
    from rich.text import Text

    from semples import terminal
    from semples.core.files import write_json

    listed = every(name)
    if json is not None:
        write_json(json, listed)
    table = Table("chosen by", "name", "from", "about")
    for entry in listed:
        table.add_row(*(Text(entry[key]) for key in ("chosen_by", "name", "from", "about")))
    terminal.console.print(table)
    for entry in listed if name is not None else ():
        settings = Table("setting", "default", "meaning", "source", title=f"{entry['chosen_by']} {entry['name']}")
        for row in entry["settings"]:
            settings.add_row(*(Text(str(row[key])) for key in ("setting", "default", "meaning", "source")))
        terminal.console.print(settings)


def every(name: str | None = None) -> list[dict[str, Any]]:
    """Everything that comes in kinds as plain data, or what has this name; what cannot be loaded says why in `about`.

    Raises UserError where nothing has the name.
    """
    from semples.core.errors import UserError
    from semples.core.registry import Registry
    from semples.core.schema import describe
    from semples.data.dataset import READERS
    from semples.data.importers.registry import IMPORTERS
    from semples.export import EXPORTERS
    from semples.settings.kinds import REGISTRIES

    formats: dict[str, Registry[Any]] = {
        "--data": READERS,
        "data import --format": IMPORTERS,
        "export FORMAT": EXPORTERS,
    }
    listed: list[dict[str, Any]] = []
    for chosen_by, registry in [*REGISTRIES.items(), *formats.items()]:
        for one in registry.names():
            if name not in (None, one):
                continue
            entry: dict[str, Any] = {
                "chosen_by": chosen_by,
                "kind": registry.kind,
                "name": one,
                "from": registry.where(one),
            }
            try:
                rows = [] if chosen_by in formats else describe(registry.settings_of(one)())
                entry |= {"about": registry.about(one), "settings": _rows(rows)}
            except UserError as error:
                entry |= {"about": f"of no use: {error}", "settings": []}
            listed.append(entry)
    if not listed:
        raise UserError(f"nothing is called {name!r}; `semples methods` lists all")
    return listed


def _rows(rows: list[tuple[str, Any, str, str]]) -> list[dict[str, Any]]:
    return [dict(zip(("setting", "default", "meaning", "source"), row, strict=True)) for row in rows]

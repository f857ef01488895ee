"""The command that lists what comes in kinds."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any


def methods(name: str | None = None, *, json: Path | None = None) -> None:
    """List what can be put in another's place: generators, judges, stages, label methods, features, formats and more.

    Each with where its method is from, the licence of its usual weights (this program itself is under Apache-2.0), and
    what it needs. Other packages bring more by entry points; `package.module:Name` names any other where a name is
    asked for.

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
    for chosen_by in dict.fromkeys(entry["chosen_by"] for entry in listed):
        entries = [entry for entry in listed if entry["chosen_by"] == chosen_by]
        table = Table("name", "about", title=f"{entries[0]['kind']}: {chosen_by}", title_justify="left")
        for entry in entries:
            shown = Text(entry["name"])
            if entry["from"] != "semples":
                shown.append(f"\nfrom {entry['from']}", style="dim")
            told = Text(entry["about"])
            for key in FACTS if name is None else ():
                if entry[key]:
                    told.append(f"\n{key}: {entry[key]}", style="dim")
            table.add_row(shown, told)
        terminal.console.print(table)
    for entry in listed if name is not None else ():
        if any(entry[key] for key in FACTS):
            facts = Table("", "what is told", title=f"{entry['chosen_by']} {entry['name']}")
            for key in FACTS:
                facts.add_row(key, Text(entry[key] or "not told"))
            terminal.console.print(facts)
        settings = Table("setting", "default", "meaning", "source", title=f"{entry['chosen_by']} {entry['name']}")
        for row in entry["settings"]:
            settings.add_row(*(Text(str(row[key])) for key in ("setting", "default", "meaning", "source")))
        terminal.console.print(settings)


FACTS = ("source", "licence", "needs")


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
                **dict.fromkeys(FACTS, ""),
                "settings": [],
            }
            try:
                entry["about"] = registry.about(one)
                if chosen_by not in formats:
                    settings, facts = registry.settings_of(one)(), registry.facts_of(one)
                    licence = facts.licence or licences_of(settings)
                    entry |= {"source": facts.source, "licence": licence, "needs": facts.needs}
                    entry["settings"] = _rows(describe(settings))
            except UserError as error:
                entry["about"] = f"of no use: {error}"
            listed.append(entry)
    if not listed:
        raise UserError(f"nothing is called {name!r}; `semples methods` lists all")
    return listed


def licences_of(settings: Any) -> str:
    """The licences of the weights that settings name as they come, in one line."""
    from semples.segmenter.licences import known_licence

    lines = []
    for entry in fields(settings):
        value = getattr(settings, entry.name) if entry.metadata.get("weights") else ""
        if value in ("", "random"):
            continue
        known = known_licence(str(value).rpartition(":")[2])
        told = "not known to this program" if known is None else f"{known.licence} (commercial use: {known.commercial})"
        lines.append(f"{value}: {told}")
    return "; ".join(lines) or "no weights"


def _rows(rows: list[tuple[str, Any, str, str]]) -> list[dict[str, Any]]:
    return [dict(zip(("setting", "default", "meaning", "source"), row, strict=True)) for row in rows]

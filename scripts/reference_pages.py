"""Writes the reference pages of the documentation from the program itself: commands, recipes, methods.

python scripts/reference_pages.py [docs/reference]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from semples.cli import app
from semples.commands.methods import FACTS, every
from semples.core.files import atomic_path, read_json
from semples.recipe import Recipe, load_recipe, recipe_names
from semples.segmenter.licences import LICENCES

HEADER = "<!-- Written by scripts/reference_pages.py: change the program, not this page. -->\n\n"


def main(folder: Path) -> None:
    """Write commands.md, recipes.md, methods.md and contributed.md into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"commands.md": commands_page(), "recipes.md": recipes_page(), "methods.md": methods_page()}
    pages["contributed.md"] = contributed_page(Path(__file__).parents[1] / "docs" / "contributed")
    for name, text in pages.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(HEADER + text, encoding="utf-8")


def commands_page() -> str:
    """Every command with its options, as `--help` shows them."""
    text = app.generate_docs(output_format="markdown", heading_level=1, max_heading_level=3, flatten_commands=True)
    contents = re.compile(r"## Table of Contents\n.*?(?=\*\*Commands\*\*)", flags=re.DOTALL)
    links = re.compile(r"\[(`[^`]+`)\]\(#[^)]+\)")
    _, _, body = contents.sub("", text).partition("\n")
    below = re.sub(r"^# ", "## ", links.sub(r"\1", body), flags=re.MULTILINE)
    return "# Commands\n" + below


def recipes_page() -> str:
    """Every setting: value in each shipped recipe, range, meaning, source."""
    recipes = {name: load_recipe(name) for name in recipe_names()}
    text = "# Recipes\n\nA recipe is a YAML file of settings; `--set key=value` changes one. Shipped:\n\n"
    text += table(("recipe", "about"), ((f"`{name}`", recipe.about) for name, recipe in recipes.items()))
    text += "\nA value that only some recipes have otherwise is named with them.\n"
    groups: dict[str, list[tuple[str, ...]]] = {}
    for key, entry in settings_of(Recipe):
        values = {name: value_at(recipe, key) for name, recipe in recipes.items()}
        usual = value_at(Recipe(), key)
        others = [f"{name} {shown(value)}" for name, value in values.items() if value != usual and value is not MISSING]
        value = "; ".join([shown(usual), *others]) if usual is not MISSING else "; ".join(others)
        doc = entry.metadata["doc"] + (f" [{entry.metadata['unit']}]" if entry.metadata["unit"] else "")
        row = (f"`{key}`", value, limits(entry), doc, entry.metadata["source"])
        groups.setdefault(key.split(".")[0] if "." in key else "general", []).append(row)
    for group, rows in groups.items():
        text += f"\n## {group}\n\n" + table(("setting", "value", "range", "meaning", "source"), rows)
    text += "\n## Licences of well-known weights\n\nAs the publishers state them; read them before you use weights.\n\n"
    return text + table(("weights", "licence", "commercial use", "stated in"), LICENCES)


def methods_page() -> str:
    """All that comes in kinds, as `semples methods` lists it."""
    text = "# Kinds\n\nWhat can be put in another's place; `semples methods NAME` shows the settings of one.\n"
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in every():
        groups.setdefault(entry["chosen_by"], []).append(entry)
    for chosen_by, entries in groups.items():
        shipped = [entry for entry in entries if entry["from"] == "semples"]
        told = [key for key in ("about", *FACTS) if any(entry[key] for entry in shipped)]
        rows = ((f"`{entry['name']}`", *(entry[key] for key in told)) for entry in shipped)
        text += f"\n## {chosen_by}\n\n" + table(("name", *told), rows)
        for entry in shipped:
            if entry["settings"]:
                settings = (
                    (f"`{row['setting']}`", shown(row["default"]), row["meaning"], row["source"])
                    for row in entry["settings"]
                )
                text += f"\n### {entry['name']}\n\n" + table(("setting", "default", "meaning", "source"), settings)
    return text


def contributed_page(folder: Path) -> str:
    """The summaries in `folder`, a row each, best label maps of a data set first."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        told = read_json(path)
        figures, about = told["figures"], told["about"]
        worked = [cost["cpu_seconds"] for cost in told["cost"].values()]
        rows.append(
            (
                told["data"]["name"],
                told["recipe"]["name"],
                *(percent(figures.get(part)) for part in ("labels", "segmenter")),
                "yes" if told["used_pixel_masks"] else "no",
                "-" if None in worked else f"{sum(worked) / 60:.0f}",
                ", ".join(told["machine"]["devices"]) or about.get("machine", "-"),
                f"{told['versions']['semples']}, torch {told['versions']['torch']}",
                about["who"],
                f"`{about['command']}`",
                f"[{path.name}](../contributed/{path.name})",
            )
        )
    head = (
        "data", "recipe", "label maps, mIoU %", "segmenter, mIoU %", "masks chose anything", "CPU minutes", "device",
        "versions", "who", "command", "file",
    )  # fmt: skip
    rows.sort(key=lambda row: (row[0], row[2] == "-", row[2]))
    return (
        "# Figures sent in\n\nFrom the files `summary.json` of runs, as [their form](../summary.md) says. Nobody has "
        "sent in VOC or COCO yet: those are **not measured**.\n\n" + table(head, rows)
    )


def percent(figures: dict[str, Any] | None) -> str:
    """mIoU, or a dash."""
    return "-" if figures is None or figures["miou"] is None else f"{figures['miou']:.1f}"


MISSING = object()


def settings_of(kind: Any, *, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted key, field) of every setting of a group, nested ones too."""
    example = kind()
    for entry in fields(kind):
        value = getattr(example, entry.name)
        if is_dataclass(value):
            yield from settings_of(type(value), prefix=f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, entry


def value_at(recipe: Any, key: str) -> Any:
    """The value of a dotted key, or MISSING where the recipe's kind has none."""
    value = recipe
    for part in key.split("."):
        value = getattr(value, part, MISSING)
    return value


def limits(entry: Any) -> str:
    """The range of a setting, where numbers have one."""
    low, high = entry.metadata.get("low"), entry.metadata.get("high")
    return "" if low is None and high is None else f"{shown(low)} .. {shown(high)}"


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(shown, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell(str(item)) for item in line) + " |\n" for line in lines)


def cell(text: str) -> str:
    """Text that stays within its cell, and that Markdown takes as it stands."""
    escaped = text if text.startswith("`") else text.replace("\\", "\\\\").replace("<", "&lt;").replace("*", "\\*")
    return escaped.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "reference")

"""What makes pages of the templates and files in this folder."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from semples.core.plain import plain

STYLE = "report.css"


def environment() -> Environment:
    """What makes pages of the templates in this folder."""
    return Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )


def shown(value: Any) -> Any:
    """Names of other people without signs that turn, hide or break text."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def asset(name: str) -> str:
    """The text of a file in this folder."""
    return (resources.files("semples.inspect.report") / name).read_text(encoding="utf-8")

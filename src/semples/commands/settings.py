"""Commands about settings and the machine."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

recipes_app = App(name="recipes", help="Shipped settings: list them, show one.")

Set = Annotated[list[str], Parameter(name="--set", negative=(), consume_multiple=False)]


@recipes_app.command(name="list")
def list_recipes() -> None:
    """List the shipped recipes."""
    from semples import terminal

    terminal.print_recipes()


@recipes_app.command
def show(recipe: str, *, settings: Set = [], yaml: bool = False) -> None:  # noqa: B006 (cyclopts shows the default)
    """Show every setting of a recipe with its meaning and source.

    Parameters
    ----------
    recipe
        shipped recipe or YAML file.
    settings
        change a setting, `key=value`; may be repeated.
    yaml
        print YAML instead, ready to be saved and edited.
    """
    from semples import terminal
    from semples.core.schema import to_yaml
    from semples.recipe import load_recipe

    loaded = load_recipe(recipe, settings)
    if yaml:
        print(to_yaml(loaded), end="")
    else:
        terminal.print_recipe(loaded)


def doctor() -> None:
    """Show versions, devices, caches, and what is missing."""
    from semples import terminal
    from semples.inspect.doctor import examine

    terminal.print_findings(examine())

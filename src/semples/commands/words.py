"""The command that asks whether the judge knows the classes' words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from semples.commands.options import Set

Try = Annotated[list[str], Parameter(name="--try", negative=(), consume_multiple=False)]


def words(
    folder: Path,
    *,
    try_: Try = [],  # noqa: B006 (cyclopts shows the default)
    list_: Annotated[Path | None, Parameter(name="--list")] = None,
    write: Annotated[bool, Parameter(negative=())] = False,
    photos: int = 2000,
    recipe: str = "folder",
    settings: Set = [],  # noqa: B006 (cyclopts shows the default)
    tags: Path | None = None,
    classes: Path | None = None,
    json: Path | None = None,
) -> None:
    """Does the judge (CLIP) know the words of your classes? Tried on the photos' tags, before anything is trained.

    For every class the share of pairs, a photo with its tag and one without, in which the first is more like the
    class's text (50 %: chance), and the classes that its photos are taken for. Other words may be tried; one counts as
    better only by photos that it was not chosen by. Each photo goes through the judge once and is remembered.

    Parameters
    ----------
    folder
        folder with the photos.
    try_
        other words for a class, `class=word;word`; may be repeated.
    list_
        text file of words, one a line, that are tried for every class.
    write
        write the words that are better into the class list (classes.txt, or the file of --classes).
    photos
        tagged and untagged photos that are looked at, drawn at random by run.seed.
    recipe
        recipe whose judge is asked.
    settings
        change a setting, `key=value`, for example judge.model=FOLDER; may be repeated.
    tags
        tags file in place of the one in the folder.
    classes
        class list, `name` or `name,prompt word` a line.
    json
        file that gets the figures too.
    """
    from semples import terminal
    from semples.core.files import write_json
    from semples.data.hub import local_source
    from semples.recipe import load_recipe
    from semples.run.ask_words import ask_words, write_better

    folder = local_source(folder)
    report = ask_words(
        folder,
        recipe=recipe,
        settings=settings,
        tags=tags,
        classes=classes,
        photos=photos,
        alternatives=try_,
        words=list_,
    )
    if json is not None:
        write_json(json, report.to_dict())
    terminal.print_known_words(report)
    if write:
        path = classes if classes is not None else (folder if folder.is_dir() else folder.parent) / "classes.txt"
        changed = write_better(report, folder, path, tags=tags, column=load_recipe(recipe, settings).data.column)
        terminal.say(f"{path}: " + ("; ".join(f"{name} is now {word!r}" for name, word in changed) or "left as it is"))

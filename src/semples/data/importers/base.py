"""What a reader of annotations offers, and what it is given."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from semples.core import safeyaml
from semples.core.errors import UserError
from semples.data.importers.annotations import Annotations
from semples.data.importers.layout import list_import
from semples.data.listing import Listing, other_files
from semples.data.problem import Problem
from semples.data.text import read_text


@dataclass
class Source:
    """What is imported: a file of annotations, or a folder with them, and the folder with the photos.

    `path` as it was named, `root` its folder; `files` all files there that are no photos, in order. `predictions`: take
    what a model said where nobody has annotated. `inside(path)`: whether a path lies in the output folder. Files are
    read when they are asked for, each once.
    """

    path: Path
    photo_root: Path
    predictions: bool = False
    inside: Callable[[Path], bool] = field(default=lambda _: False, repr=False)

    @property
    def root(self) -> Path:
        """The folder of the annotations."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The file named, or the files below the folder named, without photos, hidden files and the output's."""
        if not self.path.is_dir():
            return (self.path,)
        return tuple(path for path in other_files(self.path) if not self.inside(path))

    @cached_property
    def listing(self) -> Listing:
        """The photos below the photos' folder; pictures in folders of masks apart."""
        return list_import(self.photo_root, self.inside)

    @property
    def photos(self) -> tuple[str, ...]:
        """Paths of the photos below `photo_root`, posix style, sorted."""
        return self.listing.photos

    @cached_property
    def masks(self) -> tuple[Path, tuple[str, ...]]:
        """Pictures in folders of masks, below the annotations' folder, else below the photos'; and which of the two."""
        if self.path.is_dir() and self.path.resolve() != self.photo_root.resolve():
            inner = list_import(self.path, self.inside).masks
            if inner:
                return self.path, inner
        return self.photo_root, self.listing.masks

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """The files whose names end so, in small letters or not."""
        return [path for path in self.files if path.suffix.casefold() in suffixes]

    @cached_property
    def _loaded(self) -> tuple[list[tuple[Path, Any]], list[Problem]]:
        trees: list[tuple[Path, Any]] = []
        broken: list[Problem] = []
        for path in self.with_suffix(".json", ".ndjson") or ([self.path] if _may_be_json(self.path) else []):
            try:
                trees.append((path, load_json(path)))
            except UserError as error:
                if not self.path.is_dir():
                    raise
                broken.append(Problem(self.told(path), f"not read: {_reason(error, path)}"))
        return trees, broken

    @property
    def trees(self) -> list[tuple[Path, Any]]:
        """JSON files with their data. Raises UserError where the one file named cannot be read."""
        return self._loaded[0]

    @property
    def broken(self) -> list[Problem]:
        """JSON files in the folder that cannot be read."""
        return self._loaded[1]

    def told(self, path: Path) -> str:
        """A file's path below the folder of the annotations, as it is named in problems."""
        return _relative(path, self.root)

    def base_of(self, path: Path) -> str:
        """The folder of a file below the annotations' with a slash at its end; empty where it is that folder."""
        below = _relative(path.parent, self.root)
        return "" if below == "." or below.startswith("..") or Path(below).is_absolute() else f"{below}/"


def _relative(path: Path, root: Path) -> str:
    """`path` as it is from `root`, posix style; whole where it lies on another drive."""
    try:
        return Path(os.path.relpath(path, root)).as_posix()
    except ValueError:
        return path.as_posix()


class Importer(ABC):
    """A reader of one format of annotations. Classes without state: an object of them is made for each import."""

    about: ClassVar[str]  # one line: what is read

    @abstractmethod
    def recognises(self, source: Source) -> bool:
        """Whether the files are of this format, as far as their names and shape tell. Opens no photo."""

    @abstractmethod
    def read(self, source: Source) -> Annotations:
        """What the files say of photos. Raises UserError where they say nothing usable as a whole."""

    def photo_root(self, source: Source) -> Path | None:
        """The folder with the photos, where the annotations name one; asked only where the user does not."""
        return None


def load_json(path: Path) -> Any:
    """A JSON file, photos embedded in it left out. Raises UserError, also where it is nested without end."""
    text = read_text(path)
    try:
        try:
            return json.loads(text, object_hook=_without_pixels)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            lines = [line for line in text.splitlines() if line.strip()]
            return [json.loads(line, object_hook=_without_pixels) for line in lines]
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise UserError(f"{path}: nested too deeply, or a number without end; not an annotation file") from None


def load_yaml(path: Path) -> Any:
    """A YAML file of plain data. Raises UserError."""
    return safeyaml.load_yaml(read_text(path), where=str(path))


def _without_pixels(tree: dict[str, Any]) -> dict[str, Any]:
    """LabelMe embeds the photo itself, which would fill the memory."""
    if isinstance(tree.get("imageData"), str):
        tree["imageData"] = None
    return tree


def _may_be_json(path: Path) -> bool:
    if path.is_dir() or path.suffix.casefold() in (".csv", ".tsv", ".xml", ".yaml", ".yml", ".jsonl", ".zip"):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(200).lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[")
    except OSError:
        return False


def _reason(error: UserError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")

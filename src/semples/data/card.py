"""README.md of a Hugging Face dataset: its head tells classes and which files make up each split."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semples.core.errors import UserError
from semples.core.safeyaml import load_yaml
from semples.data.text import one_line, read_text

DEPTH = 12  # of features within features


def card(root: Path) -> Any:
    """The head of README.md as plain data; None where there is none that can be read."""
    readme = root / "README.md"
    try:
        head = re.match(r"---\r?\n(.*?)\r?\n---", read_text(readme), re.DOTALL) if readme.is_file() else None
        return load_yaml(head[1], where=str(readme)) if head else None
    except UserError:
        return None


def class_label_names(tree: Any) -> dict[int, str] | None:
    """Class names by number under the first `class_label` (or ClassLabel) in a tree of features; None: there is none,
    or a name in it is empty."""
    told = _class_label(tree, 0)
    if isinstance(told, Mapping):
        numbers = {int(str(number)): _name(name) for number, name in told.items() if str(number).isdigit()}
        return dict(sorted(numbers.items())) if numbers and all(numbers.values()) else None
    if isinstance(told, list) and told and all(map(_name, told)):
        return dict(enumerate(map(_name, told)))
    return None


def column_features(tree: Any, column: str) -> Any:
    """What `dataset_info` of a card says of a column, in the first configuration that has it, else None."""
    info = tree.get("dataset_info") if isinstance(tree, Mapping) else None
    for one in info if isinstance(info, list) else [info]:
        features = one.get("features") if isinstance(one, Mapping) else None
        for feature in features if isinstance(features, list) else []:
            if isinstance(feature, Mapping) and feature.get("name") == column:
                return feature
    return None


def _class_label(tree: Any, depth: int) -> Any:
    """The names under the first `class_label` in features, in the forms of cards and of files' metadata."""
    if depth > DEPTH:
        return None
    if isinstance(tree, Mapping):
        label = tree.get("class_label")
        if isinstance(label, Mapping) and "names" in label:
            return label["names"]
        if tree.get("_type") == "ClassLabel":
            return tree.get("names")
        tree = list(tree.values())
    for inner in tree if isinstance(tree, list) else []:
        told = _class_label(inner, depth + 1)
        if told is not None:
            return told
    return None


def _name(value: Any) -> str:
    return one_line(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else ""

"""What the columns of a file hold: pictures, paths of pictures, tags. By the features that `datasets` wrote into the
file or README.md names, else by types and names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semples.core.cells import Field, bytes_field
from semples.core.errors import UserError
from semples.data.card import class_label_names, column_features
from semples.data.listing import names_masks
from semples.data.tables.columns import PHOTO_COLUMNS

PICTURES = ("image", "img", "photo", "picture", "jpg", "jpeg", "png", "webp", "pixel_values", "image_bytes", "bytes")
# Fields of a thing, or of a list of things, that say its class.
THINGS = ("categories", "category", "labels", "label", "classes", "class", "tags", "tag", "names", "name")
SHOWN = 12  # columns that a message names


@dataclass(frozen=True)
class TagColumn:
    """A column that may hold tags: `field` of it is read; `names`, the classes of its numbers, where they are told.

    `numbers`: it holds numbers, alone or in lists. `told`: its feature says that it holds classes.
    """

    name: str
    field: Field
    numbers: bool
    told: bool = False
    names: Mapping[int, str] | None = None

    def value(self, cell: Any, fallback: Mapping[int, str] | None) -> Any:
        """A cell as a table of tags may have it: numbers by their names, a list for what no sign may part."""
        names = self.names or fallback
        inner = cell if len(self.field) == 1 else _field_of(cell, self.field[1])
        if isinstance(inner, list):
            flat = [one for item in inner for one in (item if isinstance(item, list) else [item])]
            return [names.get(one) if names and type(one) is int else one for one in flat]
        if names is not None and type(inner) is int:
            return None if inner not in names else [names[inner]]
        return inner


@dataclass(frozen=True)
class Kinds:
    """The columns of a file: of pictures (the photo's and, if there is one, the mask's), and those that may hold tags.

    `photo` "" and `paths` name columns of text among which the photo's path may be.
    """

    photo: str
    bytes: Field | None
    path: Field | None
    mask: str
    paths: tuple[str, ...]
    tags: tuple[TagColumn, ...]


def kinds_of(file: Path, schema: Any, card: Any) -> Kinds:
    """The columns of a file's schema (pyarrow). Raises UserError where it cannot be told which holds the photos."""
    features = _features(schema)
    pictures = [one.name for one in schema if _is_picture(one, features)]
    photo = _photo(file, pictures, [one.name for one in schema])
    masks = [name for name in pictures if name != photo and names_masks(name)]
    kind = schema.field(photo).type if photo else None
    content: Field | None = None
    path: Field | None = (photo,) if photo else None
    if photo and not _is_text(kind):
        content = bytes_field(schema, photo)
        path = (photo, "path") if len(content) > 1 and _has_field(kind, "path") else None
    texts = tuple(one.name for one in schema if _is_text(one.type) and one.name.casefold() in PHOTO_COLUMNS)
    tags = [_tags(one, features.get(one.name), card) for one in schema if one.name not in pictures]
    return Kinds(
        photo, content, path, masks[0] if masks else "", () if photo else texts, tuple(tag for tag in tags if tag)
    )


def no_photos(file: Path, names: Sequence[str]) -> UserError:
    """What to say of a file without a column of photos."""
    return UserError(
        f"{file}: no column of photos; call it `image` (pictures as bytes, or paths below the folder); its columns are "
        f"{', '.join(names[:SHOWN]) or 'none'}"
    )


def _photo(file: Path, pictures: Sequence[str], names: Sequence[str]) -> str:
    """The column of the photos; "" where none holds pictures."""
    left = [name for name in pictures if not names_masks(name)] or list(pictures)
    if len(left) < 2:
        return left[0] if left else ""
    named = [name for known in PICTURES for name in left if name.casefold() == known]
    if not named:
        raise UserError(
            f"{file}: the columns {', '.join(left[:SHOWN])} all hold pictures; call that of the photos `image`, "
            "or leave the others out"
        )
    return named[0]


def _features(schema: Any) -> Mapping[str, Any]:
    """The features that `datasets` writes into a file's metadata, by column."""
    try:
        tree = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = tree["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, Mapping) else {}


def _is_picture(column: Any, features: Mapping[str, Any]) -> bool:
    feature = features.get(column.name)
    if isinstance(feature, Mapping) and feature.get("_type") == "Image":
        return _is_binary(column.type) or _is_text(column.type) or _has_field(column.type, "bytes")
    if _is_binary(column.type):
        return True
    return _has_field(column.type, "bytes") and _is_binary(column.type.field("bytes").type)


def _tags(column: Any, feature: Any, card: Any) -> TagColumn | None:
    """What a column may say of tags; None for one of another kind."""
    from pyarrow import types

    kind = column.type
    field: Field = (column.name,)
    if types.is_dictionary(kind):
        kind = kind.value_type
    inner = _item(kind)
    if types.is_struct(inner):
        child = next((name for name in THINGS if _has_field(inner, name)), None)
        if child is None:
            return None
        field, kind = (column.name, child), inner.field(child).type
        inner = _item(_item(kind))
    if not (_is_text(inner) or types.is_integer(inner) or types.is_boolean(inner) or types.is_floating(inner)):
        return None
    if inner is not kind and types.is_floating(inner):
        return None  # boxes, embeddings
    told = feature if feature is not None else column_features(card, column.name)
    told = _child_feature(told, field[1]) if len(field) > 1 else told
    names = class_label_names(told) if types.is_integer(inner) else None
    return TagColumn(column.name, field, types.is_integer(inner), names is not None, names)


def _child_feature(tree: Any, child: str, depth: int = 0) -> Any:
    """What features say of a field, in the forms of files' metadata and of cards."""
    if depth > 4:
        return None
    if isinstance(tree, Mapping):
        if child in tree:
            return tree[child]
        if tree.get("name") == child:
            return tree
        inner: list[Any] = [tree[key] for key in ("feature", "struct", "list", "sequence") if key in tree]
    else:
        inner = tree if isinstance(tree, list) else []
    told_below = (_child_feature(one, child, depth + 1) for one in inner)
    return next((one for one in told_below if one is not None), None)


def _field_of(cell: Any, name: str) -> Any:
    if isinstance(cell, Mapping):
        return cell.get(name)
    if isinstance(cell, list):
        return [one.get(name) if isinstance(one, Mapping) else None for one in cell]
    return None


def _item(kind: Any) -> Any:
    """What a list holds; other types as they are."""
    from pyarrow import types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if lists else kind


def _has_field(kind: Any, name: str) -> bool:
    from pyarrow import types

    return types.is_struct(kind) and kind.get_field_index(name) >= 0


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

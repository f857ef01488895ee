"""MS COCO 2014: photos, tags and masks by category, in the layout that the folder reader reads.

    train2014/, val2014/          the photos, as published
    annotations/                  instances_train2014.json, instances_val2014.json
    masks/train2014/, ...         label maps drawn from the instances, crowds included, the first-listed on top
    tags.csv, classes.txt         tags: the categories of a photo's instances
    splits/train.txt, val.txt     the photos with a tag (82,081 of 82,783 and 40,137 of 40,504)
    splits/train_all.txt, ...     all photos
    category_ids.csv              each category's label in both layouts

Labels come in two layouts. "contiguous" (the default): the 80 categories as 1..80. "published": COCO's own ids 1..90,
ten of which have no instances ("street sign", ...): checkpoints trained with them need 90 classes in this order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import read_json, write_json, write_text
from semples.core.lock import exclusive
from semples.core.progress import track
from semples.data.coco_classes import CATEGORIES, WITHOUT_INSTANCES
from semples.data.fetch.archives import CHUNK, below, in_processes, member_path, place, unpack
from semples.data.fetch.download import Remote, fetch, is_genuine
from semples.data.outlines import OutlineError, draw, require_pycocotools, write_labels

Ids = Literal["contiguous", "published"]

ANNOTATIONS = Remote(
    name="annotations_trainval2014.zip",
    md5="0a379cfc70b0e71301e0f377548639bd",
    size=252_872_794,
    urls=("http://images.cocodataset.org/annotations/annotations_trainval2014.zip",),
)
TRAIN = Remote(
    name="train2014.zip",
    md5="0da8c0bd3d6becc4dcb32757491aca88",
    size=13_510_573_713,
    urls=("http://images.cocodataset.org/zips/train2014.zip",),
)
VAL = Remote(
    name="val2014.zip",
    md5="a3d79f5ed8d289b7a7554ce06a5782b3",
    size=6_645_013_297,
    urls=("http://images.cocodataset.org/zips/val2014.zip",),
)
MAX_UNPACKED = 40_000_000_000
MAX_ANNOTATIONS = 4_000_000_000
STATE = "coco.json"
FOLDERS = ("", "downloads", "zips", "annotations", "images")  # where archives lie in folders already there


@dataclass(frozen=True)
class Part:
    """A half of COCO: its folder and list names, its archive, and how many photos and tagged photos it has."""

    name: str
    split: str
    archive: Remote
    photos: int
    tagged: int


PARTS = (Part("train2014", "train", TRAIN, 82_783, 82_081), Part("val2014", "val", VAL, 40_504, 40_137))


@dataclass(frozen=True)
class CocoResult:
    """What is there now: the folder, classes, photos and tagged photos of each list, and what may be removed."""

    root: Path
    classes: int
    photos: dict[str, int]
    tagged: dict[str, int]
    removable: tuple[Path, ...]


def label_of(ids: Ids) -> dict[int, int]:
    """Label in masks by published category id."""
    published = [number for number in CATEGORIES if number not in WITHOUT_INSTANCES]
    if ids == "published":
        return {number: number for number in published}
    return {number: place for place, number in enumerate(published, start=1)}


def convert_labels(labels: NDArray[np.uint8], *, to: Ids) -> NDArray[np.uint8]:
    """Labels (H, W) uint8 of one layout in the other; 0 and 255 stay, as do values that are no label of the first."""
    table = np.arange(256, dtype=np.uint8)
    for published, contiguous in label_of("contiguous").items():
        before, after = (published, contiguous) if to == "contiguous" else (contiguous, published)
        table[before] = after
    return table[labels]


def get_coco(
    folder: Path | str,
    *,
    source: Path | str | None = None,
    mirrors: Sequence[str] = (),
    ids: Ids = "contiguous",
    annotations: Remote = ANNOTATIONS,
    parts: Sequence[Part] = PARTS,
    workers: int = 1,
) -> CocoResult:
    """Lay COCO 2014 out in `folder`; a second call goes on where the first was cut off.

    With `source`, files already there are used and nothing is downloaded: the three zips, there or in zips/, images/,
    annotations/, or unpacked as train2014/, images/train2014/, annotations/. Unpacked files are hard-linked where the
    disk allows it. `mirrors` are addresses of folders with the zips. `annotations` and `parts` describe another
    edition. Reading the annotations takes about 2 GB of memory. Raises UserError: something missing, wrong or full, or
    a folder begun with the other `ids`.
    """
    require_pycocotools()
    home = Path(folder).expanduser()
    given = None if source is None else Path(source).expanduser()
    if given is not None and not given.is_dir():
        raise UserError(f"{given}: no such folder")
    with exclusive(home, what="another download", keep=False):
        return _lay_out(home, given, mirrors, ids, annotations, parts, workers)


def _lay_out(
    home: Path,
    given: Path | None,
    mirrors: Sequence[str],
    ids: Ids,
    annotations: Remote,
    parts: Sequence[Part],
    workers: int,
) -> CocoResult:
    _claim(home, ids)
    labels = label_of(ids)
    rows: list[tuple[str, list[str]]] = []
    photos: dict[str, int] = {}
    tagged: dict[str, int] = {}
    instances = [_instances(part, home, given, mirrors, annotations) for part in parts]
    for part in parts:
        if given is not None and not (home / part.name).is_dir():
            _photo_source(part, home, given)  # better told now than after hours
    for part, path in zip(parts, instances, strict=True):
        images = _read(path)
        _expect(part.name, "photos", len(images), part.photos)
        _expect(part.name, "tagged photos", sum(bool(image.things) for image in images), part.tagged)
        _photo_files(part, images, home, given, mirrors, workers)
        _masks(part, images, home, labels, workers)
        part_rows = [(f"{part.name}/{image.name}", image.tags()) for image in images]
        _write_lists(home, part.split, part_rows)
        rows += part_rows
        photos[part.split] = len(images)
        tagged[part.split] = sum(bool(tags) for _, tags in part_rows)
    _write_tables(home, ids, rows)
    archives = [home / "downloads" / remote.name for remote in (annotations, *(part.archive for part in parts))]
    count = len(CATEGORIES) if ids == "published" else len(labels)
    return CocoResult(home, count, photos, tagged, tuple(path for path in archives if path.exists()))


def _claim(home: Path, ids: Ids) -> None:
    """Note the layout in the folder; refuse a folder that was begun with the other."""
    state = home / STATE
    if state.is_file():
        claimed = read_json(state)
        if claimed != {"ids": ids}:
            other = claimed.get("ids") if isinstance(claimed, dict) else None
            raise UserError(
                f"{home}: its masks have the ids {other!r}, not {ids!r}; choose another folder, with --from {home} to "
                "use its photos"
            )
        return
    with disk_trouble(home):
        write_json(state, {"ids": ids})


def _expect(part: str, what: str, counted: int, expected: int) -> None:
    if counted != expected:
        raise UserError(f"{part}: {counted} {what}, not {expected}; the annotations are of another edition or damaged")


# -------------------------------------------------------------------------------------------------------- instances


@dataclass(frozen=True)
class Image:
    """A photo of the annotations: file name, (width, height), and (category id, outline) of each instance in order."""

    name: str
    size: tuple[int, int]
    things: tuple[tuple[int, Any], ...]

    def tags(self) -> list[str]:
        """Names of its categories, in the order of their ids."""
        return [CATEGORIES[number] for number in sorted({number for number, _ in self.things})]


def _instances(part: Part, home: Path, given: Path | None, mirrors: Sequence[str], remote: Remote) -> Path:
    name = f"instances_{part.name}.json"
    path = home / "annotations" / name
    if path.is_file():
        return path
    if given is not None:
        loose = next((file for file in (given / "annotations" / name, given / name) if file.is_file()), None)
        if loose is not None:
            place(loose, path)
            return path
        archive = _given_archive(given, remote, f"annotations/{name}")
    else:
        archive = fetch(remote, home / "downloads", mirrors=mirrors)
    unpack(archive, home, want={f"annotations/{name}": f"annotations/{name}"}.get, max_bytes=MAX_ANNOTATIONS)
    if not path.is_file():
        raise UserError(f"{archive}: holds no annotations/{name}; get another copy")
    return path


def _given_archive(given: Path, remote: Remote, unpacked: str) -> Path:
    archive = next((given / name / remote.name for name in FOLDERS if (given / name / remote.name).is_file()), None)
    if archive is None:
        raise UserError(f"{given}: neither {remote.name} nor {unpacked} there")
    if not is_genuine(archive, remote.md5):
        raise UserError(f"{archive}: its MD5 is not {remote.md5}; damaged or another version; get another copy")
    return archive


def _read(path: Path) -> list[Image]:
    """The photos of an instances file in order. Raises UserError where it is not COCO's."""
    tree = read_json(path)
    wanted = {number: name for number, name in CATEGORIES.items() if number not in WITHOUT_INSTANCES}
    try:
        if {entry["id"]: entry["name"] for entry in tree["categories"]} != wanted:
            raise UserError(
                f"{path}: its categories are not the 80 of COCO; for such files: `semples data import FILE --out DIR`"
            )
        things: dict[int, list[tuple[int, Any]]] = {entry["id"]: [] for entry in tree["images"]}
        for entry in tree["annotations"]:
            if entry["category_id"] not in wanted:
                raise UserError(f"{path}: an instance of the unknown category {entry['category_id']!r}")
            things[entry["image_id"]].append((entry["category_id"], entry["segmentation"]))
        images = []
        for entry in tree["images"]:
            name, size = entry["file_name"], (entry["width"], entry["height"])
            if len(member_path(path, name).parts) != 1 or not all(type(side) is int for side in size):
                raise UserError(f"{path}: the photo {name!r} has an impossible name or size")
            images.append(Image(name, size, tuple(things[entry["id"]])))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a file of COCO instances ({type(error).__name__}: {error})") from None
    return images


# ----------------------------------------------------------------------------------------------------------- photos


def _photo_files(
    part: Part, images: list[Image], home: Path, given: Path | None, mirrors: Sequence[str], workers: int
) -> None:
    target = home / part.name
    names = {image.name for image in images}
    if names <= _files(target):
        return
    archive = None if given is None else _photo_source(part, home, given)
    if archive is not None and archive.is_dir():
        for name in track(sorted(names & _files(archive)), label=f"linking {part.name}"):
            place(archive / name, target / name)
    else:
        archive = archive or fetch(part.archive, home / "downloads", mirrors=mirrors)
        unpack(archive, home, want=below(f"{part.name}/"), max_bytes=MAX_UNPACKED, workers=workers)
    missing = sorted(names - _files(target))
    if missing:
        raise UserError(f"{archive}: lacks {len(missing)} photos of the annotations, the first {missing[0]}")


def _photo_source(part: Part, home: Path, given: Path) -> Path:
    """The folder with a part's photos, or its zip, below `given`. Raises UserError where there is neither."""
    folders = (given / part.name, given / "images" / part.name)
    unpacked = next(
        (path for path in folders if path.is_dir() and path.resolve() != (home / part.name).resolve()), None
    )
    return unpacked or _given_archive(given, part.archive, f"its folder {part.name}")


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


# ------------------------------------------------------------------------------------------------------------ masks


def _masks(part: Part, images: list[Image], home: Path, labels: dict[int, int], workers: int) -> None:
    """Draw the masks that are not there yet."""
    folder = home / "masks" / part.name
    done = _files(folder)
    jobs = [image for image in images if _mask_name(image) not in done]
    chunks = [jobs[start : start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    drawn = in_processes(partial(_draw_some, folder, labels), chunks, workers=workers)
    for _ in track(drawn, label=f"masks of {part.name} ({CHUNK} each)", total=len(chunks)):
        pass


def _mask_name(image: Image) -> str:
    return f"{Path(image.name).stem}.png"


def _draw_some(folder: Path, labels: dict[int, int], images: Iterable[Image]) -> None:
    for image in images:
        try:
            label_map = draw(image.size, [(labels[number], outline) for number, outline in image.things])
        except OutlineError as reason:
            raise UserError(f"{image.name}: its instances cannot be drawn: {reason}") from None
        write_labels(folder / _mask_name(image), label_map)


# ----------------------------------------------------------------------------------------------------------- tables


def _write_lists(home: Path, split: str, rows: list[tuple[str, list[str]]]) -> None:
    with disk_trouble(home):
        write_text(home / "splits" / f"{split}.txt", "".join(f"{photo}\n" for photo, tags in rows if tags))
        write_text(home / "splits" / f"{split}_all.txt", "".join(f"{photo}\n" for photo, _ in rows))


def _write_tables(home: Path, ids: Ids, rows: list[tuple[str, list[str]]]) -> None:
    contiguous = label_of("contiguous")
    used = [name for number, name in CATEGORIES.items() if ids == "published" or number in contiguous]
    mapping = [(CATEGORIES[number], label, number) for number, label in contiguous.items()]
    with disk_trouble(home):
        write_text(home / "classes.txt", "".join(f"{name}\n" for name in used))
        write_text(home / "category_ids.csv", csv_text([("name", "contiguous", "published"), *mapping]))
        table = [("image", "tags"), *((photo, ";".join(tags)) for photo, tags in rows)]
        write_text(home / "tags.csv", csv_text(table))


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()

"""Label maps of VOC's test photos as the evaluation server of PASCAL VOC takes them.

results/VOC2012/Segmentation/comp6_test_cls/ID.png    palette PNG of the photo's size, 0 background, class k is k + 1
results.tgz                                           the same in one file: this is uploaded
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from semples.core.errors import UserError
from semples.core.files import atomic_path
from semples.core.places import place_of
from semples.data.classes import VOC_CLASSES
from semples.data.listfile import named_lists
from semples.data.suffixes import PHOTO_SUFFIXES
from semples.data.text import read_text

FOLDER = PurePosixPath("results/VOC2012/Segmentation/comp6_test_cls")
ARCHIVE = "results.tgz"
TEST = "test"


def photos_of_test(sources: Sequence[Path]) -> list[Path]:
    """`sources` with every VOC folder that has a list `test` replaced by the photos of that list.

    Raises UserError where a photo of the list is not there.
    """
    return [photo for source in sources for photo in _listed(source)]


def pack(labels: Path, ids: Sequence[str], out: Path, *, classes: Sequence[str]) -> Path:
    """Lay the label maps `labels/ID.png` out below `out` and write the archive; the archive's path.

    Equal label maps give equal bytes. Raises UserError for other classes than VOC's, and for two photos of one name.
    """
    if tuple(classes) != VOC_CLASSES.names:
        raise UserError(
            f"the server scores VOC's 20 classes in their order; this model has {len(classes)} "
            f"({', '.join(classes[:3])} ...); train it with VOC's class list"
        )
    names = {PurePosixPath(id).name: id for id in ids}
    if len(names) < len(ids):
        raise UserError("two photos have the same name, but the server knows photos by name alone; give one folder")
    for name, id in names.items():
        with atomic_path(out / FOLDER / f"{name}.png") as temporary:
            shutil.copyfile(place_of(labels, id, ".png"), temporary)
    archive = out / ARCHIVE
    with (
        atomic_path(archive) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in sorted(names):
            content = (out / FOLDER / f"{name}.png").read_bytes()
            member = tarfile.TarInfo(str(FOLDER / f"{name}.png"))
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return archive


def _listed(source: Path) -> list[Path]:
    root = source.expanduser()
    folders = [root, *sorted(root.glob("VOC20*")), *sorted(root.glob("VOCdevkit/VOC20*"))] if root.is_dir() else []
    for folder in folders:
        lists = named_lists([folder / "ImageSets/Segmentation"])
        if (folder / "JPEGImages").is_dir() and TEST in lists:
            ids = [line.split()[0] for line in read_text(lists[TEST]).splitlines() if line.strip()]
            return [_photo(folder / "JPEGImages", id) for id in ids]
    return [source]


def _photo(folder: Path, id: str) -> Path:
    paths = (folder / f"{id}{suffix}" for suffix in (".jpg", *sorted(PHOTO_SUFFIXES)))
    photo = next((path for path in paths if path.is_file()), None)
    if photo is None:
        raise UserError(f"{folder / id}.jpg: no such photo, but the list {TEST} names it; unpack VOC2012test.tar there")
    return photo

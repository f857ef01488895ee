"""PASCAL VOC 2012 with the additional masks of SBD: the photos, tags and masks the field trains and scores on.

What comes out is VOC's own layout with what is usually passed around by hand added to it:

    VOCdevkit/VOC2012/JPEGImages, Annotations, ImageSets, SegmentationClass, ...   as published
    VOCdevkit/VOC2012/SegmentationClassAug/       masks of train_aug and val
    VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt

train_aug = (VOC train + SBD train + SBD val) - VOC val: 10,582 photos. Where VOC has a mask of its own it wins over
SBD's and keeps its border of 255; SBD's masks have no border. Sources: Everingham et al., "The PASCAL Visual Object
Classes Challenge"; Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from semples.core.disk import disk_trouble
from semples.core.errors import UserError
from semples.core.files import write_text
from semples.core.lock import exclusive
from semples.core.progress import track
from semples.data.dataset import IGNORE, VOC_CLASSES, Problem
from semples.data.fetch.archives import below, in_processes, place, place_tree, unpack
from semples.data.fetch.download import Remote, fetch, is_genuine
from semples.data.fetch.matfile import read_field
from semples.data.outlines import write_labels
from semples.data.photos import MAX_MEGAPIXELS, probe, read_mask
from semples.data.readers import voc as reader
from semples.data.text import read_text

VOC_TAR = Remote(
    name="VOCtrainval_11-May-2012.tar",
    md5="6cd6e144f989b92b3379bac3b3de84fd",
    size=1_999_639_040,
    urls=(  # SHA-1 4e443f8a2eca6b1dac8a6c57641b67dd40621a49
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "https://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar",
        "https://pjreddie.com/media/files/VOCtrainval_11-May-2012.tar",
    ),
)
SBD_TGZ = Remote(
    name="benchmark.tgz",
    md5="82b4d87ceb2ed10f6038a1cba92111cb",
    size=1_419_539_633,
    urls=(
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    ),
)
TREE = Path("VOCdevkit/VOC2012")
SBD = "benchmark_RELEASE/dataset/"
AUG = "SegmentationClassAug"
AUG_ZIP = f"{AUG}.zip"
PUBLISHED = ("Annotations", "ImageSets/Segmentation", "JPEGImages", "SegmentationClass")
OPTIONAL = ("ImageSets/Action", "ImageSets/Layout", "ImageSets/Main", "SegmentationObject")
DEPTH = 4  # how deep below a folder of files already there something is looked for
MAX_UNPACKED = 8_000_000_000


@dataclass(frozen=True)
class Counts:
    """How many photos there must be: in all, and in each list."""

    photos: int = 17_125
    train: int = 1_464
    val: int = 1_449
    train_aug: int = 10_582


@dataclass(frozen=True)
class VocResult:
    """What is there now: the VOC folder, photos a list, and what may be removed."""

    root: Path
    train: int
    val: int
    train_aug: int
    removable: tuple[Path, ...]


def get_voc(
    folder: Path | str,
    *,
    source: Path | str | None = None,
    mirrors: Sequence[str] = (),
    files: tuple[Remote, Remote] = (VOC_TAR, SBD_TGZ),
    counts: Counts = Counts(),
    workers: int = 1,
) -> VocResult:
    """Lay VOC 2012 with train_aug out below `folder`; a second call goes on where the first was cut off.

    With `source`, files already there are used and nothing is downloaded: VOC as its tar or unpacked, SBD as its
    tgz or unpacked, or the masks as SegmentationClassAug (zip or folder); the names may lie up to four folders deep.
    Files are hard-linked where the disk allows it. `mirrors` are addresses of folders with the two archives.
    `files` and `counts` describe another edition. Raises UserError: something missing, wrong or full.
    """
    home = Path(folder).expanduser()
    given = None if source is None else Path(source).expanduser()
    if given is not None and not given.is_dir():
        raise UserError(f"{given}: no such folder")
    tree = home / TREE
    if not _finished(tree, counts):
        with exclusive(home, what="another download", keep=False):
            _published_files(tree, home, given, mirrors, files, counts)
            train, val = _own_lists(tree, counts)
            train_aug, masks = _additional(tree, home, given, mirrors, files[1], train, val)
            _expect(f"{tree}: train_aug", len(train_aug), counts.train_aug)
            _write_masks(tree, [*train_aug, *val], masks, workers)
            _write_list(tree, train_aug)
    leftovers = (*(home / "downloads" / file.name for file in files), home / "downloads" / "SBD")
    return VocResult(
        tree, counts.train, counts.val, counts.train_aug, tuple(path for path in leftovers if path.exists())
    )


def _finished(tree: Path, counts: Counts) -> bool:
    lists = {name: tree / f"ImageSets/Segmentation/{name}.txt" for name in ("train", "val", "train_aug")}
    if not all(path.is_file() for path in lists.values()):
        return False
    ids = {name: _ids(path) for name, path in lists.items()}
    if (len(ids["train"]), len(ids["val"]), len(ids["train_aug"])) != (counts.train, counts.val, counts.train_aug):
        return False
    masks, photos = _stems(tree / AUG), _stems(tree / "JPEGImages")
    return {*ids["train_aug"], *ids["val"]} <= masks & photos & _stems(tree / "Annotations")


def _stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()


def _ids(path: Path) -> list[str]:
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()]


def _expect(what: str, counted: int, expected: int) -> None:
    if counted != expected:
        raise UserError(f"{what} holds {counted} photos, not {expected}; files are missing or of another edition")


# ------------------------------------------------------------------------------------------------- VOC's own files


def _published_files(
    tree: Path, home: Path, given: Path | None, mirrors: Sequence[str], files: tuple[Remote, Remote], counts: Counts
) -> None:
    if _is_whole(tree, counts):
        return
    remote, additional = files
    if given is not None:
        source = _find(given, lambda path: all((path / name).is_dir() for name in PUBLISHED))
        if source is not None:
            _mask_source(given, tree, additional)  # better told now than after the work
            if source.resolve() != tree.resolve():
                for name in (*PUBLISHED, *OPTIONAL):
                    if (source / name).is_dir():
                        place_tree(source / name, tree / name, label=f"linking {name}")
            return
        archive = _find(given, lambda path: path.name == remote.name and path.is_file())
        if archive is None:
            raise UserError(
                f"{given}: neither {remote.name} nor an unpacked VOC2012 (JPEGImages, Annotations, ...) there"
            )
        _require_genuine(archive, remote)
        _mask_source(given, tree, additional)
    else:
        source = _unpacked(home, counts)
        if source is not None:
            for name in (*PUBLISHED, *OPTIONAL):
                if (source / name).is_dir():
                    place_tree(source / name, tree / name, label=f"linking {name}")
            return
        archive = fetch(remote, home / "downloads", mirrors=mirrors)
    unpack(archive, home, want=below(f"{TREE.as_posix()}/"), max_bytes=MAX_UNPACKED)


def _unpacked(home: Path, counts: Counts) -> Path | None:
    """VOC as somebody unpacked it, in `home` itself (`home/VOC2012`, `home/VOCdevkit`, ...), if it is whole."""
    source = _find(home, lambda path: all((path / name).is_dir() for name in PUBLISHED))
    return source if source is not None and _is_whole(source, counts) else None


def _is_whole(tree: Path, counts: Counts) -> bool:
    """Whether every photo with its annotation, and every mask of VOC's own, is there; the photos of VOC's test, which
    have no annotation, may lie among them."""
    lists = [tree / f"ImageSets/Segmentation/{name}.txt" for name in ("train", "val")]
    if not all(path.is_file() for path in lists):
        return False
    masked = {name for path in lists for name in _ids(path)}
    photos = _stems(tree / "JPEGImages")
    return (
        len(photos & _stems(tree / "Annotations")) >= counts.photos
        and masked <= photos
        and masked <= _stems(tree / "SegmentationClass")
    )


def _require_genuine(archive: Path, remote: Remote) -> None:
    if not is_genuine(archive, remote.md5):
        raise UserError(f"{archive}: its MD5 is not {remote.md5}; damaged or another version; get another copy")


def _own_lists(tree: Path, counts: Counts) -> tuple[list[str], list[str]]:
    lists = []
    for name, expected in (("train", counts.train), ("val", counts.val)):
        path = tree / f"ImageSets/Segmentation/{name}.txt"
        ids = _ids(path)
        _expect(str(path), len(ids), expected)
        lists.append(ids)
    return lists[0], lists[1]


def _find(root: Path, wanted: Callable[[Path], bool]) -> Path | None:
    """The first file or folder that is wanted, `root` itself included, the shallowest first."""
    return next((path for path in _walk(root) if wanted(path)), None)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return []  # someone else's


def _walk(root: Path) -> Iterator[Path]:
    level = [root]
    for _ in range(DEPTH + 1):
        yield from level
        folders = [path for path in level if path.is_dir() and path.name not in ("JPEGImages", "Annotations", "cls")]
        level = [
            Path(entry.path)
            for folder in folders
            for entry in _entries(folder)
            if not entry.name.startswith(".") and (entry.is_dir() or entry.name.endswith((".tar", ".tgz", ".zip")))
        ]


# ------------------------------------------------------------------------------------------------- additional masks


def _additional(
    tree: Path,
    home: Path,
    given: Path | None,
    mirrors: Sequence[str],
    remote: Remote,
    train: list[str],
    val: list[str],
) -> tuple[list[str], dict[str, Path]]:
    """The ids of train_aug in order, and the file that holds the mask of each photo VOC has none of."""
    if given is None:
        sbd = _whole_sbd(home) or _unpack_sbd(fetch(remote, home / "downloads", mirrors=mirrors), home)
    else:
        source = _given_masks(given, tree, home, remote)
        if source.name == AUG:
            masks = {path.stem: path for path in sorted(source.glob("*.png")) if not path.name.startswith(".")}
            return sorted({*train, *masks} - set(val)), masks
        sbd = source
    listed = {name for part in ("train", "val") for name in _ids(sbd / f"{part}.txt")}
    masks = {name: sbd / "cls" / f"{name}.mat" for name in listed}
    return sorted({*train, *listed} - set(val)), masks


def _whole_sbd(home: Path) -> Path | None:
    """SBD as somebody unpacked it in `home`, with a mask for each photo of its lists; None where there is none."""
    sbd = _find(home, _is_sbd)
    if sbd is None or not (sbd / "val.txt").is_file():
        return None
    listed = {name for part in ("train", "val") for name in _ids(sbd / f"{part}.txt")}
    return sbd if listed <= _stems(sbd / "cls") else None


def _is_sbd(path: Path) -> bool:
    return (path / "cls").is_dir() and (path / "train.txt").is_file()


def _mask_source(given: Path, tree: Path, remote: Remote) -> Path:
    """What `given` holds of additional masks: SBD unpacked or its archive, SegmentationClassAug or its zip."""
    filled = (tree / AUG).resolve()  # a folder this program is itself filling holds only part of them: the last resort
    wanted: tuple[Callable[[Path], bool], ...] = (
        _is_sbd,
        lambda path: path.name == remote.name and path.is_file(),
        lambda path: path.name == AUG and path.is_dir() and path.resolve() != filled,
        lambda path: path.name == AUG_ZIP and path.is_file(),
        lambda path: path.name == AUG and path.is_dir(),
    )
    source = next(filter(None, (_find(given, each) for each in wanted)), None)
    if source is None:
        raise UserError(
            f"{given}: no additional masks there; it needs {remote.name}, its unpacked folder, or {AUG_ZIP}"
        )
    return source


def _given_masks(given: Path, tree: Path, home: Path, remote: Remote) -> Path:
    """Folder with SBD (`cls`, train.txt, val.txt) or with SegmentationClassAug's PNGs."""
    source = _mask_source(given, tree, remote)
    if source.is_dir():
        return source
    if source.name == remote.name:
        _require_genuine(source, remote)
        return _unpack_sbd(source, home)
    target = home / "downloads" / AUG

    def want(member: str) -> str | None:
        name = member.rpartition("/")[2]
        return name if name.endswith(".png") and not name.startswith("._") else None

    unpack(source, target, want=want, max_bytes=MAX_UNPACKED)
    return target


def _unpack_sbd(archive: Path, home: Path) -> Path:
    target = home / "downloads" / "SBD"
    unpack(archive, target, want=_sbd_member, max_bytes=MAX_UNPACKED)
    return target / SBD


def _sbd_member(member: str) -> str | None:
    """Of SBD only the class masks and the lists; its photos are VOC's."""
    wanted = below(SBD)(member)
    if wanted is None:
        return None
    rest = wanted.removeprefix(SBD)
    return wanted if rest in ("train.txt", "val.txt") or (rest.startswith("cls/") and rest.endswith(".mat")) else None


def _write_masks(tree: Path, ids: list[str], masks: dict[str, Path], workers: int) -> None:
    """SegmentationClassAug: VOC's own masks as they are, the others converted; those there already are left alone."""
    done = _stems(tree / AUG)
    jobs = []
    for name in track(ids, label="VOC's own masks"):
        published = tree / "SegmentationClass" / f"{name}.png"
        if published.is_file():
            place(published, tree / AUG / published.name)
        elif name not in done:
            if name not in masks or not masks[name].is_file():
                raise UserError(f"{name}: no mask, neither VOC's nor an additional one; files are missing")
            jobs.append((name, masks[name]))
    made = in_processes(partial(_convert, tree), jobs, workers=workers)
    for _ in track(made, label="additional masks", total=len(jobs)):
        pass


def _convert(tree: Path, job: tuple[str, Path]) -> None:
    """Write the mask of one photo from SBD's `.mat` or from another's PNG."""
    name, path = job
    photo = tree / "JPEGImages" / f"{name}.jpg"
    size = probe(photo)
    labels = read_field(path, "GTcls", "Segmentation") if path.suffix == ".mat" else read_mask(path, size=size)
    if labels.shape != (size[1], size[0]):
        raise UserError(
            f"{path}: a mask of {labels.shape[1]}x{labels.shape[0]} for a photo of {size[0]}x{size[1]} pixels"
        )
    odd = [value for value in np.unique(labels) if not (0 <= value <= len(VOC_CLASSES) or value == IGNORE)]
    if odd or not np.array_equal(labels, labels.astype(np.uint8)):
        raise UserError(f"{path}: it holds values that are no VOC label (0 to 20 and 255); get another copy")
    write_labels(tree / AUG / f"{name}.png", labels.astype(np.uint8))


def _write_list(tree: Path, train_aug: list[str]) -> None:
    """Write the list, last of all, since it says that the rest is whole; keep it only if every photo has tags."""
    path = tree / "ImageSets/Segmentation/train_aug.txt"
    with disk_trouble(path):
        write_text(path, "".join(f"{name}\n" for name in train_aug))
    dataset = reader.read(tree, split="train_aug", tags=None, classes=VOC_CLASSES, max_megapixels=MAX_MEGAPIXELS)
    untagged = [item.id for item in dataset.items if not item.tags]
    if dataset.problems or untagged:
        path.unlink()
        first = dataset.problems[0] if dataset.problems else Problem(untagged[0], "no tags in its annotation")
        number = len(dataset.problems) + len(untagged)
        raise UserError(f"{tree}: {number} photos of train_aug lack something; {first.where}: {first.what}")

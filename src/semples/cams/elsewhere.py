"""CAMs that another program made: named by a photo's path or, where that leaves no doubt, by its name alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from semples.cams.store import Cams, CamStore
from semples.core.errors import UnusableFile


class CamsElsewhere(CamStore):
    """A folder of CAMs of the photos `ids`, compact or `.npy`.

    A photo's file is that of its path below the folder of photos. Where there is none, it is the only one of the same
    name without folders, as long as no other photo has that name too: `a/boat.jpg` is `boat.npy`, or `cams/boat.npy`.
    """

    def __init__(self, folder: Path | str, ids: Iterable[str]) -> None:
        super().__init__(folder)
        self._photos = _by_name(ids)

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        return _by_name(self.ids())

    def read_with_shape(self, id: str) -> tuple[Cams, tuple[int, int] | None]:
        """One photo's CAMs and its (H,W) (`CamStore.read_with_shape`). Raises UnusableFile, also where several fit."""
        if any(self._path(id, format).is_file() for format in self._readable):
            return super().read_with_shape(id)
        name = PurePosixPath(id).name
        files, photos = self._files.get(name, []), self._photos.get(name, [])
        if not files:
            raise UnusableFile(
                f"{self.folder}: no CAMs of the photo {id}; a file {id}.npy or {id}.npz, or {name}.npy, is looked for"
            )
        if len(files) > 1 or len(photos) > 1:
            what = f"files ({', '.join(files[:3])})" if len(files) > 1 else f"photos ({', '.join(photos[:3])})"
            raise UnusableFile(
                f"{self.folder}: no CAMs of the photo {id} under its path, and several {what} are called {name}; lay "
                f"the CAMs out as the photos are: {id}.npy"
            )
        return super().read_with_shape(files[0])


def _by_name(ids: Iterable[str]) -> dict[str, list[str]]:
    named = defaultdict(list)
    for id in ids:
        named[PurePosixPath(id).name].append(id)
    return dict(named)

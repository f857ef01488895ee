"""Label maps named by their content, in a folder that only ever grows.

    SHA.png         the SHA-256 of its bytes
    ab/SHA.png      once the folder has `core.places.MOST` of them: further ones by the first two digits of their names

Such maps come one after another and belong to no list of photos that could be numbered beforehand, so that their own
digits say where they lie. Both forms are read, whatever the folder holds; nobody puts files there by hand.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from semples.core import places
from semples.core.errors import UserError
from semples.core.files import sha256_file, write_bytes

SUFFIX = ".png"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ContentMaps:
    """The label maps of a folder by the SHA-256 of their PNGs. Who writes holds the run's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._flat: int | None = None  # files directly in the folder, once they were counted

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(self.folder.glob(f"*{SUFFIX}")) or any(self.folder.glob(f"??/*{SUFFIX}"))

    def path(self, digest: str) -> Path:
        """Where the map of this content lies, or will."""
        flat, deep = self.folder / f"{digest}{SUFFIX}", self.folder / digest[:2] / f"{digest}{SUFFIX}"
        if flat.is_file() or not (deep.is_file() or self._count() >= places.MOST):
            return flat
        return deep

    def has(self, digest: str) -> bool:
        """Whether the map of this content is there as it was written; no text but a SHA-256 names any."""
        try:
            return bool(_SHA256.fullmatch(digest)) and sha256_file(self.path(digest)) == digest
        except (OSError, UserError):
            return False

    def keep(self, data: bytes) -> str:
        """Write a map (the bytes of its PNG), unless it is there and whole; its SHA-256. Raises UserError."""
        digest = hashlib.sha256(data).hexdigest()
        if not self.has(digest):
            before, path = self._count(), self.path(digest)
            is_new = path.parent == self.folder and not path.exists()
            write_bytes(path, data)
            self._flat = before + is_new
        return digest

    def _count(self) -> int:
        if self._flat is None:
            self._flat = sum(1 for _ in self.folder.glob(f"*{SUFFIX}"))
        return self._flat

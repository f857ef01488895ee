"""How the names of photos and masks end, in small letters."""

from __future__ import annotations

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif",
     ".hif", ".ppm", ".pgm"}
)  # fmt: skip
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif", ".npy"})  # those that keep every value

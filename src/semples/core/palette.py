"""Label maps as indexed PNG with the PASCAL VOC colours, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semples.core.errors import UnusableFile
from semples.core.files import open_regular, write_bytes

FAST = 2  # zlib's level for confidences: 5 times as fast as its usual 6, and a tenth larger


def voc_palette() -> NDArray[np.uint8]:
    """The 256 VOC colours, uint8 (256,3) RGB: a label's bits, dealt to red, green, blue, highest colour bit first."""
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for step in range(8):
        for channel in range(3):
            palette[:, channel] |= (((labels >> (3 * step + channel)) & 1) << (7 - step)).astype(np.uint8)
    return palette


def colour(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (H,W) uint8 as VOC colours, uint8 (H,W,3) RGB."""
    coloured: NDArray[np.uint8] = voc_palette()[labels]
    return coloured


def label_png(labels: NDArray[np.uint8]) -> bytes:
    """Labels (H,W) uint8 as the bytes of an indexed PNG with VOC colours; equal labels give equal bytes."""
    if labels.dtype != np.uint8 or labels.ndim != 2 or not labels.size:
        raise ValueError(f"labels must be uint8 (H,W), not {labels.dtype} {labels.shape}")
    image = Image.fromarray(np.ascontiguousarray(labels))  # mode L; a palette turns it into mode P
    image.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def write_label_png(path: Path | str, labels: NDArray[np.uint8]) -> None:
    """Write labels (H,W) uint8 as an indexed PNG with VOC colours; equal labels give equal bytes."""
    write_bytes(path, label_png(labels))


def write_confidence_png(path: Path | str, confidence: NDArray[np.floating]) -> None:
    """Write confidences (H,W) in 0..1 as an 8-bit greyscale PNG, 255 for 1, rounded."""
    if confidence.ndim != 2 or not confidence.size or not (confidence.min() >= 0 and confidence.max() <= 1):
        raise ValueError(f"confidences must be (H,W) in 0..1, not {confidence.dtype} {confidence.shape}")
    buffer = io.BytesIO()
    Image.fromarray(np.rint(confidence * 255).astype(np.uint8)).save(buffer, format="PNG", compress_level=FAST)
    write_bytes(path, buffer.getvalue())


def read_confidence_png(path: Path | str) -> NDArray[np.float32]:
    """Read confidences, float32 (H,W) in 0..1. Raises UnusableFile like `read_label_png`."""
    return read_label_png(path).astype(np.float32) / np.float32(255)


def read_label_png(path: Path | str) -> NDArray[np.uint8]:
    """Read labels, uint8 (H,W), from an indexed or 8-bit greyscale picture; the stored numbers are the labels.

    Raises UnusableFile naming the file when it is missing, broken, or a colour picture.
    """
    try:
        with open_regular(path) as file, Image.open(file) as image:
            if image.mode not in ("P", "L", "1"):
                raise UnusableFile(
                    f"{path}: a picture of mode {image.mode} holds no label numbers; save it as indexed PNG"
                )
            return np.array(image, np.uint8)
    except FileNotFoundError:
        raise UnusableFile(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise UnusableFile(f"{path}: not a picture; write the mask again") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnusableFile(f"{path}: cannot be read ({error}); write the mask again") from None

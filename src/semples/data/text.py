"""Text files and names as people have them: byte-order marks, Excel's UTF-16, composed and decomposed accents."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import read_file


def read_text(path: Path) -> str:
    """A text file in UTF-8 (byte-order mark or not) or in UTF-16 with its mark. Raises UserError."""
    try:
        data = read_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file in UTF-8; save it as UTF-8") from None
    if "\0" in text:
        raise UserError(f"{path}: not a text file; it holds zero bytes")
    return text


def nfc(text: str) -> str:
    """Stripped, and in Unicode's composed form, so that names from different systems compare equal."""
    return unicodedata.normalize("NFC", text.strip())

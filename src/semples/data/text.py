"""Text files and names as people have them: byte-order marks, Excel's UTF-16, composed and decomposed accents."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path

from semples.core.errors import UserError
from semples.core.files import read_file
from semples.core.plain import is_utf8

_KINDS = {
    b"PK\x03\x04": "a zip or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "gzip",
}


def read_text(path: Path) -> str:
    """A text file in UTF-8 (byte-order mark or not) or UTF-16. Raises UserError.

    UTF-16 without its mark is told by the zero in every second byte of its first characters. Other encodings are
    refused: nothing in a file tells Windows-1252 from its sisters, and a wrong guess would misspell the classes.
    """
    try:
        data = read_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    kind = next((words for mark, words in _KINDS.items() if data.startswith(mark)), None)
    if kind is not None:
        raise UserError(f"{path}: not a text file but {kind}; save the table as CSV (UTF-8)")
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not a text file in UTF-8 (line {line}); Windows' own encodings, such as Windows-1252 of Excel's "
            "plain CSV, cannot be told apart: save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from None
    if "\0" in text:
        raise UserError(f"{path}: not a text file; it holds zero bytes")
    return text


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = data[:64]
    if len(start) >= 4 and len(data) % 2 == 0:
        even, odd = start[0::2], start[1::2]
        if not any(odd) and all(even):
            return "utf-16-le"
        if not any(even) and all(odd):
            return "utf-16-be"
    return "utf-8-sig"


def nfc(text: str) -> str:
    """Stripped, and in Unicode's composed form, so that names from different systems compare equal."""
    return unicodedata.normalize("NFC", text.strip())


def one_line(name: str) -> str:
    """A name on one line, single blanks, composed accents; empty where it holds half a character."""
    return nfc(" ".join(re.sub(r"[\0-\x1f\x7f\ufeff]", " ", name).split())) if is_utf8(name) else ""

"""Text of other people (file names, tags, settings) made safe to show: nothing in it moves, hides or forges a line.

Every line that the program prints, and every page that it writes, passes names through `plain`.
"""

from __future__ import annotations

import re
import reprlib

LONGEST = 100  # signs of a value that a message repeats

# Control signs (C0, DEL, C1), line and paragraph separators, marks that turn the direction of text, other signs that
# are not seen, and lone halves of a surrogate pair, as which Python holds the bytes of a file name that are not UTF-8.
# The two joiners of Persian, Hindi and emoji (U+200C, U+200D) stay: they move nothing.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: object) -> str:
    r"""`str(text)` on one line, with every sign that could act on a terminal or a page written out.

    ESC becomes `\x1b`, a newline `\n`, a right-to-left override `\u202e`; a byte of a file name that is not UTF-8
    becomes `\xff`.
    """
    return _UNSAFE.sub(_written_out, str(text))


def short(value: object, *, limit: int = LONGEST) -> str:
    """A value as Python writes it, cut to about `limit` signs however large or deep it is."""
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[: limit - 5] + "...")
    writer = reprlib.Repr()
    writer.maxlevel, writer.maxstring, writer.maxother, writer.maxlong = 3, limit // 2, limit // 2, 40
    writer.maxlist = writer.maxtuple = writer.maxset = writer.maxfrozenset = writer.maxdict = 4
    try:
        text = writer.repr(value)
    except ValueError:  # a whole number with more digits than Python writes
        text = "a number with thousands of digits"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def has_control(text: str) -> bool:
    """Whether a name holds a control sign, a line break, or half a surrogate pair: no name of a class or a tag does."""
    return _CONTROL.search(text) is not None


def is_utf8(name: str) -> bool:
    """Whether a file's name, as Python lists it, is valid UTF-8 on the disk."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _written_out(match: re.Match[str]) -> str:
    sign = match[0]
    code = ord(sign)
    if sign in _SHORT:
        return _SHORT[sign]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

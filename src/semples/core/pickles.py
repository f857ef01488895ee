"""What a pickle that was refused asks for, found out without running it."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

MAX_PICKLES = 5  # PyTorch's older form is a row of them
READABLE = 3  # the newest protocol that PyTorch's weights-only reader knows
MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # with which PyTorch's older form begins
TEXT = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.\w*Storage|torch\.\w+\.\w*Storage|torch\.Size|torch\.\w*(float|int|bool)\w*|"
    r"torch\.nn\.parameter\.Parameter|torch\.Tensor|collections\.OrderedDict|numpy\b.*|_codecs\.encode|"
    r"argparse\.Namespace|pathlib\.\w+|__builtin__\.set|builtins\.set"
)


@dataclass(frozen=True)
class PickleFacts:
    """The protocol that a pickle was written with, and the names (module.name) of what it asks for, in order."""

    protocol: int
    names: tuple[str, ...]


def pickle_facts(data: bytes) -> PickleFacts:
    """Read the instructions of the pickles that stand at the start of `data`; nothing is run."""
    stream, names, protocol = io.BytesIO(data), list[str](), 0
    for _ in range(MAX_PICKLES):
        texts: list[str | None] = []
        memo: dict[int, str | None] = {}
        last: str | None = None
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                kind = opcode.name
                if kind == "PROTO":
                    protocol = max(protocol, int(argument or 0))
                elif kind == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                    last = None
                elif kind in TEXT:
                    last = str(argument)
                    texts.append(last)
                elif kind == "MEMOIZE":
                    memo[len(memo)] = last
                elif kind in ("PUT", "BINPUT", "LONG_BINPUT"):
                    memo[int(argument or 0)] = last
                elif kind in ("GET", "BINGET", "LONG_BINGET"):
                    last = memo.get(int(argument or 0))
                    texts.append(last)
                elif kind == "STACK_GLOBAL":
                    names.append(".".join(text or "?" for text in texts[-2:]))
                    last = None
                elif kind != "FRAME":
                    last = None
        except (ValueError, IndexError, KeyError, OverflowError, EOFError):
            break
    return PickleFacts(protocol, tuple(names))


def refusal(path: Path, told: str) -> str:
    """Why PyTorch's weights-only reader refused a file, in words that say what to do; `told` is its own message."""
    data = _pickle_of(path)
    facts = pickle_facts(data)
    named = re.search(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL) (\S+)", told)
    odd = [name for name in facts.names if not HARMLESS.fullmatch(name)]
    name = named[1] if named else (odd[0] if odd else "")
    if name:
        return (
            f"it asks for {name[:80]!r}, which is not data; only weights are read; where you trust the file, load it "
            "in the program that wrote it and save its weights alone: torch.save(model.state_dict(), new_file)"
        )
    if not zipfile.is_zipfile(path) and data[:1] == b"\x80" and MAGIC not in data[:64]:
        return (
            "it is a plain pickle, not written by torch.save; only weights are read; where you trust the file, load it "
            "in the program that wrote it and save its tensors by name: torch.save(tensors, new_file)"
        )
    if facts.protocol > READABLE:
        return (
            f"it is written with pickle protocol {facts.protocol}, which PyTorch's safe reader does not know; where "
            'you trust the file, write it anew: torch.save(torch.load(file, map_location="cpu", weights_only=False), '
            "new_file)"
        )
    return "it is damaged or holds more than data; only weights are read"


def _pickle_of(path: Path) -> bytes:
    """The pickle in a file of torch.save, or the file itself."""
    try:
        if not zipfile.is_zipfile(path):
            return path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            inside = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
            return b"" if inside is None else archive.read(inside)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        return b""

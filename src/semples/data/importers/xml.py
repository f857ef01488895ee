"""XML files as small trees, read without trust: a file that declares a document type is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

MAX_BYTES = 300_000_000
MAX_DEPTH = 50


class XmlError(Exception):
    """A file is not read; the message is the reason."""


@dataclass
class Node:
    """An element: its name, attributes, children and text."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def all(self, *path: str) -> list[Node]:
        """The elements at a path below this one."""
        nodes = [self]
        for tag in path:
            nodes = [child for node in nodes for child in node.children if child.tag == tag]
        return nodes

    def value(self, *path: str) -> str:
        """Text of the first element at a path, stripped; empty where there is none."""
        elements = self.all(*path)
        return elements[0].text.strip() if elements else ""


def root_tag(path: Path) -> str:
    """The name of a file's outermost element; empty where it has none within its first bytes."""
    names: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, _: names.append(tag)
    try:
        with open(path, "rb") as file:
            parser.Parse(file.read(1 << 16), False)
    except (expat.ExpatError, OSError, ValueError, LookupError):
        pass
    return names[0] if names else ""


def read_xml(path: Path) -> Node:
    """The tree of a file. Raises XmlError: for a document type too, whose entities can blow a small file up."""
    top = Node("")
    stack = [top]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise XmlError("nested too deeply")
        node = Node(tag, attributes)
        stack[-1].children.append(node)
        stack.append(node)

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: object) -> None:
        raise XmlError("it declares a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: stack.pop()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        if path.stat().st_size > MAX_BYTES:
            raise XmlError(f"larger than {MAX_BYTES} bytes")
        parser.Parse(path.read_bytes(), True)
    except (expat.ExpatError, OSError, ValueError, LookupError) as error:
        raise XmlError(f"not readable: {error}") from None
    return top.children[0]

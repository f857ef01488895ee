"""Checks that every link within a built site leads to a file, and every fragment to an anchor. Nothing is fetched.

python scripts/check_links.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links and anchors of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if value and key in ("href", "src"):
                self.links.append(value)
            elif value and key in ("id", "name"):
                self.anchors.add(value)


def main(site: Path) -> int:
    """The number of broken links, each printed with its page."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    broken = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            fragment_lost = (
                bool(parts.fragment) and target in pages and unquote(parts.fragment) not in pages[target].anchors
            )
            if not target.exists() or fragment_lost:
                print(f"{path.relative_to(site.resolve())}: {link} leads nowhere")
                broken += 1
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links, {broken} broken")
    return broken


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)

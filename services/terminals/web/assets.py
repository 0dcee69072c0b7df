"""The files of the page, read once at the start; ``services/web-client`` is their source.

Their address carries a digest over all of them. During a release two builds answer on one
port, and a page must never be put together from the modules of both: a build that is asked
for another one's digest says 404 and closes the connection, so that the page's loader asks
again on a new one, which the manager gives to a generation by weight.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_BOOT = "<!-- boot -->"
_LATER = "later/"
"""Folder of what a page loads only once its person wants it."""
_NONCE = "%NONCE%"


@dataclass(frozen=True, slots=True)
class Assets:
    """The page and its files. ``files`` maps a path below ``/static/{digest}/`` to type and content."""

    digest: str
    files: dict[str, tuple[str, bytes]]
    script_hashes: tuple[str, ...]
    """Of the page's inline script, as a content security policy names it."""
    _page: str

    def page(self, nonce: str) -> bytes:
        """The page; ``nonce``: what its policy knows the styles by that its script makes."""
        return self._page.replace(_NONCE, nonce).encode()

    @classmethod
    def load(cls, folder: Path = STATIC) -> Assets:
        """Read a folder: ``index.html``, ``boot.js`` (put into the page) and everything else.

        Raises:
            OSError: the package is incomplete.
        """
        files = {
            path.relative_to(folder).as_posix(): (TYPES[path.suffix], path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.suffix in TYPES and path.name != "boot.js"
        }
        total = hashlib.sha256()
        for name, (_, content) in files.items():
            total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        digest = total.hexdigest()[:16]
        needed = [name for name in files if name.endswith((".js", ".css")) and not name.startswith(_LATER)]
        boot = (folder / "boot.js").read_text()
        boot = boot.replace("%BASE%", f"./static/{digest}/").replace("%FILES%", " ".join(needed))
        page = (folder / "index.html").read_text().replace(_BOOT, f"<script>{boot}</script>")
        page = page.replace("%ICON%", f"static/{digest}/icon.svg")
        hashed = base64.b64encode(hashlib.sha256(boot.encode()).digest()).decode()
        return cls(digest, files, (f"sha256-{hashed}",), page)

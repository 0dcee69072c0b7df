"""Put uv into the project and install everything that the lock file names. Standard library only.

A fresh Debian machine has Python and make, and perhaps neither pip nor the ``venv`` package. So
uv's wheel is fetched from the package index, checked against the index's SHA-256, and unpacked
into ``.tools/``; uv does the rest. The second run does nothing but ask uv.
"""

from __future__ import annotations

import hashlib
import html.parser
import io
import json
import os
import platform
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = ROOT / ".tools" / "uv"
UV_VERSION = "0.13.9"
TIMEOUT = 120


class BootstrapError(Exception):
    """What keeps the set-up from being done, and the way out."""


class _Links(html.parser.HTMLParser):
    """The files of an index page in HTML (PEP 503), for indexes that do not speak JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[dict[str, object]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href")
        if tag == "a" and link:
            address, _, fragment = link.partition("#")
            name, _, digest = fragment.partition("=")
            hashes = {name: digest} if digest else {}
            self.files.append({"filename": address.rpartition("/")[2], "url": address, "hashes": hashes})


def _get(url: str, accept: str = "*/*") -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return response.read(), str(response.headers.get("Content-Type", ""))
    except OSError as error:
        hint = "is the package index reachable? (PIP_INDEX_URL names another)"
        raise BootstrapError(f"{url}: {error}; {hint}") from None


def _files(index: str) -> list[dict[str, object]]:
    page = index.rstrip("/") + "/uv/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    body, kind = _get(page, accept)
    if "json" in kind:
        found: list[dict[str, object]] = json.loads(body)["files"]
    else:
        links = _Links()
        links.feed(body.decode())
        found = links.files
    return [{**entry, "url": urllib.parse.urljoin(page, str(entry["url"]))} for entry in found]


def _wheel_name() -> str:
    machine = platform.machine()
    tags = {
        "x86_64": "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "aarch64": "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64",
    }
    if sys.platform != "linux" or machine not in tags:
        raise BootstrapError(
            f"no uv wheel is known for {sys.platform}/{machine}; install uv {UV_VERSION} and put it on PATH"
        )
    return f"uv-{UV_VERSION}-py3-none-{tags[machine]}.whl"


def fetch_uv() -> None:
    """Fetch uv's wheel, check it, and unpack its one program.

    Raises:
        BootstrapError: the index has no such wheel, or the wheel is not what the index says.
    """
    index = os.environ.get("UV_INDEX_URL") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
    wanted = _wheel_name()
    entry = next((entry for entry in _files(index) if entry["filename"] == wanted), None)
    if entry is None:
        raise BootstrapError(f"{index} has no {wanted}; install uv {UV_VERSION} and put it on PATH")
    data, _ = _get(str(entry["url"]))
    hashes = entry.get("hashes")
    expected = hashes.get("sha256") if isinstance(hashes, dict) else None
    if expected != hashlib.sha256(data).hexdigest():
        raise BootstrapError(f"{wanted} from {index} does not have the SHA-256 that the index states")
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".data/scripts/uv"))
        program = wheel.read(member)
    UV.parent.mkdir(exist_ok=True)
    temporary = UV.with_suffix(".new")
    temporary.write_bytes(program)
    temporary.chmod(0o755)
    temporary.replace(UV)


def main() -> int:
    """Set up, or say in one line why not."""
    try:
        if sys.version_info < (3, 11):  # noqa: UP036 - the one file that older ones get to run
            raise BootstrapError(f"Python 3.11 or newer is needed, this is {platform.python_version()}")
        if not UV.exists():
            print(f"fetching uv {UV_VERSION}", file=sys.stderr)
            fetch_uv()
        command = [str(UV), "sync", "--locked", "--quiet", "--python", sys.executable]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    except (BootstrapError, OSError, zipfile.BadZipFile) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""What a build is made of: a folder of the services, or the services that are installed with this program."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import rollout
from rollout.errors import ConfigError

SERVICES = "terminal-services"
LOCK = "uv.lock"


@dataclass(frozen=True, slots=True)
class Source:
    """The services as they are to be built.

    ``folder`` has their Dockerfile, ``lock`` the lock file of what they need. ``installed``: they are made
    again from this, and not built from ``folder``.
    """

    name: str
    version: str
    folder: Path
    lock: Path
    installed: Distribution | None = None

    def revision(self) -> str:
        """The source revision, marked when there are changes on top of it; "" outside version control."""
        if self.installed is not None or shutil.which("git") is None:
            return ""
        git = ["git", "-C", str(self.folder)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        if head.returncode != 0:
            return ""
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "."], capture_output=True, text=True, check=False
        )
        return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")

    def __str__(self) -> str:
        return f"{self.name} {self.version}, " + ("as installed" if self.installed else f"in {self.folder}")


def find_source(source: Path | Literal["installed"], lock_root: Path) -> Source:
    """Look where a build would come from. Changes nothing.

    ``lock_root`` is where to look for the lock file when neither ``source`` nor a folder above it
    has one, as for a patched copy.

    Raises:
        ConfigError: it is not the services' project, it is not installed, or there is no lock file.
    """
    if source != "installed":
        return _in_folder(source, lock_root)
    try:
        installed = distribution(SERVICES)
    except PackageNotFoundError:
        raise ConfigError(
            f"source: {SERVICES} is not installed with this program; install it, or name its folder"
        ) from None
    if (folder := _editable(installed)) is not None:
        return _in_folder(folder, lock_root)
    root = _packed()
    locked = _project(root / "services")[1]
    if installed.version != locked:
        raise ConfigError(
            f"source: {SERVICES} {installed.version} is installed, and this rollout has the lock of {locked};"
            " install both of one release"
        )
    return Source(SERVICES, installed.version, root / "services", root, installed)


def _in_folder(folder: Path, lock_root: Path) -> Source:
    name, version = _project(folder)
    for candidate in (folder, *folder.parents, lock_root, *lock_root.parents):
        if (candidate / LOCK).is_file():
            return Source(name, version, folder, candidate)
    raise ConfigError(f"{folder}: no {LOCK} here or in a folder above; make one with: uv lock")


def _project(folder: Path) -> tuple[str, str]:
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text())["project"]
        return str(project["name"]), str(project["version"])
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; let source: be the folder of the services, or source: installed for"
            " those that came with this program"
        ) from None
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: no project name and version in it ({error})") from None


def _editable(installed: Distribution) -> Path | None:
    """The source tree of what runs from one."""
    said = json.loads(installed.read_text("direct_url.json") or "{}")
    if not said.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(said["url"]).path))


def _packed() -> Path:
    """The lock and the Dockerfile that came with this program: inside the package, or in the source tree."""
    package = Path(rollout.__file__).parent
    inside = package / "_locked"
    return inside if inside.is_dir() else package.parent

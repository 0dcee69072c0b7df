"""The builds on the control machine: one folder each, with a manifest and the wheels it names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rollout.errors import ConfigError
from rollout.model import BuildRef, ImageRef

MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
WHEELS = "wheels"
ARCHIVE = "build.tar"


def content_digest(sums: dict[str, str]) -> str:
    """SHA-256 over the sorted names and SHA-256 sums of a build's files.

    The same content has the same digest, whenever and wherever it was built.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class BuildStore:
    """Finds builds in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[BuildRef]:
        """Every build, the newest last."""
        if not self.folder.is_dir():
            return []
        found = [self._read(path) for path in self.folder.glob(f"*/{MANIFEST}")]
        return sorted(found, key=lambda build: build.created)

    def find(self, build_id: str | None) -> BuildRef:
        """The build of that id (a unique beginning is enough); without one, the newest.

        Raises:
            ConfigError: there is none, or several begin like this.
        """
        builds = self.all()
        if not builds:
            raise ConfigError(f"{self.folder}: no build yet; make one with: rollout build")
        if build_id is None:
            return builds[-1]
        matching = [build for build in builds if build.id == build_id] or [
            build for build in builds if build.id.startswith(build_id)
        ]
        if len(matching) != 1:
            some = ", ".join(build.id for build in (matching or builds)[-5:])
            what = "several builds begin with" if matching else "no build"
            raise ConfigError(f"{self.folder}: {what} {build_id!r}; there are: {some}")
        return matching[0]

    def image(self, build: BuildRef) -> ImageRef | None:
        """The image of a build, if one has been made.

        Raises:
            ConfigError: the manifest cannot be read.
        """
        return read_image(Path(build.path))

    def verify(self, build: BuildRef) -> None:
        """Check that the files are those that the id stands for.

        Raises:
            ConfigError: a file is missing, changed or extra.
        """
        wheels = Path(build.path) / WHEELS
        sums = {path.name: file_digest(path) for path in wheels.glob("*.whl")}
        if content_digest(sums) != build.digest or not (Path(build.path) / ARCHIVE).is_file():
            raise ConfigError(
                f"{build.path}: the files are not those of build {build.id} any more; build it again"
            )

    def _read(self, path: Path) -> BuildRef:
        try:
            data = json.loads(path.read_text())
            return BuildRef(
                id=str(data["id"]),
                version=str(data["version"]),
                digest=str(data["digest"]),
                revision=str(data["revision"]),
                created=float(data["created"]),
                path=str(path.parent),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: not a build manifest ({error!r}); remove the folder") from None


def read_image(folder: Path) -> ImageRef | None:
    """The image that the manifest in a build's folder speaks of.

    Raises:
        ConfigError: the manifest cannot be read.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text()).get("image")
        return None if data is None else ImageRef(**{**data, "layers": tuple(data["layers"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not a build manifest ({error!r}); remove the folder") from None

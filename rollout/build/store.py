"""The builds on the control machine: one folder each, with a manifest and the wheels it names."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path, PurePosixPath

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


def packed_sums(archive: Path) -> dict[str, str] | None:
    """SHA-256 sums of the wheels in a build's archive, as hosts would install them; ``None`` where it is not
    as a build's is: it cannot be read, has something else in it, or says other sums itself."""
    sums: dict[str, str] = {}
    said = ""
    try:
        with tarfile.open(archive, "r:") as packed:
            for entry in packed:
                name = PurePosixPath(entry.name)
                file = packed.extractfile(entry) if entry.isreg() else None
                if file is None:
                    if entry.isdir() and entry.name == WHEELS:
                        continue
                    return None
                if name.parent == PurePosixPath(WHEELS) and name.name not in sums:
                    sums[name.name] = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
                elif entry.name == SUMS and not said:
                    said = file.read(1 << 20).decode()
                elif entry.name != MANIFEST:
                    return None
    except (OSError, tarfile.TarError, UnicodeDecodeError):
        return None
    lines = sorted(f"{digest}  {WHEELS}/{name}" for name, digest in sums.items())
    return sums if sorted(said.splitlines()) == lines else None


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
        """Check that the files are those that the id stands for, and so is what travels to hosts.

        Raises:
            ConfigError: a file is missing, changed or extra.
        """
        folder = Path(build.path)
        sums = {path.name: file_digest(path) for path in (folder / WHEELS).glob("*.whl")}
        if content_digest(sums) != build.digest or packed_sums(folder / ARCHIVE) != sums:
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

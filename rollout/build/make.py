"""Making a build: the wheel of the services, and the locked wheels it needs.

Wheels are made and fetched here, once; hosts install them without a network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from rollout.build.installed import wheel_of
from rollout.build.source import find_source
from rollout.build.store import ARCHIVE, MANIFEST, SUMS, WHEELS, content_digest, file_digest
from rollout.errors import EngineError
from rollout.model import BuildRef

# A wheel's timestamps come from here; a fixed one makes the same source give the same bytes.
SOURCE_DATE_EPOCH = "1577836800"


def build(
    source: Path | Literal["installed"],
    folder: Path,
    *,
    lock_root: Path,
    on_progress: Callable[[str], None] = lambda line: None,
) -> BuildRef:
    """Build the services in ``source`` (see :func:`rollout.build.source.find_source`, also for ``lock_root``)
    into ``folder``/<build id>. Building the same source again gives the same build.

    Raises:
        ConfigError: there is nothing to build, or no lock file.
        EngineError: uv or pip failed; the message has their last words.
    """
    found = find_source(source, lock_root)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
        wheels = Path(temporary) / WHEELS
        wheels.mkdir()
        on_progress(f"building {found.name} {found.version}")
        if found.installed is not None:
            wheel_of(found.installed, wheels)
        else:
            _uv("build", "--wheel", "--no-sources", "--out-dir", str(wheels), str(found.folder))
        for leftover in wheels.glob(".*"):
            leftover.unlink()
        on_progress("collecting the locked dependencies")
        for wheel in _dependencies(found.name, found.lock, folder.parent / "cache" / WHEELS):
            shutil.copy2(wheel, wheels / wheel.name)
        sums = {path.name: file_digest(path) for path in sorted(wheels.iterdir())}
        digest = content_digest(sums)
        build_id = BuildRef.id_of(found.version, digest)
        target = folder / build_id
        revision = found.revision()
        created = time.time()
        manifest = {
            "id": build_id,
            "project": found.name,
            "version": found.version,
            "digest": digest,
            "revision": revision,
            "created": created,
            "files": sums,
        }
        (Path(temporary) / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        lines = "".join(f"{value}  {WHEELS}/{name}\n" for name, value in sums.items())
        (Path(temporary) / SUMS).write_text(lines)
        # One file travels in one go; a dozen wheels take Ansible ten times as long.
        with tarfile.open(Path(temporary) / ARCHIVE, "w") as archive:
            for name in (MANIFEST, SUMS, WHEELS):
                archive.add(Path(temporary) / name, name, filter=_owned_by_nobody)
        Path(temporary).chmod(0o755)
        if (target / MANIFEST).exists():
            on_progress(f"{build_id} exists already: same source, same content")
            created = float(json.loads((target / MANIFEST).read_text())["created"])
        else:
            shutil.copytree(temporary, target)
    return BuildRef(build_id, found.version, digest, revision, created, str(target))


def _owned_by_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever unpacks it is to own it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _dependencies(name: str, lock: Path, cache: Path) -> list[Path]:
    """The wheels of the locked dependencies, checked against the lock and kept for the next build."""
    requirements = _uv(
        "export", "--project", str(lock), "--package", name, "--no-dev", "--no-emit-workspace",
        "--frozen", "--no-header", "--no-annotate", "--format", "requirements-txt",
    )  # fmt: skip
    key = hashlib.sha256(f"{sys.version_info[:2]} {requirements}".encode()).hexdigest()[:16]
    kept = cache / key
    if not kept.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as temporary:
            listed = Path(temporary) / "requirements.txt"
            listed.write_text(requirements)
            wheels = Path(temporary) / WHEELS
            _run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                 "--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels),
                 "--requirement", str(listed)]
            )  # fmt: skip
            with contextlib.suppress(OSError):  # another build was quicker
                wheels.rename(kept)
    return sorted(kept.glob("*.whl"))


def _uv(*arguments: str) -> str:
    import uv

    return _run([uv.find_uv_bin(), "--quiet", *arguments])


def _run(command: list[str]) -> str:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "PYTHONHASHSEED": "0"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        words = done.stderr.strip() or done.stdout.strip()
        raise EngineError(f"{Path(command[0]).name} {command[1]} failed: {words[-600:]}")
    return done.stdout

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
import tomllib
from collections.abc import Callable
from pathlib import Path

from rollout.build.store import ARCHIVE, MANIFEST, SUMS, WHEELS, content_digest, file_digest
from rollout.errors import ConfigError, EngineError
from rollout.model import BuildRef

# A wheel's timestamps come from here; a fixed one makes the same source give the same bytes.
SOURCE_DATE_EPOCH = "1577836800"
LOCK = "uv.lock"


def build(
    source: Path,
    folder: Path,
    *,
    lock_root: Path,
    on_progress: Callable[[str], None] = lambda line: None,
) -> BuildRef:
    """Build the services in ``source`` into ``folder``/<build id>.

    ``lock_root`` is where to look for the lock file when neither ``source`` nor a folder above it
    has one, as for a patched copy. Building the same source again gives the same build.

    Raises:
        ConfigError: ``source`` is not the services' project, or there is no lock file.
        EngineError: uv or pip failed; the message has their last words.
    """
    project = _project(source)
    lock = _lock_folder(source, lock_root)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as temporary:
        wheels = Path(temporary) / WHEELS
        wheels.mkdir()
        on_progress(f"building {project['name']} {project['version']}")
        _uv("build", "--wheel", "--no-sources", "--out-dir", str(wheels), str(source))
        for leftover in wheels.glob(".*"):
            leftover.unlink()
        on_progress("collecting the locked dependencies")
        for wheel in _dependencies(project["name"], lock, folder.parent / "cache" / WHEELS):
            shutil.copy2(wheel, wheels / wheel.name)
        sums = {path.name: file_digest(path) for path in sorted(wheels.iterdir())}
        digest = content_digest(sums)
        build_id = BuildRef.id_of(project["version"], digest)
        target = folder / build_id
        revision = _revision(source)
        created = time.time()
        manifest = {
            "id": build_id,
            "project": project["name"],
            "version": project["version"],
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
    return BuildRef(build_id, project["version"], digest, revision, created, str(target))


def _owned_by_nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whoever unpacks it is to own it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _project(source: Path) -> dict[str, str]:
    path = source / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text())["project"]
        return {"name": str(project["name"]), "version": str(project["version"])}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; 'source' must be the folder of the services") from None
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: no project name and version in it ({error})") from None


def _lock_folder(source: Path, lock_root: Path) -> Path:
    for candidate in (source, *source.parents, lock_root, *lock_root.parents):
        if (candidate / LOCK).is_file():
            return candidate
    raise ConfigError(f"{source}: no {LOCK} here or in a folder above; make one with: uv lock")


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


def _revision(source: Path) -> str:
    """The source revision, marked when there are changes on top of it; "" outside version control."""
    if shutil.which("git") is None:
        return ""
    git = ["git", "-C", str(source)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return ""
    dirty = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


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

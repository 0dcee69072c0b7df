"""A wheel made again from its installation: the files that its RECORD names, checked and packed anew.

Whoever has installed the services from a wheel has no source tree. The entries are in the order, and of the
form, in which hatchling writes them: as a rule the very same file comes out, and so the same build.
"""

from __future__ import annotations

import base64
import hashlib
import stat
import zipfile
from importlib.metadata import Distribution, PackagePath
from pathlib import Path

from rollout.errors import ConfigError

_TIME = (2020, 1, 1, 0, 0, 0)
_ABOUT = ("METADATA", "WHEEL", "entry_points.txt", "licenses")
"""What a wheel says of itself; an installer adds files of its own beside these."""


def wheel_of(installed: Distribution, folder: Path) -> Path:
    """Write the wheel that ``installed`` came from to ``folder``. The same installation gives the same bytes.

    Raises:
        ConfigError: a file of it is missing, or is not as it was installed.
    """
    name, version = installed.metadata["Name"], installed.version
    about = f"{name.replace('-', '_')}-{version}.dist-info"
    programs = {f"bin/{entry.name}" for entry in installed.entry_points}
    entries = sorted(
        (path for path in installed.files or () if _of_the_wheel(path, about) and str(path) not in programs),
        key=lambda path: _place(path, about),
    )
    tag = _tag(installed)
    wheel = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    record = ""
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in entries:
            data = _read(installed, path)
            in_about = path.parts[0] == about
            mode = 0o644 if in_about else _mode(installed, path)
            packed.writestr(_entry(str(path), mode), data)
            record += f"{path},sha256={_digest(data)},{len(data)}\n"
        record += f"{about}/RECORD,,\n"
        packed.writestr(_entry(f"{about}/RECORD", 0o644), record)
    return wheel


def _of_the_wheel(path: PackagePath, about: str) -> bool:
    if path.parts[0] == about:
        return path.parts[1] in _ABOUT
    # Programs are made by the installer, and compiled files by whoever runs it first.
    return ".." not in path.parts and path.suffix != ".pyc"


def _place(path: PackagePath, about: str) -> tuple[bool, int, list[tuple[bool, str]]]:
    """Packages first, in each folder its files before its folders; then what the wheel says of itself."""
    if path.parts[0] == about:
        return True, _ABOUT.index(path.parts[1]), [(False, str(path))]
    last = len(path.parts) - 1
    return False, 0, [(index < last, part) for index, part in enumerate(path.parts)]


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _mode(installed: Distribution, path: PackagePath) -> int:
    executable = Path(str(installed.locate_file(path))).stat().st_mode & stat.S_IXUSR
    return stat.S_IFREG | (0o755 if executable else 0o644)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _read(installed: Distribution, path: PackagePath) -> bytes:
    file = Path(str(installed.locate_file(path)))
    remedy = f"install {installed.metadata['Name']} {installed.version} again"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; {remedy}") from None
    if path.hash is None or path.hash.value != _digest(data):
        raise ConfigError(f"{file}: not as it was installed; {remedy}")
    return data


def _tag(installed: Distribution) -> str:
    lines = (installed.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag:").strip() for line in lines if line.startswith("Tag:")]
    if len(tags) != 1:
        raise ConfigError(
            f"{installed.metadata['Name']}: its WHEEL does not say what it is for; install it again"
        )
    return tags[0]

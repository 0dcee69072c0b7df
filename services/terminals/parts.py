"""Which code runs in which process, so that a release replaces what it has changed, and nothing else.

A part's *code* is a digest of the files it may import and of the versions of what they need. A process says
its own; of a build it is known from its wheels, before anything of it runs.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Final

_COMMON: Final = (
    *("__init__", "__main__", "background", "cli", "configfile", "control", "logs", "parts", "protocol"),
    "wholefile",
)
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "holder": ("__init__", "holder"),
    "manager": (
        *_COMMON,
        "access",
        "cluster",
        "manager",
        "oidc",
        "recordings",
        "rights",
        "screens",
        "tickets",
    ),
    "monitor": (*_COMMON, "client", "monitor"),
}
"""Modules and packages of :mod:`terminals` by part. The keeper of screens, the recorder and the
asker of other hosts are the manager's own children."""
_NEED: Final = {
    "holder": (),
    "manager": ("aiohttp", "click", "msgspec", "uvloop"),
    "monitor": ("apprise", "click", "msgspec", "websockets"),
}
_HOLDER: Final = "terminals/holder/main.py"
_WHEEL: Final = re.compile(r"([^-]+)-([^-]+)-.*\.whl")


def own_code(part: str) -> str:
    """The code of a part in the installation that this process runs from."""
    package = Path(__file__).parent
    names = {path.relative_to(package.parent).as_posix(): path for path in package.rglob("*.py")}
    files = {name: path.read_bytes() for name, path in names.items() if _concerns(part, name)}
    return _digest(part, files, {name: version(name) for name in _NEED[part]})


@dataclass(frozen=True, slots=True)
class BuildParts:
    """What is known of a build before anything of it runs."""

    codes: Mapping[str, str]
    """By part."""
    holder: Mapping[str, Any]
    """The ``version`` of its holder, and the versions that it ``resumes``: can go on from. An earlier build
    says less, or has none."""


def parts_of_wheels(wheels: Iterable[Path]) -> BuildParts:
    """The parts of a build, by the wheel of the services and those of what they need.

    Raises:
        ValueError: the wheel of the services is not among them.
    """
    files: dict[str, bytes] = {}
    versions: dict[str, str] = {}
    for wheel in wheels:
        if named := _WHEEL.fullmatch(wheel.name):
            versions[named[1]] = named[2]
        if wheel.name.startswith("terminal_services-"):
            with zipfile.ZipFile(wheel) as archive:
                files = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    if not files:
        raise ValueError("there is no wheel of the services")
    codes = {part: _digest(part, files, versions) for part in PARTS}
    return BuildParts(codes, _versions_of_holder(files.get(_HOLDER, b"")))


def _versions_of_holder(source: bytes) -> dict[str, Any]:
    found = {}
    for node in ast.parse(source).body:
        name = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(name, ast.Name) and name.id in ("VERSION", "RESUMES"):
            assert isinstance(node, ast.Assign)
            found[name.id.lower()] = ast.literal_eval(node.value)
    return found


def _digest(part: str, files: Mapping[str, bytes], versions: Mapping[str, str]) -> str:
    known = {name.lower().replace("_", "-"): version for name, version in versions.items()}
    lines = [f"{name} {known.get(name, '')}" for name in _NEED[part]]
    for name in sorted(files):
        if _concerns(part, name):
            lines.append(f"{hashlib.sha256(files[name]).hexdigest()} {name}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _concerns(part: str, name: str) -> bool:
    path = PurePosixPath(name).with_suffix("")
    return path.parts[0] == "terminals" and len(path.parts) > 1 and path.parts[1] in PARTS[part]


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A digest of settings as they are written to a process's file, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings to be shown: of variables, and of where people are told, only whether they are the same."""
    shown = json.loads(json.dumps(settings))
    for profile in shown.get("profiles", {}).values():
        for name, value in (profile.get("env") or {}).items():
            profile["env"][name] = _concealed(value)
    for receiver in shown.get("notify", ()):
        if "url" in receiver:
            receiver["url"] = _concealed(receiver["url"])
    return dict(shown)


def _concealed(value: Any) -> str:
    return f"({hashlib.sha256(str(value).encode()).hexdigest()[:8]})"

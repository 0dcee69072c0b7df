"""Copies of the services' source that are other builds of them: for the demo, and for tests."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import patch_ng

SERVICES = Path(__file__).resolve().parent.parent / "services"


class PatchDoesNotApply(Exception):
    """A patch does not fit the source any more."""


def copy_of_services(folder: Path) -> Path:
    """The source of the services, without what a check of the page has installed beside it."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    return Path(shutil.copytree(SERVICES, folder, ignore=ignored))


def another(folder: Path, version: str, patch: Path | None = None) -> Path:
    """A copy in ``folder`` that says it is of that version; with a ``patch``, of code with that difference.

    Raises:
        PatchDoesNotApply: the source has changed.
    """
    copy = copy_of_services(folder / version)
    project = copy / "pyproject.toml"
    project.write_text(
        re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project.read_text(), count=1)
    )
    if patch is not None and not patch_ng.fromfile(str(patch)).apply(strip=1, root=str(copy)):
        raise PatchDoesNotApply(f"{patch} does not apply to {SERVICES}")
    return copy

#!/usr/bin/env python3
"""Make CHANGELOG.md from the fragments in ``changelog.d/``, by towncrier.

Without a date the fragments stand at the top, as the version of ``pyproject.toml`` "(unreleased)". That part
is made anew each time, so nobody edits it by hand. With a date the version is released: its part stays for
ever, and towncrier removes the fragments.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = ROOT / "CHANGELOG.md"
FRAGMENTS = ROOT / "changelog.d"
UNRELEASED = "unreleased"
UNRELEASED_PART = re.compile(rf"^## [^\n]* \({UNRELEASED}\)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class ChangelogError(Exception):
    """Why the changelog cannot be made, and the way out."""


def make(released: datetime.date | None) -> None:
    """Write CHANGELOG.md with the present fragments, as unreleased or as released on that day.

    Raises:
        ChangelogError: the version is released already, there is nothing to release, or a fragment is wrong.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    before = CHANGELOG.read_text()
    kept = UNRELEASED_PART.sub("", before).rstrip() + "\n"
    if not any(FRAGMENTS.glob("*/*")):
        if released:
            raise ChangelogError("changelog.d has no fragments: there is nothing to release")
        CHANGELOG.write_text(kept)
        return
    if f"\n## {version} (" in kept:
        raise ChangelogError(f"{version} is released already: raise the version in pyproject.toml")
    CHANGELOG.write_text(kept)
    date, then = (released.isoformat(), "--yes") if released else (UNRELEASED, "--keep")
    command = [sys.executable, "-m", "towncrier", "build", then, "--version", version, "--date", date]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        CHANGELOG.write_text(before)
        raise ChangelogError(f"towncrier: {(done.stderr or done.stdout).strip()}")


def main() -> int:
    """Make it, or say why not."""
    parser = argparse.ArgumentParser(description="Make CHANGELOG.md from the fragments in changelog.d/.")
    day = datetime.date.fromisoformat
    parser.add_argument("date", nargs="?", type=day, help="release the version, as of this day: 2026-12-01")
    try:
        make(parser.parse_args().date)
    except ChangelogError as error:
        print(f"changelog: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

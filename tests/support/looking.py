"""Commands of ``rollout`` that only look, without a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from rollout.cli import app

LOOKS = ("status", "history", "report")


def looked(folder: Path, *arguments: str) -> Any:
    """What ``rollout`` prints for programs, with the ``rollout.yaml`` of a folder.

    A command that only looks runs here, where all of it has been imported: that takes a process of its own
    most of a second of processor time, and tests look again and again.
    """
    words = [*arguments, "--output", "json"]
    if arguments[0] not in LOOKS:
        return json.loads(
            subprocess.check_output([sys.executable, "-m", "rollout", *words], cwd=folder, text=True)
        )
    config = ["--config", str(folder / "rollout.yaml")]
    done = CliRunner().invoke(app, [*config, *words], prog_name="rollout", standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)

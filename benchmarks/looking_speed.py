"""The processor time of commands that only look, beside ``import sqlalchemy, pydantic`` in the same run.

python -m benchmarks.looking_speed

The project that is looked at has several rollouts, judged, and a day of records at one-minute checks.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import terminals

from rollout.config import Config
from tests.support import summaries

YARDSTICK = (sys.executable, "-c", "import sqlalchemy, pydantic")
COMMANDS = (("status",), ("history",), ("gates", "explain", "dev"))


def project(folder: Path) -> None:
    """A project whose dev soaks: what it serves was judged, and has been watched for a day."""
    config = summaries.project(folder)
    summaries.seed(config)
    record = summaries.fixed(config)
    _build(config, record.build, record.digest)
    log = summaries.day(time.time() - summaries.DAY, record.generation)
    left = config.environment("dev").hosts["local"].root / "monitor"
    left.mkdir(parents=True)
    lines = "".join(json.dumps(entry) + "\n" for entry in log.records)
    (left / "checks-2026-01-01.jsonl").write_text(lines)


def _build(config: Config, name: str, digest: str) -> None:
    """A build of the services as they are, as far as it is looked at."""
    folder = config.builds_dir / name
    (folder / "wheels").mkdir(parents=True)
    manifest = {"id": name, "version": "1.0.1", "digest": digest, "revision": "", "created": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    package = Path(terminals.__file__).parent
    with zipfile.ZipFile(folder / "wheels" / "terminal_services-0.1.0-py3-none-any.whl", "w") as wheel:
        for path in package.rglob("*.py"):
            wheel.write(path, path.relative_to(package.parent).as_posix(), zipfile.ZIP_DEFLATED)


def measure(folder: Path, rounds: int = 11) -> dict[str, float]:
    """Median seconds of processor time, of each command and of ``yardstick``, by turns."""
    commands = {" ".join(words): (sys.executable, "-m", "rollout", *words) for words in COMMANDS}
    taken: dict[str, list[float]] = {name: [] for name in ("yardstick", *commands)}
    for _ in range(rounds):
        for name, command in (("yardstick", YARDSTICK), *commands.items()):
            taken[name].append(_processor(command, folder))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _processor(command: tuple[str, ...], folder: Path) -> float:
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return used.ru_utime + used.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        project(Path(folder))
        taken = measure(Path(folder))
    for name, seconds in taken.items():
        print(f"{name:<24} {seconds:.2f} s  {seconds / taken['yardstick']:.1f} times the yardstick")


if __name__ == "__main__":
    main()

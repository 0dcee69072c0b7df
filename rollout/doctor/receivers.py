"""The files with the addresses, secrets, of those whom an environment tells."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.config import Config, Environment
from rollout.doctor.finding import Finding
from rollout.errors import why_unread


def examine_receivers(config: Config, environment: Environment) -> Iterator[Finding]:
    """Look at each: one that cannot be read is brought to no monitor, and would leave it without a word."""
    needed = environment.monitor is not None and environment.containers
    for name in environment.notify:
        path = config.notify[name].url_file
        if path is None:
            continue
        try:
            path.read_text()
        except (OSError, ValueError) as error:
            verdict, remedy = "wrong" if needed else "warning", "put the address there, mode 0600"
            yield Finding(verdict, "", f"notify.{name}.url_file", f"{path}: {why_unread(error)}", remedy)  # type: ignore[arg-type]

"""What is left on a host when the glass was broken, so that the ledger's commands notice."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "broken-glass.json"
"""The file, in the environment's directory on the host."""


MARK_READS = "1 2 3"
MONITOR = "/var/lib/monitor"
"""The monitor's directory in its container, which has the file where the monitor led everybody back."""


def monitor_container(project: str) -> str:
    """The container of a Compose project that the monitor runs in."""
    return f"{project}-monitor-1"


def ask_for_mark(root: Path, project: str) -> tuple[str, ...]:
    """Words that print a host's mark, if there is one: a person's, or that of the Compose project's monitor
    ("" where processes run, whose monitor leaves it in the same place).

    Engines lose what an exec printed, once in a long while (docker-py #2042). A mark that is taken for none
    would have a host led to where somebody has led it away from, so a sign comes behind it, without which it
    is asked for again. A monitor that does not run has its mark all the same.
    """
    script = f"cat {shlex.quote(str(root / NAME))} 2>/dev/null"
    if project:
        inside = f"cat {MONITOR}/{NAME} 2>/dev/null; echo .; true"
        ask = f"docker exec {monitor_container(project)} sh -c {shlex.quote(inside)} 2>/dev/null"
        tell = '[ -n "$said" ] && { printf %s "${said%.}"; exit; }'
        asked = f"for each in {MARK_READS}; do said=$({ask}) || break; {tell}; done"
        script += f" || {{ {asked}; {_copied(project)}; }}"
    return ("sh", "-c", f"{script} || true")


def _copied(project: str) -> str:
    """Prints the mark of a monitor, be it one that does not run."""
    return f"docker cp {monitor_container(project)}:{MONITOR}/{NAME} - 2>/dev/null | tar -xO 2>/dev/null"


def take_mark_away(root: Path, project: str) -> tuple[str, ...]:
    """Words that remove both from a host with containers. They fail where a monitor has one that does not
    run."""
    name = monitor_container(project)
    inside = f"docker exec {name} rm -f {MONITOR}/{NAME} 2>/dev/null"
    stays = f"echo {name} does not run, and has a mark: docker start {name} >&2; exit 1"
    there = f'{{ said=$({_copied(project)}); [ -z "$said" ] || {{ {stays}; }}; }}'
    return ("sh", "-c", f"rm -f {shlex.quote(str(root / NAME))} && {{ {inside} || {there}; }}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Who led the host back without the ledger, when (unix seconds), and from which generation to which.

    ``fence`` is the token that the managers were told by; ``reason``: why, where a monitor did it.
    """

    when: float
    operator: str
    from_generation: str
    from_build: str
    to_generation: str
    to_build: str
    fence: int
    reason: str = ""

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.when))
        why = f" ({self.reason})" if self.reason else ""
        return f"glass broken {at} by {self.operator}: {self.from_generation} -> {self.to_generation}{why}"

    def as_json(self) -> str:
        """What the file holds."""
        return json.dumps(asdict(self), indent=2) + "\n"


def read_mark(text: str) -> Mark | None:
    """The mark in a file's text; ``None`` where there is none. A damaged one is still a mark."""
    if not text.strip():
        return None
    try:
        data = json.loads(text)
        return Mark(**{**data, "when": float(data["when"]), "fence": int(data["fence"])})
    except (ValueError, KeyError, TypeError):
        return Mark(0.0, "?", "?", "?", "?", "?", 0)

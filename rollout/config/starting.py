"""The rollout.yaml to start from, as it works where it stands."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rollout.config.lint import ROOT_LIMIT
from rollout.ports import refusal

TEMPLATE = "rollout.yaml.j2"
USUAL_ROOTS = ".rollout/env"
USUAL_PORTS = {
    "dev": (4001, 4002, 4110),
    "staging": (4201, 4202, 4210),
    "production": (4301, 4302, 4310),
}
STEP = 1000
"""Where one port of an environment is taken, all three are moved by so much."""


def starting(folder: Path, *, quick: bool = False) -> tuple[str, list[str]]:
    """The text of a file for ``folder``, and what is other there than usual, each in a line.

    ``quick``: with minutes in place of days.
    """
    said = []
    ports = {}
    for name, usual in USUAL_PORTS.items():
        ports[name] = _free(usual)
        if ports[name] != usual:
            said.append(f"{name} listens on {', '.join(map(str, ports[name]))}: the usual ports are taken")
    source = "services" if (folder / "services" / "pyproject.toml").is_file() else "installed"
    roots = USUAL_ROOTS
    if max(len(str(folder / roots / name)) for name in ports) > ROOT_LIMIT:
        roots = f"~/.rollout/{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        said.append(f"the environments are in {roots}: the path of this folder is too long for sockets")
    return text(source, roots, ports, quick=quick), said


def text(
    source: str = "services",
    roots: str = USUAL_ROOTS,
    ports: dict[str, tuple[int, ...]] | None = None,
    *,
    quick: bool = False,
) -> str:
    """The file with these values; without any it is the one of the source tree."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(  # noqa: S701 - YAML, of values of our own
        loader=PackageLoader("rollout", "config"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    given = {"source": source, "roots": roots, "ports": ports or USUAL_PORTS, "quick": quick}
    return templates.get_template(TEMPLATE).render(given)


def _free(usual: tuple[int, ...]) -> tuple[int, ...]:
    """The usual ports, or the next ones above that can all be had; the usual ones where none can."""
    for moved in range(0, 60_000, STEP):
        ports = tuple(port + moved for port in usual)
        if not any(refusal("127.0.0.1", port) for port in ports):
            return ports
    return usual

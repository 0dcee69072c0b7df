"""Logs and commands of all hosts of an environment at once, each line with where it is from."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence

from rollout.config.units import parse_duration
from rollout.direct.reach import on_each
from rollout.direct.sites import Site
from rollout.errors import ConfigError, EngineError, RolloutError

Say = Callable[[str, str], None]
"""Called with the name of a host, and a line of it."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z?)")


def follow_logs(
    sites: Sequence[Site], say: Say, *, generation: str = "", follow: bool = False, since: str | None = None
) -> None:
    """Print what the services of each host have said, and with ``follow`` what they go on to say.

    ``since``: how long ago to begin, such as ``10m``. ``generation``: its workers and web alone.

    Raises:
        ConfigError: ``since`` is no duration.
        EngineError: a host could not be asked; the others were.
    """
    try:
        seconds = None if since is None else parse_duration(since)
    except ValueError as error:
        raise ConfigError(f"--since: {error}") from None
    by_name = {site.name: site for site in sites}

    def act(name: str) -> None:
        site = by_name[name]
        script = (
            _of_containers(site, generation, follow, seconds)
            if site.docker
            else _of_files(site, generation, follow)
        )
        keep = _Since(time.time() - seconds) if seconds is not None and not site.docker else None

        def on_line(line: str) -> None:
            if keep is None or keep(line):
                say(name, line)

        status = site.reach.follow(["sh", "-c", script], on_line, hang_up=follow)
        if status != 0:
            raise EngineError(f"{name}: the logs ended with {status}")

    _raise_first(on_each(by_name, act))


def run_everywhere(sites: Sequence[Site], words: Sequence[str], say: Say) -> int:
    """Run a command on every host at the same time; returns the highest exit status.

    Raises:
        EngineError: a host could not be reached; on the others it was run.
    """
    by_name = {site.name: site for site in sites}
    found = on_each(by_name, lambda name: by_name[name].reach.follow(words, lambda line: say(name, line)))
    _raise_first(found)
    return max(status for status in found.values() if isinstance(status, int))


def _raise_first(found: Mapping[str, object]) -> None:
    failures = [str(result) for result in found.values() if isinstance(result, RolloutError)]
    if failures:
        raise EngineError("; ".join(failures))


# One shell a host, and so one channel: sshd bounds how many a connection may have.


def _of_containers(site: Site, generation: str, follow: bool, seconds: float | None) -> str:
    options = [
        *(["--follow"] if follow else []),
        *(["--since", f"{seconds:g}s"] if seconds is not None else []),
    ]
    prefix = f"{site.project}-{generation}-" if generation else f"{site.project}-"
    names = (
        "docker ps --all --format '{{.Names}} {{.Label \"com.docker.compose.project\"}}'"
        f' | while read -r name project; do case "$project" in {site.project}|{site.project}-g[0-9]*)'
        f' case "$name" in {prefix}*) echo "$name";; esac;; esac; done'
    )
    return (
        f'for name in $({names}); do docker logs {shlex.join(options)} "$name" 2>&1'
        f' | sed -u "s|^|${{name#{site.project}-}}  |" & done; wait'
    )


def _of_files(site: Site, generation: str, follow: bool) -> str:
    folder, pattern = shlex.quote(str(site.root / "log")), f"*-{generation}-*.log" if generation else "*.log"
    return (
        f'cd {folder} && for name in {pattern}; do tail -n +1 {"-F" if follow else ""} "$name" 2>/dev/null'
        ' | sed -u "s|^|${name%.log}  |" & done; wait'
    )


class _Since:
    """Whether a line of a file is young enough; one without a time is as old as the one before it."""

    def __init__(self, begin: float) -> None:
        form = "%Y-%m-%d %H:%M:%S"
        self._local = time.strftime(form, time.localtime(begin))
        self._utc = time.strftime(form, time.gmtime(begin))
        self._young: dict[str, bool] = {}

    def __call__(self, line: str) -> bool:
        label, _, text = line.partition("  ")
        if found := _TIME.search(text[:80]):
            begin = self._utc if found[3] else self._local
            self._young[label] = f"{found[1]} {found[2]}" >= begin
        return self._young.get(label, False)

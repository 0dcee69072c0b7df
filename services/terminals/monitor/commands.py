"""The commands of the monitor. They parse, call one function, and render its result."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import click


def _fail(error: object) -> None:
    click.echo(f"terminals: {error}", err=True)
    sys.exit(1)


@click.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="JSON file.")
@click.option(
    "--token-file",
    envvar="TERMINALS_TOKEN_FILE",
    type=click.Path(path_type=Path),
    help="In place of the configuration's. Also TERMINALS_TOKEN_FILE.",
)
@click.option(
    "--alive", is_flag=True, help="Only tell whether it has written lately: what a health check runs."
)
@click.option("--build", default="", help="Build id, for the session manager's status.")
def monitor(path: Path, token_file: Path | None, alive: bool, build: str) -> None:
    """Check the terminals as a user, again and again, and write down what it saw.

    \b
    Example:
      terminals monitor --config conf/monitor.json
    """
    from terminals.configfile import ConfigError
    from terminals.monitor import read
    from terminals.monitor.config import MonitorConfig

    try:
        config = MonitorConfig.load(path)
        if alive:
            click.echo(read.alive(config.directory, config.longest))
            return
        if token_file is not None:
            config = replace(config, token_file=token_file)
        from terminals.logs import log_to_stderr

        log_to_stderr()
        from terminals.monitor.service import Monitor
        from terminals.monitor.standin import stand_in

        stand_in(config.directory)
        service = Monitor(config, build=build)
    except (ConfigError, read.Silent) as error:
        _fail(error)
        return
    signal.set_wakeup_fd(service.wake_by(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    service.run()


@click.command("monitor-records")
@click.option("--directory", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--age", type=float, default=86400.0, show_default=True, help="Seconds back.")
def monitor_records(directory: Path, age: float) -> None:
    """Print what a monitor has left, as JSON: records, alerts, and how many lines were damaged.

    \b
    Example:
      terminals monitor-records --directory monitor --age 3600
    """
    from terminals.monitor.read import read_log

    click.echo(json.dumps(read_log(directory, age), separators=(",", ":")))

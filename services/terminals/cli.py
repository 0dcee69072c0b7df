"""The ``terminals`` command. Commands parse, call one function, and render its result."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from terminals.monitor.commands import monitor, monitor_records

if TYPE_CHECKING:
    import msgspec

    from terminals.control.packets import Request
    from terminals.tickets import Role

EXIT_STALE_FENCE = 3


def _fail(error: object, code: int = 1) -> None:
    click.echo(f"terminals: {error}", err=True)
    sys.exit(code)


def _own_version() -> str:
    # What an installation says of itself is read when somebody asks: it takes longer than most commands.
    from importlib.metadata import version

    return version("terminal-services")


def _serve(main: Coroutine[Any, Any, None], *, fast: bool = True) -> None:
    """Run a service until it ends; an error is one line. Told to stop is exit code 0."""
    from terminals.logs import log_to_stderr

    log_to_stderr()
    # Each session costs descriptors; the soft limit is there for programs that use select(2).
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    from terminals.configfile import ConfigError
    from terminals.control.asking import ControlError

    try:
        if fast:
            import uvloop

            uvloop.run(main)
        else:
            import asyncio

            asyncio.run(main)
    except (ConfigError, ControlError, OSError) as error:
        retired = "is retired" in str(error)
        if retired and os.environ.get("TERMINALS_LINGER"):
            # Under a supervisor that starts again whatever ends: be as little as possible until
            # somebody takes the container away.
            click.echo(f"terminals: {error}; waiting to be taken away", err=True)
            os.execvp("sleep", ["sleep", "infinity"])  # noqa: S606
        # Any other supervisor must leave a retired generation alone: ended as told.
        _fail(error, 0 if retired else 1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="terminal-services", prog_name="terminals")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar="TERMINALS_LOG_FORMAT",
    default="text",
    help="Also TERMINALS_LOG_FORMAT.",
)
def main(log_format: str) -> None:
    """Web terminals whose sessions survive a lost network, a killed server and a deployment.

    \b
    Example:
      terminals ctl --socket run/manager.sock status
      terminals doctor --config conf/manager.json
    """
    os.environ["TERMINALS_LOG_FORMAT"] = log_format


main.add_command(monitor)
main.add_command(monitor_records)


@main.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="JSON file.")
@click.option(
    "--token-file",
    envvar="TERMINALS_TOKEN_FILE",
    type=click.Path(path_type=Path),
    help="Make a token there if there is none. Also TERMINALS_TOKEN_FILE.",
)
@click.option("--first", metavar="GENERATION", help="Serve by this one, if there has been none yet.")
@click.option("--build", default="", help="Build id, for its status.")
@click.option("--check", is_flag=True, help="Only say whether it could start, and touch nothing.")
def manager(config: Path, token_file: Path | None, first: str | None, build: str, check: bool) -> None:
    """Run the session manager: connections, terminals and their output. It needs a holder.

    \b
    Another one takes over, and every session goes on:
      terminals manager --config conf/manager.json
    """
    from terminals.access import make_token
    from terminals.configfile import ConfigError
    from terminals.manager.config import ManagerConfig
    from terminals.manager.server import Manager

    try:
        settings = ManagerConfig.load(config)
        service = Manager(settings, version=_own_version(), build=build, first=first)
        if check:
            click.echo(json.dumps({"code": service.code, "settings": settings.digest}))
            return
        if token_file is not None:
            make_token(token_file)
    except (ConfigError, OSError) as error:
        _fail(error)
        return
    _serve(service.run())


@main.command()
@click.option("--socket", envvar="TERMINALS_HOLDER", required=True, help="Socket for session managers.")
@click.option("--build", default=None, show_default="the version", help="What it says it is.")
def holder(socket: str, build: str | None) -> None:
    """Run the holder: shells, listening sockets, and what the session manager must not lose.

    \b
    Example:
      terminals holder --socket run/holder.sock
    """
    from terminals.control.starting import started

    # As little as possible, for as long as this host is up.
    argv = started(socket, build or _own_version())
    os.execv(argv[0], argv)  # noqa: S606


def _process_options(function: Any) -> Any:
    for option in (
        click.option(
            "--socket",
            envvar="TERMINALS_SOCKET",
            required=True,
            help="Control socket of the session manager.",
        ),
        click.option("--generation", required=True, help="Name of the generation, e.g. g7."),
        click.option("--build", required=True, help="Build id."),
        click.option(
            "--token-file", envvar="TERMINALS_TOKEN_FILE", type=click.Path(path_type=Path), required=True
        ),
    ):
        function = option(function)
    return function


def _token(path: Path) -> bytes:
    try:
        token = path.read_text().strip().encode()
    except OSError as error:
        token = b""
        _fail(f"{path}: {error.strerror}; it must hold the token that clients present")
    if not token:
        _fail(f"{path}: the token file is empty; nobody could sign in")
    return token


@main.command()
@_process_options
def worker(socket: str, generation: str, build: str, token_file: Path) -> None:
    """Run a terminal worker of a generation."""
    from terminals.worker.main import run_worker

    _serve(run_worker(socket, generation=generation, build=build, token=_token(token_file)))


@main.command()
@_process_options
def web(socket: str, generation: str, build: str, token_file: Path) -> None:
    """Run the web process of a generation: page, health and API."""
    from terminals.web.serve import run_web

    _serve(run_web(socket, generation=generation, build=build, token=_token(token_file)))


@main.command()
@click.option("--token-file", type=click.Path(path_type=Path), required=True)
@click.option("--user", required=True, help="Who it is for.")
@click.option("--session", help="The only session it opens; without it: any of the user's own.")
@click.option("--seconds", default=60, show_default=True, help="Time until its first use.")
@click.option("--read-only", is_flag=True, help="Its holder may look on, not type.")
@click.option(
    "--role",
    type=click.Choice(["user", "viewer", "operator"]),
    default="user",
    show_default=True,
    help="viewer: looks on at everybody's sessions; operator: may do what the token's holder may.",
)
def ticket(
    token_file: Path, user: str, session: str | None, seconds: int, read_only: bool, role: Role
) -> None:
    """Print a signed, short-lived ticket: what a client presents instead of the token.

    \b
    Example:
      terminals ticket --token-file run/token --user ada
    """
    from terminals.tickets import Ticket, check_person, issue

    try:
        check_person(user)
        granted = Ticket(user, session, read_only=read_only, role=role)
        click.echo(issue(_token(token_file), granted, seconds=seconds))
    except ValueError as error:
        _fail(error)


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def send(files: tuple[Path, ...]) -> None:
    """Offer files of this shell to whoever sits at its terminal, and wait until each has arrived.

    \b
    Example:
      terminals send report.pdf
    """
    from terminals.sending import SendError, send

    for path in files:
        progress = _Sending(path.name)
        try:
            send(path, progress.tell)
        except SendError as error:
            progress.end()
            _fail(error)
        progress.end()
        click.echo(f"{path.name}: sent")


class _Sending:
    """One line about a file on its way: rewritten on a terminal, and said once where there is none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = ""
        self._shown = sys.stderr.isatty()

    def tell(self, count: int, size: int, somebody: bool) -> None:
        """So much of it has arrived."""
        percent = f"{100 * count // size} %" if size else ""
        state = (
            percent
            if count
            else "waits for a yes at the terminal"
            if somebody
            else "nobody is at the terminal"
        )
        if state != self._said and (self._shown or not count):
            self._said = state
            head, tail = ("\r\x1b[K", False) if self._shown else ("", True)
            click.echo(f"{head}{self._name}: {state}", err=True, nl=tail)

    def end(self) -> None:
        """There is no more to say."""
        if self._said and self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)


@main.command()
@click.option("--config", type=click.Path(path_type=Path), required=True, help="The session manager's.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The workers' token, to be checked too.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def doctor(config: Path, token_file: Path | None, output: str) -> None:
    """Find what is wrong with this host's services, each with the remedy.

    \b
    Example:
      terminals doctor --config conf/manager.json --token-file run/token

    Exit code 1 when something is wrong; warnings alone are 0.
    """
    from terminals.doctor import examine

    findings = examine(config, token_file)
    if output == "json":
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}[finding.verdict]
            click.echo(f"{mark}  {finding.subject}: {finding.text}")
            if finding.remedy:
                click.echo(f"         -> {finding.remedy}")
    if any(finding.verdict == "wrong" for finding in findings):
        sys.exit(1)


@main.command()
@click.option(
    "--socket", envvar="TERMINALS_SOCKET", required=True, help="Control socket. Also TERMINALS_SOCKET."
)
def health(socket: str) -> None:
    """Tell whether the services of this host, or container, do their work: what a health check runs.

    \b
    Example:
      terminals health --socket run/manager.sock
    """
    from terminals.health import Unhealthy, check

    try:
        click.echo(check(socket))
    except Unhealthy as error:
        _fail(error)


@main.group()
@click.option(
    "--socket",
    envvar="TERMINALS_SOCKET",
    required=True,
    help="Control socket of the session manager. Also TERMINALS_SOCKET.",
)
@click.option("--fence", type=int, help="Fencing token of the lease held; older ones are refused.")
@click.pass_context
def ctl(context: click.Context, socket: str, fence: int | None) -> None:
    """Ask or tell the session manager. Prints one JSON object."""
    context.obj = (socket, fence)


def _refused(error: Exception) -> None:
    _fail(error, EXIT_STALE_FENCE if str(error).startswith("stale fence") else 1)


def _ask(
    context: click.Context, request: Request, kind: type[msgspec.Struct], *, timeout: float = 10.0
) -> None:
    """Ask the session manager, and print what it answers."""
    from msgspec.structs import replace

    from terminals.control.asking import ControlError, ask
    from terminals.control.framing import pack
    from terminals.control.packets import Fenced

    path, fence = context.obj
    if isinstance(request, Fenced):
        request = replace(request, fence=fence)
    try:
        click.echo(pack(ask(path, request, kind, timeout=timeout)).decode())
    except ControlError as error:
        _refused(error)


@ctl.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Manager, generations with weights and counters, sessions, ports."""
    from terminals.control import answers, packets

    _ask(context, packets.Status(), answers.Status)


@ctl.command()
@click.pass_context
def sessions(context: click.Context) -> None:
    """Every session."""
    from terminals.control import answers, packets

    _ask(context, packets.Sessions(), answers.Sessions)


@ctl.command()
@click.pass_context
def peers(context: click.Context) -> None:
    """The processes of all generations, with host and memory."""
    from terminals.control import answers, packets

    _ask(context, packets.Peers(), answers.Peers)


@ctl.command()
@click.argument("session")
@click.pass_context
def kill(context: click.Context, session: str) -> None:
    """End a session: its shell is hung up."""
    from terminals.control import answers, packets

    _ask(context, packets.Kill(session=session), answers.Done)


@ctl.command()
@click.argument("session")
@click.argument("title")
@click.pass_context
def rename(context: click.Context, session: str, title: str) -> None:
    """Give a session a title; an empty one takes it away."""
    from terminals.control import answers, packets

    _ask(context, packets.Rename(session=session, title=title), answers.Done)


@ctl.command()
@click.argument("session")
@click.option("--stop", is_flag=True, help="Not any more.")
@click.pass_context
def record(context: click.Context, session: str, stop: bool) -> None:
    """Record a session from now on: all who are attached are told.

    \b
    Example:
      terminals ctl --socket run/manager.sock record session_1766000000000_abcdefghi
    """
    from terminals.control import answers, packets

    _ask(context, packets.RecordSession(session=session, on=not stop), answers.Done)


@ctl.command()
@click.pass_context
def recordings(context: click.Context) -> None:
    """Every recording, the oldest first."""
    from terminals.control import answers, packets

    _ask(context, packets.Recordings(), answers.Recordings)


@ctl.command("remove-recording")
@click.argument("recording")
@click.pass_context
def remove_recording(context: click.Context, recording: str) -> None:
    """Remove a recording that is over, by its id."""
    from terminals.control import answers, packets

    _ask(context, packets.RemoveRecording(id=recording), answers.Done)


@ctl.command()
@click.argument("user")
@click.pass_context
def revoke(context: click.Context, user: str) -> None:
    """Have all tickets that USER has be good for nothing; who works with one is disconnected.

    \b
    Example:
      terminals ctl --socket run/manager.sock revoke ada
    """
    from terminals.control import answers, packets

    _ask(context, packets.Revoke(user=user), answers.Revoked)


@ctl.command()
@click.argument("generation")
@click.option("--workers", default=1, show_default=True)
@click.option("--timeout", default=30.0, show_default=True, help="Seconds.")
@click.pass_context
def wait(context: click.Context, generation: str, workers: int, timeout: float) -> None:
    """Wait until a generation's processes, and the manager itself, are there."""
    from terminals.control import answers, packets
    from terminals.control.asking import until_answering

    until_answering(context.obj[0], timeout)
    request = packets.Wait(generation=generation, workers=workers, seconds=timeout)
    _ask(context, request, answers.Done, timeout=timeout + 10)


@ctl.command()
@click.argument("build")
@click.argument("settings")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds.")
@click.option("--before", type=click.File(), help="What `sessions` said before; -: standard input.")
@click.pass_context
def managed(context: click.Context, build: str, settings: str, timeout: float, before: TextIO | None) -> None:
    """Wait until a session manager of this build and digest of settings goes on with all there is."""
    from terminals.control.framing import pack
    from terminals.control.managed import NotManaged, until_managed

    live = []
    if before is not None and (text := before.read().strip()):
        live = [entry["id"] for entry in json.loads(text)["items"] if entry["live"]]
    try:
        click.echo(pack(until_managed(context.obj[0], build, settings, timeout, live)).decode())
    except NotManaged as error:
        _fail(error)


@ctl.command()
@click.pass_context
def hosts(context: click.Context) -> None:
    """This host and the others that it knows of, and how it is with each."""
    from terminals.control import answers, packets

    _ask(context, packets.Hosts(), answers.Hosts)


@ctl.command("host-state")
@click.argument("state", type=click.Choice(["ready", "draining", "maintenance"]))
@click.option("--message", default="", help="Shown in all terminals at this host.")
@click.pass_context
def host_state(context: click.Context, state: Any, message: str) -> None:
    """Have no session begin at this host any more, or have them begin here again; also after a restart.

    \b
    Example:
      terminals ctl --socket run/manager.sock host-state draining --message 'new kernel at 18:00'
    """
    from terminals.control import answers, packets

    _ask(context, packets.HostState(state=state, message=message), answers.Hosts)


@ctl.command("renew-holder")
@click.argument("build")
@click.pass_context
def renew_holder(context: click.Context, build: str) -> None:
    """Have the holder go on as the one of this installation, with all shells, sockets and records.

    \b
    Example, with the program of build 0.2.0-ab12cd34ef56:
      terminals ctl --socket run/manager.sock renew-holder 0.2.0-ab12cd34ef56
    """
    from terminals.control.asking import ControlError
    from terminals.control.framing import pack
    from terminals.control.holder import NotRenewed, renew

    path, fence = context.obj
    try:
        click.echo(pack(renew(path, build, fence)).decode())
    except (ControlError, NotRenewed, OSError) as error:
        _refused(error)


@ctl.command()
@click.argument("build")
@click.argument("settings")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait.")
@click.pass_context
def monitored(context: click.Context, build: str, settings: str, timeout: float) -> None:
    """Wait until a monitor of this build, with settings of this digest, watches over this host."""
    from terminals.control.framing import pack
    from terminals.control.managed import NotManaged, until_monitored

    try:
        click.echo(pack(until_monitored(context.obj[0], build, settings, timeout)).decode())
    except NotManaged as error:
        _fail(error)


@ctl.command()
@click.pass_context
def unmonitored(context: click.Context) -> None:
    """Say that no monitor watches over this host any more."""
    from terminals.control import answers, packets

    _ask(context, packets.Monitored(monitor=None), answers.Done)


@ctl.command()
@click.pass_context
def fence(context: click.Context) -> None:
    """Only say whether the lease of --fence still holds; exit code 3 where it does not."""
    from terminals.control import answers, packets

    _ask(context, packets.Fence(), answers.Fence)


@ctl.command()
@click.argument("weights", nargs=-1, required=True, metavar="GENERATION=WEIGHT...")
@click.pass_context
def weights(context: click.Context, weights: tuple[str, ...]) -> None:
    """Set the share of new connections of each generation; those not named get 0."""
    try:
        pairs = {name: int(weight) for name, weight in (entry.split("=", 1) for entry in weights)}
    except ValueError:
        raise click.BadParameter("expected GENERATION=WEIGHT, e.g. g8=10 g7=90") from None
    from terminals.control import answers, packets

    _ask(context, packets.Weights(weights=pairs), answers.Weights)


@ctl.command()
@click.option("--to", required=True, help="Generation to move to.")
@click.option("--share", default=100, show_default=True, help="Percent of the live sessions.")
@click.option("--batch", default=5, show_default=True, help="Sessions per batch.")
@click.option("--interval", default=0.2, show_default=True, help="Seconds between batches.")
@click.option("--deadline", default=30.0, show_default=True, help="Seconds in total.")
@click.pass_context
def move(context: click.Context, to: str, share: int, batch: int, interval: float, deadline: float) -> None:
    """Move live sessions to a generation, in paced batches."""
    from terminals.control import answers, packets

    request = packets.Move(to=to, share=share, batch=batch, interval=interval, deadline=deadline)
    _ask(context, request, answers.Moved, timeout=deadline + 10)


@ctl.command("lead-back")
@click.argument("generation")
@click.pass_context
def lead_everybody_back(context: click.Context, generation: str) -> None:
    """Give a generation all new connections at once, and all live sessions as quickly as they can come."""
    from terminals.control.asking import ControlError
    from terminals.control.back import lead_back
    from terminals.control.framing import pack

    path, fence = context.obj
    try:
        click.echo(pack(lead_back(path, generation, fence)).decode())
    except ControlError as error:
        _fail(error)


@ctl.command()
@click.argument("generation")
@click.option("--after", default=0.0, show_default=True, help="Seconds from now.")
@click.option("--way-back-from", help="The generation from which a monitor may lead everybody back here.")
@click.pass_context
def retire(context: click.Context, generation: str, after: float, way_back_from: str | None) -> None:
    """Stop a generation's processes at a later time, with no operator present."""
    from terminals.control import answers, packets

    request = packets.Retire(generation=generation, after=after, way_back_from=way_back_from)
    _ask(context, request, answers.Retire)


@ctl.command("cancel-retire")
@click.argument("generation")
@click.pass_context
def cancel_retire(context: click.Context, generation: str) -> None:
    """Keep a generation that was to be retired."""
    from terminals.control import answers, packets

    _ask(context, packets.CancelRetire(generation=generation), answers.Done)


@ctl.command()
@click.argument("generation")
@click.pass_context
def stop(context: click.Context, generation: str) -> None:
    """Stop a generation's processes now; their clients are asked to come back."""
    from terminals.control import answers, packets

    _ask(context, packets.Stop(generation=generation), answers.Stopped, timeout=20.0)

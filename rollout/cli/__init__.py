"""The ``rollout`` command. Each command is a module of its own, imported only when it is used."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import sys

import click

from rollout.errors import ExitCode, RolloutError

_COMMANDS = {
    "init": "Write a rollout.yaml to start from",
    "provision": "Bring hosts to where builds can be deployed to them",
    "certify": "Have hosts know each other, by certificates",
    "door": "Have one address for all hosts of an environment",
    "drain": "Empty a host: no new sessions, and wait for those that are there",
    "undrain": "Have sessions begin at a host again",
    "build": "Build the services once, for every environment",
    "deploy": "Bring a build to an environment without predecessor",
    "apply": "Have changed settings in force, under live sessions",
    "promote": "Move the predecessor's build on, if its evidence allows",
    "approve": "Say yes to a build coming to an environment",
    "soak": "Judge a soak, and take the build back when a soak gate fails",
    "rehearse": "Prove the way back before a promotion needs it",
    "open": "The page of an environment, with the way in",
    "status": "What runs where, and what is unfinished",
    "dashboard": "A live page of all environments, for operators",
    "history": "All rollouts, with their outcome",
    "ledger": "Verify that nobody has changed the ledger",
    "report": "One rollout with its evidence: Markdown, HTML or JSON",
    "gates": "What each gate asks, what it measured, what a pass takes",
    "rollback": "Return to the build before, without naming it",
    "adopt": "Take what the hosts serve into the ledger, after break-glass",
    "cancel": "Have a rollout taken back that is going on",
    "resume": "Go on with a rollout that was interrupted",
    "logs": "What the services say, on all hosts",
    "exec": "Run a command on all hosts",
    "doctor": "What is wrong with this machine and the hosts, and the remedy",
    "validate": "Run the 15 validation tests",
    "smoke": "Run the 8 smoke checks",
    "infra": "Check hosts and containers against what was declared",
    "loadtest": "Put people in live shells and verify every byte",
    "teardown": "Stop and remove everything of an environment",
}
_RENAMED = {"watch": "soak", "verify": "infra"}
_GROUPS = (
    (
        "Builds and environments",
        (
            "init",
            "provision",
            "certify",
            "door",
            "drain",
            "undrain",
            "build",
            "deploy",
            "apply",
            "approve",
            "promote",
            "rollback",
            "cancel",
            "resume",
            "teardown",
        ),
    ),
    ("Safety", ("soak", "rehearse", "adopt")),
    (
        "Looking",
        ("open", "status", "dashboard", "history", "gates", "report", "ledger", "logs", "exec", "doctor"),
    ),
    ("Checks", ("validate", "smoke", "infra", "loadtest")),
)


class LazyGroup(click.Group):
    """Knows its commands by name and one line; imports a module only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"rollout.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say what was perhaps meant."""
        if args and args[0] not in _COMMANDS:
            import difflib

            if new := _RENAMED.get(args[0]):
                ctx.fail(f'No command "{args[0]}". It is called "{new}" now.')
            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f' Did you mean "{near[0]}"?' if near else ""
            ctx.fail(f'No command "{args[0]}".{hint}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their groups, without importing any."""
        for title, names in _GROUPS:
            with formatter.section(title):
                formatter.write_dl([(name, _COMMANDS[name]) for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes, which scripts depend on."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rollout", prog_name="rollout")
@click.option(
    "--config",
    default="rollout.yaml",
    show_default=True,
    envvar="ROLLOUT_CONFIG",
    metavar="FILE",
    help="The configuration.",
)
@click.pass_context
def app(context: click.Context, config: str) -> None:
    """Move builds of live terminal services from dev to production on measured evidence.

    \b
    Example:
      rollout build
      rollout deploy dev
      rollout promote staging --plan
      rollout promote staging
    """
    context.obj = config


def main() -> None:
    """Run the command line. A user's mistake is one line on stderr and an exit code, never a traceback."""
    # A quarter of the time of a command that only looks went into the search for garbage in what was
    # imported, half of it at the end, when all of it goes anyway.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    try:
        app(prog_name="rollout", standalone_mode=False)
    except RolloutError as error:
        with contextlib.suppress(OSError):  # a terminal that is gone
            click.echo("rollout: " + "\n".join(error.lines()), err=True)
        sys.exit(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except click.ClickException as error:
        click.echo(f"rollout: {error.format_message()}", err=True)
        sys.exit(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("rollout: interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
        sys.exit(ExitCode.DONE)
    except OSError as error:
        # A full disk, a folder that may not be written: not our bug, and not worth a traceback.
        click.echo(f"rollout: {error}", err=True)
        sys.exit(ExitCode.INTERNAL)

"""``rollout gates``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, read_config, show

WIDTH = 79
LABEL = 12


@click.group("gates")
def command() -> None:
    """What decides whether a build may go on.

    \b
    Example:
      rollout gates explain staging
    """


@command.command("explain")
@environment_argument()
@output_option
@click.pass_context
def explain(context: click.Context, environment: str, output: str) -> None:
    """Every gate: what it asks, how it is judged, what was measured, what a pass takes.

    Soak gates are judged now, of the build that serves, as `rollout promote` does; gates were in the last
    rollout.

    \b
    Example:
      rollout gates explain staging
      rollout gates explain staging --output json
    """
    import textwrap

    from rich.text import Text

    from rollout import pipeline
    from rollout.cli.tables import VERDICTS
    from rollout.explain import collect, lines
    from rollout.model import Verdict

    config = read_config(context)
    ready = pipeline.now(config, environment)
    data = collect(config, environment, *((ready.results, ready.evidence) if ready else ()))

    def text() -> list[Text]:
        newest = data["rollout"]
        about = f"#{newest['number']} {newest['build']}, {newest['state']}" if newest else "no rollout yet"
        found = [Text(f"{environment}: {about}", "bold")]
        for label, said in lines(data, config.environment(environment)):
            if label == "#":
                verdict = said.partition(":")[0]
                style = VERDICTS[Verdict(verdict)] if verdict in list(Verdict) else "dim"
                found += [Text(), Text(said, style)]
                continue
            indent = " " * (LABEL + 2)
            wrapped = textwrap.fill(
                said,
                WIDTH,
                initial_indent=f"  {label:<{LABEL}}",
                subsequent_indent=indent,
                break_on_hyphens=False,
            )
            found.append(Text(wrapped))
        return found

    show(output, data, text)

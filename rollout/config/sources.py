"""What a gate's ``query`` may say, and what gates need so that their source of evidence is there.

In a query ``$env``, ``$generation``, ``$previous`` and ``$window`` (or ``${window}``) stand for what is on
trial; ``$$`` is a dollar sign. Braces are PromQL's own, and a ``$`` that begins no name, as at the end of a
regular expression, stays what it is.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from rollout.config.document import Place
from rollout.config.model import Config, Environment, Gate
from rollout.config.wording import suggestion

PLACEHOLDERS = ("env", "generation", "previous", "window")


class QueryTemplate(string.Template):
    """A query with placeholders, which are all lower case."""

    idpattern = "(?a:[a-z_][a-z0-9_]*)"
    flags = re.VERBOSE  # and not IGNORECASE


def fill(query: str, values: Mapping[str, str]) -> str:
    """Put values in place of the placeholders.

    Raises:
        KeyError: a placeholder that ``values`` does not have, by its name.
    """
    template = QueryTemplate(query)
    for name in template.get_identifiers():
        values[name]  # safe_substitute would leave it as it is
    return template.safe_substitute(values)


def source_problems(config: Config, environment: Environment) -> Iterator[tuple[Place, str]]:
    """What keeps gates and soak gates from ever seeing evidence: places below the environment, with the way
    out."""
    for key, gates in (("gates", environment.gates), ("soak_gates", environment.soak_gates)):
        for index, gate in enumerate(gates):
            yield from _query(gate, (key, index))
            yield from _source(config, environment, gate, (key, index))


def _query(gate: Gate, place: Place) -> Iterator[tuple[Place, str]]:
    metric = gate.about
    asks = metric.source in ("prometheus", "junit")
    two = metric.name == "prometheus.rate"
    if asks and not (gate.query or "").strip():
        what = "PromQL" if metric.source == "prometheus" else "a file or pattern of JUnit results"
        yield place, f"{metric.name} needs a query: {what}; add query:"
    if gate.query is not None and not asks:
        yield (*place, "query"), f"{metric.name} is not asked for; remove it, or use metric: prometheus.value"
    if two and not (gate.total or "").strip():
        yield place, f"{metric.name} needs the number of all besides the successes; add total:"
    if gate.total is not None and not two:
        yield (*place, "total"), f"{metric.name} has no total; remove it, or use metric: prometheus.rate"
    if asks and gate.name in (metric.name, f"{metric.name} p{gate.percentile:g}"):
        yield place, f'what {metric.name} measures depends on its query; add a name: such as "web errors"'
    if metric.source == "prometheus" and gate.compare == "baseline":
        for field in ("query", "total"):
            text = getattr(gate, field)
            if text and "generation" not in QueryTemplate(text).get_identifiers():
                yield (*place, field), "the generation before would be asked the same; use $generation in it"
    if metric.source in ("junit", "docker") and gate.compare == "baseline":
        yield (*place, "compare"), f"{metric.name} has no baseline; use compare: threshold"
    for field in ("query", "total"):
        text = getattr(gate, field)
        if metric.source == "prometheus" and text is not None:
            for word in QueryTemplate(text).get_identifiers():
                if word not in PLACEHOLDERS:
                    near = suggestion(word, PLACEHOLDERS)
                    yield (*place, field), f'no placeholder "${word}"; {near} (a dollar sign is $$)'


def _source(
    config: Config, environment: Environment, gate: Gate, place: Place
) -> Iterator[tuple[Place, str]]:
    metric = gate.about
    if metric.source == "prometheus" and config.prometheus is None:
        yield (*place, "metric"), f"{metric.name} needs somebody to ask; add prometheus: URL to the file"
    if metric.source == "docker" and not environment.containers:
        yield (*place, "metric"), f"{metric.name} looks at containers; use engine: docker, or leave it out"
    if metric.source == "junit" and gate.query is not None:
        path = PurePosixPath(gate.query)
        if path.is_absolute() or ".." in path.parts:
            yield (*place, "query"), "expected a path below the folder of this file, without .."
        if gate.on == "shift":
            yield (*place, "on"), "a suite of your own is judged once the shift is done; use on: checks"

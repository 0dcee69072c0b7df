"""Evidence from beside the rollout, for the gates that ask: Prometheus, JUnit results, Docker engines."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rollout.config import Config, Environment, Gate
from rollout.engine import Engine
from rollout.engine.docker import DockerEngine
from rollout.evidence import Trial, from_prometheus
from rollout.evidence.docker import Readings
from rollout.evidence.junit import from_junit
from rollout.model import Evidence

EVERY = 5.0
"""Seconds between two askings; in between the last answers stand."""


class Sources:
    """Asks whatever the gates of one environment need to know of one generation."""

    def __init__(
        self,
        config: Config,
        environment: Environment,
        engine: Engine,
        *,
        generation: str,
        previous: str | None,
        gates: Iterable[Gate] | None = None,
    ) -> None:
        """``gates``: those that are to be judged; by default the environment's."""
        self._config = config
        self._environment = environment
        self._engine = engine
        self._generation = generation
        self._previous = previous
        gates = environment.gates if gates is None else gates
        self._gates = {
            source: [gate for gate in gates if gate.about.source == source]
            for source in ("prometheus", "junit", "docker")
        }
        self._readings = Readings(generation)
        self._asked: float | None = None
        self._found: list[Evidence] = []

    def evidence(self, since: float, until: float | None = None) -> list[Evidence]:
        """What is known since the generation first got traffic (unix seconds); asked at most every few
        seconds. What cannot be learned is in the evidence, never raised.

        ``until``: when the generation before had no more traffic, so that there was nothing to compare with.

        Raises:
            EngineError: a host's answer makes no sense.
        """
        if self._asked is None or time.monotonic() - self._asked >= EVERY:
            self._found = [*self._prometheus(since, until), *self._junit(), *self._docker(since)]
            self._asked = time.monotonic()
        return list(self._found)

    def _prometheus(self, since: float, until: float | None) -> list[Evidence]:
        gates, server = self._gates["prometheus"], self._config.prometheus
        if not gates or server is None:
            return []
        trial = Trial(self._environment.name, self._generation, self._previous, since, until)
        return from_prometheus(gates, server, trial)

    def _junit(self) -> list[Evidence]:
        folder = self._config.path.parent
        return [from_junit(gate, folder, now=time.time()) for gate in self._gates["junit"]]

    def _docker(self, since: float) -> list[Evidence]:
        gates = self._gates["docker"]
        if not gates or not isinstance(self._engine, DockerEngine):
            return []
        self._readings.add(time.time(), self._engine.stats(self._generation, back=time.time() - since))
        return self._readings.evidence(gates, (since, time.time()))

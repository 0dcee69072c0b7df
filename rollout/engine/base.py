"""The contract between the pipeline and whatever runs the services."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rollout.checks.runner import Target
from rollout.direct.mark import Mark
from rollout.model import BuildRef, HostState, MonitorLog


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is on a host before anything is done.

    ``status`` is the session manager's (see ``terminals ctl status``), ``None`` where none answers.
    """

    host: str
    builds: tuple[str, ...]
    status: dict[str, Any] | None
    held: bool = True
    """Whether a holder runs there: shells may live, though no session manager answers for them."""


@dataclass(frozen=True, slots=True)
class PartRef:
    """One of what stays while generations come and go, with the digests of its code and settings."""

    build: str
    code: str
    settings: str = ""
    configured: dict[str, Any] = field(default_factory=dict)
    """Its settings, without what is secret in them; of a holder its version, and those that it resumes."""

    @classmethod
    def of(cls, said: Mapping[str, Any] | None) -> PartRef | None:
        """The one that runs, by what it says of itself; ``None`` where none does."""
        if said is None:
            return None
        build, code, settings = (str(said.get(name, "")) for name in ("build", "code", "settings"))
        return cls(build, code, settings, dict(said.get("configured", {})))


Parts = Mapping[str, "PartRef | None"]
"""What is to be on a host, by :data:`PARTS`; ``None``: none is to be."""
PARTS = ("manager", "holder", "monitor")
"""In the order in which they are replaced."""


def running_parts(status: Mapping[str, Any] | None) -> dict[str, PartRef | None]:
    """What runs on a host, by the status of its session manager; without one, nothing is known to."""
    said = dict(status or {})
    if holder := said.get("holder"):
        configured = {name: holder.get(name) for name in ("version", "resumes")}
        said["holder"] = {**holder, "configured": configured}
    return {part: PartRef.of(said.get(part)) for part in PARTS}


@dataclass(frozen=True, slots=True)
class ShiftResult:
    """What became of the live sessions that were to move, over all hosts. ``seconds`` is the longest."""

    moved: int = 0
    drained: int = 0
    severed: int = 0
    remaining: int = 0
    seconds: float = 0.0
    cleared: float = 0.0
    """Seconds until no moving session was served by another generation any more, on the slowest host."""
    turned: float = 0.0
    """Seconds until all new connections were led where they were to, on the slowest host, where that is
    known."""

    def __add__(self, other: ShiftResult) -> ShiftResult:
        return ShiftResult(
            self.moved + other.moved,
            self.drained + other.drained,
            self.severed + other.severed,
            self.remaining + other.remaining,
            max(self.seconds, other.seconds),
            max(self.cleared, other.cleared),
            max(self.turned, other.turned),
        )


@dataclass(frozen=True, slots=True)
class LedBack:
    """What became of an attempt to lead everybody back.

    ``failed`` says why of each host on which it did not work; ``broken`` has those on which the glass was
    broken: they were led back by somebody else, and left as they are.
    """

    result: ShiftResult
    failed: dict[str, str]
    broken: dict[str, Mark]


class Engine(Protocol):
    """Changes the hosts of one environment. Every method is idempotent.

    All raise :class:`rollout.errors.EngineError` when a host fails, with the failing task's message.
    ``fence`` is the lease's token: a session manager refuses lower ones than it has seen. ``hosts``
    names those to act on; the others are left alone.
    """

    def facts(self) -> list[HostFacts]:
        """Look at every host, changing nothing."""

    def install(self, build: BuildRef, *, hosts: Sequence[str]) -> None:
        """Bring a build to hosts, checked against its digest."""

    def start(self, build: BuildRef, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """Start a generation of a build that was brought, without traffic, and wait until it is ready."""

    def shift(
        self, weights: dict[str, int], *, to: str, share: int, fence: int, hosts: Sequence[str]
    ) -> ShiftResult:
        """Set the weights and move live sessions until ``share`` percent belong to ``to``."""

    def lead_back(self, generation: str, *, fence: int, hosts: Sequence[str]) -> LedBack:
        """Give a generation that runs all traffic at once, and all live sessions as quickly as they can come:
        on all hosts at the same time, by the connections that there are, and without Ansible.

        What one host says, or does not say, delays no other. A generation that was to be retired is kept.
        """

    def retire(
        self,
        generation: str,
        *,
        after: float,
        way_back_from: str | None,
        fence: int,
        hosts: Sequence[str],
    ) -> None:
        """Have a generation stop by itself ``after`` seconds from now.

        Until then a host alone may lead everybody back to it from ``way_back_from``, if that is given.
        """

    def keep(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """Take a ``retire`` back."""

    def wanted(self, build: BuildRef) -> dict[str, Parts]:
        """What is declared for each host, were it of that build."""

    def manage(self, parts: Mapping[str, Parts], *, fence: int) -> None:
        """Put parts in the place of those that run, by host. Sessions go on.

        Their builds were brought there, and their settings are those declared now, or were there before.
        """

    def stop(self, generation: str, *, fence: int, hosts: Sequence[str]) -> None:
        """Stop a generation now and remove its programs."""

    def tidy(self, keep: Collection[str]) -> list[str]:
        """Remove every build from the hosts that is not among the ids in ``keep``, nor runs there.

        Returns the ids of those that are gone from at least one host, sorted.
        """

    def host_state(self, host: str, state: HostState, message: str = "") -> int:
        """Have sessions begin at a host, or none; ``message`` is shown in all terminals there. How many
        are."""

    def status(self) -> dict[str, dict[str, Any] | None]:
        """Status of the session manager of each host; ``None`` where none answers."""

    def monitor(self, since: float) -> dict[str, MonitorLog | None]:
        """What the monitors of the hosts have seen since ``since`` (unix seconds); ``None`` where there is no
        monitor, or its records cannot be had."""

    def targets(self) -> list[Target]:
        """The front doors, one a host, for checks and load."""

    def marks(self) -> dict[str, Mark]:
        """The hosts on which the glass was broken (``rollout rollback --break-glass``), with what it left."""

    def unmark(self) -> None:
        """Take those marks away: the ledger knows."""

    def teardown(self) -> None:
        """Stop and remove everything of the environment, sessions included."""

"""Breaking the glass: leading hosts back to the generation before with SSH alone.

No Ansible, no ledger, no lease, no registry. Each manager's fence is raised by one, so that a rollout that is
going on meanwhile cannot act on these hosts any more, and the next one that takes the lease can.
"""

from __future__ import annotations

import getpass
import shlex
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rollout.config import Config, Environment
from rollout.direct.choice import Choice, View, choose
from rollout.direct.compose import start_words
from rollout.direct.mark import Mark
from rollout.direct.reach import on_each
from rollout.direct.sites import Site, sites_of
from rollout.errors import EngineError, RollbackFailed, RolloutError
from rollout.units import count

READY_SECONDS = 60
DOOR_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Intent:
    """What would be done: from where to where, the name it runs under, and on which hosts.

    ``cold``: it has to be started again. ``fence`` is what the managers are told by. ``failed``: the hosts
    that could not be asked, with the reason.
    """

    choice: Choice
    generation: str
    cold: bool
    fence: int
    hosts: tuple[str, ...]
    failed: Mapping[str, str]

    def __str__(self) -> str:
        choice = self.choice
        how = "started again" if self.cold else "warm"
        return (
            f"{', '.join(self.hosts)}: {choice.from_generation} ({choice.from_build}) -> "
            f"{self.generation} ({choice.build}), {how}"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one host."""

    host: str
    ok: bool
    text: str
    seconds: float


class Glass:
    """The hosts of an environment, to be looked at first (:meth:`look`) and then led back (:meth:`lead`)."""

    def __init__(self, config: Config, environment: Environment, hosts: Sequence[str] = ()) -> None:
        sites_of(config, environment, hosts)  # a wrong name is said before anything is asked
        self._environment = environment
        self._image = config.project
        self._chosen = tuple(hosts) or tuple(environment.hosts)
        self._sites = {site.name: site for site in sites_of(config, environment)}
        self._views: dict[str, View] = {}

    def look(self, to: str | None) -> Intent:
        """Ask every host and decide. Changes nothing.

        Raises:
            RollbackFailed: none of the hosts answers.
            Refused: there is no generation to go back to.
        """
        found = on_each(self._sites, self._view)
        self._views = {name: view for name, view in found.items() if isinstance(view, View)}
        failed = {
            name: str(error)
            for name, error in found.items()
            if isinstance(error, RolloutError) and name in self._chosen
        }
        there = tuple(name for name in self._chosen if name in self._views)
        if not there:
            raise RollbackFailed(f"{self._environment.name}: no host answers: {'; '.join(failed.values())}")
        choice = choose(self._views, to)
        cold = not all(self._views[name].warm(choice.generation) for name in there)
        # What was told to stop for good is not let in under its name again.
        fresh = cold and (
            choice.again is None or any(view.retired(choice.generation) for view in self._views.values())
        )
        name = f"{choice.generation}r{int(time.time()):x}" if fresh else choice.generation
        return Intent(choice, name, cold, _fence(self._views), there, failed)

    def lead(self, intent: Intent, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
        """Lead the hosts back, all at the same time, each going on whatever becomes of the others."""

        def act(name: str) -> Outcome:
            started = time.monotonic()
            try:
                ok, text = True, self._lead(self._sites[name], self._views[name], intent)
            except RolloutError as error:
                ok, text = False, str(error)
            outcome = Outcome(name, ok, text, time.monotonic() - started)
            on_outcome(outcome)
            return outcome

        outcomes = [Outcome(name, False, text, 0.0) for name, text in intent.failed.items()]
        for outcome in outcomes:
            on_outcome(outcome)
        return outcomes + [
            entry for entry in on_each(intent.hosts, act).values() if isinstance(entry, Outcome)
        ]

    def close(self) -> None:
        """End the connections."""
        for site in self._sites.values():
            site.reach.close()

    def _view(self, name: str) -> View:
        site = self._sites[name]
        return View(site.control("status"), site.mark())

    def _lead(self, site: Site, view: View, intent: Intent) -> str:
        name, choice, notes = intent.generation, intent.choice, []
        fence = intent.fence
        try:
            site.leave(self._mark(intent))
        except EngineError as error:
            notes.append(
                f"no mark could be left ({error})"
            )  # a full disk must not keep people on a bad build
        if not view.warm(name):
            self._start(site, name, choice.build)
        tally = site.lead_back(name, fence)
        for entry in view.status["generations"]:
            endless = entry["weight"] or (entry["workers"] and entry["retire_at"] is None)
            if endless and entry["name"] != name:
                # Left to be looked at, but not for the next one to go back to.
                after = ("--after", str(self._environment.rollback_window))
                site.control("retire", entry["name"], *after, fence=fence)
        self._verify(site, name)
        moved = f"{count(tally['moved'], 'session')} moved, {tally['severed']} severed"
        return "; ".join([f"serves {name} ({choice.build}), {moved}", *notes])

    def _mark(self, intent: Intent) -> Mark:
        choice = intent.choice
        return Mark(
            time.time(),
            f"{getpass.getuser()}@{socket.gethostname()}",
            choice.from_generation,
            choice.from_build,
            intent.generation,
            choice.build,
            intent.fence,
        )

    def _start(self, site: Site, name: str, build: str) -> None:
        if not site.docker:
            raise EngineError(
                f"{site.name}: {name} is not running any more, and starting processes again needs Ansible;"
                f" use: rollout rollback {self._environment.name}"
            )
        image = f"{self._image}:{build}"
        if site.reach.run(["docker", "image", "inspect", "--format", "{{.Id}}", image]).status != 0:
            raise EngineError(
                f"{site.name}: neither {name} nor its image {image} is there any more; name another with --to"
            )
        words = start_words(site.project, name, image, build, self._environment)
        folder = shlex.quote(str(site.root / "compose"))
        site.ask("sh", "-c", f"cd {folder} && exec {shlex.join(words)}", timeout=2 * READY_SECONDS)
        ready = ("--workers", str(self._environment.workers), "--timeout", str(READY_SECONDS))
        site.control("wait", name, *ready, timeout=READY_SECONDS + 20)

    def _verify(self, site: Site, name: str) -> None:
        view = View(site.control("status"))
        entry = view.generation(name)
        if entry is None or entry["weight"] != 100 or not view.warm(name):
            raise EngineError(f"{site.name}: {name} does not serve after all: {entry}")
        end = time.monotonic() + DOOR_SECONDS
        while not site.ready():
            if time.monotonic() > end:
                raise EngineError(
                    f"{site.name}: {name} has all the traffic, but the front door is not ready; its log:"
                    f" rollout logs {self._environment.name} --host {site.name} --generation {name}"
                )
            time.sleep(0.3)


def _fence(views: Mapping[str, View]) -> int:
    """One above what any host has seen, once: the lease that comes next has to be let through."""
    seen = max(int(view.status["fence"]) for view in views.values())
    marks = [view.mark for view in views.values() if view.mark is not None]
    return max(seen, *(mark.fence for mark in marks)) if marks else seen + 1


def raise_unless_back(environment: str, outcomes: Sequence[Outcome]) -> None:
    """Raise unless every host is back.

    Raises:
        RollbackFailed: names those that are not.
    """
    left = [outcome.host for outcome in outcomes if not outcome.ok]
    if left:
        raise RollbackFailed(
            f"{environment}: not led back: {', '.join(left)}; when they can be reached, do the same again:"
            f" it goes on to the same generation"
        )

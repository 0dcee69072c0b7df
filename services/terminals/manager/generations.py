"""Generations: the workers of one build, and the share of new connections each one gets.

Choosing is smooth weighted round robin: with weights 90 and 10 every tenth connection
goes to the second, spread evenly. Least-connections would do the opposite of what a
canary needs: a generation that drops its clients looks idle and would attract everybody.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from terminals.background import Troubles
from terminals.control.framing import BadPacket, Record, reader
from terminals.manager import tables
from terminals.manager.metrics import Counted, Histogram

log = logging.getLogger("terminals.manager")

ENDED_KEPT = 16
"""Generations that have ended and are still known."""


@dataclass(slots=True)
class Generation:
    """A generation and its counters."""

    name: str
    build: str = ""
    weight: int = 0
    retire_at: float | None = None
    """Unix seconds at which its processes are told to stop."""
    way_back_from: str | None = None
    """The generation that this one is kept warm for: where its users are led when that one is bad."""
    retired: bool = False
    attaches: int = 0
    short_lived: int = 0
    loops: int = 0
    breaker_opened: int = 0
    """Breakers, of sessions and of addresses, that went from closed to open by what it lost."""
    credit: int = 0
    attach_seconds: Histogram = field(default_factory=Histogram)
    gap_seconds: Histogram = field(default_factory=Histogram)

    @property
    def counters(self) -> Counters:
        """What it has counted, for :meth:`set_counters`."""
        return Counters(
            attaches=self.attaches,
            short_lived=self.short_lived,
            loops=self.loops,
            breaker_opened=self.breaker_opened,
            attach_seconds=self.attach_seconds.as_counted,
            gap_seconds=self.gap_seconds.as_counted,
        )

    def set_counters(self, counters: Counters) -> None:
        """Go on counting from there."""
        self.attaches, self.short_lived = counters.attaches, counters.short_lived
        self.loops, self.breaker_opened = counters.loops, counters.breaker_opened
        self.attach_seconds = Histogram.of(counters.attach_seconds)
        self.gap_seconds = Histogram.of(counters.gap_seconds)


class Counters(Record):
    """What a generation has counted, as the holder keeps it."""

    attaches: int = 0
    short_lived: int = 0
    loops: int = 0
    breaker_opened: int = 0
    attach_seconds: Counted | None = None
    gap_seconds: Counted | None = None


class _Entry(Record):
    """What outlives the manager of a generation."""

    name: str
    build: str = ""
    weight: int = 0
    retire_at: float | None = None
    way_back_from: str | None = None
    retired: bool = False


class _Table(Record):
    """The file, and the same at the holder."""

    fence: int
    generations: list[_Entry]


_read_table = reader(_Table)
_read_counters = reader(Counters)
_KEY: Final = "counters/"


class StaleFence(Exception):
    """The command carries a fencing token older than one already seen."""


class Generations:
    """The known generations, kept in a file so that a new manager goes on with the same weights.

    What is decided holds at once, whatever the disk says: a full one must not keep people on a bad build.
    """

    def __init__(
        self,
        path: Path,
        kept: Mapping[str, msgspec.Raw] | None = None,
        keep: Callable[[dict[str, object]], None] = lambda fields: None,
    ) -> None:
        """``keep(fields)`` keeps it besides, over this process's end and whatever the disk says; ``kept`` is
        what was there.

        Raises:
            BadPacket: it is no table.
        """
        self._path = path
        self._keep = keep
        self._counted: dict[str, Counters] = {}
        self._troubles = Troubles(log)
        self.fence = 0
        self.unsaved = ""
        """Why the file does not say what holds; empty where it does."""
        self.table: dict[str, Generation] = {}
        kept = kept or {}
        if "table" in kept or path.exists():
            saved = _read_table(bytes(kept["table"]) if "table" in kept else path.read_bytes())
            self.fence = saved.fence
            for entry in saved.generations:
                self.table[entry.name] = Generation(**msgspec.structs.asdict(entry))
                if counters := kept.get(_KEY + entry.name):
                    with contextlib.suppress(BadPacket):  # another build's: it counts from 0
                        self.table[entry.name].set_counters(_read_counters(bytes(counters)))

    def check_fence(self, fence: int | None) -> None:
        """Remember the highest fencing token seen.

        Raises:
            StaleFence: ``fence`` is lower: its holder has lost its lease.
        """
        if fence is None:
            return
        if fence < self.fence:
            raise StaleFence(f"stale fence {fence}: a command with {self.fence} has been here")
        if fence > self.fence:
            self.fence = fence
            self.save()

    def get(self, name: str, build: str = "") -> Generation:
        """The generation of that name, made when new."""
        generation = self.table.get(name)
        if generation is None:
            generation = self.table[name] = Generation(name)
        if build and generation.build != build:
            generation.build = build
            self.save()
        return generation

    def begin_with(self, name: str) -> None:
        """Give all connections to a generation, if none has been here yet."""
        if not self.table:
            self.get(name)
            self.set_weights({name: 100})

    def set_weights(self, weights: dict[str, int]) -> bool:
        """Set the weights; generations that are not named get 0. Returns whether that changed any.

        Raises:
            KeyError: an unknown generation is named; nothing is changed.
            ValueError: a weight is not within 0..100, or all are 0.
        """
        unknown = [name for name in weights if name not in self.table]
        if unknown:
            raise KeyError(
                f"unknown generation {', '.join(unknown)}; known: {', '.join(self.table) or 'none'}"
            )
        if any(not 0 <= weight <= 100 for weight in weights.values()) or not any(weights.values()):
            raise ValueError("weights are whole numbers from 0 to 100, and one of them is not 0")
        before = {name: generation.weight for name, generation in self.table.items()}
        for name, generation in self.table.items():
            generation.weight = weights.get(name, 0)
            generation.credit = 0
        self.save()
        return before != {name: generation.weight for name, generation in self.table.items()}

    def choose(self, usable: Callable[[Generation], bool]) -> Generation | None:
        """Pick the generation of the next connection among the usable ones with a weight."""
        candidates = [g for g in self.table.values() if g.weight > 0 and usable(g)]
        if not candidates:
            return None
        for generation in candidates:
            generation.credit += generation.weight
        best = max(candidates, key=lambda g: g.credit)
        best.credit -= sum(g.weight for g in candidates)
        return best

    def retire(self, generation: Generation) -> None:
        """It is to end, and to be the last of those that are forgotten."""
        generation.retired = True
        generation.weight = 0
        self.table[generation.name] = self.table.pop(generation.name)
        self.save()

    def forget(self, used: Collection[str]) -> None:
        """Drop all but the latest of those that have ended; those that are ``used`` have not.

        Some are kept: a way back may lead to a build that has ended, and what is left of one on its host is
        taken away by its name.
        """
        ended = [
            name
            for name, generation in self.table.items()
            # One without workers that is to end later is down, and comes back.
            if not generation.weight
            and (generation.retired or generation.retire_at is None)
            and name not in used
        ]
        if len(ended) > ENDED_KEPT:
            for name in ended[:-ENDED_KEPT]:
                del self.table[name]
            self.save()

    def keep_counters(self) -> None:
        """Have what has been counted kept, as far as it has changed."""
        for generation in self.table.values():
            counters = generation.counters
            if self._counted.get(generation.name) != counters:
                self._counted[generation.name] = counters
                self._keep({_KEY + generation.name: counters})
        for name in self._counted.keys() - self.table.keys():
            del self._counted[name]
            self._keep({_KEY + name: None})

    def save(self) -> None:
        """Write the table. Where that fails, :attr:`unsaved` says why, and it is to be called again."""
        self._keep({"table": self._kept})
        kind = f"{self._path} cannot be written"
        try:
            tables.write(self._path, self._kept)
        except OSError as error:
            self.unsaved = str(error)
            text = f"{error}; once the holder has ended, too, only what was before is known"
            self._troubles.say(kind, text)
        else:
            self.unsaved = ""
            self._troubles.over(kind)

    @property
    def _kept(self) -> _Table:
        entries = [
            _Entry(**{name: getattr(generation, name) for name in _Entry.__struct_fields__})
            for generation in self.table.values()
        ]
        return _Table(fence=self.fence, generations=entries)

"""What every step of a plan is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step. Everything it does may be done again: whoever resumes repeats the one that had not ended.

    ``name`` is unique in the plan and is what the journal calls it; ``hosts`` says for each host what will be
    done there. The other fields of each kind are what it needs to know, as JSON can spell it.
    """

    kind: ClassVar[str]
    records: ClassVar[tuple[str, ...]] = ()
    """Which steps of the documented plan it carries out, where it is done on the way back."""
    leads: ClassVar[bool] = False
    """Whether it leads users from one build to another."""

    summary: str
    hosts: dict[str, str]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)

    @classmethod
    def everywhere(cls, summary: str, hosts: Iterable[str], **fields: Any) -> Self:
        """The step that does the same on every host."""
        return cls(summary=summary, hosts=dict.fromkeys(hosts, summary), **fields)

    def run(self, trial: Trial) -> str:
        """Do it; gives one line of what came of it, "" where there is nothing to say.

        Raises:
            RolloutError: it failed, and the rollout is to be taken back.
            NotPassed: the verdict is not a pass.
        """
        raise NotImplementedError

    @property
    def final(self) -> bool:
        """Whether there is no way back once it has begun: what would be gone back to ends by it."""
        return False

    def needed(self, trial: Trial) -> bool:
        """On the way back: whether there is anything for it to do."""
        return True

    def undone_by(self, back: Back) -> tuple[Step, ...]:
        """The steps that undo it; they are carried out in the order of the kinds, each once in a plan."""
        return ()

    def joined(self, other: Step) -> Step:
        """Of two steps of one name in a plan, the one that does what both do."""
        return self

    def as_dict(self) -> dict[str, Any]:
        """As JSON, for the ledger and ``--output json``."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read back what :meth:`as_dict` gave."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True, slots=True)
class Back:
    """What the way back leads to: the generation on trial is left for the one before, if there was one."""

    generation: str
    previous: str | None
    hosts: tuple[str, ...]

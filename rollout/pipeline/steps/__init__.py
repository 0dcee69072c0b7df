"""The steps of a plan, a class each: what it does, how it is undone, what it records, its JSON form."""

from __future__ import annotations

from typing import Any

from rollout.pipeline.steps.base import Back, Step
from rollout.pipeline.steps.bring import Finish, Install, Start, Stop
from rollout.pipeline.steps.join import Join, JoinFinish, JoinStart, Unjoin
from rollout.pipeline.steps.judge import Checks, Judge, Load, Watch
from rollout.pipeline.steps.parts import PutBack, Replace
from rollout.pipeline.steps.tell import FileIncident, Show, Tell
from rollout.pipeline.steps.traffic import GoBack, Return, Shift, VerifyReturn

# By the name of each; those of the way back in the order in which they are carried out.
KINDS: dict[str, type[Step]] = {
    kind.kind: kind
    for kind in (
        *(Install, Replace, Start, Load, Shift, GoBack, Watch, JoinStart, Join, Checks, Judge, Finish),
        *(JoinFinish, Return, Stop, Unjoin, PutBack, VerifyReturn, Tell, Show, FileIncident),
    )
}


def read_step(data: dict[str, Any]) -> Step:
    """The step of which ``data`` is the JSON form.

    Raises:
        ValueError: no step is of that kind, or something is missing: it is of another version of the program.
    """
    try:
        return KINDS[data["kind"]].from_dict(data)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no step that this version of rollout knows: {error}") from None


__all__ = [
    "KINDS",
    "Back",
    "Checks",
    "FileIncident",
    "Finish",
    "GoBack",
    "Install",
    "Join",
    "JoinFinish",
    "JoinStart",
    "Judge",
    "Load",
    "PutBack",
    "Replace",
    "Return",
    "Shift",
    "Show",
    "Start",
    "Step",
    "Stop",
    "Tell",
    "Unjoin",
    "VerifyReturn",
    "Watch",
    "read_step",
]

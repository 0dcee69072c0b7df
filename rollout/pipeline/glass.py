"""Where the glass was broken nothing goes on before the ledger knows it."""

from __future__ import annotations

from collections.abc import Mapping

from rollout.direct.mark import Mark
from rollout.engine import Engine
from rollout.pipeline.obstacles import broken, refuse


def nothing_broken(env: str, engine: Engine) -> None:
    """Refuse to go on where the hosts were led back without the ledger.

    Raises:
        GlassBroken: says where and by whom, and the way out.
    """
    refuse_broken(env, engine.marks())


def refuse_broken(env: str, marks: Mapping[str, Mark]) -> None:
    """Refuse to go on where hosts have marks.

    Raises:
        GlassBroken: as :func:`nothing_broken`.
    """
    refuse(broken(env, marks))

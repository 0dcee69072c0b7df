"""Rollouts in a ledger that nobody has carried out."""

from __future__ import annotations

from typing import Any

from rollout.ledger import Ledger, RolloutRecord


def begun(ledger: Ledger, *, build: str = "1-abc", digest: str = "abc", **fields: Any) -> RolloutRecord:
    """A deployment to dev that has begun; ``fields`` are others of :meth:`Ledger.create`."""
    usual: dict[str, Any] = {
        "env": "dev",
        "kind": "deploy",
        "generation": None,
        "previous": None,
        "plan": {},
        "operator": "me",
    }
    return ledger.create(build=build, digest=digest, **{**usual, **fields})

"""Which builds stay on the hosts when a rollout ends well."""

from __future__ import annotations

from rollout.config import Config
from rollout.ledger import Ledger, RolloutRecord, State


def builds_to_keep(config: Config, ledger: Ledger, ending: RolloutRecord) -> set[str]:
    """Ids of the builds that every host keeps: the last ``keep`` different ones that each environment served.

    Those of all environments together, for several may share a host; ``ending`` counts as served already.
    What still runs stays in any case: engines look at that themselves.
    """
    kept: set[str] = set()
    for environment in config.environments.values():
        served = [
            record.build
            for record in ledger.rollouts(environment.name)
            if record.state is State.PROMOTED or record.id == ending.id
        ]
        kept.update(list(dict.fromkeys(served))[: environment.keep])
    return kept

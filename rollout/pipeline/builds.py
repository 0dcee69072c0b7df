"""The files that a build is started from again: this machine's, or those that the hosts have of it."""

from __future__ import annotations

from rollout.build import BuildStore
from rollout.config import Config, Environment
from rollout.engine.process import COMPLETE
from rollout.errors import ConfigError, Refused
from rollout.model import BuildRef


def build_at_hand(config: Config, environment: Environment, build_id: str) -> BuildRef:
    """A build that was in an environment: of this machine's store, or else as all hosts there have it.

    Raises:
        Refused: it is neither here nor there.
    """
    try:
        return BuildStore(config.builds_dir).find(build_id)
    except ConfigError:
        pass
    if environment.containers:  # whose hosts have an image, and not what is in a build besides
        raise Refused(f"build {build_id} is not in {config.builds_dir} any more; put it back there")
    stores = {name: BuildStore(host.root / "builds") for name, host in environment.hosts.items()}
    lacking = [name for name, store in stores.items() if not (store.folder / build_id / COMPLETE).is_file()]
    if lacking:
        raise Refused(
            f"build {build_id} is neither in {config.builds_dir} nor installed on {', '.join(lacking)};"
            " put it back there"
        )
    return next(iter(stores.values())).find(build_id)

"""The process engine: supervised processes in per-build virtual environments on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout.checks.runner import Target
from rollout.config import Config, Environment
from rollout.engine.base import HostFacts, ShiftResult
from rollout.engine.playbooks import run_playbook
from rollout.errors import EngineError
from rollout.model import BuildRef, EngineEvent

STATUS_SECONDS = 5.0


class ProcessEngine:
    """Implements :class:`rollout.engine.Engine` for hosts that are folders of this machine."""

    def __init__(
        self,
        config: Config,
        environment: Environment,
        *,
        on_event: Callable[[EngineEvent], None] = lambda event: None,
    ) -> None:
        self._environment = environment
        self._defaults = config.defaults
        self._artifacts = config.state / "ansible" / environment.name
        self.on_event = on_event

    def facts(self) -> list[HostFacts]:
        """See :meth:`rollout.engine.Engine.facts`."""
        status = self.status()
        return [
            HostFacts(
                host=name,
                builds=tuple(
                    sorted(path.parent.parent.name for path in host.root.glob("builds/*/venv/.complete"))
                ),
                status=status[name],
            )
            for name, host in self._environment.hosts.items()
        ]

    def install(self, build: BuildRef) -> None:
        """See :meth:`rollout.engine.Engine.install`."""
        import uv

        self._run(
            "install",
            terminals_process_build=build.id,
            terminals_process_build_source=build.path,
            terminals_process_uv=uv.find_uv_bin(),
            terminals_process_python=str(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")),
        )

    def start(self, build: BuildRef, generation: str) -> None:
        """See :meth:`rollout.engine.Engine.start`."""
        self._run(
            "start",
            terminals_process_build=build.id,
            terminals_process_generation=generation,
            terminals_process_workers=self._environment.workers,
        )

    def shift(self, weights: dict[str, int], *, to: str, share: int, fence: int) -> ShiftResult:
        """See :meth:`rollout.engine.Engine.shift`."""
        move = self._environment.move
        results = self._run(
            "shift",
            terminals_process_fence=fence,
            terminals_process_weights=weights,
            terminals_process_to=to,
            terminals_process_share=share,
            terminals_process_move_batch=move.batch,
            terminals_process_move_interval=move.interval,
            terminals_process_move_deadline=move.deadline,
        )
        total = ShiftResult()
        for host, values in results.items():
            if "move" not in values:
                raise EngineError(f"{host}: the move gave no result")
            total += ShiftResult(**values["move"])
        return total

    def retire(self, generation: str, *, after: float, fence: int) -> None:
        """See :meth:`rollout.engine.Engine.retire`."""
        self._run(
            "retire",
            terminals_process_generation=generation,
            terminals_process_after=after,
            terminals_process_fence=fence,
        )

    def keep(self, generation: str, *, fence: int) -> None:
        """See :meth:`rollout.engine.Engine.keep`."""
        self._run(
            "retire",
            terminals_process_generation=generation,
            terminals_process_cancel=True,
            terminals_process_fence=fence,
        )

    def stop(self, generation: str, *, fence: int) -> None:
        """See :meth:`rollout.engine.Engine.stop`."""
        self._run("stop", terminals_process_generation=generation, terminals_process_fence=fence)

    def status(self) -> dict[str, dict[str, Any] | None]:
        """See :meth:`rollout.engine.Engine.status`. Asks the sockets directly: it is polled each second."""
        from terminals.control.channel import ControlError, admin

        found: dict[str, dict[str, Any] | None] = {}
        for name, host in self._environment.hosts.items():
            try:
                found[name] = admin(str(host.root / "run" / "manager.sock"), "status", timeout=STATUS_SECONDS)
            except ControlError:
                found[name] = None
        return found

    def targets(self) -> list[Target]:
        """See :meth:`rollout.engine.Engine.targets`."""
        listen = self._environment.listen
        targets = []
        for name, host in self._environment.hosts.items():
            path = host.root / "run" / "token"
            try:
                token = path.read_text().strip()
            except OSError as error:
                raise EngineError(
                    f"{path}: {error.strerror}; is anything deployed to {self._environment.name}?"
                ) from None
            targets.append(
                Target(
                    environment=self._environment.name,
                    host=name,
                    terminals={
                        "system": f"ws://{listen.host}:{listen.system}/",
                        "claude": f"ws://{listen.host}:{listen.claude}/",
                    },
                    web=f"http://{listen.host}:{listen.web}/",
                    token=token,
                )
            )
        return targets

    def teardown(self) -> None:
        """See :meth:`rollout.engine.Engine.teardown`."""
        self._run("teardown")

    def _run(self, playbook: str, **variables: Any) -> dict[str, dict[str, Any]]:
        hosts = {
            name: {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "terminals_process_root": str(host.root),
                **(
                    {"terminals_process_manager_config": self._manager(host.root)}
                    if playbook == "start"
                    else {}
                ),
            }
            for name, host in self._environment.hosts.items()
        }
        return run_playbook(
            playbook, hosts=hosts, variables=variables, artifacts=self._artifacts, on_event=self.on_event
        )

    def _manager(self, root: Path) -> dict[str, Any]:
        environment = self._environment
        listen = environment.listen
        ports = {"system": listen.system, "claude": listen.claude, "web": listen.web}
        return {
            "socket": str(root / "run" / "manager.sock"),
            "state_dir": str(root / "state"),
            "listeners": {name: {"host": listen.host, "port": port} for name, port in ports.items()},
            "profiles": {
                name: profile.model_dump(mode="json") for name, profile in environment.profiles.items()
            },
            **self._defaults.model_dump(),
        }

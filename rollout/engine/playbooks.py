"""Running playbooks with ansible-runner: events become progress, failures one line."""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from rollout.config import Vault
from rollout.engine.ssh import control_folder
from rollout.errors import EngineError
from rollout.model import EngineEvent

RESULT = "Result: "
"""Tasks whose name starts so print one JSON object, which :func:`run_playbook` returns."""
_STATUS: dict[str, Literal["ok", "failed", "skipped", "unreachable"]] = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}


def packaged(name: str) -> Path:
    """A folder that comes along, ``playbooks``, ``compose`` or ``infra``: inside the package, or in the
    source tree.

    Raises:
        EngineError: it is not there.
    """
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / f"_{name}", package.parent / name, package.parent / "tests" / name):
        if candidate.is_dir():
            return candidate
    raise EngineError(f"{package}: the folder {name} is missing; install rollout again")


def folder() -> Path:
    """Where the playbooks are."""
    return packaged("playbooks")


def run_playbook(
    name: str,
    *,
    hosts: Mapping[str, Mapping[str, Any]],
    variables: Mapping[str, Any],
    artifacts: Path,
    on_event: Callable[[EngineEvent], None],
    check: bool = False,
    vault: Vault | None = None,
) -> dict[str, dict[str, Any]]:
    """Run ``name``.yml on ``hosts`` (inventory name to its variables).

    ``vault`` has more variables, encrypted. ``artifacts`` keeps the output of every run. Returns the
    results of the tasks named ``Result: ...``, as ``{host: {name: object}}``.

    Raises:
        EngineError: a task failed or a host was not reachable; says which task, where and why.
    """
    import ansible_runner

    results: dict[str, dict[str, Any]] = {host: {} for host in hosts}
    failures: list[str] = []

    def handle(event: dict[str, Any]) -> bool:
        status = _STATUS.get(event.get("event", ""))
        data = event.get("event_data", {})
        if status is None:
            return True
        host, task, result = str(data.get("host", "")), str(data.get("task", "")), data.get("res", {})
        ignored = bool(data.get("ignore_errors"))
        detail = "" if status in ("ok", "skipped") else _reason(result)
        shown = "changed" if status == "ok" and result.get("changed") else status
        on_event(EngineEvent(host, task, shown, detail, time.time()))
        if status == "ok" and task.rpartition(" : ")[2].startswith(RESULT):
            key = task.rpartition(" : ")[2].removeprefix(RESULT)
            results[host][key] = json.loads(result["stdout"])
        if status in ("failed", "unreachable") and not ignored:
            failures.append(f"{host}: {task.rpartition(' : ')[2]}: {detail}")
        return True

    artifacts.mkdir(parents=True, exist_ok=True)
    playbooks = folder()
    words = ["--check"] if check else []
    if vault is not None:
        words += ["--vault-password-file", str(vault.password_file), "-e", f"@{vault.file}"]
    with tempfile.TemporaryDirectory(prefix="rollout-ansible-") as private:
        outcome = ansible_runner.run(
            private_data_dir=private,
            project_dir=str(playbooks),
            playbook=f"{name}.yml",
            inventory={"all": {"hosts": {host: dict(values) for host, values in hosts.items()}}},
            extravars=dict(variables),
            envvars={
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
                # Whatever a user's ansible.cfg says: a host with an unknown key gets nothing.
                "ANSIBLE_HOST_KEY_CHECKING": "true",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_folder()),
                "ANSIBLE_PIPELINING": "true",
                "ANSIBLE_ROLES_PATH": str(playbooks / "roles"),
                "ANSIBLE_LOCAL_TEMP": str(Path(private, "local")),
                "ANSIBLE_NOCOLOR": "true",
                "ANSIBLE_RETRY_FILES_ENABLED": "false",
                "ANSIBLE_LOCALHOST_WARNING": "false",
            },
            cmdline=shlex.join(words) if words else None,
            quiet=True,
            event_handler=handle,
        )
        output = outcome.stdout.read() if outcome.stdout else ""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    (artifacts / f"{stamp}-{name}-{time.time_ns() % 1_000_000:06d}.log").write_text(output)
    if failures:
        raise EngineError(f"{name}: {'; '.join(failures)}")
    if outcome.status != "successful":
        raise EngineError(
            f"{name}: ansible ended {outcome.status}: {output.strip()[-400:] or 'it printed nothing'}"
        )
    return results


def _reason(result: dict[str, Any]) -> str:
    for key in ("stderr", "msg", "stdout"):
        text = str(result.get(key, "")).strip()
        if text and text != "non-zero return code":
            return " ".join(text.split())[-400:]
    return "no reason given"

"""Running playbooks with ansible-runner: events become progress, failures one line."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

from rollout.config import Vault
from rollout.engine.ssh import control_folder
from rollout.errors import EngineError
from rollout.model import EngineEvent

LIMIT_SECONDS: Final = 1800
"""A host that hangs must not hold a rollout, and its lease, for ever."""
POLL_SECONDS: Final = 0.5
"""So often it is looked whether a playbook is to end."""
SETTINGS: Final = """\
[defaults]
internal_poll_interval = 0.02
"""
"""What Ansible has no variables for. It asks its workers a thousand times a second, where nobody says so."""
COLLECTION = "terminals.rollout"
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


def compose_program() -> str:
    """The Compose program that came along, for hosts without one."""
    return str(Path(sys.executable).with_name("docker-compose"))


def folder() -> Path:
    """Where the collection is that has the playbooks, below ``ansible_collections``."""
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
) -> None:
    """Run a playbook of the collection on ``hosts`` (inventory name to its variables).

    ``vault`` has more variables, encrypted. ``artifacts`` keeps the output of every run. ``on_event`` is told
    of each task, of each thing that one did where its result has a list of them (``did``), and of what it
    found that somebody ought to know (``noted``).

    Raises:
        EngineError: a task failed, a host was not reachable, or it took too long; says which task, where and
            why.
        KeyboardInterrupt: a signal whose handler raises it has come; the playbook was ended.
    """
    if not hosts:
        raise EngineError(f"{name}: there is no host to do it on")
    failures: list[str] = []
    reached: set[str] = set()

    def handle(event: dict[str, Any]) -> bool:
        status = _STATUS.get(event.get("event", ""))
        data = event.get("event_data", {})
        if status is None:
            return True
        host, task, result = str(data.get("host", "")), str(data.get("task", "")), data.get("res", {})
        reached.add(host)
        ignored = bool(data.get("ignore_errors"))
        detail = "" if status in ("ok", "skipped") else _reason(result)
        shown = "changed" if status == "ok" and result.get("changed") else status
        done = list(dict.fromkeys(result.get("did", [])))
        for what in done if shown == "changed" and done else [task]:
            on_event(EngineEvent(host, what, shown, detail, time.time()))
        for what in result.get("noted", []):
            on_event(EngineEvent(host, what, "noted", "", time.time()))
        if status in ("failed", "unreachable") and not ignored:
            failures.append(f"{host}: {task.rpartition(' : ')[2]}: {detail}")
        return True

    artifacts.mkdir(parents=True, exist_ok=True)
    log = artifacts / f"{time.strftime('%Y%m%dT%H%M%S')}-{name}-{time.time_ns() % 1_000_000:06d}.log"
    words = ["--check"] if check else []
    if vault is not None:
        words += ["--vault-password-file", str(vault.password_file), "-e", f"@{vault.file}"]
    with tempfile.TemporaryDirectory(prefix="rollout-ansible-") as private:
        config = Path(private, "ansible.cfg")
        config.write_text(SETTINGS)
        outcome = _ansible(
            log,
            private_data_dir=private,
            project_dir=private,
            playbook=f"{COLLECTION}.{name}",
            inventory={"all": {"hosts": {host: _literal(values) for host, values in hosts.items()}}},
            extravars=_literal(variables),
            envvars={
                "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_CONFIG": str(config),
                # A host with an unknown key gets nothing.
                "ANSIBLE_HOST_KEY_CHECKING": "true",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_folder()),
                "ANSIBLE_PIPELINING": "true",
                "ANSIBLE_FORKS": str(len(hosts)),  # or the sixth host waits for the first five
                "ANSIBLE_COLLECTIONS_PATH": str(folder()),
                "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
                "ANSIBLE_LOCAL_TEMP": str(Path(private, "local")),
                "ANSIBLE_NOCOLOR": "true",
                "ANSIBLE_RETRY_FILES_ENABLED": "false",
                "ANSIBLE_LOCALHOST_WARNING": "false",
            },
            cmdline=shlex.join(words) if words else None,
            quiet=True,
            event_handler=handle,
            settings={"pexpect_timeout": POLL_SECONDS},
        )
    if failures:
        raise EngineError(f"{name}: {'; '.join(failures)}")
    if outcome.status == "canceled":
        raise EngineError(f"{name}: it has not ended after {LIMIT_SECONDS / 60:g} minutes, and was given up")
    if outcome.status != "successful":
        printed = log.read_text().strip()
        raise EngineError(f"{name}: ansible ended {outcome.status}: {printed[-400:] or 'it printed nothing'}")
    missing = [host for host in hosts if host not in reached]
    if missing:
        raise EngineError(f"{name}: nothing was done on {', '.join(missing)}")


def _ansible(log: Path, **options: Any) -> Any:
    """Run Ansible with nothing of the operator's own settings for it, which would change what playbooks do.

    ``log`` has what it printed, however it ended.

    Raises:
        KeyboardInterrupt: as :func:`run_playbook`.
    """
    import ansible_runner

    asked: list[KeyboardInterrupt] = []
    end = time.monotonic() + LIMIT_SECONDS

    def over() -> bool:
        if not asked and time.monotonic() < end:
            return False
        _end(options["private_data_dir"])
        return True

    with _clean_environment(), _signals_noted(asked):
        outcome = ansible_runner.run(cancel_callback=over, **options)
        log.write_text(outcome.stdout.read() if outcome.stdout else "")
    if asked:
        raise asked[0]
    return outcome


def _end(private: str) -> None:
    """End an ansible-playbook with all that works for it: its workers are in sessions of their own. What has
    been left behind on purpose, a service that was started, is nobody's child any more."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [pid for pid in children.get(os.getpid(), []) if private in _words(pid)]
    for pid in found:  # grows
        found += children.get(pid, [])
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


@contextmanager
def _clean_environment() -> Iterator[None]:
    """Ansible's runner hands on what this process has: take out what is meant for another Ansible."""
    theirs = {name: value for name, value in os.environ.items() if name.startswith("ANSIBLE_")}
    for name in theirs:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(theirs)


@contextmanager
def _signals_noted(asked: list[KeyboardInterrupt]) -> Iterator[None]:
    """Ansible's runner cannot be left in the middle, or what it has started goes on: what the handlers of
    signals raise is noted, and raised by whoever sees it when the playbook has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def note(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        assert callable(handler)
        try:
            handler(number, frame)
        except KeyboardInterrupt as stop:
            asked.append(stop)

    noted = [number for number, handler in before.items() if callable(handler)]
    for number in noted:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in noted:
            signal.signal(number, before[number])


def _literal(value: Any) -> Any:
    """Have Ansible take text as it is, whatever it looks like: no value of ours is a template."""
    if isinstance(value, Mapping):
        return {name: _literal(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(inner) for inner in value]
    if isinstance(value, str) and "{" in value:
        return {"__ansible_unsafe": value}
    return value


def _reason(result: dict[str, Any]) -> str:
    for key in ("stderr", "msg", "stdout"):
        text = str(result.get(key, "")).strip()
        if text and text != "non-zero return code":
            return " ".join(text.split())[-400:]
    return "no reason given"

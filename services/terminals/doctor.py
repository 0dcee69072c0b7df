"""What is wrong with a host's terminal services, and what to do about it."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from terminals.configfile import ConfigError
from terminals.control import packets
from terminals.control.answers import Status
from terminals.control.asking import ControlError, ask
from terminals.manager.certificate import CertificateError, TlsFiles
from terminals.manager.config import ManagerConfig

FILES_PER_SESSION = 4
"""Descriptors of the manager for one attached session, with one to spare."""
EXPIRES_SOON = timedelta(days=14)


class Finding(NamedTuple):
    """``verdict`` is ok, warning or wrong; ``remedy`` is empty when it is ok."""

    verdict: str
    subject: str
    text: str
    remedy: str = ""


def examine(config_path: Path, token_file: Path | None) -> list[Finding]:
    """Look at configuration, host and running services. Changes nothing."""
    try:
        config = ManagerConfig.load(config_path)
    except ConfigError as error:
        return [Finding("wrong", "configuration", str(error), "correct the file, then ask again")]
    findings = [Finding("ok", "configuration", f"{config_path} is valid")]
    findings += _host(config)
    findings += _profiles(config)
    findings += _secrets(config, token_file)
    if config.tls is not None:
        findings.append(_certificate(config.tls, datetime.now(UTC)))
    findings += _services(config)
    return findings


def _host(config: ManagerConfig) -> Iterator[Finding]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needed = config.max_sessions * FILES_PER_SESSION
    if hard < needed:
        yield Finding(
            "wrong",
            "open files",
            f"{hard} allowed, {needed} needed for {config.max_sessions} sessions",
            f"raise the hard limit of open files, or set max_sessions to {hard // FILES_PER_SESSION}",
        )
    else:
        yield Finding("ok", "open files", f"{hard} allowed, {needed} needed at most")
    terminals = int(Path("/proc/sys/kernel/pty/max").read_text())
    if terminals < config.max_sessions:
        remedy = f"sysctl kernel.pty.max={2 * config.max_sessions}"
        yield Finding("wrong", "pseudo-terminals", f"the kernel allows {terminals}", remedy)
    else:
        yield Finding("ok", "pseudo-terminals", f"the kernel allows {terminals}")
    folder = next(path for path in (config.state_dir, *config.state_dir.absolute().parents) if path.exists())
    free, wanted = (
        shutil.disk_usage(folder).free,
        config.max_sessions * config.ring_bytes + config.max_ended_bytes,
    )
    if free < wanted:
        yield Finding(
            "warning",
            "disk",
            f"{free >> 20} MiB free at {folder}, {wanted >> 20} MiB would hold every ring",
            "make room, or lower ring_bytes or max_sessions: a session that finds no room is refused",
        )
    else:
        yield Finding("ok", "disk", f"{free >> 20} MiB free, the rings take {wanted >> 20} MiB at most")


def _profiles(config: ManagerConfig) -> Iterator[Finding]:
    for name, profile in config.profiles.items():
        subject, program = f"profile {name}", profile.command[0]
        if shutil.which(program, path=profile.env.get("PATH")) is None:
            remedy = f"install {program}, or set profiles.{name}.command"
            yield Finding("warning", subject, f"{program} is not to be found", remedy)
        elif os.getuid() == 0 and profile.user is None:
            remedy = f"set profiles.{name}.user, or run the services as another user"
            yield Finding("warning", subject, "its shells run as root", remedy)
        else:
            yield Finding("ok", subject, f"runs {program}")


def _secrets(config: ManagerConfig, token_file: Path | None) -> Iterator[Finding]:
    owner_only = stat.S_IRWXG | stat.S_IRWXO
    secrets = [("control socket", config.socket, owner_only), ("token file", token_file, owner_only)]
    if config.tls is not None:
        secrets.append(("private key", config.tls.key, stat.S_IRWXO))  # a group may share keys
    if config.oidc is not None and config.oidc.client_secret_file is not None:
        secrets.append(("client secret", Path(config.oidc.client_secret_file), owner_only))
    for subject, path, forbidden in secrets:
        if path is None or (subject == "control socket" and not path.exists()):
            continue  # no socket is said by the services' findings
        try:
            found = path.stat()
        except OSError as error:
            yield Finding(
                "wrong", subject, f"{path}: {error.strerror}", "put it there, or name the right file"
            )
            continue
        if found.st_mode & forbidden:
            mode = stat.filemode(found.st_mode)
            yield Finding("wrong", subject, f"{path} is open to others: {mode}", f"chmod go= {path}")
        else:
            yield Finding("ok", subject, f"{path} is not open to others")


def _certificate(files: TlsFiles, now: datetime) -> Finding:
    try:
        files.context()
        begin, end = files.valid()
    except CertificateError as error:
        return Finding("wrong", "certificate", str(error), "correct it; what was loaded before stays in use")
    renew = "renew it: the new one is used as soon as it is there, with no restart"
    until = f"{end:%Y-%m-%d %H:%M} UTC"
    if now >= end:
        return Finding("wrong", "certificate", f"{files.certificate} has expired: {until}", renew)
    if now < begin:
        text = f"{files.certificate} is not valid before {begin:%Y-%m-%d %H:%M} UTC"
        return Finding("wrong", "certificate", text, "set the clock right, or wait until then")
    text = f"{files.certificate} is valid until {until}"
    if end - now < EXPIRES_SOON:
        return Finding("warning", "certificate", text, renew)
    return Finding("ok", "certificate", text)


def _services(config: ManagerConfig) -> Iterator[Finding]:
    try:
        status = ask(str(config.socket), packets.Status(), Status, timeout=5.0)
    except ControlError as error:
        remedy = "start it: terminals manager --config FILE; its log says why it does not stay"
        yield Finding("wrong", "session manager", str(error), remedy)
        return
    yield Finding("ok", "session manager", f"process {status.manager.pid} answers")
    if config.tls is not None and not (status.tls and status.tls.terminator):
        remedy = "its reason is in the manager's log; was the manager started before tls was configured?"
        yield Finding("wrong", "TLS", "nothing ends TLS", remedy)
    if status.unsaved:
        remedy = f"make room in {config.state_dir}: a session manager that starts now knows an older state"
        yield Finding("wrong", "generations", f"what holds cannot be saved: {status.unsaved}", remedy)
    yield from _generations(status)
    sessions = status.sessions.live
    if sessions >= 0.9 * config.max_sessions:
        text = f"{sessions} of at most {config.max_sessions} are live"
        yield Finding("warning", "sessions", text, "raise max_sessions, or set idle_seconds")
    if status.holder is None:
        remedy = (
            "its log says why; no shell can be started, and a new manager would find none of those there are"
        )
        yield Finding("wrong", "holder", "it is gone", remedy)
    else:
        yield Finding("ok", "holder", f"process {status.holder.pid} keeps the shells")


def _generations(status: Status) -> Iterator[Finding]:
    serving = [entry for entry in status.generations if entry.weight]
    if not serving:
        remedy = "deploy a build, or: terminals ctl --socket SOCKET weights GENERATION=100"
        yield Finding("wrong", "generations", "none has a weight: nobody is served", remedy)
    for entry in serving:
        subject = f"generation {entry.name}"
        if not entry.workers:
            remedy = "its workers' log says why they do not stay"
            yield Finding("wrong", subject, f"weight {entry.weight}, but no worker", remedy)
        elif entry.loops:
            text = f"{entry.loops} reconnection loops"
            yield Finding("warning", subject, text, "its build loses clients: look at its logs, or roll back")
        else:
            yield Finding("ok", subject, f"{entry.workers} workers, weight {entry.weight}")

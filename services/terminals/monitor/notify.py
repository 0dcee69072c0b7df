"""Telling people, through Apprise: each message in its own thread, so that no receiver holds up a check."""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from terminals.monitor.alerts import Alert, Alerts, key_of
from terminals.monitor.config import SEVERITIES, Receiver

log = logging.getLogger("terminals.monitor")

SEND_SECONDS: Final = 30.0
"""A receiver that has not taken a message by then has failed."""
TRIES: Final = 10
"""One try a round."""
MOST_THREADS: Final = 8

Key = tuple[object, ...]


@dataclass(slots=True)
class _Message:
    receiver: Receiver
    alert: Alert
    resolved: bool
    tries: int = 0
    sent: float | None = None
    """Monotonic time at which the try that is under way began."""

    @property
    def key(self) -> Key:
        return (*key_of(self.alert), self.alert["since"], self.resolved, self.receiver.name)


@dataclass(slots=True)
class Notifier:
    """Messages that are to be sent, each until it is taken or has been tried often enough."""

    receivers: tuple[Receiver, ...]
    place: str
    """What the alerts are about, for those who have several: environment and host."""
    _messages: dict[Key, _Message] = field(default_factory=dict)
    _given_up: set[Key] = field(default_factory=set)
    _answers: queue.SimpleQueue[tuple[Key, str]] = field(default_factory=queue.SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)

    def update(self, alerts: Alerts, *, now: float) -> None:
        """Take in what has changed, and begin to send what there is to send. ``now``: monotonic seconds."""
        for alert in alerts.active:
            for receiver in self.receivers:
                if _matters(receiver, alert) and receiver.name not in alert["notified"]:
                    self._add(_Message(receiver, alert, resolved=False))
        for alert in alerts.resolved:
            for receiver in self.receivers:
                if receiver.name in alert["notified"]:
                    self._add(_Message(receiver, alert, resolved=True))
        lasting = {(*key_of(alert), alert["since"]) for alert in alerts.active}
        self._given_up = {key for key in self._given_up if key[:4] in lasting}
        over = {(*key_of(alert), alert["since"]) for alert in alerts.resolved}
        for key, message in list(self._messages.items()):
            if not message.resolved and key[:4] in over and message.sent is None:
                del self._messages[key]  # nobody has been told that it began
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for message in self._messages.values():
            if message.sent is None and len(self._threads) < MOST_THREADS:
                message.tries += 1
                message.sent = now
                arguments = (message.receiver, message.alert, message.resolved, message.key)
                thread = threading.Thread(target=self._send, args=arguments, name="notify", daemon=True)
                thread.start()
                self._threads.append(thread)

    def told(self, *, now: float) -> list[tuple[Key, str]]:
        """Who has been told what since the last call: ``(rule, profile, generation, since)`` and the name."""
        told = []
        answered: dict[Key, str] = {}
        while not self._answers.empty():
            answer = self._answers.get()
            answered[answer[0]] = answer[1]
        for key, message in list(self._messages.items()):
            late = message.sent is not None and now - message.sent > SEND_SECONDS
            reason = answered.get(key, f"not taken within {SEND_SECONDS:g} s" if late else None)
            if reason is None:
                continue
            message.sent = None
            if not reason:
                del self._messages[key]
                if not message.resolved:
                    told.append((key[:4], message.receiver.name))
                continue
            log.warning("%s was not told of %s: %s", message.receiver.name, message.alert["rule"], reason)
            if message.tries >= TRIES:
                del self._messages[key]
                self._given_up.add(key)
        return told

    def _add(self, message: _Message) -> None:
        if message.key not in self._given_up:
            self._messages.setdefault(message.key, message)

    def _send(self, receiver: Receiver, alert: Alert, resolved: bool, key: Key) -> None:
        try:
            reason = send(receiver, *words(alert, self.place, resolved=resolved), alert["severity"], resolved)
        except Exception as error:  # whatever a receiver's plugin does: its text may have the URL in it
            reason = f"its plugin broke: {type(error).__name__}"
        self._answers.put((key, reason))


def words(alert: Alert, place: str, *, resolved: bool) -> tuple[str, str]:
    """Title and body of a message."""
    title = f"{'resolved' if resolved else alert['severity']}: {alert['rule']} on {place}"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(alert["since"]))
    lines = [alert["text"], f"value {alert['value']:g}, threshold {alert['threshold']:g}, since {since}"]
    if resolved:
        lines.append(f"over after {alert['until'] - alert['since']:.0f} s")
    return title, "\n".join(lines)


def send(receiver: Receiver, title: str, body: str, severity: str, resolved: bool) -> str:
    """Send one message. Returns why it was not taken, or ``""``. The URL, a secret, is never told."""
    try:
        url = receiver.url or _secret(receiver)
    except OSError as error:
        return f"{receiver.url_file}: {error.strerror}"
    except ValueError as error:
        return str(error)
    try:
        return deliver(url, title, body, severity, resolved=resolved)
    except UnknownAddress:
        return "its URL is none that Apprise knows; see https://github.com/caronc/apprise/wiki"


class UnknownAddress(Exception):
    """A URL that no plugin of Apprise takes."""


def deliver(
    url: str, title: str, body: str, severity: str, *, resolved: bool = False, markdown: bool = False
) -> str:
    """Have Apprise send one message. Returns why it was not taken, or ``""``, never with the URL in it.

    Raises:
        UnknownAddress: it is none that Apprise knows.
        Exception: a plugin broke. Its text may have the URL in it.
    """
    import apprise  # half a second and many megabytes, for a monitor that may never have anything to say

    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they would write URLs into the log
    kind = {"critical": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}
    target = apprise.Apprise()
    if not target.add(url):
        raise UnknownAddress
    how = apprise.NotifyType.SUCCESS if resolved else kind.get(severity, apprise.NotifyType.INFO)
    form = apprise.NotifyFormat.MARKDOWN if markdown else None
    done = target.notify(title=title, body=body, notify_type=how, body_format=form)
    return "" if done else "the receiver did not take it"


def _secret(receiver: Receiver) -> str:
    assert receiver.url_file is not None
    if receiver.url_file.stat().st_mode & 0o077:
        raise ValueError(f"{receiver.url_file} is open to others; chmod go= {receiver.url_file}")
    return receiver.url_file.read_text().strip()


def _matters(receiver: Receiver, alert: Alert) -> bool:
    return SEVERITIES.index(alert["severity"]) >= SEVERITIES.index(receiver.severity)

"""Plays the conversations of ``vectors.json`` with the Python client's machine.

A conversation is a list of steps ``[at, input, items, wake]``: at so many milliseconds the machine is told
``input``, does ``items`` and wants to be woken at ``wake``. What is left out of a message that has a name in
``messages`` is as it stands there.

    python -m tests.support.conversations         fills in what the steps of new conversations lead to

A step that has only ``[at, input]`` is new. What was filled in is a claim like any other: read it.
"""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import terminals.protocol
from terminals.protocol import client, client_transfers, messages
from terminals.protocol.backoff import Backoff
from terminals.protocol.client import ClientSession
from terminals.protocol.resume import Sender

VECTORS = Path(terminals.protocol.__file__).with_name("vectors.json")
OPTIONS = ("url", "session", "epoch", "watch", "pings")
BROKEN = "the server broke the protocol"


class Player:
    """One conversation, step by step."""

    def __init__(self, known: dict[str, Any], options: dict[str, Any]) -> None:
        """``known``: the messages with names. ``options``: what is not as usual."""
        self._known = known
        draw = options.get("draw", 0.5)
        backoff = Backoff(0.1, 30.0, lambda low, high: low + (high - low) * draw)
        pending = bytes.fromhex(options.get("pending", ""))
        sender = Sender(options.get("limit", 1 << 20))
        sender.restart(options.get("typed", 0))
        sender.push(pending)
        self._session = ClientSession(
            options.get("credentials", {"token": "secret"}),
            "me",
            sender=sender,
            backoff=backoff,
            **{name: options[name] for name in OPTIONS if name in options},
        )

    def step(self, at: float, given: list[Any]) -> tuple[list[Any], float | None]:
        """What the machine does at ``at`` ms, and when it wants to be woken."""
        wake = self._session.wake_at()
        # The very number, where it is meant: what a sum of fractions gives is not always what is written.
        now = wake if wake is not None and _ms(wake) == at else at / 1000
        refused = self._tell(now, *given)
        items = [self._written(item) for item in self._session.take()]
        wake = self._session.wake_at()
        return [*refused, *items], None if wake is None else _ms(wake)

    def _tell(self, now: float, kind: str, *values: Any) -> list[Any]:
        session = self._session
        match kind, values:
            case "open" | "connected" | "tick" | "cut" | "probe" | "retry_now" | "heard", ():
                getattr(session, kind)(now)
            case "close", _:
                session.close(**({"kill": True} if values else {}))
            case "lost", _:
                session.lost(now, *values)
            case "type", (data,):
                try:
                    session.type(bytes.fromhex(data))
                except BufferError:
                    return [["full"]]
            case "type-many", (count,):
                session.type(b"x" * count)
            case "resize", (cols, rows):
                session.resize(cols, rows)
            case "consumed", (end,):
                session.consumed(now, end)
            case "raw", (text,):
                session.received(now, text)
            case "binary", (data,):
                session.received(now, bytes.fromhex(data))
            case "data", (seq, data):
                session.received(now, messages.encode_data(0, seq, bytes.fromhex(data)))
            case "data-many", (seq, count):
                session.received(now, messages.encode_data(0, seq, b"x" * count))
            case "host-lost-many", (count,):
                screen = messages.LastScreen(1, 80, 24, b"x" * count).fields()
                error = {"type": "error", "code": "host-lost", "message": "b", "screen": screen}
                session.received(now, json.dumps(error))
            case "snapshot", (seq, data):
                session.received(now, messages.encode_snapshot(0, seq, bytes.fromhex(data)))
            case "ack", (seq,):
                session.received(now, messages.encode_ack(0, seq))
            case "do-upload" | "do-download" | "do-cancel" | "do-digest" | "do-taken", _:
                getattr(session.transfers, kind.removeprefix("do-"))(*values)
            case "give-many", (transfer, offset, count):
                session.transfers.give(transfer, offset, bytes(count))
            case "frame", (type_, channel, seq, data):
                head = messages.HEADER.pack(type_, channel, seq)
                session.received(now, head + bytes.fromhex(data))
            case _, _:
                unusual = values[0] if values else {}
                fields = {"type": kind, **self._known.get(kind, {}), **unusual}
                # What is written as null is not said at all.
                fields = {name: fields[name] for name in fields if unusual.get(name, "") is not None}
                session.received(now, json.dumps(fields))
        return []

    def _written(self, item: client.Item) -> list[Any]:
        match item:
            case client.Connect(url):
                return ["connect", url] if url else ["connect"]
            case client.Elsewhere(url):
                return ["elsewhere-now", url]
            case client.HostLost(since, message, screen):
                shown = [screen.at, screen.cols, screen.rows, _hex(screen.paint)] if screen else []
                return ["host-lost", since, message, *shown]
            case client.Resized(cols, rows):
                return ["resized", cols, rows]
            case client.Recording(state):
                return ["recorded", state]
            case client.Close(code):
                return ["close", code]
            case messages.Send(str() as text):
                return self._message(json.loads(text))
            case messages.Send(bytes() as data):
                frame = messages.decode_binary(data)
                channel = [frame.channel] if frame.channel else []  # of a file
                if frame.type is messages.FrameType.ACK:
                    return ["ack", frame.seq, *channel]
                return ["data", frame.seq, _hex(frame.payload), *channel]
            case client.Connecting(again):
                return ["connecting", again]
            case client.Connected():
                spans = {"away": item.away, "attempt": item.attempt_seconds, "attach": item.attach_seconds}
                what = {
                    "session": item.attached.session,
                    "mode": item.attached.mode,
                    "head": item.attached.head,
                    "reconnect": item.reconnect,
                    "planned": item.planned,
                    "missed": item.missed,
                }
                more: dict[str, Any] = {"size": list(item.attached.size)} if item.attached.size else {}
                if item.attached.recording:
                    more["recording"] = item.attached.recording
                return ["attached-now", {**what, **{name: _ms(spans[name]) for name in spans}, **more}]
            case client.Output(data, end):
                return ["output", _hex(data), end]
            case client.Screen(data, end, skipped):
                return ["screen", _hex(data), end, skipped]
            case client.InputDropped(count):
                return ["input-dropped", count]
            case client.Pong(seconds):
                return ["pong-after", _ms(seconds)]
            case client.Lost():
                return ["lost", item.planned, _reason(item.reason), _ms(item.lasted)]
            case client.Loop(reason):
                return ["loop", _reason(reason)]
            case client.Failed(reason, seconds):
                return ["failed", _reason(reason), _ms(seconds)]
            case client.Waiting():
                return ["waiting", _ms(item.until), _reason(item.reason), item.planned, item.breaker]
            case client.Ended(status):
                return ["ended", status]
            case client.TakenOver():
                return ["taken-over"]
            case client.Refused(code, message):
                return ["refused", code, message]
            case client_transfers.Received(name, offset, data):
                return ["received", name, offset, _hex(data)]
            case client_transfers.NotTransferred():
                return ["not-transferred", *astuple(item)]
            case _:
                return [type(item).__name__.lower(), *astuple(item)]

    def _message(self, fields: dict[str, Any]) -> list[Any]:
        kind = fields.pop("type")
        usual = self._known.get(kind, {})
        said = {**dict.fromkeys(usual), **fields}
        unusual = {name: value for name, value in said.items() if name not in usual or usual[name] != value}
        return [kind, unusual] if unusual else [kind]


def _ms(seconds: float) -> float:
    ms = round(seconds * 1000, 3)
    return int(ms) if ms == int(ms) else ms


def _hex(data: bytes) -> str:
    """Much of the same is only counted."""
    return data.hex() if len(data) <= 32 else f"{len(data)} bytes"


def _reason(text: str) -> str:
    """How exactly it was broken, each implementation says in its own words."""
    return BROKEN if text.startswith(BROKEN) else text


def play(vectors: dict[str, Any], conversation: dict[str, Any]) -> list[list[Any]]:
    """The steps of a conversation, with what they lead to."""
    player = Player(vectors["messages"], conversation.get("options", {}))
    steps = []
    for at, given, *_ in conversation["steps"]:
        items, wake = player.step(at, given)
        steps.append([at, given, items, wake])
    return steps


def write(vectors: dict[str, Any]) -> str:
    """The file: a line a vector, and a line a step."""
    lines = []
    for name, value in vectors.items():
        if name == "conversations":
            talks = []
            for talk in value:
                head = {key: talk[key] for key in talk if key != "steps"}
                steps = ",\n".join(f"    {json.dumps(step)}" for step in talk["steps"])
                talks.append(f'  {json.dumps(head)[:-1]}, "steps": [\n{steps}\n  ]}}')
            lines.append(f' "{name}": [\n' + ",\n".join(talks) + "\n ]")
        elif isinstance(value, list):
            inner = ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in value)
            lines.append(f' "{name}": [\n{inner}\n ]')
        elif isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items())
            lines.append(f' "{name}": {{\n{inner}\n }}')
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    """Fill in what is new."""
    vectors = json.loads(VECTORS.read_text())
    for conversation in vectors["conversations"]:
        if any(len(step) == 2 for step in conversation["steps"]):
            conversation["steps"] = play(vectors, conversation)
            print(f"new: {conversation['name']}")
    VECTORS.write_text(write(vectors))


if __name__ == "__main__":
    main()

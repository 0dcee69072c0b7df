"""What a load user tells of itself; in a process of its own, since Locust changes the one that it is in."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import sys, time
from pathlib import Path
from types import SimpleNamespace

from loadtests import terminal
from terminals.protocol.client import Connected, Failed, Lost

terminal._samples = Path(sys.argv[1])
fired = SimpleNamespace(fire=lambda **fields: None)
options = SimpleNamespace(
    share=1, cut_every=0, doors_file="", token_file=sys.argv[2], url="ws://127.0.0.1:1/", ca=None
)
person = terminal.Person(
    SimpleNamespace(parsed_options=options, runner=None, events=SimpleNamespace(request=fired))
)
now = [1000.0]
terminal.time = SimpleNamespace(time=time.time, monotonic=lambda: now[0])
person._read = lambda timeout: None
person._type = lambda now: None


def attached(generation):
    on = SimpleNamespace(generation=generation, build="b-" + generation)
    person.terminal._conversation.attached = on
    return on


def back(generation, away):
    person._event(Connected(attached(generation), True, True, away, 0.1, 0.1, 0))


def told(planned):
    person._event(Lost(planned, "gone", 9.0))


def later(seconds):
    now[0] += seconds
    person.live()


attached("old")
told(planned=False)
person._event(Failed("refused", 0.1))
back("old", 1.0)
later(30)
told(planned=True)
person._event(Failed("refused", 0.1))
later(15)
later(15)
later(15)
back("new", 45.0)
later(30)
told(planned=True)
later(15)
back("new", 15.0)
later(30)
told(planned=False)
"""


def test_who_is_told_to_come_back_is_nobodys_until_somebody_serves_it_again(tmp_path):
    (tmp_path / "token").write_text("t")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "samples"), str(tmp_path / "token")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    samples = [json.loads(line) for line in (tmp_path / "samples").read_text().splitlines()]
    told = [
        (one["kind"], one["generation"], one["build"], one["ok"])
        for one in samples
        if one["kind"] in ("attempt", "reconnect")
    ]
    assert told == [
        ("attempt", "old", "b-old", False),  # a cut: it may be served by the same again
        ("reconnect", "old", "b-old", True),
        ("attempt", "", "", False),
        ("reconnect", "", "", False),  # once, however long it takes
        ("reconnect", "new", "b-new", True),
    ]

"""What a session manager does for its sessions: starting, naming and ending them."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from terminals import tickets
from terminals.client import Terminal
from terminals.control import CONTROL_VERSION
from terminals.control.asking import connect as connect_control
from terminals.holder.shells import OOM_SCORE_ADJ
from terminals.protocol.messages import Binary, FrameType
from terminals.tickets import Ticket

from tests.support.control import hear, say
from tests.support.raw import Raw
from tests.support.stack import TOKEN, Stack, until


def started(**config) -> Stack:
    stack = Stack(**config)
    stack.start_generation("g1", weight=100)
    return stack


@pytest.fixture
def build(request):
    """Makes stacks with settings of their own and closes them."""
    made = []

    def make(**config) -> Stack:
        made.append(started(**config))
        return made[-1]

    yield make
    for stack in made:
        stack.close()


def entry(stack: Stack, session: str) -> dict:
    return next(item for item in stack.admin("sessions")["items"] if item["id"] == session)


BASH = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]


def test_a_shell_is_the_holders_and_its_terminal_has_the_clients_size(stack):
    with stack.terminal(cols=101, rows=33) as terminal:
        terminal.send(b"stty size; ps -o ppid= -p $$; tty\n")
        shown = terminal.expect(rb"/dev/pts/\d+")
        assert b"33 101" in shown
        # Whose end is no shell's end: the manager's is.
        assert str(stack.status()["holder"]["pid"]).encode() in shown


def test_many_shells_at_once(stack):
    before = stack.status()["shells"]["started"]
    terminals = [stack.terminal() for _ in range(12)]
    for terminal in terminals:
        terminal.open()
    for number, terminal in enumerate(terminals):
        terminal.send(f"echo [$(({number} + 1000))]\n".encode())
    for number, terminal in enumerate(terminals):
        terminal.expect(rf"\[{number + 1000}\]".encode())
        terminal.close(kill=True)
    assert stack.status()["shells"]["started"] == before + 12


def test_an_acknowledgement_comes_without_an_echo_too(stack):
    with stack.terminal() as terminal:
        terminal.send(b"stty -echo; echo re''ady; cat > /dev/null\n")
        terminal.expect(b"ready")
        terminal.send(b"secret\n")
        until(lambda: terminal.pump(0.05) or terminal.unacknowledged == 0, "the acknowledgement", 5.0)


def test_an_end_has_its_status(stack):
    with stack.terminal() as terminal:
        terminal.send(b"exit 3\n")
        until(lambda: terminal.read(0.1) is not None and terminal.exit_status is not None, "exit")
    assert terminal.exit_status == 3


def test_the_profile_says_environment_and_folder(build, tmp_path):
    profile = {"command": BASH, "env": {"COLOUR": "green"}, "cwd": str(tmp_path)}
    stack = build(profiles={"system": profile, "claude": profile})
    with stack.terminal() as terminal:
        terminal.send(b'echo "[$COLOUR $PWD]"\n')
        assert f"[green {tmp_path}]".encode() in terminal.expect(rb"\n\[green [^\]]*\]")


def test_a_missing_folder_is_said_in_the_terminal(build):
    stack = build(profiles={"system": {"command": BASH, "cwd": "/no/such/folder"}})
    with stack.terminal() as terminal:
        terminal.expect(rb"/no/such/folder: No such file or directory; starting in /")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_shell_runs_as_the_user_of_its_profile(build):
    stack = build(profiles={"system": {"command": BASH, "user": "nobody", "cwd": "/"}})
    uid = pwd.getpwnam("nobody").pw_uid
    with stack.terminal() as terminal:
        terminal.send(b'grep -E "^(Uid|Groups|CapEff)" /proc/self/status; echo "[$USER]" > /dev/tty\n'
                      b"echo oom:$(cat /proc/$$/oom_score_adj); exit\n")  # fmt: skip
        until(lambda: terminal.pump(0.1) or terminal.exit_status is not None, "exit")
        shown = terminal.read()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}".encode() in shown
    assert b"CapEff:\t0000000000000000" in shown
    assert b"Groups:\t0" not in shown
    assert b"\n[nobody]" in shown
    # Short of memory, the kernel takes it before it takes the session manager.
    manager = int(Path(f"/proc/{stack.status()['manager']['pid']}/oom_score_adj").read_text())
    assert int(re.search(rb"\noom:(\d+)", shown)[1]) == max(OOM_SCORE_ADJ, manager)
    assert manager < OOM_SCORE_ADJ


def test_a_title_is_kept_also_when_the_manager_dies(stack):
    terminal = stack.terminal()
    terminal.open()
    stack.admin("rename", session=terminal.session, title="release 7")
    assert entry(stack, terminal.session)["title"] == "release 7"
    with pytest.raises(Exception, match="at most 80 printable"):
        stack.admin("rename", session=terminal.session, title="bell\a")
    stack.kill("manager")
    stack.start_manager()
    assert entry(stack, terminal.session)["title"] == "release 7"


def test_a_session_that_nobody_looks_at_is_ended(build):
    stack = build(idle_seconds=1.0)
    seen, left = stack.terminal(), stack.terminal()
    seen.open()
    left.open()
    left.cut()
    until(lambda: not entry(stack, left.session)["live"], "the end of the idle one")
    assert entry(stack, seen.session)["live"]
    assert stack.status()["sessions"]["expired"] == 1
    # Its client is told why when it comes back, and that the shell was hung up.
    left.open()
    until(lambda: left.pump(0.1) or left.exit_status is not None, "exit")
    assert b"nobody was here for 1 s" in left.read()
    assert left.exit_status == -signal.SIGHUP


def test_a_client_that_acknowledges_nothing_stops_a_shell_no_longer_than_a_lost_one(build, tmp_path):
    """As a tab that its browser has frozen: pings are answered, and nothing else happens."""
    stack = build(hold_seconds=2)
    frozen, done = Raw(stack.url()), tmp_path / "done"
    frozen.attach()
    session = frozen.want("attached")["session"]
    # More than sockets and ring hold.
    typed = f"seq 1 2000000; touch {done}\n".encode()
    frozen.type(0, typed)
    until(done.exists, "the end of what it prints", 60)
    assert entry(stack, session)["attached"]
    # It wakes up, and works on: what it has missed it is shown as a screen.
    frozen.type(len(typed), b"echo still $((40 + 2))\n")

    def frames() -> list[Binary]:
        frozen.take(0.01)
        return [message for message in frozen.inbox if not isinstance(message, dict)]

    until(lambda: b"still 42" in b"".join(frame.payload for frame in frames()[-9:]), "its answer", 60)
    assert FrameType.SNAPSHOT in [frame.type for frame in frames()]
    frozen.close()


def test_a_client_that_acknowledges_nothing_and_reads_is_sent_all_there_is(build):
    stack = build(hold_seconds=1, ring_bytes=1 << 16)
    reader = Raw(stack.url())
    reader.attach()
    reader.want("attached")
    # Five times what the ring holds. Once it is let go the shell waits for nobody: each part, a third of the
    # ring, comes when the one before has been read, so that no reader is too slow for it.
    at = 0
    for part in range(16):
        typed = f"seq 1 4000; echo part-$(({part}))\n".encode()
        reader.type(at, typed)
        at += len(typed)
        reader.shown(b"\r\npart-%d\r\n" % part)
    assert FrameType.SNAPSHOT not in [m.type for m in reader.inbox if not isinstance(m, dict)]
    reader.close()


def test_a_client_that_is_slow_and_acknowledges_misses_nothing(build):
    stack = build(hold_seconds=1, ring_bytes=1 << 16)
    with Terminal(stack.url(), token=TOKEN) as slow:
        slow.send(b"seq 1 200000; echo e''nd\n")
        shown, began = b"", time.monotonic()
        while b"\nend" not in shown:
            slow.pump(0.01)
            shown += slow.read()
            time.sleep(0.2)
        assert time.monotonic() - began > 1.5, "too fast to say anything"
        assert slow.stats.skipped == 0
        numbers = [int(line) for line in shown.split(b"\r\n") if line.isdigit()]
        assert numbers == list(range(1, 200001))


def test_a_shell_that_has_ended_is_shown_to_whoever_names_it_and_not_replaced(build):
    stack = build()
    first = Terminal(stack.url(), token=TOKEN)
    first.open()
    first.send(b"(sleep 0.5; echo last-$((1 + 1)); kill -9 $$) & echo be''gun\n")
    first.expect(b"begun")
    session, epoch = first.session, first.attached.epoch
    first.close()
    until(lambda: not entry(stack, session)["live"], "its end")
    for watch in (False, True):
        late = Terminal(stack.url(), token=TOKEN, session=session, watch=watch)
        attached = late.open()
        assert (attached.session, attached.epoch, attached.status) == (session, epoch, "resumed")
        late.expect(b"last-2")
        until(lambda late=late: late.pump(0.05) or late.exit_status is not None, "its status")
        assert late.exit_status == -9
        late.close()
    # Whoever had it finds it as it was.
    back = Raw(stack.url(), "back")
    back.attach(session=session, resume={"output": 0, "epoch": epoch})
    assert back.want("exit")["status"] == -9
    back.close()


LEGACY = "3f2b8c1e-1111-4222-8333-444455556666"
CHOSEN = "session_1754931600123_abcdefghi"


@pytest.mark.parametrize("name", [LEGACY, CHOSEN])
def test_nobody_with_a_ticket_takes_the_name_of_a_session_that_is_another_s(build, name):
    """Else who comes back with it by the token would be in their shell, and another user refused for good."""
    stack = build()

    def opened(user: str | None) -> Terminal:
        credential = {"ticket": tickets.issue(TOKEN.encode(), Ticket(user))} if user else {"token": TOKEN}
        terminal = Terminal(stack.url(), session=name, **credential)
        terminal.open()
        return terminal

    eve, root, ada = opened("eve"), opened(None), opened("ada")
    assert len({eve.session, root.session, ada.session}) == 3
    assert [entry(stack, shell.session)["user"] for shell in (eve, root, ada)] == ["eve", "", "ada"]
    again = opened("eve")
    # A name of old is each user's own, and leads back; one that was chosen is nobody's.
    assert (again.session == eve.session) == (name == LEGACY)
    for shell in (eve, root, ada, again):
        shell.close()


def test_a_ticket_for_one_session_begins_it_under_its_name(build):
    stack = build()
    ticket = tickets.issue(TOKEN.encode(), Ticket("ada", CHOSEN))
    with Terminal(stack.url(), ticket=ticket) as terminal:
        assert terminal.session == CHOSEN


def test_a_session_is_warned_and_ended_at_its_maximum_age(build):
    stack = build(max_age_seconds=3.0)
    terminal = stack.terminal()
    terminal.open()
    terminal.expect(rb"will be ended in \d s, at the maximum age of 3 s")
    terminal.expect(rb"3 s old, the most allowed")
    until(lambda: terminal.pump(0.1) or terminal.exit_status is not None, "exit")


def test_the_limit_of_sessions_is_said_and_room_is_made_by_an_end(build):
    stack = build(max_sessions=1)
    with stack.terminal() as first:
        with pytest.raises(Exception, match="too-many-sessions: 1 sessions are running"):
            stack.terminal().open()
        first.send(b"exit\n")
        until(lambda: not stack.status()["sessions"]["live"], "the end of the first")
    with stack.terminal() as second:
        assert second.connected


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"idle_seconds": -1}, "idle_seconds must be 0 (off) or more"),
        ({"profiles": {"system": {"command": "bash"}}}, "profiles.system.command: a list"),
        ({"profiles": {"system": {"command": ["bash"], "shell": 1}}}, "unknown key 'shell'"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, settings, complaint):
    import json

    from terminals.configfile import ConfigError
    from terminals.manager.config import ManagerConfig

    path = tmp_path / "manager.json"
    base = {"socket": "s", "state_dir": "d", "listeners": {"web": {"host": "h", "port": 1}}, "profiles": {}}
    path.write_text(json.dumps({**base, **settings}))
    with pytest.raises(ConfigError) as caught:
        ManagerConfig.load(path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_rings_keep_within_their_sum_and_ended_ones_make_room(build):
    size = (1 << 16) + 4096
    stack = build(ring_bytes=1 << 16, max_rings_bytes=3 * size)
    terminals = [stack.terminal() for _ in range(3)]
    for terminal in terminals:
        terminal.open()
    with pytest.raises(Exception, match="too-many-sessions: the rings of the running sessions leave less"):
        stack.terminal().open()
    first = terminals[0]
    first.send(b"exit\n")
    until(lambda: first.pump(0.05) or first.exit_status is not None, "exit")
    with stack.terminal() as another:
        assert another.connected
        assert first.session not in {item["id"] for item in stack.admin("sessions")["items"]}
        assert not (stack.root / "state" / "sessions" / f"{first.session}.ring").exists()


def test_a_profile_has_rings_of_its_own_size(build):
    stack = build(profiles={"system": {"command": BASH, "ring_bytes": 1 << 17}})
    with stack.terminal() as terminal:
        path = stack.root / "state" / "sessions" / f"{terminal.session}.ring"
        assert path.stat().st_size == 4096 + (1 << 17)


def mappings(pid: int) -> dict[str, int]:
    """Resident KiB of the files that a process has mapped, by name."""
    resident: dict[str, int] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = Path(line.partition("/")[2]).name
        elif line.startswith("Rss:"):
            resident[name] = resident.get(name, 0) + int(line.split()[1])
    return resident


def test_an_idle_session_keeps_two_pages_of_its_ring_in_each_process(build):
    stack = build()
    terminals = [stack.terminal() for _ in range(5)]
    for terminal in terminals:
        terminal.open()
        terminal.expect(rb"\$ |# ")
    for name in ("manager", "worker-g1"):
        resident = mappings(stack.processes[name].pid)
        for terminal in terminals:
            assert 0 < resident[f"{terminal.session}.ring"] <= 10


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_descriptors_of_attached_detached_and_ended_sessions(build):
    """Terminal and doorbell; a worker has the connection and the doorbell, the holder the terminal again."""
    stack = build()
    first = stack.terminal()
    first.open()  # whatever the first one brings about
    processes = [stack.processes[name].pid for name in ("manager", "worker-g1", "holder")]
    before = [descriptors(pid) for pid in processes]

    def more() -> list[int]:
        """By session, whatever else came or went; the keeper of screens may have been started."""
        return [round((descriptors(pid) - had) / 20) for pid, had in zip(processes, before, strict=True)]

    terminals = [stack.terminal() for _ in range(20)]
    for terminal in terminals:
        terminal.open()
    until(lambda: more() == [2, 2, 1], f"few descriptors of attached sessions, not {more()}", 5)
    for terminal in terminals:
        terminal.cut()
    until(lambda: more() == [1, 0, 1], f"few descriptors of detached sessions, not {more()}", 5)
    for terminal in terminals:
        stack.admin("kill", session=terminal.session)
    until(lambda: stack.status()["sessions"]["live"] == 1, "their end")
    until(lambda: more() == [0, 0, 0], f"no descriptors of ended sessions, not {more()}", 5)


def end(stack: Stack, terminal: Terminal) -> Terminal:
    """Have its shell end; its client stays attached."""
    terminal.open()
    terminal.send(b"exit\n")
    until(lambda: terminal.pump(0.05) or terminal.exit_status is not None, "exit")
    return terminal


def ticket(user: str) -> str:
    return tickets.issue(TOKEN.encode(), Ticket(user))


RING = (1 << 16) + 4096


@pytest.mark.parametrize(
    "limit",
    [{"max_ended_sessions": 3}, {"max_ended_bytes": 3 * RING + 1}, {"max_ended_sessions_per_user": 3}],
)
def test_ended_sessions_are_bounded(build, limit):
    stack = build(ring_bytes=1 << 16, **limit)
    url, folder = stack.url(), stack.root / "state" / "sessions"
    bystander = end(stack, stack.terminal()).session
    ended = [end(stack, Terminal(url, ticket=ticket("eve"))).session for _ in range(8)]
    kept = [item["id"] for item in stack.admin("sessions")["items"]]
    assert kept == ([bystander] if "per_user" in min(limit) else []) + ended[-3:]
    assert {path.stem for path in folder.glob("session_*.ring")} == set(kept)
    assert {path.stem for path in folder.glob("session_*.json")} == set(kept)
    # Whoever is kept may come back to see the end; the others are told that there is nothing any more.
    with Terminal(url, ticket=ticket("eve")) as live:
        assert live.connected


def test_all_that_a_dead_holder_leaves_is_there_for_its_people(build):
    stack = build(max_ended_sessions=1, ring_bytes=1 << 16)
    terminals = [stack.terminal() for _ in range(4)]
    for terminal in terminals:
        terminal.open()
    described = [stack.root / "state" / "sessions" / f"{terminal.session}.json" for terminal in terminals]
    until(lambda: all(path.exists() for path in described), "descriptions of all sessions")
    stack.lose_all_shells()
    for terminal in terminals:
        terminal.url = stack.url()
        until(lambda t=terminal: t.pump(0.05) or t.exit_status is not None, "the news of its end")
        assert terminal.exit_status == -1
        assert b"holder of shells was restarted" in terminal.read()


@pytest.fixture
def small_disk(tmp_path):
    """Six rings in which little has been printed and some files fit on it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500k", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root can make a small disk")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_ended_sessions_make_room_on_a_full_disk(build, small_disk):
    stack = build(state_dir=str(small_disk / "state"), ring_bytes=1 << 18)
    for _ in range(8):
        end(stack, stack.terminal()).close()
    with stack.terminal() as newcomer:
        newcomer.send(b"echo [$((6 * 7))]\n")
        newcomer.expect(rb"\[42\]")
    assert "to make room" in stack.log("manager")


@pytest.mark.parametrize("wrong", [{"cols": 70_000}, {"rows": "x"}, {"since": None}, {"cols": 0}])
def test_an_attach_that_fails_leaves_nothing_behind(stack, wrong):
    """As by a worker that is mistaken: nobody is put out for it, and no shell is started."""
    with stack.terminal() as working, contextlib.closing(connect_control(stack.socket)) as control:
        control.settimeout(10)
        hello = {"type": "hello", "version": CONTROL_VERSION, "role": "worker", "generation": "g0", "pid": 1}
        say(control, {**hello, "build": "b", "req": 1})
        request = {
            "type": "attach", "profile": "system", "client": "mistaken", "user": "", "only": None,
            "address": "x", "cols": 80, "rows": 24, "resume": None, "routable": False, "since": 0.0,
        }  # fmt: skip
        for number, session in enumerate([working.session, None], 2):
            say(control, {**request, **wrong, "session": session, "req": number})
            replies = iter(lambda: hear(control), None)
            assert "error" in next(reply for reply in replies if reply.get("req") == number)
        working.send(b"echo [$((6 * 7))]\n")
        working.expect(rb"\[42\]")
        assert working.stats.losses == 0
        assert [item["id"] for item in stack.admin("sessions")["items"]] == [working.session]
        rings = (stack.root / "state" / "sessions").glob("session_*.ring")
        assert [ring.stem for ring in rings] == [working.session]


def slow_start(tmp_path: Path) -> dict:
    """A shell whose start-up file takes its time."""
    startup = tmp_path / "startup"
    startup.write_text("sleep 1; PS1='ready> '; echo started\n")
    return {
        "command": ["env", "TERM=dumb", "bash", "--noprofile", "--rcfile", str(startup), "-i"],
        "ready": 2,
    }


def test_a_session_that_is_kept_ready_is_at_its_prompt_at_once(build, tmp_path):
    stack = build(profiles={"system": slow_start(tmp_path)})
    until(lambda: stack.status()["shells"]["ready"] == 2, "two in stock")
    sessions = stack.root / "state" / "sessions"
    until(lambda: all(b"ready> " in path.read_bytes() for path in sessions.glob("session_*.ring")), "prompts")
    assert stack.admin("sessions")["items"] == []
    with stack.terminal(cols=99, rows=33) as terminal:
        assert terminal.attached.status == "created"
        terminal.expect(rb"ready> ", timeout=0.9)  # its start-up file alone takes longer
        terminal.send(b"stty size; echo [$TERMINAL_SESSION]\n")
        shown = terminal.expect(rb"\n\[session_[^\]]*\]")
        assert b"33 99" in shown
        assert f"[{terminal.session}]".encode() in shown
        assert entry(stack, terminal.session)["user"] == ""
    until(lambda: stack.status()["shells"]["ready"] == 2, "the stock filled again")


def test_who_names_a_session_gets_no_other(build, tmp_path):
    stack = build(profiles={"system": {"command": BASH, "ready": 1}})
    until(lambda: stack.status()["shells"]["ready"] == 1, "one in stock")
    wanted = "session_1754931600123_abcdefghi"
    with stack.terminal(session=wanted) as terminal:
        assert terminal.session == wanted
        assert stack.status()["shells"]["ready"] == 1


def test_a_shell_that_ends_in_stock_is_replaced_and_leaves_nothing(build):
    stack = build(profiles={"system": {"command": BASH, "ready": 1}})
    until(lambda: stack.status()["shells"]["ready"] == 1, "one in stock")
    folder = stack.root / "state" / "sessions"
    (ring,) = folder.glob("session_*.ring")
    holder = stack.status()["holder"]["pid"]
    children = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
    (shell,) = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "bash\n"]
    os.kill(int(shell), signal.SIGKILL)
    until(lambda: not ring.exists(), "its ring removed")
    until(lambda: stack.status()["shells"]["ready"] == 1, "another one")
    with stack.terminal() as terminal:
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")


def test_ready_sessions_of_a_profile_that_is_gone_leave_nothing(build):
    stack = build(profiles={"system": {"command": BASH}, "claude": {"command": BASH, "ready": 1}})
    until(lambda: stack.status()["shells"]["ready"] == 1, "one in stock")
    folder = stack.root / "state" / "sessions"
    (ring,) = folder.glob("session_*.ring")
    holder = stack.status()["holder"]["pid"]
    children = Path(f"/proc/{holder}/task/{holder}/children")
    until(lambda: children.read_text(), "its shell")
    for settings in (stack.settings["profiles"], stack.settings["listeners"]):
        del settings["claude"]
    assert stack.replace_manager() == 0
    assert stack.status()["shells"]["ready"] == 0
    until(lambda: not children.read_text(), "its end")
    assert not ring.exists()


def test_ready_sessions_outlive_the_manager(build):
    stack = build(profiles={"system": {"command": BASH, "ready": 2}})
    until(lambda: stack.status()["shells"]["ready"] == 2, "two in stock")
    rings = set((stack.root / "state" / "sessions").glob("session_*.ring"))
    stack.kill("manager")
    stack.start_manager()
    assert stack.status()["shells"]["ready"] == 2
    assert set((stack.root / "state" / "sessions").glob("session_*.ring")) == rings
    with stack.terminal() as terminal:
        assert terminal.session in {ring.stem for ring in rings}
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")

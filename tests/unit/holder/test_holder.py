"""The holder, with real shells on real terminals, and managers that are processes."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.holder import PROGRAM, RelayedManager, RunningHolder, Screen, plan
from tests.support.stack import PATIENCE, runs, until


@pytest.fixture
def holder():
    with RunningHolder() as running:
        yield running


def test_a_shell_has_a_terminal_and_nothing_of_the_services(holder):
    screen = holder.manager().spawn("s", cols=91, rows=17)
    assert screen.run("stty size") == "17 91"
    assert screen.run("tty").startswith("/dev/pts/")
    assert "rror" not in screen.run("true < /dev/tty; echo")
    assert screen.run("umask; ulimit -Sn; pwd") == "0022\n1024\n/tmp"
    masks = dict(
        line.split() for line in screen.run("grep -E 'SigBlk|SigIgn' /proc/self/status").splitlines()
    )
    assert int(masks["SigBlk:"], 16) == 0
    assert int(masks["SigIgn:"], 16) & ~(1 << 31 | 1 << 32) == 0  # but for the C library's own two
    assert screen.run("ls /proc/self/fd | tr '\\n' ' '").split() == [
        "0",
        "1",
        "2",
        "3",
    ]  # 3: the folder that ls reads
    assert screen.run("cat /proc/self/oom_score_adj") == "500"
    assert screen.run("yes | head -n 1") == "y"
    assert screen.run("ps -o sid=,tpgid= -p $$").split()[0] == str(screen.pid)
    assert (
        Path(f"/proc/{holder.process.pid}/oom_score_adj").read_text().strip()
        == Path("/proc/self/oom_score_adj").read_text().strip()
    )


def test_an_end_is_told_with_its_status(holder):
    manager = holder.manager()
    manager.spawn("s").type(b"exit 7\n")
    assert manager.told("exited") == {"type": "exited", "key": "s", "status": 7}
    manager.spawn("t")
    manager.send({"type": "signal", "key": "t", "number": signal.SIGKILL})
    assert manager.told("exited")["status"] == -signal.SIGKILL


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-program", b"No such file"),
        ("/etc/passwd", b"Permission denied"),
        ("./none", b"No such file"),
    ],
)
def test_a_program_that_cannot_be_run_says_so_in_its_terminal(holder, command, reason):
    manager = holder.manager()
    reply = manager.request("spawn", key="s", plan=plan(command), cols=80, rows=24)
    assert (reply["pid"], reply["status"]) == (0, 127)
    text = Screen(manager.fds["s"], 0).expect(b"Install it.\r\n")
    assert command.encode() in text
    assert reason in text


def test_a_missing_folder_is_said_and_the_shell_runs(holder):
    screen = holder.manager().spawn("s", cwd="/no/such/folder")
    screen.expect(b"/no/such/folder: No such file or directory; starting in /")
    assert screen.run("pwd") == "/"


@pytest.mark.skipif(os.getuid() != 0, reason="only root may start another account's shells")
def test_another_accounts_shell_is_its_own(holder):
    manager = holder.manager()
    screen = manager.spawn("s", uid=65534, gid=65534, groups=[65534], cwd="/root")
    screen.expect(b"/root: Permission denied; starting in /")
    assert screen.run("id -u; id -G; pwd; stat -c %u $(tty)") == "65534\n65534\n/\n65534"
    assert "rror" not in screen.run("true < /dev/tty; echo")
    assert screen.run("ulimit -Sn; umask; cat /proc/self/oom_score_adj").endswith("1024\n0022\n500")
    screen.type(b"exit 3\n")
    assert manager.told("exited")["status"] == 3


def test_shells_outlive_a_killed_manager_and_the_next_one_goes_on(holder):
    first = holder.manager()
    screen = first.spawn("s")
    assert screen.run("here=kept; echo $here") == "kept"
    first.send({"type": "put", "key": "s", "fields": {"title": "mine", "gone": 1}})
    first.send({"type": "put", "key": "s", "fields": {"gone": None}})
    memory = os.memfd_create("note")
    os.write(memory, b"a note")
    first.send({"type": "put", "key": "note", "fields": {}}, [memory])
    first.request("status")
    first.kill()
    screen.type(b"echo while nobody is $here\n")

    second = holder.manager()
    assert second.about["number"] == first.about["number"] + 1
    assert second.items["s"]["fields"] == {"title": "mine"}
    again = second.screen("s")
    assert again.pid == screen.pid
    again.expect(b"\r\nwhile nobody is kept\r\n")
    assert os.pread(second.fds["note"], 10, 0) == b"a note"
    again.type(b"exit 5\n")
    assert second.told("exited")["status"] == 5
    second.kill()

    third = holder.manager()
    assert third.items["s"]["status"] == 5
    third.send({"type": "drop", "key": "s"})
    third.request("status")
    third.kill()
    assert set(holder.manager().items) == {"note"}


def one_and_the_next(
    holder: RunningHolder, *, patience: float = PATIENCE
) -> tuple[RelayedManager, Screen, RelayedManager]:
    """A manager with a shell that has been told to leave, the shell, and who waits for its place."""
    first = holder.manager()
    screen = first.spawn("s")
    second = holder.manager(hello=False)
    second.ask_for_the_place(patience)
    assert first.told("leave")
    return first, screen, second


def test_one_that_leaves_is_followed_at_once(holder):
    first, _, second = one_and_the_next(holder)
    assert second.request("put", key="s")["error"]  # it is not the one yet
    first.kill()
    second.greeted()
    assert list(second.items) == ["s"]


def test_one_that_hangs_is_killed_before_anything_is_handed_over(holder):
    first = holder.manager()
    first.spawn("s")
    first.kill(signal.SIGSTOP)
    second = holder.manager(patience=0.1)
    assert first.ended
    assert "killed" in holder.log
    assert second.screen("s").run("echo on") == "on"


def test_a_manager_that_gives_up_waiting_leaves_the_other_alone(holder):
    first, screen, second = one_and_the_next(holder, patience=0.5)
    second.kill()
    until(lambda: first.request("status")["manager"] == first.pid, "the first one being asked")
    assert screen.run("echo on") == "on"
    assert not first.ended


def test_what_was_asked_for_last_is_done_before_another_takes_over(holder):
    """The manager's end comes with all that it has sent just before, however late the holder is."""
    first, _, second = one_and_the_next(holder)
    with holder.stopped():
        for number in range(20):
            first.send({"type": "put", "key": "s", "fields": {f"field {number}": number}})
        first.leave()
    second.greeted()
    assert second.items["s"]["fields"] == {f"field {number}": number for number in range(20)}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the new one first", "the old one first"])
def test_both_managers_may_end_at_the_same_moment(holder, order):
    first, screen, second = one_and_the_next(holder)
    with holder.stopped():
        for which in order:
            (second, first)[which].kill()
    assert holder.manager().items["s"]["pid"] == screen.pid
    assert screen.run("echo on") == "on"
    assert "fault" not in holder.log


@pytest.mark.parametrize("patience", [None, "x", "NaN", -1, "Infinity", [1]])
def test_patience_that_makes_no_sense_costs_nobody_anything(holder, patience):
    first = holder.manager()
    screen = first.spawn("s")
    stranger = holder.manager(hello=False)
    assert stranger.request("hello", versions=[1], patience=patience)["error"]
    stranger.kill()
    assert first.request("status")["manager"] == first.pid
    assert screen.run("echo on") == "on"
    assert "fault" not in holder.log
    second = holder.manager(patience=0.1)
    assert second.screen("s").run("echo on") == "on"


def test_nobody_but_the_manager_may_touch_anything(holder):
    first = holder.manager()
    screen = first.spawn("s")
    stranger = holder.manager(hello=False)
    for request in ("put", "drop", "listen", "spawn", "signal", "exec"):
        assert "only the session manager" in stranger.request(request, key="s", number=9)["error"]
    assert stranger.request("status")["kept"] == 1
    assert screen.run("echo on") == "on"


@pytest.mark.parametrize(
    "packet",
    [
        b"nonsense",
        b"[]",
        b"7",
        b"{}",
        b'{"type": "spawn"}',
        b'{"type": "_hello"}',
        b'{"type": 1}',
        b"\xff" * 100,
        b'{"type": "put", "key": [], "fields": {}}',
        b'{"type": "put", "fields": []}',
        b'{"type": "hello", "versions": [2], "patience": 1}',
        b'{"type": "hello", "versions": [1]}',
        b'{"type": "signal", "key": "s", "number": "x"}',
        b"x" * ((1 << 17) + 1),
    ],
    ids=lambda packet: repr(packet[:50]),
)
def test_a_packet_that_makes_no_sense_is_answered_and_costs_nothing(holder, packet):
    manager = holder.manager()
    screen = manager.spawn("s")
    manager.send(packet)
    assert manager.told("reply")["error"]
    assert screen.run("echo on") == "on"
    assert manager.request("status")["manager"] == manager.pid


def test_what_is_kept_of_one_thing_may_be_large(holder):
    first = holder.manager()
    many = {f"client {number}": [number, "x" * 50] for number in range(4000)}
    for part in range(0, 4000, 500):
        first.send({"type": "put", "key": "s", "fields": dict(list(many.items())[part : part + 500])})
    first.request("status")
    first.kill()
    assert holder.manager().items["s"]["fields"] == many


def test_a_listening_socket_stays_while_its_address_does(holder):
    first = holder.manager()
    first.request("listen", key="listener/web", host="127.0.0.1", port=0)
    address = socket.socket(fileno=os.dup(first.fds["listener/web"])).getsockname()
    first.kill()
    waiting = socket.create_connection(address)

    second = holder.manager()
    second.request("listen", key="listener/web", host="127.0.0.1", port=0)
    listener = socket.socket(fileno=os.dup(second.fds["listener/web"]))
    assert listener.getsockname() == address
    assert listener.accept()[1] == waiting.getsockname()
    assert "in use" in second.request("listen", key="other", host="127.0.0.1", port=address[1])["error"]
    assert second.request("listen", key="other", host="192.0.2.1", port=0)["error"]
    second.request("listen", key="listener/web", host="127.0.0.2", port=0)
    assert socket.socket(fileno=os.dup(second.fds["listener/web"])).getsockname()[0] == "127.0.0.2"


def test_another_version_goes_on_in_its_place(holder):
    manager = holder.manager()
    screens = [manager.spawn(f"s{number}") for number in range(3)]
    manager.request("listen", key="web", host="127.0.0.1", port=0)
    manager.send({"type": "put", "key": "s1", "fields": {"title": "mine"}})
    for _ in range(2):
        reply = manager.request("exec", argv=PROGRAM, build="build-2")
        assert reply["build"] == "build-2", reply
        assert reply["pid"] == holder.process.pid
        assert [screen.run("echo on") for screen in screens] == ["on"] * 3
    screens[0].type(b"exit 4\n")
    assert manager.told("exited")["status"] == 4
    assert manager.spawn("new").run("ls /proc/self/fd | wc -l") == "4"
    manager.kill()
    second = holder.manager()
    assert second.items["s1"]["fields"] == {"title": "mine"}
    assert second.screen("s2").run("echo on") == "on"
    fds = len(list(Path(f"/proc/{holder.process.pid}/fd").iterdir()))
    assert second.request("exec", argv=PROGRAM, build="build-3")["build"] == "build-3"
    assert len(list(Path(f"/proc/{holder.process.pid}/fd").iterdir())) == fds


@pytest.mark.parametrize(
    "argv",
    [["/no/such/program"], ["/bin/false"], [sys.executable, "-c", "import sys; sys.exit('cannot')"], []],
)
def test_a_version_that_cannot_go_on_is_not_given_the_place(holder, argv):
    manager = holder.manager()
    screen = manager.spawn("s")
    assert manager.request("exec", argv=argv, build="bad")["error"]
    assert manager.request("status")["build"] == "build-1"
    assert screen.run("echo on") == "on"


def test_without_descriptors_one_shell_is_refused_and_the_others_go_on(holder):
    manager = holder.manager()
    screen = manager.spawn("s")
    used = len(list(Path(f"/proc/{holder.process.pid}/fd").iterdir()))
    resource.prlimit(holder.process.pid, resource.RLIMIT_NOFILE, (used + 1, 4096))
    reply = manager.request("spawn", key="t", plan=plan(), cols=80, rows=24)
    assert "Too many open files" in reply["error"]
    assert screen.run("echo on") == "on"
    resource.prlimit(holder.process.pid, resource.RLIMIT_NOFILE, (1024, 4096))
    assert manager.spawn("t").run("echo on") == "on"


def test_told_to_end_it_hangs_up_every_shell(holder):
    manager = holder.manager()
    stubborn = manager.spawn("s", "sh", "-c", "trap '' HUP; echo ready; sleep 1000")
    stubborn.expect(b"ready")
    polite = manager.spawn("t")
    holder.process.terminate()
    assert holder.process.wait(60) == 0
    assert not runs(stubborn.pid)
    assert not runs(polite.pid)


def test_a_second_one_stands_in_for_the_first(holder):
    """As a supervisor starts it that was killed: the first has outlived that."""
    manager = holder.manager()
    screen = manager.spawn("s")
    second = holder.start()
    until(lambda: "standing in for it" in holder.log, "its standing in")
    assert screen.run("echo on") == "on"
    assert second.poll() is None
    second.terminate()
    assert holder.process.wait(60) == 0
    assert second.wait(60) == 0
    assert not runs(screen.pid)


def test_it_ends_with_the_one_it_stands_in_for(holder):
    second = holder.start()
    until(lambda: "standing in for it" in holder.log, "its standing in")
    holder.process.kill()
    assert second.wait(60) == 0
    holder.process = holder.start()  # as the supervisor does then
    until(holder.answers, "the next one")
    assert holder.manager().spawn("s").run("echo on") == "on"

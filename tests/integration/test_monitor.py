"""A real monitor of a real stack: what it sees, what it leaves, and what it does not know."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.monitor.check import Check
from terminals.monitor.clock import Clock, Reading
from terminals.monitor.config import Door, MonitorConfig
from terminals.monitor.read import Silent, alive, read_log
from terminals.monitor.records import NOT_MADE
from terminals.monitor.service import Monitor

from tests.support.monitor import Monitored, lines, validate
from tests.support.ports import free_ports
from tests.support.stack import TERMINALS, TOKEN, until

DAY = 86400.0
LIBFAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.fixture
def monitored(calm_stack) -> Iterator[Monitored]:
    found = Monitored(calm_stack)
    yield found
    found.close()


class MovedClock(Clock):
    """The machine's clocks, moved by hand: by suspension, and by somebody who sets the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0
        self.stood = 0.0
        self.wall = 0.0

    def read(self) -> Reading:
        now = super().read()
        both = self.slept + self.stood
        return Reading(now.wall + both + self.wall, now.boottime + both, now.monotonic + self.stood, now.boot)


@contextlib.contextmanager
def running(config: MonitorConfig, clock: Clock) -> Iterator[Monitor]:
    """A monitor in a thread, so that its clock can be moved."""
    monitor = Monitor(config, clock=clock)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        yield monitor
    finally:
        monitor.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_checks_succeed_and_say_what_they_saw(monitored):
    monitored.start()
    until(lambda: len(monitored.checks(ok=True)) >= 4, "two rounds")
    assert monitored.end() == 0
    records = validate(monitored.directory)
    assert [record["seq"] for record in records] == list(range(1, len(records) + 1))
    assert len({record["run"] for record in records}) == 1
    system, claude = monitored.checks(profile="system")[0], monitored.checks(profile="claude")[0]
    for check in (system, claude):
        assert check["ok"] and check["acknowledged"] and check["resumed"], check
        assert check["error"] == ""
        assert (check["generation"], check["build"]) == ("g1", "build-g1")
        assert check["connect_ms"] > 0 < check["reconnect_ms"]
    assert system["command_ms"] > 0
    assert claude["command_ms"] is None, "the program is missing: nothing is there to compute"
    services = [record for record in records if record["kind"] == "services"]
    now = monitored.stack.generation("g1")["memory_bytes"]
    assert 0.5 * now < services[-1]["memory_bytes"] < 2 * now
    assert services[-1]["generations"][0]["attaches"] >= 4
    assert monitored.left() == []
    assert not list(monitored.directory.glob(".*")), "no half-made files"


def test_check_by_its_usual_settings_is_no_short_lived_connection(stack):
    """A cut right after the attach would be counted against the generation that is watched."""
    check = Check(Door("system", stack.url(), True), TOKEN, mark="monitor00000000", timeout=10, settle=2.1)
    check.run()
    assert check.outcome["ok"], check.outcome
    assert stack.generation("g1")["short_lived"] == 0
    assert stack.generation("g1")["attaches"] == 2


def test_check_leaves_nothing_in_the_shells_history(calm_stack, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "HISTFILE": str(home / "history"), "TERM": "dumb"}
    calm_stack.kill("manager", signal.SIGTERM)
    calm_stack.kill("worker-g1")
    calm_stack.settings["profiles"]["system"] = {"command": ["bash", "--norc", "-i"], "env": environment}
    calm_stack.start_manager()
    calm_stack.start_generation("g1", weight=100)
    door = Door("system", calm_stack.url(), True)
    check = Check(door, TOKEN, mark="monitor00000000", timeout=10, settle=0)
    check.run()
    assert check.outcome["ok"], check.outcome
    # Its shell has written what it has to write before a person's reads it.
    until(lambda: not any(one["live"] for one in calm_stack.admin("sessions")["items"]), "its end")
    with calm_stack.terminal() as terminal:
        terminal.send(b"echo person-$((1+1))\n")
        terminal.expect(rb"person-2")
        # By itself: one that is hung up has two seconds, in which a busy machine may not come to it.
        terminal.send(b"exit\n")
        until(lambda: terminal.pump(0.05) or terminal.exit_status is not None, "the shell's end")
    assert (home / "history").exists(), "there is no history that anything could be in"
    assert "kept_" not in (home / "history").read_text()


def test_nothing_is_checked_before_anybody_is_to_be_served(calm_stack):
    calm_stack.start("worker", "g2")
    fresh = Monitored(calm_stack)
    try:
        for name in ("holder", "manager"):
            calm_stack.kill(name)
        shutil.rmtree(calm_stack.root / "state")
        calm_stack.start_holder()
        calm_stack.start_manager()
        calm_stack.start_generation("g7")
        fresh.settings["profiles"] = {"system": {"url": calm_stack.url()}}
        fresh.start()
        until(lambda: any(r["kind"] == "services" for r in lines(fresh.directory)), "a round")
        assert fresh.checks() == []
        calm_stack.admin("weights", weights={"g7": 100})
        until(lambda: fresh.checks(ok=True, generation="g7"), "a check")
        assert fresh.checks(ok=False) == []
    finally:
        fresh.close()


def test_terminal_that_is_down_is_one_critical_alert_until_it_is_back(monitored):
    """Only the system listener: the profile is told to be at a port where nobody listens."""
    (nobody,) = free_ports(1)
    good = monitored.settings["profiles"]
    down = {**good, "system": {"url": f"ws://127.0.0.1:{nobody}/"}}
    monitored.start(profiles=down, timeout=0.5)
    until(lambda: monitored.alerts()["active"], "the alert")
    until(lambda: len(monitored.checks(ok=False, profile="system")) >= 4, "more rounds of it")
    alerts = monitored.alerts()
    assert [(one["rule"], one["severity"], one["profile"]) for one in alerts["active"]] == [
        ("system-terminal-down", "critical", "system")
    ]
    assert "cannot connect" in alerts["active"][0]["text"]
    # On a loaded machine it may be late, within half a second; it is not down.
    assert not [
        one for one in monitored.checks(ok=False, profile="claude") if "cannot connect" in one["error"]
    ]
    assert monitored.end() == 0
    monitored.start()
    until(lambda: monitored.alerts()["history"], "the alert's end")
    monitored.end()
    validate(monitored.directory)
    alerts = monitored.alerts()
    assert (alerts["active"], len(alerts["history"])) == ([], 1), "one, over both runs"
    assert alerts["history"][0]["until"] > alerts["history"][0]["since"]


def test_no_worker_is_down_and_a_new_one_is_up(monitored):
    monitored.start(timeout=1)
    until(lambda: monitored.checks(ok=True), "a good check")
    monitored.stack.kill("worker-g1")
    until(lambda: monitored.alerts()["active"], "the alert", 60)
    monitored.stack.start("worker", "g1")
    until(lambda: monitored.alerts()["history"] and not monitored.alerts()["active"], "its end", 60)
    monitored.end()
    validate(monitored.directory)
    until(lambda: monitored.left() == [], "what failed checks had left is ended")


def test_manager_that_is_gone_is_said_in_the_figures(monitored):
    monitored.start(timeout=1)
    until(lambda: monitored.checks(ok=True), "a good check")
    monitored.stack.kill("manager")
    silent = until(
        lambda: [r for r in lines(monitored.directory) if r["kind"] == "services" and r["error"]], "silence"
    )
    assert silent[0]["generations"] is None
    assert "manager.sock" in silent[0]["error"]
    until(lambda: monitored.checks(ok=False), "a failed check")
    monitored.end()
    validate(monitored.directory)


@pytest.mark.parametrize("kills", [4, pytest.param(12, marks=pytest.mark.slow("a dozen kills and starts"))])
def test_killed_at_any_moment_leaves_good_files_and_a_gap(monitored, kills):
    """SIGKILL, again and again: every file is whole, every start says for how long nobody looked."""
    moments = random.Random(7)
    for number in range(kills):
        before = len(lines(monitored.directory)) if monitored.directory.exists() else 0
        monitored.start(every=0.2)
        until(lambda: len(lines(monitored.directory)) > before + 1, "it writes")  # noqa: B023
        # Not a wait for anything: the moment of the kill is to be anywhere in a round.
        time.sleep(moments.uniform(0, 0.4))
        monitored.end(signal.SIGKILL)
        validate(monitored.directory)
        assert len({gap["run"] for gap in monitored.gaps(reason="restarted")}) >= number
    with next(monitored.directory.glob("*.jsonl")).open("ab") as file:
        file.write(b'{"version":1,"kind":"check","run":"0000')  # half a line, as a kill can leave
    monitored.start()
    until(lambda: len(monitored_lines_after(monitored)) >= 2, "one more round")
    monitored.end()
    log = read_log(monitored.directory, DAY)
    assert log["damaged"] == 1
    runs = list(dict.fromkeys(record["run"] for record in log["records"]))
    assert len(runs) == kills + 1
    for run in runs[1:]:
        first = next(record for record in log["records"] if record["run"] == run)
        assert (first["kind"], first["reason"]) == ("gap", "restarted")
        assert 0 < first["seconds"] < 600
    until(lambda: monitored.left() == [], "no session of any of them is left")


def monitored_lines_after(monitored: Monitored) -> list[bytes]:
    """Lines after the damaged one."""
    data = next(monitored.directory.glob("*.jsonl")).read_bytes()
    return data.partition(b'"run":"0000\n')[2].split(b"\n")[:-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_in_the_middle_of_a_check_it_stops_at_once(monitored, number):
    """Here a check takes 60 s at least, because nothing is cut before that."""
    monitored.start(settle=60, timeout=30)
    until(monitored.left, "a check under way")
    started = time.monotonic()
    assert monitored.end(number) == 0
    assert time.monotonic() - started < 10, "a sixth of what was left of the check"
    until(lambda: monitored.left() == [], "the checks' sessions ended")
    assert "Traceback" not in monitored.log()


def test_hanging_service_does_not_keep_it_from_stopping(monitored):
    """The manager is stopped, not gone: connections are taken and nothing answers."""
    monitored.start(timeout=60)
    until(lambda: monitored.checks(ok=True), "a good check")
    os.kill(monitored.stack.processes["manager"].pid, signal.SIGSTOP)
    try:
        assert monitored.end() == 0
    finally:
        os.kill(monitored.stack.processes["manager"].pid, signal.SIGCONT)
    assert "Traceback" not in monitored.log()


@pytest.mark.slow("stops a monitor for longer than it may be silent")
def test_stopped_and_continued_is_a_gap_and_no_failure(monitored):
    """A real suspension of the process: checks that it broke off say nothing of the service."""
    monitored.start(settle=2, timeout=1)
    until(lambda: monitored.checks(ok=True), "a good check")
    known = monitored.left()
    until(lambda: set(monitored.left()) - set(known), "a check that has just begun")
    monitored.send(signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: time.monotonic() - stopped > 4, "longer than a check may take")
    monitored.send(signal.SIGCONT)
    gap = until(lambda: monitored.gaps(), "the gap")[0]
    assert gap["reason"] == "late"
    assert 3 < gap["seconds"] < 60
    until(lambda: monitored.checks(ok=True)[-1]["boottime"] > gap["boottime"], "it goes on")
    monitored.end()
    assert monitored.checks(ok=False) == []
    records = validate(monitored.directory)
    begin, end = gap["boottime"] - gap["seconds"] - 1, gap["boottime"]
    rounds = [r["boottime"] for r in records if r["kind"] == "services" and begin < r["boottime"] < end]
    assert rounds, "the round that was broken off"
    assert rounds[-1] not in [check["boottime"] for check in monitored.checks()]


@pytest.mark.parametrize(("moved", "reason"), [("slept", "suspended"), ("stood", "late")])
def test_blind_for_ten_minutes_is_ten_minutes_of_gap(monitored, moved, reason):
    clock = MovedClock()
    with running(MonitorConfig.load(monitored.config()), clock):
        until(lambda: monitored.checks(), "a check")
        setattr(clock, moved, 600.0)
        gap = until(lambda: monitored.gaps(), "the gap")[0]
        until(lambda: monitored.checks()[-1]["boottime"] >= gap["boottime"], "it goes on")
    assert gap["reason"] == reason
    assert 600 <= gap["seconds"] < 660
    metrics = json.loads((monitored.directory / "deployment-metrics.json").read_text())
    assert metrics["observed_seconds"]["1h"] < 300, "ten minutes passed that nobody saw"
    validate(monitored.directory)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_clock_that_jumps_a_day_is_told_and_no_time_is_invented_or_lost(monitored, jump):
    clock = MovedClock()
    with running(MonitorConfig.load(monitored.config()), clock):
        until(lambda: monitored.checks(), "a check")
        clock.wall = jump
        gap = until(lambda: monitored.gaps(), "the jump")[0]
        until(lambda: len([c for c in monitored.checks() if c["boottime"] >= gap["boottime"]]) > 2, "more")
        now = clock.read()
    assert (gap["reason"], gap["seconds"]) == ("clock", 0)
    assert abs(gap["wall_jump"] - jump) < 5
    metrics = json.loads((monitored.directory / "deployment-metrics.json").read_text())
    assert metrics["observed_seconds"]["24h"] < 300
    assert metrics["profiles"]["system"]["windows"]["5m"]["checks"] == len(
        monitored.checks(profile="system")
    ), "both sides of the jump are minutes ago"
    log = read_log(monitored.directory, 3600, now=now)
    assert len(log["records"]) == len(lines(monitored.directory)), "in two days' files, none is hidden"
    assert [r["seq"] for r in log["records"]] == list(range(1, len(log["records"]) + 1))
    validate(monitored.directory)


@pytest.mark.skipif(not LIBFAKETIME, reason="Debian's faketime is not installed")
def test_wall_clock_that_is_really_set_is_told(monitored, tmp_path):
    """The process's own clock, set by somebody else while it runs; the other two go on. What its checks come
    to is of no interest here: the library that moves the clock breaks sleeping."""
    setting = tmp_path / "faketime"
    setting.write_text("+0")
    monitored.start(
        "env",
        f"LD_PRELOAD={LIBFAKETIME[0]}",
        f"FAKETIME_TIMESTAMP_FILE={setting}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    )
    until(lambda: lines(monitored.directory), "a round")
    setting.write_text("-1d")
    gap = until(lambda: monitored.gaps(), "the jump")[0]
    until(lambda: lines(monitored.directory)[0]["at"] < time.time() - DAY / 2, "a record of yesterday's")
    assert monitored.end() == 0
    assert gap["reason"] == "clock"
    assert abs(gap["wall_jump"] + DAY) < 5
    log = read_log(monitored.directory, 600)
    assert [record["seq"] for record in log["records"]] == list(range(1, len(log["records"]) + 1))
    validate(monitored.directory)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_is_said_and_is_a_gap_afterwards(monitored):
    monitored.directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(monitored.directory)], check=False
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        monitored.start()
        until(lambda: monitored.checks(ok=True), "a good check")
        ballast = monitored.directory / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        until(lambda: "no record is kept until that is over" in monitored.log(), "it says so")
        kept = len(lines(monitored.directory))
        attaches = monitored.stack.generation("g1")["attaches"]
        until(lambda: monitored.stack.generation("g1")["attaches"] > attaches + 7, "it goes on checking")
        assert len(lines(monitored.directory)) <= kept + 3
        ballast.unlink()
        gap = until(lambda: monitored.gaps(reason="disk"), "the gap")[0]
        until(lambda: monitored.checks()[-1]["boottime"] > gap["boottime"], "records again")
        assert monitored.end() == 0
        assert gap["seconds"] > 0.5
        assert monitored.log().count("no record is kept") == 1, "said once"
        validate(monitored.directory)
    finally:
        monitored.close()
        subprocess.run(["umount", str(monitored.directory)], check=True)


@pytest.fixture
def second(monitored) -> Iterator[subprocess.Popen[str]]:
    """Another monitor beside one that is at work."""
    monitored.start()
    until(lambda: monitored.checks(), "a check")
    command = [*TERMINALS, "monitor", "--config", str(monitored.config())]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def test_another_monitor_stands_in_for_the_one_that_is_there(monitored, second):
    """As a supervisor has it that was killed and started again: no word each second, and no gap."""
    assert f"process {monitored.process.pid} writes to" in second.stderr.readline()
    before = len(monitored.checks())
    until(lambda: len(monitored.checks()) > before + 1, "checks of the first")
    runs_ = {check["run"] for check in monitored.checks()}
    assert len(runs_) == 1
    monitored.process.kill()
    monitored.process.wait()
    until(lambda: {check["run"] for check in monitored.checks()} > runs_, "checks of the second")


def test_told_to_end_the_one_that_stands_in_has_the_other_end_too(monitored, second):
    second.stderr.readline()
    second.terminate()
    assert monitored.process.wait(60) == 0
    assert second.wait(60) == 0


def test_ctrl_c_ends_only_what_somebody_has_started_by_hand(monitored, second):
    second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert second.wait(60) != 0
    before = len(monitored.checks())
    until(lambda: len(monitored.checks()) > before, "checks go on")


def test_alive_is_said_by_what_was_written_lately(monitored):
    command = [*TERMINALS, "monitor", "--config", str(monitored.config()), "--alive"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    monitored.start()
    until(lambda: monitored.checks(), "a check")
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout.startswith("written")) == (0, True)
    monitored.end(signal.SIGKILL)
    clock = MovedClock()
    clock.stood = 3600
    with pytest.raises(Silent, match="has not written for 36"):
        alive(monitored.directory, 10, now=clock.read())


def test_records_are_printed_by_their_age(monitored):
    monitored.start()
    until(lambda: len(monitored.checks()) >= 4, "two rounds")
    monitored.end()
    command = [*TERMINALS, "monitor-records", "--directory", str(monitored.directory)]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    records = lines(monitored.directory)
    assert found.pop("judged") >= records[-1]["at"]
    assert found == {"records": records, "alerts": [], "damaged": 0}
    none = json.loads(subprocess.run([*command, "--age", "0"], capture_output=True, check=True).stdout)
    assert none["records"] == []


def test_alerts_that_cannot_be_written_are_known_until_then_only(monitored):
    monitored.start()
    until(lambda: lines(monitored.directory), "a round")
    # Nobody can write it, not even root; the records are appended to as before.
    (monitored.directory / ".deployment-alerts.json.new").mkdir()
    until(lambda: "Is a directory" in monitored.log(), "it says so")
    before = read_log(monitored.directory, DAY)["judged"]
    last = len(lines(monitored.directory))
    until(lambda: len(lines(monitored.directory)) > last + 2, "more rounds")
    log = read_log(monitored.directory, DAY)
    assert log["judged"] == before < log["records"][-1]["at"]


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b""])
def test_whoever_answers_no_http_in_the_place_of_the_web_service_is_told_of(monitored, said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(said)
                        connection.recv(4096)

        threading.Thread(target=answer, daemon=True).start()
        monitored.start(socket=None, web=f"http://127.0.0.1:{server.getsockname()[1]}")
        until(lambda: len(monitored.checks(ok=True)) > 3, "checks go on")
        assert monitored.end() == 0
    told = [record["error"] for record in lines(monitored.directory) if record["kind"] == "services"]
    assert all(told)
    assert "Traceback" not in monitored.log()


def test_without_a_control_socket_the_web_service_is_asked(monitored):
    monitored.stack.start_web("g1")
    monitored.start(socket=None, web=monitored.stack.url("web"))
    found = until(
        lambda: [r for r in lines(monitored.directory) if r["kind"] == "services" and r["generations"]],
        "them",
    )
    assert found[0]["generations"][0]["name"] == "g1"


def test_unreadable_token_is_said_and_nothing_is_tried_with_it(monitored):
    Path(monitored.settings["token_file"]).rename(monitored.stack.root / "elsewhere")
    monitored.start()
    failed = until(lambda: monitored.checks(ok=False), "a failed check")
    assert "No such file" in failed[0]["error"]
    assert failed[0]["generation"] == NOT_MADE, "no build is taken back for that"
    assert monitored.stack.generation("g1")["attaches"] == 0

"""TLS end to end: real certificates, a real terminator, and everything that goes wrong with them."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.client import ConnectError, Terminal
from terminals.manager import terminator
from terminals.manager import tls as front
from terminals.manager.certificate import CertificateError, TlsFiles
from terminals.protocol.backoff import Backoff

from loadtests.verify import PLAIN_SHELL, PROMPT, READY, SETUP, Verifier
from rollout.checks.smoke import smoke
from rollout.checks.validate import validate
from tests.integration.test_checks import front_door
from tests.support.authority import Authority
from tests.support.control import hear, say
from tests.support.stack import TERMINALS, TOKEN, Stack, runs, until

QUICK = Backoff(base=0.01, cap=0.1)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def build(authority) -> Iterator[Callable[..., Stack]]:
    made: list[Stack] = []

    def make(**config: Any) -> Stack:
        made.append(Stack(ca=authority.ca, tls=authority.files, **config))
        made[-1].start_generation("g1", weight=100)
        return made[-1]

    yield make
    for stack in made:
        stack.close()


@pytest.fixture
def secure(build) -> Stack:
    return build(stable_seconds=0)


def port(stack: Stack, profile: str = "system") -> int:
    return stack.status()["listeners"][profile]


def raw(stack: Stack, profile: str = "system") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(stack, profile)), 10)


def served(stack: Stack, authority: Authority) -> int:
    """Serial number of the certificate that a new connection gets."""
    with raw(stack) as sock, authority.context().wrap_socket(sock, server_hostname="localhost") as secured:
        return int(secured.getpeercert()["serialNumber"], 16)


def ended(sock: socket.socket, seconds: float) -> bool:
    """Whether the other side closes within so many seconds."""
    sock.settimeout(seconds)
    try:
        while sock.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


class Person:
    """Somebody at work: a shell that counts by itself, commands, and a check of every byte of output."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.verifier = Verifier()
        self.commands = 0
        terminal.open()
        terminal.send(PLAIN_SHELL)
        terminal.expect(PROMPT)
        terminal.send(SETUP)
        self.pid = terminal.expect(READY).rpartition(b":")[2]

    def work(self, commands: int, disturb: Callable[[int], None] = lambda number: None) -> None:
        for number in range(commands):
            disturb(number)
            self.commands += 1
            self.terminal.send(f"r {self.commands}\n".encode())
            for _ in range(5):
                self.verifier.feed(self.terminal.read(0.02))

    def finish(self) -> None:
        end = time.monotonic() + 20
        while self.verifier.answered < self.commands and time.monotonic() < end:
            self.verifier.feed(self.terminal.read(0.05))
        self.verifier.missing(self.commands)
        found = self.verifier.findings
        assert (found.lost, found.doubled, found.twice) == (0, 0, 0)
        assert found.verified > 100
        self.terminal.close(kill=True)


def test_page_and_api_over_https(secure, authority):
    secure.start_web("g1")
    target = front_door(secure)
    assert target.web.startswith("https://")
    results = [*validate(target), *smoke(target)]
    assert [f"{r.name}: {r.detail}" for r in results if not r.ok] == []
    assert len(results) == 15 + 8
    with (
        raw(secure, "web") as sock,
        authority.context().wrap_socket(sock, server_hostname="localhost") as web,
    ):
        assert web.version() == "TLSv1.3"
        web.sendall(b"GET / HTTP/1.1\r\nHost: terminals.example:4110\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: web.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert f"wss://terminals.example:{port(secure)}".encode() in answer


def test_guessing_is_counted_by_the_clients_own_address(secure, authority):
    """Behind the terminator every client is a unix socket: nobody must pay for another's guesses."""
    secure.start_web("g1")
    target = front_door(secure)
    answers = [target.http("/api/status", token=f"guess-{number}")[0] for number in range(12)]
    assert answers[-1] == 429
    request = f"GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    address = ("127.0.0.1", port(secure, "web"))
    with (
        socket.create_connection(address, 10, ("127.0.0.2", 0)) as sock,
        authority.context().wrap_socket(sock, server_hostname="localhost") as other,
    ):
        other.sendall(request.encode())
        assert other.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_exactly_once_over_tls_through_cuts_and_a_killed_worker(secure):
    person = Person(secure.terminal(backoff=QUICK))

    def disturb(number: int) -> None:
        if number % 4 == 0:
            person.terminal.cut()
        if number == 10:
            secure.kill("worker-g1")
            secure.start("worker", "g1")

    person.work(30, disturb)
    assert person.terminal.stats.reconnects >= 8
    person.finish()


def test_a_large_output_arrives_whole_and_a_client_that_stops_reading_costs_little(secure):
    terminal = secure.terminal()
    terminal.open()
    before = memory(secure.status()["tls"]["terminator"])
    terminal.send(b"head -c 60000000 /dev/zero | tr '\\0' x; echo E''ND\n")
    until(lambda: settled(secure, terminal.session), "the shell being slowed down")
    assert memory(secure.status()["tls"]["terminator"]) - before < 2 << 20
    data, size = b"", 0
    while b"END\r\n" not in data:
        data = data[-8:] + terminal.read(5)
        size += data[8:].count(b"x") if size else data.count(b"x")
    assert size >= 60_000_000
    terminal.close(kill=True)


class Tunnel:
    """A terminator by itself: ``client`` speaks TLS to it, ``worker`` has the plain end."""

    def __init__(self, authority: Authority, files: int = 1024) -> None:
        self._manager, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._manager.settimeout(10)
        command = (
            f"ulimit -n {files}; exec {sys.executable} -m terminals.manager.terminator {theirs.fileno()}"
        )
        command += f" {authority.files['certificate']} {authority.files['key']}"
        with theirs:
            self.process = subprocess.Popen(["sh", "-c", command], pass_fds=(theirs.fileno(),))
        self._others: list[socket.socket] = []
        client, self.worker = self.connect(1)
        self.client = authority.context().wrap_socket(client, server_hostname="localhost")
        assert self.answer() == {"type": "ready", "id": 1}
        for sock in (self.client, self.worker):
            sock.settimeout(0.5)

    def connect(self, number: int) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), 10)
            accepted, _ = listener.accept()
        worker, inner = socket.socketpair()
        self._others += [client, worker]
        with accepted, inner:
            packet = {"type": "conn", "id": number, "address": "127.0.0.1"}
            say(self._manager, packet, (accepted.fileno(), inner.fileno()))
        return client, worker

    def answer(self) -> Any:
        return hear(self._manager)

    def close(self) -> None:
        for sock in (self._manager, self.client, *self._others):
            sock.close()
        assert self.process.wait(10) == 0


@pytest.fixture
def tunnel(authority) -> Iterator[Tunnel]:
    made = Tunnel(authority)
    yield made
    made.close()


def test_with_no_descriptors_left_newcomers_are_refused_and_nobody_else_notices(authority):
    tunnel = Tunnel(authority, files=terminator.SPARE_FILES + 8)  # enough for four connections at most
    for number in range(2, 42):
        tunnel.connect(number)
    assert {tunnel.answer()["type"] for _ in range(37)} == {"failed"}
    tunnel.client.sendall(b"still there")
    assert tunnel.worker.recv(100) == b"still there"
    tunnel.close()


@pytest.mark.parametrize(("source", "sink"), [("worker", "client"), ("client", "worker")])
def test_whoever_does_not_read_slows_the_other_side_down(tunnel, source, sink):
    sender, receiver = getattr(tunnel, source), getattr(tunnel, sink)
    before = memory(tunnel.process.pid)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 100_000_000:
            sent += sender.send(bytes(1 << 14))
    assert sent < 20_000_000  # the kernel's buffers, and ours
    assert memory(tunnel.process.pid) - before < 4 << 20
    received = 0
    with pytest.raises(TimeoutError):
        while data := receiver.recv(1 << 16):
            received += len(data)
    assert sent <= received <= sent + (1 << 14)  # the send that timed out may have got through


def test_what_a_client_sent_before_the_end_arrives(tunnel):
    sent = 350_000  # more than the unix socket holds, so that some is still with the terminator
    tunnel.client.sendall(bytes(sent))
    tunnel.client.unwrap().close()
    assert len(b"".join(iter(lambda: tunnel.worker.recv(1 << 16), b""))) == sent


def test_a_worker_that_closes_its_side_has_said_all_it_had_to_say(tunnel):
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            sent += tunnel.worker.send(bytes(1 << 14))
    tunnel.worker.shutdown(socket.SHUT_WR)
    assert len(b"".join(iter(lambda: tunnel.client.recv(1 << 16), b""))) == sent


def memory(pid: int) -> int:
    """Bytes that are this process's alone. Its share of libraries grows when another process ends."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+) kB", text)[1]) * 1024


def settled(stack: Stack, session: str) -> bool:
    """Whether a session has printed something and then stopped to."""

    def output() -> int:
        return {entry["id"]: entry["output"] for entry in stack.admin("sessions")["items"]}[session]

    first = output()
    time.sleep(0.3)
    return first > 100_000 and output() == first


def test_a_session_of_one_generation_is_reached_through_another_and_lives_through_a_move(secure):
    person = Person(secure.terminal(backoff=QUICK))
    secure.start_generation("g2")
    # Nearly every connection is accepted by g2 and handed over, in mid-stream, to g1.
    secure.admin("weights", weights={"g1": 1, "g2": 99})
    seen = set()

    def cut(number: int) -> None:
        seen.add(person.terminal.attached.generation)
        if number % 2 == 0:
            person.terminal.cut()

    person.work(12, cut)
    assert seen == {"g1"}
    assert person.terminal.stats.reconnects == 6

    moved: dict[str, Any] = {}

    def move() -> None:
        moved.update(secure.admin("move", to="g2", share=100, batch=5, interval=0.05, deadline=20))

    secure.admin("weights", weights={"g2": 100})
    thread = threading.Thread(target=move)
    thread.start()
    person.work(10)
    thread.join()
    assert (moved["moved"], moved["severed"]) == (1, 0)
    assert person.terminal.attached.generation == "g2"
    assert person.terminal.stats.planned == 1  # it was told so, through TLS
    person.finish()


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated")
def test_old_versions_of_tls_are_refused(secure, authority):
    old = authority.context()
    old.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the server who says no
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with raw(secure) as sock, pytest.raises(OSError):
        old.wrap_socket(sock, server_hostname="localhost")
    until(lambda: "unsupported protocol" in secure.log("manager").lower(), "its reason in the log")


def test_strangers_to_tls_hurt_nobody(secure):
    with secure.terminal() as resident:
        for garbage in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\xff\xff" + b"\0" * 70000,
            os.urandom(5000),
            b"",
        ):
            with raw(secure) as sock:
                with contextlib.suppress(OSError):
                    sock.sendall(garbage)
                    sock.shutdown(socket.SHUT_WR)
                assert ended(sock, 5)
        until(lambda: secure.status()["tls"]["handshakes"] == 0, "every handshake over")
        resident.send(b"echo [$((6 * 7))]\n")
        resident.expect(rb"\[42\]")
        assert resident.stats.losses == 0
    assert "http request" in secure.log("manager").lower()
    assert "Traceback" not in secure.log("manager")


@pytest.mark.slow("waits for the limit of a handshake")
def test_a_handshake_that_never_ends_is_dropped_in_time(secure):
    with raw(secure) as silent:
        began = time.monotonic()
        with secure.terminal() as other:
            assert other.attached.status == "created"
        assert ended(silent, terminator.HANDSHAKE_SECONDS + 3)
        assert time.monotonic() - began > terminator.HANDSHAKE_SECONDS - 1
    until(lambda: secure.status()["tls"]["handshakes"] == 0, "it being forgotten")


def test_handshakes_in_progress_are_bounded_and_the_slow_ones_make_room(secure):
    address = ("127.0.0.1", port(secure))
    silent = [socket.create_connection(address, 10) for _ in range(front.HANDSHAKES + 100)]
    try:
        until(lambda: secure.status()["tls"]["handshakes"] == front.HANDSHAKES, "all places taken")
        began = time.monotonic()
        with secure.terminal() as terminal:
            assert terminal.attached.status == "created"
        # Before anybody's time was over by itself.
        assert time.monotonic() - began < terminator.HANDSHAKE_SECONDS - 2
        assert secure.status()["tls"]["handshakes"] <= front.HANDSHAKES
        samples = {family["name"]: family["samples"] for family in secure.admin("metrics")["items"]}
        ends = {labels["result"]: count for _, labels, count in samples["terminals_tls_handshakes"]}
        assert ends["displaced"] >= 100
        assert ends["done"] >= 1
    finally:
        for sock in silent:
            sock.close()
    until(lambda: secure.status()["tls"]["handshakes"] == 0, "those who hung up forgotten")


def test_a_killed_terminator_costs_connections_and_no_shell(secure):
    person = Person(secure.terminal(backoff=QUICK))
    killed = []

    def disturb(number: int) -> None:
        if number in (3, 8):
            pid = secure.status()["tls"]["terminator"]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            until(lambda: secure.status()["tls"]["terminator"] not in (None, pid), "another terminator")

    person.work(15, disturb)
    assert len(set(killed)) == 2
    assert person.terminal.stats.losses >= 2
    person.finish()


def test_the_terminator_ends_with_its_manager(secure):
    pid = secure.status()["tls"]["terminator"]
    terminal = secure.terminal()
    terminal.open()
    secure.kill("manager")
    until(lambda: not runs(pid), "the terminator's end")


def test_a_renewed_certificate_is_used_without_a_restart(secure, authority):
    with secure.terminal() as resident:
        first = served(secure, authority)
        authority.issue()
        until(lambda: served(secure, authority) != first, "the renewed certificate being used")
        second = served(secure, authority)

        authority.issue(only="key")  # half a renewal: the two do not belong together
        until(lambda: "the certificate of before stays in use" in secure.log("manager"), "it being said")
        assert served(secure, authority) == second

        authority.issue()
        until(lambda: served(secure, authority) not in (first, second), "the next certificate being used")
        assert resident.stats.losses == 0
        resident.send(b"echo [$((6 * 7))]\n")
        resident.expect(rb"\[42\]")


def test_a_hangup_reads_the_certificate_again_and_stops_nothing(secure):
    loaded = "new connections get the certificate"
    assert loaded not in secure.log("manager")
    secure.processes["manager"].send_signal(signal.SIGHUP)
    until(lambda: loaded in secure.log("manager"), "the certificate being read again")
    with secure.terminal() as terminal:
        assert terminal.attached.status == "created"


def encrypt(authority: Authority) -> None:
    key = authority.files["key"]
    plain = Path(key).rename(authority.folder / "plain.pem")
    command = ["openssl", "pkey", "-in", plain, "-aes256", "-passout", "pass:secret", "-out", key]
    subprocess.run(command, check=True)


NOT_ONE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda a: a.issue(only="key"), "key.pem: not the private key of .*cert.pem"),
        (encrypt, "key.pem: the private key is encrypted"),
        (lambda a: Path(a.files["key"]).unlink(), "key.pem: No such file or directory"),
        (lambda a: Path(a.files["certificate"]).write_text("?"), "cert.pem: no certificate in PEM form"),
        (lambda a: Path(a.files["key"]).write_text("?"), "key.pem: no private key in PEM form"),
        (lambda a: Path(a.files["certificate"]).write_text(NOT_ONE), "cert.pem, .*key.pem: cannot be used"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_line_at_the_start(authority, tmp_path, spoil, complaint):
    spoil(authority)
    settings = {
        "socket": str(tmp_path / "s"),
        "state_dir": str(tmp_path / "state"),
        "listeners": {"system": {"host": "127.0.0.1", "port": 0}},
        "profiles": {},
        "tls": authority.files,
    }
    (tmp_path / "manager.json").write_text(json.dumps(settings))
    command = [*TERMINALS, "manager", "--config", str(tmp_path / "manager.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert re.search(f"^terminals: tls: .*{complaint}", done.stderr), done.stderr


def test_the_times_of_a_certificate(authority):
    files = TlsFiles(Path(authority.files["certificate"]), Path(authority.files["key"]))
    begin, end = files.valid()
    now = datetime.datetime.now(datetime.UTC)
    assert abs(end - now - datetime.timedelta(days=90)) < datetime.timedelta(minutes=1)
    assert end - begin == datetime.timedelta(days=100)
    authority.issue(days=365 * 60)  # after 2049 the time is written in another form
    late = now + datetime.timedelta(days=365 * 60)
    assert abs(files.valid()[1] - late) < datetime.timedelta(minutes=1)
    for text in ("AAAA", "MAA=", "MIIB", "MAMCAQE="):
        files.certificate.write_text(NOT_ONE.replace("AAAA", text))
        with pytest.raises(CertificateError):
            files.valid()


def test_the_client_trusts_whom_it_is_told_to_only(secure, tmp_path):
    def attempt(url: str, ca: str | None) -> None:
        Terminal(url, token=TOKEN, ca=ca, backoff=QUICK).open(timeout=0.5)

    (tmp_path / "other").mkdir()
    for ca in (None, Authority(tmp_path / "other").ca):
        with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            attempt(secure.url(), ca)
    with pytest.raises(ConnectError, match="no-such-file: no certificates to trust"):
        attempt(secure.url(), "no-such-file")
    with pytest.raises(ConnectError):
        attempt(secure.url().replace("wss:", "ws:"), secure.ca)


@pytest.mark.parametrize(
    ("days", "verdict"),
    [
        (90, "ok"),
        pytest.param(5, "warning", marks=pytest.mark.slow("as its neighbours")),
        (-1, "wrong"),
        pytest.param(200, "wrong", marks=pytest.mark.slow("as its neighbours")),
    ],
)
def test_the_doctor_looks_at_the_certificate(secure, authority, days, verdict):
    authority.issue(days=days)
    findings = diagnose(secure)
    assert findings["certificate"]["verdict"] == verdict
    assert bool(findings["certificate"]["remedy"]) == (verdict != "ok")


def test_the_doctor_finds_half_a_renewal_and_an_open_key(secure, authority):
    authority.issue(only="certificate")
    Path(authority.files["key"]).chmod(0o644)
    findings = diagnose(secure)
    assert "not the private key of" in findings["certificate"]["text"]
    assert findings["private key"]["verdict"] == "wrong"
    Path(authority.files["key"]).chmod(0o640)
    assert diagnose(secure)["private key"]["verdict"] == "ok"


def diagnose(stack: Stack) -> dict[str, dict[str, str]]:
    command = [*TERMINALS, "doctor", "--config", str(stack.root / "manager.json"), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return {finding["subject"]: finding for finding in json.loads(done.stdout)}

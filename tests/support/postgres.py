"""A real PostgreSQL server of the tests' own: a private cluster in a short temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg
import pytest

from tests.support.ports import free_ports
from tests.support.stack import until

OWNER = "postgres"
"""The user that Debian's package makes: the server refuses to run as root."""


class Postgres:
    """Listens on a unix socket, where everybody is trusted, and on 127.0.0.1, where a password is needed."""

    def __init__(self) -> None:
        self._bin = _programs()
        # Unix socket paths are short: pytest's own folders can be too long.
        self.root = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as: list[str] = []
        self.user = pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            self.user = OWNER
            self._as = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"]
            shutil.chown(self.root, OWNER, OWNER)
        (self.port,) = free_ports(1)
        self._log = (self.root / "log").open("wb")
        self._run(
            "initdb", "-D", self._data, "-U", self.user, "-E", "UTF8", "--no-locale", "--no-sync",
            "--auth-local=trust", "--auth-host=scram-sha-256",
        )  # fmt: skip
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def _data(self) -> str:
        return str(self.root / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._bin / program), *arguments]
        subprocess.run(command, check=True, stdout=self._log, stderr=self._log, cwd=self.root)

    def start(self) -> None:
        """Start the server and wait until it answers. It ends with this process, however that ends."""
        settings = {
            "fsync": "off",
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.root,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [
                *(self._as or ["setpriv"]),
                *("--pdeathsig", "INT"),
                str(self._bin / "postgres"),
                *("-D", self._data),
                *options,
            ],
            stdout=self._log,
            stderr=self._log,
            cwd=self.root,
        )
        until(self._answers, "PostgreSQL answering")

    def stop(self) -> None:
        """Stop the server at once; whoever is connected is cut off."""
        assert self._server is not None
        self._server.send_signal(signal.SIGINT)
        self._server.wait(60)

    def close(self) -> None:
        """Stop it for good, and remove it."""
        self.stop()
        self._log.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def copy(self, url: str) -> str:
        """Dump a database and put the dump into a new one, whose URL is returned."""
        target = self.database()
        names = [url.partition("@/")[2].partition("?")[0] for url in (url, target)]
        address = ["-h", str(self.root), "-p", str(self.port), "-U", self.user]
        dump = subprocess.run([self._bin / "pg_dump", *address, names[0]], check=True, capture_output=True)
        restore = [self._bin / "psql", *address, "-q", "-v", "ON_ERROR_STOP=1", names[1]]
        subprocess.run(restore, input=dump.stdout, check=True, stdout=self._log, stderr=self._log)
        return target

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Run one statement as the owner of the server."""
        with psycopg.connect(self._dsn(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Make a database, and give the URL of a ledger in it."""
        name = f"ledger_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{self.user}@/{name}?host={self.root}&port={self.port}"

    def _dsn(self, database: str) -> str:
        return f"host={self.root} port={self.port} user={self.user} dbname={database}"

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self.root / "log").read_text()[-2000:]
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("there is no PostgreSQL server (Debian: postgresql)")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent

"""What a ledger in PostgreSQL has to do with its server."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from rollout.errors import ConfigError, EngineError, Locked
from rollout.ledger import Lease, Ledger, database
from tests.support.postgres import Postgres
from tests.support.stack import until
from tests.unit.ledger.filled import fill, make


@pytest.fixture(scope="module")
def server() -> Postgres:
    """A server of this module's own, to be stopped and started."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def team(postgres) -> tuple[str, str]:
    """Address and database of a ledger that is reached by password, and nothing else."""
    postgres.execute(
        "DO $$ BEGIN CREATE ROLE team LOGIN PASSWORD 'so secret'; EXCEPTION WHEN duplicate_object THEN END $$"
    )
    name = str(sa.make_url(postgres.database()).database)
    postgres.execute(f"ALTER DATABASE {name} OWNER TO team")
    return f"127.0.0.1:{postgres.port}", name


def test_the_password_may_be_in_the_url(team):
    address, name = team
    with Ledger(f"postgresql://team:so%20secret@{address}/{name}") as ledger:
        fill(ledger)
        assert ledger.verify().flaws == ()


def test_the_password_may_be_in_a_pgpass_file(team, tmp_path, monkeypatch):
    address, name = team
    file = tmp_path / "pgpass"
    file.write_text(f"{address}:{name}:team:so secret\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with Ledger(f"postgresql://team@{address}/{name}") as ledger:
        assert ledger.head()[0] == 0
    monkeypatch.delenv("PGPASSFILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="no password supplied"):
        Ledger(f"postgresql://team@{address}/{name}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://team:hidden-word@{address}/{name}",
        "postgresql+psycopg://team@{address}/{name}?password=hidden-word",
        "postgresql://team:hidden-word@127.0.0.1:1/{name}",
        "postgresql://team:hidden-word@{address}:x/{name}",
        "postgresql://team:hidden-word",
        "mysql://team:hidden-word@{address}/{name}",
        "postgresql+psycopg2://team:hidden-word@{address}/{name}",
        "hidden-word",
    ],
)
def test_what_cannot_be_opened_is_one_line_without_the_password(team, url):
    address, name = team
    with pytest.raises(ConfigError) as error:
        Ledger(url.format(address=address, name=name))
    assert "\n" not in error.value.message
    assert "hidden-word" not in error.value.message
    assert error.value.message.startswith("ledger")


def test_a_driver_that_is_missing_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'psycopg\[binary\]'"):
        Ledger("postgresql://team@localhost/ledger")


def test_two_ledgers_in_two_schemas_of_one_database_are_apart(postgres, postgresql_url):
    name = str(sa.make_url(postgresql_url).database)
    urls = []
    for team in ("red", "blue"):
        postgres.execute(f"CREATE SCHEMA {team}", name)
        urls.append(f"{postgresql_url}&options=-csearch_path%3D{team}")
    with Ledger(urls[0]) as red, Ledger(urls[1]) as blue:
        fill(red)
        assert blue.head()[0] == 0
        assert red.verify().flaws == blue.verify().flaws == ()


def test_a_server_that_restarts_between_two_writes_is_not_noticed(server):
    with Ledger(server.database()) as ledger:
        make(ledger)
        server.stop()
        server.start()
        ledger.write(1, 0, "start", "begin", fence=1)
        assert len(ledger.journal(1)) == 1
        assert ledger.verify().flaws == ()


def test_a_lease_survives_a_restart_of_the_server(server):
    with Ledger(server.database()) as ledger, Lease(ledger, "dev", ttl=6) as lease:
        server.stop()
        server.start()

        def expires() -> float:
            with ledger.engine.connect() as connection:
                return connection.exec_driver_sql("SELECT expires FROM leases").scalar_one()

        first = expires()
        until(lambda: expires() > first, "the lease being renewed")
        lease.check()


def test_a_connection_cut_in_the_middle_is_one_line_and_nothing_is_half_written(postgres, postgresql_url):
    name = str(sa.make_url(postgresql_url).database)
    with Ledger(postgresql_url) as ledger:
        make(ledger)
        head = ledger.head()

        def cut(_connection: sa.Connection) -> None:
            postgres.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )

        sa.event.listen(ledger.engine, "commit", cut)
        with pytest.raises(EngineError, match="rollout doctor") as error:
            ledger.write(1, 0, "start", "begin", fence=1)
        assert "\n" not in error.value.message
        sa.event.remove(ledger.engine, "commit", cut)
        assert (ledger.head(), ledger.journal(1)) == (head, [])
        ledger.write(1, 0, "start", "begin", fence=1)
        assert ledger.verify().flaws == ()


def test_a_server_that_is_gone_for_good_is_one_line_for_everything(server, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    url = server.database()
    try:
        with Ledger(url) as ledger, Lease(ledger, "dev", ttl=1) as lease:
            make(ledger)
            server.stop()
            for ask in (
                lambda: ledger.rollouts(),
                lambda: ledger.write(1, 0, "start", "begin", fence=1),
                lambda: ledger.verify(),
                lambda: ledger.head(),
            ):
                with pytest.raises(EngineError, match=r"^ledger postgresql\+psycopg://.* look at") as error:
                    ask()
                assert "\n" not in error.value.message
            with pytest.raises(EngineError, match="lease is lost"):
                until(lambda: lease.check(), "the lease being lost")
        with pytest.raises(ConfigError, match=r"^ledger postgresql"):
            Ledger(url)
    finally:
        server.start()


def test_a_server_that_comes_back_is_waited_for(server, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 60.0)
    with Ledger(server.database()) as ledger, ThreadPoolExecutor() as pool:
        make(ledger)
        server.stop()
        tried = threading.Event()
        sa.event.listen(ledger.engine, "do_connect", lambda *_: tried.set())
        written = pool.submit(ledger.write, 1, 0, "start", "begin", fence=1)
        assert tried.wait(30)
        server.start()
        written.result(60)
        assert len(ledger.journal(1)) == 1


def test_somebody_who_holds_the_lock_for_ever_is_one_line_too(postgresql_url, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)
    with Ledger(postgresql_url) as ledger, Ledger(postgresql_url) as other:
        make(ledger)
        with other.database.writing():
            with pytest.raises(EngineError, match="lock timeout"):
                ledger.write(1, 0, "start", "begin", fence=1)
            assert ledger.rollouts(), "readers do not wait"
            with Lease(ledger, "dev"):
                pass  # nor do leases


def test_a_lease_that_was_looked_at_cannot_be_taken_by_another(postgres, postgresql_url):
    name = sa.make_url(postgresql_url).database
    waiting = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
    with Ledger(postgresql_url) as ledger, Ledger(postgresql_url) as other, ThreadPoolExecutor() as pool:
        with Lease(ledger, "dev"):
            pass
        attempts = []

        def looked(_connection, _cursor, statement: str, *_rest: object) -> None:
            if statement.startswith("SELECT leases") and not attempts:
                attempts.append(pool.submit(Lease(other, "dev").__enter__))
                until(lambda: attempts[0].done() or postgres.execute(waiting), "the other doing what it can")

        sa.event.listen(ledger.engine, "after_cursor_execute", looked)
        with Lease(ledger, "dev"), pytest.raises(Locked):
            attempts[0].result(30)


def test_a_dump_that_is_put_back_is_the_same_ledger(postgres, postgresql_url):
    with Ledger(postgresql_url) as ledger:
        fill(ledger)
        head = ledger.head()
    with Ledger(postgres.copy(postgresql_url)) as ledger:
        assert ledger.verify(head[1]).flaws == ()
        assert ledger.head() == head
        ledger.add_event("dev", "approval", by="you")
        assert ledger.verify(head[1]).flaws == ()


def test_leases_go_by_the_clock_of_the_database(postgresql_url, monkeypatch):
    with Ledger(postgresql_url) as ledger:
        monkeypatch.setattr(time, "time", lambda: 1e9)  # an operator whose clock is decades behind
        with Lease(ledger, "dev"), ledger.engine.connect() as connection:
            left = connection.exec_driver_sql(
                "SELECT expires - extract(epoch FROM clock_timestamp()) FROM leases"
            ).scalar_one()
            assert 0 < left <= 30

"""Everything about the ledger holds on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server; the test is skipped where there is none."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A new ledger's URL."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def postgresql_url(postgres: Postgres) -> str:
    """A new ledger's URL, on PostgreSQL."""
    return postgres.database()


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    """A new ledger's URL, in a file."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"

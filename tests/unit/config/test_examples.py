"""Whole files that the documentation shows are ones that rollout takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rollout.config import load

DOCS = Path(__file__).parents[3] / "docs"
WHOLE = re.compile(r"^```yaml\n(version: 1\n.*?)^```$", re.MULTILINE | re.DOTALL)
FOUND = [(page, text) for page in sorted(DOCS.rglob("*.md")) for text in WHOLE.findall(page.read_text())]


def test_there_are_some():
    assert FOUND


@pytest.mark.parametrize(
    ("page", "text"), FOUND, ids=lambda value: value.stem if isinstance(value, Path) else ""
)
def test_it_is_taken_and_what_belongs_to_it_is_named(page, text, tmp_path):
    for name in ("vault.yml", "vault.password", "secrets/team"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("json://127.0.0.1/")
        file.chmod(0o600)
    path = tmp_path / "rollout.yaml"
    path.write_text(text)
    config = load(path)
    assert len(config.environments["production"].hosts) == 3

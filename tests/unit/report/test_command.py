from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from rollout.cli import app
from rollout.errors import ConfigError
from tests.support import summaries


@pytest.fixture
def rollout(short_path):
    config = summaries.project(short_path)
    summaries.seed(config)

    def run(*words: str):
        return CliRunner().invoke(
            app, ["--config", str(short_path / "rollout.yaml"), "report", *words], catch_exceptions=False
        )

    return run


def test_three_forms(rollout):
    assert rollout("dev").stdout.startswith("# Deploy of 1.0.0-")
    assert rollout("dev", "--format", "html").stdout.startswith("<!doctype html>")
    by_format, by_output = (
        json.loads(rollout("dev", option, "json").stdout) for option in ("--format", "--output")
    )
    assert by_format.keys() == by_output.keys()
    # What scripts have read since before the report grew.
    assert by_output["rollout"]["state"] == "rolled-back"
    assert by_output["decision"] == "no-go: rolled back"
    assert {"rollout", "decision", "gates", "checks", "timeline"} <= by_output.keys()
    assert next(entry["step"] for entry in by_output["timeline"] if entry["phase"] == "begin") == "install"


def test_an_older_one_by_its_number(rollout):
    assert "(#1)" in rollout("dev", "--rollout", "1").stdout.splitlines()[0]


def test_into_a_file(rollout, tmp_path):
    path = tmp_path / "report.html"
    done = rollout("dev", "--format", "html", "--out", str(path))
    assert done.stdout == "" and "no-go: rolled back" in done.stderr
    assert path.read_text().startswith("<!doctype html>")


def test_a_dash_is_the_screen(rollout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A report says when it was made.
    first, second = (
        re.sub(r"\d\d:\d\d:\d\d UTC from", "then UTC from", rollout("dev", *words).stdout)
        for words in (("--out", "-"), ())
    )
    assert first == second
    assert "then UTC from" in first
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_one_line(rollout, tmp_path):
    with pytest.raises(ConfigError, match="name a file that can be written"):
        rollout("dev", "--out", str(tmp_path / "none" / "report.md"))

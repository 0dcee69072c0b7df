"""The reference pages name every key, metric and exit code there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from rollout.config import (
    METRICS,
    Config,
    Defaults,
    Environment,
    Gate,
    Listen,
    Load,
    Move,
    Oidc,
    Prometheus,
    Tls,
)
from rollout.config.model import Authority, Files, Host, Image, Recordings
from rollout.errors import ExitCode

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
FILLED_IN = {Config: {"path"}, Environment: {"name"}, Host: {"name"}}


@pytest.mark.parametrize(
    "section",
    [
        *(
            Config,
            Image,
            Defaults,
            Recordings,
            Environment,
            Host,
            Listen,
            Authority,
            Tls,
            Oidc,
            Files,
            Move,
            Load,
            Gate,
        ),
        Prometheus,
    ],
)
def test_every_key_is_documented(section: type[BaseModel]) -> None:
    text = (REFERENCE / "configuration.md").read_text()
    for key in set(section.model_fields) - FILLED_IN.get(section, set()):
        assert f"| `{key}` |" in text, key


def test_every_metric_is_documented_with_its_kind_and_unit() -> None:
    text = (REFERENCE / "configuration.md").read_text()
    for metric in METRICS.values():
        unit = f" {metric.unit} " if metric.unit else " "
        assert f"| `{metric.name}` | {metric.kind} |{unit}|" in text, metric.name


def test_every_exit_code_is_documented_with_its_meaning() -> None:
    text = (REFERENCE / "exit-codes.md").read_text()
    for code in ExitCode:
        assert f"| {int(code)} | {code.meaning} |" in text

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest

from rollout.report import VERSION, collect
from tests.support import summaries
from tests.support.summaries import BEGAN, DAY

SCHEMA = json.loads(files("rollout.report").joinpath(f"schema/report-{VERSION}.json").read_text())


@pytest.fixture
def validator():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator(SCHEMA)


def test_documents_are_as_the_schema_says(short_path, validator):
    config = summaries.project(short_path)
    summaries.seed(config)
    validator.validate(collect(config, "dev", now=BEGAN + DAY))
    record = summaries.fixed(config)
    log = summaries.day(record.ended, record.generation, blind=range(5, 20))
    data = collect(config, "dev", **summaries.live(config, log, record, record.ended + DAY))
    validator.validate(data)
    data["recommendation"]["verdict"] = "close"
    assert not validator.is_valid(data)

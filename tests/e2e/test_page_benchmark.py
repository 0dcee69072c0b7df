"""The benchmark of the page measures, though little: that it can be run is what is shown here."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.e2e.test_browser import needs_chromium

pytestmark = [*needs_chromium, pytest.mark.slow("output that is measured, beside whatever else is at work")]


def test_it_says_when_the_page_is_seen_and_how_fast_output_is():
    command = [sys.executable, "-m", "benchmarks.page", "--megabytes", "1", "--rounds", "1"]
    said = subprocess.check_output(command, text=True, timeout=600)
    found = re.search(
        r"terminals +first paint (\d+) ms, (\d+) kB transferred, 1 MB shown .* 1 of 1 rounds", said
    )
    assert found, said
    assert int(found[1]) > 0
    assert int(found[2]) > 100

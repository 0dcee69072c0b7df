"""The first of the README's two commands, on this machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_demo_shows_what_it_promises():
    done = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=900)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    table = dict(re.findall(r"(?m)^[✓✗]  (\S.*?)\s{2,}(\S.*?)\s*$", done.stdout))
    assert table["bytes lost"] == table["bytes doubled"] == table["commands run twice"] == "0"
    assert table["reconnection loops, good build"] == "0"
    assert int(table["reconnection loops, bad build"]) > 0
    assert int(table["sessions carried across the promotion"]) > 8
    assert int(table["sessions carried across the rollback"]) > 0
    assert table["residents' shells still there at the end"] == "8 of 8"
    assert float(table["failed gate to full traffic on the old build"].split()[0]) > 0
    assert "no-go: rolled back" in done.stdout

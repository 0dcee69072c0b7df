"""Standing in for another monitor: whoever reads that it does may tell it to end at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

OWNER = """
import fcntl, os, signal, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("has it", flush=True)
signal.pause()
"""
STANDS_IN = """
import logging, os, pathlib, signal, sys
from terminals.monitor.standin import stand_in

class AtOnce(logging.Handler):
    def emit(self, record):
        os.kill(os.getpid(), signal.SIGTERM)

logging.basicConfig(level=logging.INFO, handlers=[AtOnce()])
stand_in(pathlib.Path(sys.argv[1]))
sys.exit("it did not end with the other")
"""


@pytest.fixture
def owner(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_told_to_end_as_soon_as_it_says_so_it_has_the_other_end_too(owner, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STANDS_IN, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert owner.wait(60) == -signal.SIGTERM

"""The rollout command, in which something happens at one entry of its journal: ``step:phase`` or
``step:phase=what``.

``begin`` is just after the entry was written, before the step acts; ``end`` is just before the
entry would be written, after the step has acted. What happens: SIGKILL, or the signals that are named, or
``OSError``, which nobody expects, or ``locked``: somebody else writes to the ledger, and does not end, or
does after so many seconds (``locked:5``). Whoever is to stand still, or wait, has a short lease.
"""

import os
import signal
import sqlite3
import sys
import threading

from rollout.cli import main
from rollout.ledger import Lease, Ledger, database

at, _, what = sys.argv.pop(1).partition("=")
write = Ledger.write
names = (what or "SIGKILL").split("+")

if "SIGHUP" in names:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests by nohup has it ignored
if "SIGSTOP" in names:
    Lease.__init__.__kwdefaults__["ttl"] = 6.0
if what.startswith("locked"):
    Lease.__init__.__kwdefaults__["ttl"] = 3.0
    database.BUSY_SECONDS = 1


held = []


def lock(path, seconds):
    somebody = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    somebody.execute("BEGIN IMMEDIATE")
    held.append(somebody)  # or its transaction would end here
    if seconds:
        threading.Timer(float(seconds), somebody.rollback).start()


def happen(ledger):
    if "OSError" in names:
        raise OSError("an injected one")
    if what.startswith("locked"):
        lock(ledger.database.engine.url.database, what.partition(":")[2])
        return
    for name in names:
        os.kill(os.getpid(), signal.Signals[name])


def write_or_die(self, rollout, index, step, phase, **data):
    here = f"{step}:{phase}" == at
    if not (here and phase == "end"):
        write(self, rollout, index, step, phase, **data)
    if here:
        happen(self)
        if phase == "end":
            write(self, rollout, index, step, phase, **data)


Ledger.write = write_or_die
main()

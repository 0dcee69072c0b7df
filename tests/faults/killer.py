"""The rollout command, in which something happens at one entry of its journal: ``step:phase`` or
``step:phase=what``.

``begin`` is just after the entry was written, before the step acts; ``end`` is just before the
entry would be written, after the step has acted. What happens: SIGKILL, or the signals that are named, or
``OSError``, which nobody expects. Whoever is to stand still has a short lease.
"""

import os
import signal
import sys

from rollout.cli import main
from rollout.ledger import Lease, Ledger

at, _, what = sys.argv.pop(1).partition("=")
write = Ledger.write
names = (what or "SIGKILL").split("+")

if "SIGHUP" in names:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests by nohup has it ignored
if "SIGSTOP" in names:
    Lease.__init__.__kwdefaults__["ttl"] = 6.0


def happen():
    if "OSError" in names:
        raise OSError("an injected one")
    for name in names:
        os.kill(os.getpid(), signal.Signals[name])


def write_or_die(self, rollout, index, step, phase, **data):
    here = f"{step}:{phase}" == at
    if not (here and phase == "end"):
        write(self, rollout, index, step, phase, **data)
    if here:
        happen()
        if phase == "end":
            write(self, rollout, index, step, phase, **data)


Ledger.write = write_or_die
main()

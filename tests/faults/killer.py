"""The rollout command, which kills itself with SIGKILL at one entry of its journal.

``begin`` dies just after the entry was written, before the step acts; ``end`` dies just before the
entry would be written, after the step has acted.
"""

import os
import signal
import sys

from rollout.cli import main
from rollout.ledger import Ledger

die_at = sys.argv.pop(1)
write = Ledger.write


def write_or_die(self, rollout, index, step, phase, **data):
    here = f"{step}:{phase}" == die_at
    if not (here and phase == "end"):
        write(self, rollout, index, step, phase, **data)
    if here:
        os.kill(os.getpid(), signal.SIGKILL)


Ledger.write = write_or_die
main()

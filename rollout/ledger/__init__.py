"""The ledger: every rollout, step, piece of evidence and verdict. Written once, never changed."""

from rollout.ledger.lease import Lease, held, held_by, token_of
from rollout.ledger.records import Event, EventKind, JournalEntry, RolloutRecord, State
from rollout.ledger.store import Ledger
from rollout.ledger.verify import Flaw, Verification

__all__ = [
    "Event",
    "EventKind",
    "Flaw",
    "JournalEntry",
    "Lease",
    "Ledger",
    "RolloutRecord",
    "State",
    "Verification",
    "held",
    "held_by",
    "token_of",
]

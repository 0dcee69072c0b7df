"""The ledger: every rollout, step, piece of evidence and verdict. Written once, never changed."""

from rollout.ledger.lease import Lease
from rollout.ledger.records import JournalEntry, RolloutRecord, State
from rollout.ledger.store import Ledger

__all__ = ["JournalEntry", "Lease", "Ledger", "RolloutRecord", "State"]

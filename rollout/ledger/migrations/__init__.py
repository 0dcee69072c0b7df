"""Migrations of the ledger, run by :mod:`rollout.ledger.migrate`."""

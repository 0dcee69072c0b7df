"""Engines: what changes hosts. One contract; the process engine is the first to keep it."""

from rollout.engine.base import Engine, HostFacts, ShiftResult

__all__ = ["Engine", "HostFacts", "ShiftResult"]

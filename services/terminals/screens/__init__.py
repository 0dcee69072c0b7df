"""Screens of sessions: what a client that comes back past the ring is shown.

A process of its own beside the session manager, so that neither the emulator's work nor a
fault in it can hold up or harm a shell. It reads rings, lazily, and answers with snapshots.
"""

"""Several hosts that know of each other: each asks all others how they are, and remembers what it hears.

There is no directory and nothing to agree on: an id says at which host its session is
(:mod:`terminals.protocol.ids`), and two hosts can have different views of who answers, never of who has a
session.
"""

"""Why somebody has not been let in."""

from __future__ import annotations

from typing import Literal

Reason = Literal["denied", "stale", "unreachable", "clock", "invalid", "stranger", "name", "often"]
"""What a page is told, behind the ``#`` of its address; it has the words for each.

denied: the provider has not let them in, or they have not wanted to. stale: begun in another browser or too
long ago, or finished before. unreachable: the provider does not answer, or not yet. clock: its clock and ours
differ. invalid: what it says is not to be believed. stranger: no role is theirs. name: theirs cannot be a
user's. often: too many wrong tries from their address.
"""


class NotSignedIn(Exception):
    """Somebody has not been let in; the text is for the log, one line, whatever a provider has said in it."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason


def quoted(value: object) -> str:
    """What others have said, for the log: one line, and not more than one can read."""
    text = ascii(value)
    return text if len(text) <= 200 else f"{text[:197]}..."

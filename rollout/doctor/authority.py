"""The authority by whose certificates hosts know each other."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rollout.authority import DAY, check_authority
from rollout.config import Environment
from rollout.doctor.finding import Finding, open_to_others
from rollout.errors import ConfigError

SOON_DAYS = 400
"""A certificate of a host is good for a year, and no longer than its authority's."""


def examine_authority(environment: Environment) -> Iterator[Finding]:
    """Look at the files that an environment's ``authority`` names; the key is nobody else's."""
    files = environment.authority
    if files is None:
        return
    subject = f"{environment.name} authority"
    try:
        ends = check_authority(files)
    except ConfigError as error:
        text, _, remedy = error.message.partition("; ")
        yield Finding("wrong", "", subject, text, remedy or "bring both files from where it was made")
        return
    if bad := open_to_others(subject, files.key):
        yield bad
        return
    text = f"good until {time.strftime('%Y-%m-%d', time.gmtime(ends))}"
    if ends <= time.time():
        remedy = f"move both files away, and make another: rollout certify {environment.name}"
        yield Finding("wrong", "", subject, text.replace("good", "was good"), remedy)
    elif ends - time.time() < SOON_DAYS * DAY:
        remedy = f"move both files away, and make another: rollout certify {environment.name}"
        yield Finding("warning", "", subject, text, remedy)
    else:
        yield Finding("ok", "", subject, text)

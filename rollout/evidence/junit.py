"""Test results in the JUnit form: the suites' own, written, and anybody's, read as evidence.

What is read may come from anywhere, so defusedxml parses it: no entities, no document types, no bombs.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite
from junitparser.junitparser import Error, JUnitXmlError

from rollout.checks.runner import CheckResult
from rollout.config import Gate
from rollout.model import Evidence
from rollout.units import duration

MAX_BYTES = 32 << 20
MAX_FILES = 1000
AHEAD = 60.0
"""Seconds that a file's time may be ahead of the clock."""
NAMED = 5
"""Tests that are named in a reason; of others their number is told."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, as of a terminal's escape sequences."""


class Unusable(Exception):
    """Results that say nothing, and how; ``never``: waiting does not help."""

    def __init__(self, text: str, *, never: bool) -> None:
        super().__init__(text)
        self.never = never


def write_junit(
    path: Path, suite: str, results: Sequence[CheckResult], properties: Mapping[str, str] | None = None
) -> None:
    """Write the results of a suite for those who read JUnit; the file appears whole or not at all."""
    written = TestSuite(suite)
    written.timestamp = _utc(min((result.started for result in results), default=time.time()))
    for name, value in (properties or {}).items():
        written.add_property(name, _text(value))
    for result in results:
        case = TestCase(_text(result.name), f"{suite}.{_text(result.group)}", round(result.seconds, 6))
        if result.ok:
            case.system_out = _text(result.detail)
        else:
            case.result = [Failure(_text(result.detail), "CheckFailed")]
        written.add_testcase(case)
    document = JUnitXml("rollout")
    document.add_testsuite(written)
    document.update_statistics()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        document.write(str(fresh), pretty=True)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def from_junit(gate: Gate, folder: Path, *, now: float) -> Evidence:
    """Evidence of the files that the gate's query, a path or pattern below ``folder``, names.

    Tests that were skipped are no evidence: they are named, and leave the number of tests. Files older than
    the gate's ``max_age``, none at all, or without any test that ran: nothing was seen. What cannot be read,
    or has fewer tests than it says itself: error.
    """
    started, passed, failed = now, 0, []
    skipped: list[str] = []
    try:
        for path in _files(gate.query or "", folder):
            started = min(started, _fresh(path, gate.max_age, now))
            for case in _cases(path):
                name = f"{case.classname or ''} {case.name or ''}".strip() or "a test without a name"
                if any(isinstance(result, Failure | Error) for result in case.result):
                    failed.append(name)
                elif any(isinstance(result, Skipped) for result in case.result):
                    skipped.append(name)
                else:
                    passed += 1
    except Unusable as problem:
        return _evidence(gate, (started, now), 0, 0, {"error" if problem.never else "note": str(problem)})
    notes = [f"{what}: {_some(names)}" for what, names in (("failed", failed), ("skipped", skipped)) if names]
    labels = {"note": "; ".join(notes)} if notes else {}
    return _evidence(gate, (started, now), passed + len(failed), passed, labels)


def _files(pattern: str, folder: Path) -> list[Path]:
    root = folder.resolve()
    try:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise Unusable(f"{pattern}: {error}", never=True) from None
    if not found:
        raise Unusable(f"there is no file {pattern} in {folder}", never=False)
    if len(found) > MAX_FILES:
        raise Unusable(f"{pattern} names {len(found)} files, more than {MAX_FILES}", never=True)
    for path in found:
        if not path.resolve().is_relative_to(root):
            raise Unusable(f"{path.relative_to(root)} leads out of {folder}", never=True)
    return found


def _fresh(path: Path, max_age: float, now: float) -> float:
    """When the file was written."""
    written = path.stat().st_mtime
    if now - written > max_age:
        raise Unusable(
            f"{path.name} is {duration(now - written)} old, at most {duration(max_age)} are allowed",
            never=False,
        )
    if written - now > AHEAD:
        raise Unusable(f"{path.name} is from the future, by {duration(written - now)}", never=True)
    return written


def _cases(path: Path) -> list[TestCase]:
    if path.stat().st_size > MAX_BYTES:
        raise Unusable(f"{path.name} has more than {MAX_BYTES >> 20} MiB", never=True)
    try:
        tree = ElementTree.parse(path, forbid_dtd=True)
        # First: junitparser fills in numbers that are missing.
        for suite in tree.iter():
            if suite.tag in ("testsuite", "testsuites"):
                _complete(suite, path)
        return [case for suite in JUnitXml.fromfile(str(path), lambda _: tree) for case in suite]
    except DefusedXmlException as error:
        raise Unusable(f"{path.name} is refused: {type(error).__name__}", never=True) from None
    except (ElementTree.ParseError, JUnitXmlError, UnicodeError, ValueError, OSError) as error:
        # A file that is being written is not whole yet; who writes it had better write it whole.
        raise Unusable(f"{path.name} cannot be read as JUnit results: {error}", never=True) from None


def _complete(suite: Element, path: Path) -> None:
    """A suite has, with those inside it, as many tests as it says."""
    cases = list(suite.iter("testcase"))
    bad = sum(child.tag in ("failure", "error") for case in cases for child in case)
    told = {name: int(suite.get(name) or 0) for name in ("tests", "failures", "errors")}
    for what, said, seen in (
        ("tests", told["tests"], len(cases)),
        ("failures and errors", told["failures"] + told["errors"], bad),
    ):
        if said > seen:
            raise Unusable(f"{path.name} says {said} {what} and has {seen}", never=True)


def _evidence(
    gate: Gate, window: tuple[float, float], n: int, successes: int, labels: Mapping[str, str]
) -> Evidence:
    return Evidence(
        f"{gate.metric}-{secrets.token_hex(4)}",
        gate.metric,
        gate.about.kind,
        "junit",
        *window,
        n,
        successes=successes,
        labels={"gate": gate.name, "query": gate.query or "", **labels},
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(math.floor(at))) + "+00:00"

"""Test results as evidence: what is missing, old, cut off or hostile never passes."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import pytest

from rollout.checks import CheckResult
from rollout.config import Gate
from rollout.evidence.junit import from_junit, write_junit
from rollout.gates import evaluate
from rollout.model import Evidence, Verdict

NOW = time.time()


@pytest.fixture(autouse=True)
def now():
    """The modules are imported long before the last test of a whole run begins."""
    global NOW
    NOW = time.time()


def gate(query: str = "results/*.xml", **more) -> Gate:
    return Gate(
        name="own suite",
        metric="junit.pass_ratio",
        op=">=",
        threshold=1,
        query=query,
        **{"max_age": 60, **more},
    )


def check(name: str, ok: bool, detail: str = "") -> CheckResult:
    return CheckResult("smoke", "front door", name, ok, NOW, 0.25, detail)


def put(folder, text: str, name: str = "a.xml", *, age: float = 0.0):
    path = folder / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (NOW - age, NOW - age))
    return path


def seen(folder, asked: Gate | None = None) -> Evidence:
    return from_junit(asked or gate(), folder, now=NOW)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "results" / "junit-smoke.xml"
    write_junit(
        path, "smoke", [check("a", True, "200"), check("b", False, "401 & <no>")], {"environment": "dev"}
    )
    evidence = seen(tmp_path)
    assert (evidence.n, evidence.successes) == (2, 1)
    assert evidence.labels["note"] == "failed: smoke.front door b"
    root = ET.parse(path).getroot()
    assert root.attrib["tests"] == "2" and root.attrib["failures"] == "1"
    suite = root.find("testsuite")
    assert suite is not None and suite.attrib["timestamp"].endswith("+00:00")
    assert suite.find("testcase/failure").attrib == {"message": "401 & <no>", "type": "CheckFailed"}
    assert [entry.name for entry in path.parent.iterdir()] == ["junit-smoke.xml"]


def test_what_a_terminal_printed_is_still_xml(tmp_path):
    path = tmp_path / "results" / "x.xml"
    write_junit(path, "smoke", [check("a", False, "\x1b[31mred\x00 \ud800")])
    failure = ET.parse(path).getroot().find("testsuite/testcase/failure")
    assert failure is not None and "[31mred" in failure.attrib["message"]


def test_pytest_s_own_results_are_read(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 0\n"
        "@pytest.fixture\n"
        "def broken(): raise ValueError\n"
        "def test_broken(broken): pass\n"
        "@pytest.mark.skip\n"
        "def test_left_out(): assert 0\n"
        "@pytest.mark.xfail\n"
        "def test_known(): assert 0\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    subprocess.run([*command, "--junitxml=results/a.xml", "test_it.py"], cwd=tmp_path, check=False)
    evidence = from_junit(gate(), tmp_path, now=time.time())
    assert (evidence.n, evidence.successes) == (3, 1)
    result = evaluate(gate(), [evidence])
    assert result.verdict is Verdict.FAIL
    assert "failed: test_it test_bad, test_it test_broken; skipped: test_it test_" in result.reason


@pytest.mark.parametrize(
    ("text", "verdict", "said"),
    [
        ('<testsuite name="s"><testcase name="a"/></testsuite>', Verdict.PASS, "1 of 1"),
        ('<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>', Verdict.PASS, "1 of 1"),
        # a suite in a suite counts once
        ('<testsuite tests="2"><testcase name="a"/><testsuite tests="1"><testcase name="b"/></testsuite></testsuite>', Verdict.PASS, "2 of 2"),
        ('<testsuite><testcase name="a"><error/></testcase></testsuite>', Verdict.FAIL, "0 of 1"),
        ('<testsuite><testcase name="a"><failure/><skipped/></testcase></testsuite>', Verdict.FAIL, "0 of 1"),
        ('<testsuite><testcase name="a"><skipped/></testcase></testsuite>', Verdict.INCONCLUSIVE, "skipped: a"),
        ("<testsuites/>", Verdict.INCONCLUSIVE, "0 observations"),
        ("", Verdict.ERROR, "cannot be read"),
        ('<testsuite><testcase name="a"/>', Verdict.ERROR, "cannot be read"),
        ("<html><body/></html>", Verdict.ERROR, "cannot be read"),
        ('<testsuite tests="many"><testcase name="a"/></testsuite>', Verdict.ERROR, "cannot be read"),
        ('<testsuite tests="10"><testcase name="a"/></testsuite>', Verdict.ERROR, "says 10 tests and has 1"),
        ('<testsuites tests="3"><testsuite><testcase name="a"/></testsuite></testsuites>', Verdict.ERROR, "says 3 tests and has 1"),
        ('<testsuite failures="1"><testcase name="a"/></testsuite>', Verdict.ERROR, "says 1 failures and errors and has 0"),
        ('<!DOCTYPE t [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><testsuite><testcase name="&c;"/></testsuite>', Verdict.ERROR, "refused: DTDForbidden"),
        ('<!DOCTYPE t SYSTEM "file:///etc/passwd"><testsuite><testcase name="a"/></testsuite>', Verdict.ERROR, "refused: DTDForbidden"),
    ],
)  # fmt: skip
def test_every_form_has_its_verdict(tmp_path, text, verdict, said):
    put(tmp_path, text)
    result = evaluate(gate(), [seen(tmp_path)])
    assert (result.verdict, said in result.reason) == (verdict, True), result.reason


PASSING = '<testsuite><testcase name="a"/></testsuite>'


def test_no_file_at_all_is_inconclusive(tmp_path):
    result = evaluate(gate(), [seen(tmp_path)])
    assert result.verdict is Verdict.INCONCLUSIVE and "there is no file results/*.xml" in result.reason


def test_old_results_are_stale(tmp_path):
    put(tmp_path, PASSING, age=59)
    assert evaluate(gate(), [seen(tmp_path)]).verdict is Verdict.PASS
    put(tmp_path, PASSING, "b.xml", age=61)
    result = evaluate(gate(), [seen(tmp_path)])
    assert result.verdict is Verdict.INCONCLUSIVE and "b.xml is 1 min 1 s old" in result.reason


def test_results_from_the_future_are_an_error(tmp_path):
    put(tmp_path, PASSING, age=-3600)
    assert evaluate(gate(), [seen(tmp_path)]).verdict is Verdict.ERROR


def test_a_link_out_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "outside.xml").write_text(PASSING)
    inside = tmp_path / "inside"
    (inside / "results").mkdir(parents=True)
    (inside / "results" / "a.xml").symlink_to(tmp_path / "outside.xml")
    result = evaluate(gate(), [seen(inside)])
    assert result.verdict is Verdict.ERROR and "leads out of" in result.reason


def test_several_files_are_taken_together(tmp_path):
    put(tmp_path, PASSING)
    put(tmp_path, '<testsuite><testcase name="b"><failure/></testcase></testsuite>', "b.xml")
    evidence = seen(tmp_path)
    assert (evidence.n, evidence.successes) == (2, 1)

"""What somebody else wrote stays text, in every form of the report."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from rollout.checks.runner import CheckResult
from rollout.ledger import Ledger, State
from rollout.model import Evidence, GateResult, Verdict
from rollout.report import collect, html, markdown
from rollout.report.render import block, code, escape
from tests.support import summaries

EVIL = (
    "<script>alert(1)</script> | a \x1b[2Jb\u202e\n\n# heading\n``` ` \"x\" onload='y' [l](javascript:z)"
    " </title></style>"
)


@pytest.fixture
def data(short_path):
    """A report in which everything that can come from elsewhere is hostile."""
    config = summaries.project(short_path)
    with Ledger(config.ledger_url) as ledger:
        record = ledger.create(
            env="dev",
            kind="deploy",
            build=EVIL,
            digest=EVIL,
            generation=EVIL,
            previous=None,
            plan={"backward": [{"name": EVIL, "summary": EVIL}]},
            operator=EVIL,
        )
        evidence = Evidence(EVIL, EVIL, "gauge", EVIL, 1.0, 2.0, 1, value=1.0, labels={EVIL: EVIL})
        ledger.record_verdicts(
            record.id, EVIL, [GateResult(EVIL, Verdict.FAIL, 1.0, 2.0, 1, EVIL, (EVIL,))], [evidence]
        )
        ledger.record_checks("dev", record.id, [CheckResult(EVIL, EVIL, EVIL, False, 1.0, 1.0, EVIL)])
        ledger.write(record.id, 0, EVIL, "failed", fence=1, reason=EVIL)
        ledger.add_event("dev", "override", by=EVIL, rollout=record.id, reason=EVIL, refused=[EVIL])
        ledger.add_event("dev", "plan-step", by=EVIL, rollout=record.id, step=EVIL, outcome=EVIL, ok=False)
        ledger.add_event(
            "dev", "alert", by=EVIL, rollout=record.id, rule=EVIL, text=EVIL, host=EVIL, since=1.0
        )
        ledger.add_event("dev", "approval", by=EVIL, rollout=record.id, build=EVIL, note=EVIL)
        ledger.transition(record.id, State.ROLLING_BACK, reason=EVIL)
    data = collect(config, "dev")
    data["plots"] = [
        {
            "id": "shift-latency", "scope": "shift", "title": EVIL, "unit": "ms", "from": 1.0, "to": 9.0,
            "series": [{"name": EVIL, "t": [1.0, 9.0], "v": [1.0, 2.0], "n": 2}],
            "marks": [{"at": 2.0, "label": EVIL}], "gaps": [], "alt": EVIL, "missing": "",
        },
        {
            "id": "shift-success", "scope": "shift", "title": EVIL, "unit": "%", "from": 1.0, "to": 9.0,
            "series": [], "marks": [], "gaps": [], "alt": "", "missing": EVIL,
        },
    ]  # fmt: skip
    return data


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]


def test_hostile_text_is_text_in_html(data):
    page = html(data)
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.seen
    assert not {name for name in tags.attributes if name.startswith("on")}
    assert tags.links and all(link.startswith("#") for link in tags.links)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)
    assert page.count("</title>") == 1 + page.count("<svg xmlns") and page.count("</style>") == 1


def test_nothing_is_fetched_and_nothing_runs(data):
    page = html(data)
    assert "default-src 'none'" in page
    assert not re.search(r"(?i)<(script|link|img|iframe|object|embed)|url\((?!#)|@import", page)


def test_hostile_text_is_text_in_markdown(data):
    text = markdown(data)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert not [line for line in text.splitlines() if line.startswith("# heading")]
    # Outside code, a tag, a link and a table cell's end are always escaped.
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", text)
    outside = re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", outside)
    assert "\\<script" in outside
    assert not re.search(r"(?<!\\)<(?=[A-Za-z/!?])(?!a id=\"|/a>)", outside)
    assert not re.search(r"(?<!\\)\]\((?!#)", outside)


def test_rows_of_a_table_keep_their_columns(data):
    width = 0
    for line in markdown(data).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (cells and width) or cells == width, line
        width = cells


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a < b & c > d", "a < b & c > d"),
        ("load.connect_ms_p95", "load.connect_ms_p95"),
        ("_x_ *y* `z`", "\\_x\\_ \\*y\\* \\`z\\`"),
        ("> 95 %", "\\> 95 %"),
        ("- x", "\\- x"),
        ("&lt;", "\\&lt;"),
        ("a|b\nc", "a\\|b c"),
        ("ends with <", "ends with \\<"),
    ],
)
def test_only_what_begins_something_is_escaped(value, text):
    assert escape(value) == text


def test_code_is_fenced_by_more_backticks_than_it_has():
    assert code("a`b``c") == "```a`b``c```"
    assert code("`a") == "`` `a ``"
    assert block("```\nx").startswith("````text\n```\nx\n````")


def test_the_title_and_the_decision_come_first(short_path):
    config = summaries.project(short_path)
    summaries.seed(config)
    lines = markdown(collect(config, "dev")).splitlines()
    assert lines[0] == "# Deploy of 1.0.0-312e302e3031 to dev (#2)"
    assert lines[2] == "**Decision: no-go: rolled back**"

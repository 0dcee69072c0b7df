"""Gates that ask a real Prometheus: what each of its answers, and no answer, comes to."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler

import pytest

from rollout.config import Gate, Prometheus
from rollout.evidence import Trial, from_prometheus
from rollout.evidence.promql import Client
from rollout.gates import evaluate
from rollout.model import GateResult, Verdict
from tests.support.monitoring import Exporter, Monitoring, serving
from tests.support.ports import free_ports
from tests.support.stack import until

pytestmark = pytest.mark.slow("a Prometheus server that gathers for a while")


@pytest.fixture(scope="module")
def exporter():
    return Exporter()


@pytest.fixture(scope="module")
def server(exporter, tmp_path_factory):
    with serving(exporter.handler) as shown:
        started = Monitoring(
            tmp_path_factory.mktemp("gates"),
            web="127.0.0.1:1",
            token="t",
            exporter=shown,
            webhook="127.0.0.1:1",
        )
        try:
            started.start()
            until(lambda: exporter.scrapes, "a scrape")
            yield Prometheus(url=started.url)
        finally:
            started.close()


def gate(metric: str, op: str, threshold: float, query: str, **more) -> Gate:
    return Gate(name="asked", metric=f"prometheus.{metric}", op=op, threshold=threshold, query=query, **more)


def judged(gate: Gate, server: Prometheus, *, previous: str | None = "g1", ago: float = 60.0) -> GateResult:
    trial = Trial("staging", "g2", previous, time.time() - ago)
    return evaluate(gate, from_prometheus([gate], server, trial, step=0.2))


def test_a_value_is_judged_as_it_is(server, exporter):
    exporter.show('queue{generation="g2"} 7', 'queue{generation="g1"} 70')
    query = 'queue{generation="$generation"}'
    assert judged(gate("value", "<", 8, query), server).verdict is Verdict.PASS
    failed = judged(gate("value", "<", 7, query), server)
    assert (failed.verdict, failed.measured, failed.n) == (Verdict.FAIL, 7.0, 1)
    assert judged(gate("value", "==", 70, 'queue{generation="${previous}"}'), server).verdict is Verdict.PASS
    assert judged(gate("value", "==", 7, f"scalar({query})"), server).verdict is Verdict.PASS
    assert judged(gate("value", "<", -1, f"-{query}"), server).verdict is Verdict.PASS


def test_of_several_series_the_worst_counts(server, exporter):
    exporter.show('part{n="1"} 3', 'part{n="2"} 50', 'part{n="3"} 4')
    assert judged(gate("value", "<", 50, "part"), server).verdict is Verdict.FAIL
    assert judged(gate("value", "<", 51, "part"), server).verdict is Verdict.PASS
    assert judged(gate("value", ">", 3, "part"), server).verdict is Verdict.FAIL
    assert judged(gate("value", ">", 2, "part"), server).verdict is Verdict.PASS
    assert judged(gate("value", "==", 3, "part"), server).verdict is Verdict.FAIL
    assert judged(gate("value", "<", 51, "part", min_samples=4), server).verdict is Verdict.INCONCLUSIVE


def test_a_rate_is_judged_by_its_bound(server, exporter):
    exporter.show('work_total{result="ok"} 999', 'work_total{result="bad"} 1')
    counts = {"query": 'sum(work_total{result="ok"})', "total": "sum(work_total)"}
    good = judged(gate("rate", ">", 0.99, **counts), server)
    assert (good.verdict, good.n, good.measured) == (Verdict.PASS, 1000, 0.999)
    exporter.show('work_total{result="ok"} 10')
    few = judged(gate("rate", ">", 0.99, **counts), server)
    assert (few.verdict, few.n) == (Verdict.INCONCLUSIVE, 10)  # ten of ten is not more than 99 %
    exporter.show('work_total{result="ok"} 80', 'work_total{result="bad"} 20')
    assert judged(gate("rate", ">", 0.99, **counts), server).verdict is Verdict.FAIL
    errors = {"query": 'sum(work_total{result="bad"})', "total": "sum(work_total)"}
    assert judged(gate("rate", "<", 0.01, **errors), server).verdict is Verdict.FAIL


def test_counts_that_contradict_each_other_are_an_error(server, exporter):
    exporter.show('work_total{result="ok"} 12', "all_total 10")
    swapped = gate("rate", ">", 0.9, 'work_total{result="ok"}', total="all_total")
    assert judged(swapped, server).verdict is Verdict.ERROR
    exporter.show('work_total{host="a"} 12', 'work_total{host="b"} 12', "all_total 24")
    two = judged(gate("rate", ">", 0.9, "work_total", total="all_total"), server)
    assert two.verdict is Verdict.ERROR and "aggregate it with sum()" in two.reason
    below = judged(gate("rate", ">", 0.9, "-all_total", total="all_total"), server)
    assert below.verdict is Verdict.ERROR and "counts -24" in below.reason


def test_nothing_happened_is_not_a_pass(server, exporter):
    exporter.show("idle_total 0")
    nothing = judged(gate("rate", ">", 0.5, "idle_total", total="idle_total"), server)
    assert (nothing.verdict, nothing.n) == (Verdict.INCONCLUSIVE, 0)
    missing = judged(gate("rate", ">", 0.5, "no_such_total", total="idle_total"), server)
    assert missing.verdict is Verdict.INCONCLUSIVE and "query: the query gives no series" in missing.reason


def test_a_histogram_is_judged_by_the_upper_bounds_of_its_buckets(server, exporter):
    exporter.show('t_bucket{le="0.1"} 940', 't_bucket{le="0.5"} 980', 't_bucket{le="+Inf"} 1000')
    query = "sum by (le) (t_bucket)"
    judgement = judged(gate("samples", "<=", 0.5, query, percentile=95), server)
    assert (judgement.verdict, judgement.measured, judgement.n) == (Verdict.PASS, 0.5, 1000)
    assert "20 of 1000 are above 0.5" in judgement.reason
    assert judged(gate("samples", "<=", 0.1, query, percentile=90), server).verdict is Verdict.PASS
    assert judged(gate("samples", "<=", 0.5, query, percentile=99), server).verdict is Verdict.FAIL
    assert judged(gate("samples", "<=", 0.5, "sum(t_bucket)"), server).verdict is Verdict.ERROR


def test_a_series_has_the_points_of_the_window(server, exporter):
    exporter.show("level 5")
    trial = Trial("staging", "g2", None, time.time() - 60)
    (evidence,) = from_prometheus([gate("series", "<", 0.1, "level", window=2)], server, trial, step=0.2)
    assert (evidence.kind, set(evidence.samples)) == ("series", {5.0})
    assert 2 <= evidence.n == len(evidence.times) <= 11
    assert list(evidence.times) == sorted(evidence.times)
    assert evidence.ended - 2.1 < evidence.times[0] and abs(evidence.ended - time.time()) < 30
    (two,) = from_prometheus([gate("series", "<", 0.1, "up", window=2)], server, trial, step=0.2)
    assert "series; one can be followed" in two.labels["error"]


def test_the_window_is_never_longer_than_the_trial(server, exporter):
    exporter.show("level 5")
    wide = gate("value", ">", 0, "count_over_time(level[$window])", window=3600)
    trial = Trial("staging", "g2", None, time.time() - 3)
    (evidence,) = from_prometheus([wide], server, trial)
    assert evidence.labels["query"] in ("count_over_time(level[3s])", "count_over_time(level[4s])")
    assert evidence.ended - evidence.started < 10


@pytest.mark.parametrize(
    ("query", "verdict", "said"),
    [
        ("no_such_metric", Verdict.INCONCLUSIVE, "the query gives no series"),
        ("level / (level - level)", Verdict.ERROR, "infinite"),
        ("(level - level) / (level - level)", Verdict.INCONCLUSIVE, "NaN"),
        ("sum(level", Verdict.ERROR, "400: bad_data: "),
        ("level[5s]", Verdict.ERROR, "gives a matrix"),
        ('"text"', Verdict.ERROR, "gives a string"),
        ("up * on () up", Verdict.ERROR, "422: execution: "),
        ('level{x="$previous"}', Verdict.INCONCLUSIVE, "no generation before"),
        ("level # says something", Verdict.PASS, "5"),
        ('level{job=~"exporter$"}', Verdict.PASS, "5"),
        ('level{job!="$$env"}', Verdict.PASS, "5"),
    ],
)
def test_every_other_answer_has_its_verdict(server, exporter, query, verdict, said):
    exporter.show("level 5")
    found = judged(gate("value", ">", 0, query), server, previous=None)
    assert (found.verdict, said in found.reason) == (verdict, True), found.reason


def test_a_sample_that_nobody_renewed_is_stale(server, exporter):
    old = int((time.time() - 100) * 1000)
    exporter.show(f'kept{{n="1"}} 1 {old}', 'kept{n="2"} 1')
    assert judged(gate("value", ">", 0, "kept", max_age=200), server).verdict is Verdict.PASS
    stale = judged(gate("value", ">", 0, "kept", max_age=50), server)
    assert stale.verdict is Verdict.INCONCLUSIVE and "the last sample is 1 min 4" in stale.reason


def test_too_many_series_are_an_error(server, exporter):
    exporter.show(*(f'crowd{{n="{n}"}} 1' for n in range(1001)))
    crowd = judged(gate("value", ">", 0, "crowd"), server)
    assert crowd.verdict is Verdict.ERROR and "1001 series" in crowd.reason
    assert judged(gate("value", "==", 1001, "sum(crowd)"), server).verdict is Verdict.PASS


def test_a_prometheus_that_does_not_answer_is_never_a_pass():
    nobody = Prometheus(url=f"http://127.0.0.1:{free_ports(1)[0]}")
    found = judged(gate("value", ">", 0, "level"), nobody)
    assert found.verdict is Verdict.INCONCLUSIVE and "is not reachable" in found.reason


def test_gates_of_one_metric_are_judged_each_by_its_own_query(server, exporter):
    exporter.show("good 1", "bad 9")
    gates = [
        Gate(name=name, metric="prometheus.value", op="<", threshold=5, query=name)
        for name in ("good", "bad")
    ]
    evidence = from_prometheus(gates, server, Trial("staging", "g2", None, time.time() - 60))
    assert [evaluate(gate, evidence).verdict for gate in gates] == [Verdict.PASS, Verdict.FAIL]


def test_the_baseline_is_asked_the_same_about_the_generation_before(server, exporter):
    exporter.show('queue{generation="g2"} 7', 'queue{generation="g1"} 70')
    asked = gate("value", "<", 2, 'queue{generation="$generation"}', compare="baseline")
    new, old = from_prometheus([asked], server, Trial("staging", "g2", "g1", time.time() - 60))
    assert (new.value, new.labels["generation"], "role" in new.labels) == (7.0, "g2", False)
    assert (old.value, old.labels["generation"], old.labels["role"]) == (70.0, "g1", "baseline")
    _, nobody = from_prometheus([asked], server, Trial("staging", "g2", None, time.time() - 60))
    assert nobody.n == 0 and "no generation before" in nobody.labels["note"]


def test_what_compares_looks_at_the_time_when_there_were_two(server, exporter):
    exporter.show('busy{generation="g2"} 7', 'busy{generation="g1"} 70')
    compares = gate("value", "<", 2, 'busy{generation="$generation"}', compare="baseline")
    alone = gate("value", "<", 8, 'busy{generation="$generation"}')
    until_then = time.time()
    exporter.show('busy{generation="g2"} 9')
    trial = Trial("staging", "g2", "g1", until_then - 60, until_then)
    new, now, old = from_prometheus([compares, alone], server, trial)
    assert (new.value, old.value, now.value) == (7.0, 70.0, 9.0)
    assert abs(new.ended - until_then) < 1 and now.ended > new.ended


# --- answers that a sound Prometheus does not give: from a stand-in ----------------------------------


class StandIn(BaseHTTPRequestHandler):
    """Answers as its class says, and remembers what it was sent."""

    status = 200
    body = ""
    location = ""
    seen: list[str | None] = []  # noqa: RUF012 - of the one stand-in

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(self.headers["Authorization"])
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, format: str, *args) -> None:
        pass


@pytest.fixture
def stand_in():
    handler = type("Answer", (StandIn,), {"seen": []})
    with serving(handler) as address:
        yield handler, Prometheus(url=f"http://{address}")


def scalar(value: float) -> str:
    return f'{{"status":"success","data":{{"resultType":"scalar","result":[{value},"{value}"]}}}}'


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (500, "", Verdict.INCONCLUSIVE),
        (503, '{"status":"error","errorType":"timeout","error":"query timed out"}', Verdict.INCONCLUSIVE),
        (429, "slow down", Verdict.INCONCLUSIVE),
        (401, "who are you", Verdict.ERROR),
        (404, "<html>", Verdict.ERROR),
        (302, "", Verdict.ERROR),
        (200, "<html>a login page</html>", Verdict.ERROR),
        (200, '["not", "an", "object"]', Verdict.ERROR),
        (200, '{"status":"success"}', Verdict.ERROR),
        (200, "an hour ago", Verdict.ERROR),  # so far apart are the clocks
        (200, "a warning", Verdict.INCONCLUSIVE),
        (200, "now", Verdict.PASS),  # the stand-in itself is a sound one
    ],
)
def test_each_status_and_body_has_its_verdict(stand_in, status, body, verdict):
    handler, server = stand_in
    now = time.time()
    made = {
        "now": scalar(now),
        "an hour ago": scalar(now - 3600),
        "a warning": scalar(now)[:-1] + ',"warnings":["a store did not answer"]}',
    }
    handler.status, handler.body = status, made.get(body, body)
    handler.location = f"{server.url}/elsewhere" if status == 302 else ""
    assert judged(gate("value", ">", 0, "level"), server).verdict is verdict
    assert status == 200 or len(handler.seen) == 1  # nothing was followed


def test_a_small_difference_of_the_clocks_moves_no_window(stand_in):
    handler, server = stand_in
    ahead = time.time() + 30
    handler.body = scalar(ahead)
    trial = Trial("staging", "g2", None, time.time() - 10)
    (evidence,) = from_prometheus([gate("value", ">", 0, "1")], server, trial)
    assert abs(evidence.ended - time.time()) < 5 and 9 < evidence.ended - evidence.started < 15


def test_a_token_is_read_from_a_file_that_nobody_else_may_read(stand_in, tmp_path):
    handler, server = stand_in
    handler.body = scalar(time.time())
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o644)
    keyed = Prometheus(url=server.url, token_file=token)
    refused = judged(gate("value", ">", 0, "1"), keyed)
    assert refused.verdict is Verdict.ERROR and "chmod 600" in refused.reason
    assert handler.seen == []
    token.chmod(0o600)
    assert judged(gate("value", ">", 0, "1"), keyed).verdict is Verdict.PASS
    assert set(handler.seen) == {"Bearer s3cret"}
    token.write_text("two\nlines\n")
    assert judged(gate("value", ">", 0, "1"), keyed).verdict is Verdict.ERROR


def test_a_password_is_that_of_the_host_in_netrc(stand_in, tmp_path, monkeypatch):
    handler, server = stand_in
    handler.body = scalar(time.time())
    monkeypatch.setenv("HOME", str(tmp_path))
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login ada password lovelace\n")
    netrc.chmod(0o600)
    assert judged(gate("value", ">", 0, "1"), server).verdict is Verdict.PASS
    assert set(handler.seen) == {"Basic YWRhOmxvdmVsYWNl"}


def test_a_silent_prometheus_holds_nobody_for_long():
    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read()  # until the other side is gone

        def log_message(self, format: str, *args) -> None:
            pass

    with serving(Silent) as address:
        client = Client(Prometheus(url=f"http://{address}"), seconds=0.2)
        with pytest.raises(Exception, match="timed out"):
            client.now()

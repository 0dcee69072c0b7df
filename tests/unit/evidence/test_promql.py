"""Answers of servers that speak like Prometheus, and not quite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from rollout.config import Prometheus
from rollout.evidence.promql import BadQuery, Client


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.dumps({"status": "success", "data": self.server.data}).encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(server: HTTPServer) -> Client:
    return Client(Prometheus(url=f"http://127.0.0.1:{server.server_port}"))


@pytest.mark.parametrize("kind", ["", "vector", "matrix"])
def test_null_is_no_series(server, client, kind):
    server.data = {"resultType": kind, "result": None}
    assert client.instant("up", 1.0) == []
    assert client.over("up", 1.0, 2.0, 1.0) == []


VALUE = [1.0, "2"]


@pytest.mark.parametrize(
    "result",
    [
        [{"value": VALUE}],
        [{"metric": {}, "value": [1.0]}],
        [{"metric": {}, "value": []}],
        [{"metric": {}, "value": "12"}],
        [{"metric": {}, "value": 7}],
        [{"metric": {}, "value": None}],
        [{"metric": 3, "value": VALUE}],
        [{"metric": {}, "value": ["soon", "2"]}],
        [7],
        [None],
        7,
        "vector",
        {"metric": {}},
    ],
)
def test_what_has_another_shape_is_no_answer(server, client, result):
    for kind in ("vector", "scalar"):
        server.data = {"resultType": kind, "result": result}
        with pytest.raises(BadQuery):
            client.instant("up", 1.0)


@pytest.mark.parametrize("values", [[[1.0]], [7], 7, [[1.0, "2", 3]], ["x"], [["soon", "2"]]])
def test_nor_is_a_line_of_another_shape(server, client, values):
    server.data = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
    with pytest.raises(BadQuery):
        client.over("up", 1.0, 2.0, 1.0)


@pytest.mark.parametrize("result", [None, [], [1.0], 7, "now"])
def test_a_time_that_is_none_is_no_answer(server, client, result):
    server.data = {"resultType": "scalar", "result": result}
    with pytest.raises(BadQuery):
        client.now()

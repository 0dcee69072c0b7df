"""Asking Prometheus' HTTP API.

What may come right by waiting (:class:`NoAnswer`) is told apart from what will not (:class:`BadQuery`).
The standard library carries it: one POST of a form. Redirects are not followed, because they would take the
credentials along; certificates are verified, by the system's authorities or the configured ones.
"""

from __future__ import annotations

import base64
import http.client
import json
import netrc
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from rollout.config import Prometheus

SECONDS = 5.0
"""A query that takes longer is given up."""
MAX_BYTES = 16 << 20
LATER = (408, 425, 429)


class NoAnswer(Exception):
    """Nothing was learned this time: unreachable, overloaded, too slow, or only a part was told."""


class Gone(NoAnswer):
    """Prometheus is not reachable, or too slow: asking it something else will not help either."""


class BadQuery(Exception):
    """There will be no answer to this however often it is asked."""


@dataclass(frozen=True, slots=True)
class Point:
    """A series with its newest value; ``at`` is the time of the evaluation, in Prometheus' own clock."""

    labels: Mapping[str, str]
    at: float
    value: float


@dataclass(frozen=True, slots=True)
class Line:
    """A series with its values over time."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


class Client:
    """Asks one Prometheus.

    Raises, from every method:
        NoAnswer, BadQuery: see there.
    """

    def __init__(self, server: Prometheus, *, seconds: float = SECONDS) -> None:
        self._server = server
        self._seconds = seconds
        context = None
        if server.url.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=server.ca)
            except OSError as error:  # ssl's own errors, too
                raise BadQuery(f"{server.ca}: {error.strerror or 'no certificates in PEM form'}") from None
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))

    def now(self) -> float:
        """What time it is there, in unix seconds."""
        kind, result = self._data("query", query="time()")
        with self._shaped():
            if kind == "scalar":
                return _pair(result)[1]
        raise BadQuery(f"{self._server.url} does not answer as a Prometheus does")

    def instant(self, query: str, at: float) -> list[Point]:
        """The value of every series of an expression at a time; a scalar is one series without labels."""
        kind, result = self._data("query", query=query, time=f"{at:.3f}")
        if result is None:
            return []  # so some say that there is no series
        with self._shaped():
            if kind == "scalar":
                return [Point({}, *_pair(result))]
            if kind != "vector":
                raise BadQuery(f"the query gives a {kind}; it has to give one value for each series")
            if any("value" not in series for series in result):
                raise BadQuery("the query gives native histograms; use histogram_quantile or histogram_count")
            return [Point(dict(series["metric"]), *_pair(series["value"])) for series in result]

    def sampled(self, query: str, at: float) -> dict[tuple[tuple[str, str], ...], float]:
        """When each series of a plain selector was last sampled, by its labels without its name.

        Of any other expression Prometheus knows but the time of the evaluation.
        """
        # On a line of its own: the query may end in a comment.
        points = self.instant(f"timestamp({query}\n)", at)
        return {tuple(sorted(point.labels.items())): point.value for point in points}

    def over(self, query: str, start: float, end: float, step: float) -> list[Line]:
        """The values of every series of an expression between two times, ``step`` seconds apart."""
        _, result = self._data(
            "query_range", query=query, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:.3f}"
        )
        if result is None:
            return []
        with self._shaped():
            found = [
                (dict(series["metric"]), [_pair(pair) for pair in series.get("values", ())])
                for series in result
            ]
        return [
            Line(labels, tuple(at for at, _ in pairs), tuple(value for _, value in pairs))
            for labels, pairs in found
        ]

    @contextmanager
    def _shaped(self) -> Iterator[None]:
        """While an answer is taken apart: whatever it lacks, it is none."""
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
            raise BadQuery(f"{self._server.url} does not answer as a Prometheus does") from None

    def _data(self, path: str, **fields: str) -> tuple[str, Any]:
        answer = self._post(path, fields)
        if answer.get("status") != "success":
            raise BadQuery(f"{answer.get('errorType', 'error')}: {answer.get('error', 'no reason given')}")
        if warnings := answer.get("warnings"):
            raise NoAnswer(f"Prometheus warns that this is not all: {'; '.join(map(str, warnings))[:300]}")
        try:
            return str(answer["data"]["resultType"]), answer["data"]["result"]
        except (KeyError, TypeError):
            raise BadQuery(f"{self._server.url} does not answer as a Prometheus does") from None

    def _post(self, path: str, fields: Mapping[str, str]) -> dict[str, Any]:
        url = f"{self._server.url}/api/v1/{path}"
        form = urlencode({**fields, "timeout": f"{self._seconds:g}s"}).encode()
        request = urllib.request.Request(url, data=form, method="POST")  # noqa: S310 - checked when it was read
        if credentials := self._credentials():
            request.add_header("Authorization", credentials)
        try:
            with self._opener.open(request, timeout=self._seconds) as response:
                return self._json(self._read(response), response.status)
        except urllib.error.HTTPError as error:
            with error:
                answer = self._json(error.read(MAX_BYTES), error.code)
            text = f"{answer.get('errorType', error.reason)}: {answer.get('error', '')}".rstrip(": ")
            if error.code >= 500 or error.code in LATER:
                raise NoAnswer(f"Prometheus answers {error.code}: {text}") from None
            raise BadQuery(f"Prometheus answers {error.code}: {text}") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise BadQuery(f"{self._server.url}: {error.reason.verify_message}") from None
            raise Gone(f"{self._server.url} is not reachable: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Gone(f"{self._server.url}: {str(error) or type(error).__name__}") from None

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """All of the answer; a trickle does not hold us longer than silence."""
        end, body = time.monotonic() + self._seconds, b""
        while block := response.read1(1 << 16):
            body += block
            if len(body) > MAX_BYTES:
                raise BadQuery(f"the answer has more than {MAX_BYTES >> 20} MiB; aggregate the query")
            if time.monotonic() > end:
                raise Gone(f"the answer takes longer than {self._seconds:g} s")
        return body

    def _json(self, body: bytes, status: int) -> dict[str, Any]:
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        if 200 <= status < 300:
            raise BadQuery(f"{self._server.url} does not answer as a Prometheus does")
        return {}

    def _credentials(self) -> str | None:
        """Read each time: tokens are renewed while a rollout runs.

        Raises:
            BadQuery: the token's file, or ~/.netrc, cannot be read or may be read by others.
        """
        path = self._server.token_file
        try:
            if path is not None:
                if path.stat().st_mode & 0o077:
                    raise BadQuery(f"{path} may be read by others; run: chmod 600 {path}")
                token = path.read_text().strip()
                if not token or not token.isascii() or not token.isprintable():
                    raise BadQuery(f"{path} does not hold a token")
                return f"Bearer {token}"
            if not Path("~/.netrc").expanduser().exists():
                return None
            known = netrc.netrc().authenticators(urlsplit(self._server.url).hostname or "")
        except (OSError, UnicodeDecodeError) as error:
            raise BadQuery(f"{path or '~/.netrc'}: {getattr(error, 'strerror', error)}") from None
        except netrc.NetrcParseError as error:
            raise BadQuery(f"~/.netrc: {error}") from None
        if known is None:
            return None
        return "Basic " + base64.b64encode(f"{known[0]}:{known[2] or ''}".encode()).decode()


def _pair(pair: Any) -> tuple[float, float]:
    """A time and a value."""
    if not isinstance(pair, list):
        raise TypeError(pair)
    at, value = pair
    return float(at), _number(value)


def _number(text: Any) -> float:
    """A sample's value: Prometheus writes NaN and +Inf as words."""
    try:
        return float(text)
    except (TypeError, ValueError):
        raise BadQuery(f"not a number: {text!r}") from None

"""What is asked of a provider is bounded; a provider that is none, or is not well, is one clear reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from terminals.control.answers import Oidc
from terminals.web.oidc import flow as flows
from terminals.web.oidc import provider as providers
from terminals.web.oidc.provider import MOST_BYTES, Provider, Remembered
from terminals.web.oidc.trouble import NotSignedIn

FLOW = flows.begin(b"token", "https://tools.example.com/terminals/")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fake:
    """A server that answers as it is told to; ``asked`` are the paths."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""
        self.metadata: dict[str, Any] = {}
        self.answers: dict[str, Answer] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if own := self.answers.get(request.path):
            return await own(request)
        return web.json_response(self.metadata)


def with_fake(what: Callable[[Fake, Provider], Awaitable[None]], **oidc: Any) -> None:
    """Run a test beside a server on loopback."""

    async def run() -> None:
        fake = Fake()
        runner = web.ServerRunner(web.Server(fake.answer, handler_cancellation=True))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        places = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "keys"}
        fake.metadata = {"issuer": fake.url, **{key: f"{fake.url}/{path}" for key, path in places.items()}}
        named = {"issuer": fake.url, "client_id": "terminals", "public_urls": [FLOW.page]}
        provider = Provider(msgspec.convert(named | oidc, Oidc))
        try:
            await what(fake, provider)
        finally:
            await provider.close()
            await runner.cleanup()

    asyncio.run(run())


async def refused(asked: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(NotSignedIn) as info:
        await asked
    assert "\n" not in str(info.value)
    return info.value.reason, str(info.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "https://another.example.com"}, "of the issuer 'https://another.example.com'"),
        ({"issuer": None}, "of the issuer None"),
        ({"token_endpoint": None}, "token_endpoint"),
        ({"token_endpoint": "http://id.example.com/token"}, "token_endpoint"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "authorization_endpoint"),
    ],
)
def test_a_provider_that_says_it_is_another_or_leads_elsewhere_is_not_used(changes, said):
    async def look(fake: Fake, provider: Provider) -> None:
        fake.metadata |= changes
        reason, text = await refused(provider.authorization_url(FLOW))
        assert (reason, said in text) == ("invalid", True), text
        assert fake.asked == ["/.well-known/openid-configuration"]

    with_fake(look)


async def _redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/elsewhere")


async def _page(request: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>", content_type="text/html")


async def _deep(request: web.Request) -> web.StreamResponse:
    return web.Response(text="[" * 100_000)


async def _ill(request: web.Request) -> web.StreamResponse:
    return web.json_response({}, status=503)


async def _missing(request: web.Request) -> web.StreamResponse:
    return web.json_response({}, status=404)


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    assert request.transport is not None
    request.transport.abort()
    return response


async def _never(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_redirect, "invalid"),
        (_page, "invalid"),
        (_deep, "invalid"),
        (_missing, "invalid"),
        (_ill, "unreachable"),
        (_cut, "unreachable"),
        (_never, "unreachable"),
    ],
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token"])
def test_answers_that_are_none_are_given_up(answer, reason, path, monkeypatch):
    monkeypatch.setattr(providers, "SECONDS", 0.2 if answer is _never else 60.0)

    async def look(fake: Fake, provider: Provider) -> None:
        fake.answers[path] = answer
        assert (await refused(provider.claims(FLOW, "code")))[0] == reason
        assert "/elsewhere" not in fake.asked

    with_fake(look)


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "packed"])
def test_an_answer_is_good_up_to_a_size_that_it_has_when_it_comes(packed):
    size = MOST_BYTES

    async def padded(request: web.Request) -> web.StreamResponse:
        text = json.dumps(fakes[0].metadata)
        response = web.StreamResponse()  # without a length that could be looked at before
        if packed:
            response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        await response.write(text.ljust(size).encode())
        return response

    fakes: list[Fake] = []

    async def look(fake: Fake, provider: Provider) -> None:
        nonlocal size
        fakes.append(fake)
        fake.answers["/.well-known/openid-configuration"] = padded
        if packed:
            size = 100 * MOST_BYTES
            assert "not with what is expected" in (await refused(provider.authorization_url(FLOW)))[1]
            return
        size = MOST_BYTES + 1
        assert "more than" in (await refused(provider.authorization_url(FLOW)))[1]
        size = MOST_BYTES
        assert (await provider.authorization_url(FLOW)).startswith(fake.url)

    with_fake(look)


def test_a_provider_that_is_not_there_is_said_so():
    async def look(fake: Fake, provider: Provider) -> None:
        nobody = msgspec.convert(
            {"issuer": "http://127.0.0.1:1", "client_id": "x", "public_urls": [FLOW.page]}, Oidc
        )
        other = Provider(nobody)
        try:
            assert (await refused(other.authorization_url(FLOW)))[0] == "unreachable"
        finally:
            await other.close()

    with_fake(look)


@pytest.mark.parametrize(
    ("error", "reason"),
    [("invalid_grant", "stale"), ("invalid_client", "invalid"), ("x\n\x1b[2J", "invalid")],
)
def test_an_error_at_the_token_endpoint_is_one_line_of_the_log(error, reason):
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": error}, status=400)

    async def look(fake: Fake, provider: Provider) -> None:
        fake.answers["/token"] = refuse
        found, text = await refused(provider.claims(FLOW, "code"))
        assert found == reason and text.isprintable()

    with_fake(look)


@pytest.mark.parametrize("code", ["code", "\udcff", "a&grant_type=password", "🙂" * 100, "\0"])
def test_whatever_a_browser_brings_as_a_code_it_stays_one_field(code):
    fields: dict[str, str] = {}

    async def keep(request: web.Request) -> web.StreamResponse:
        fields.update(await request.post())  # type: ignore[arg-type]
        return web.json_response({"error": "invalid_grant"}, status=400)

    async def look(fake: Fake, provider: Provider) -> None:
        fake.answers["/token"] = keep
        assert (await refused(provider.claims(FLOW, code)))[0] in ("stale", "invalid")

    with_fake(look)
    if fields:
        assert fields["grant_type"] == "authorization_code"
        assert fields["code_verifier"] == FLOW.verifier
        assert fields["redirect_uri"] == "https://tools.example.com/terminals/oidc/callback"
        assert fields["client_id"] == "terminals"


def test_an_answer_that_another_issuer_has_sent_is_not_taken():
    async def look(fake: Fake, provider: Provider) -> None:
        await provider.check_issuer(None)
        await provider.check_issuer(fake.url)
        assert (await refused(provider.check_issuer("https://another.example.com")))[0] == "invalid"

    with_fake(look)

    async def always(fake: Fake, provider: Provider) -> None:
        fake.metadata["authorization_response_iss_parameter_supported"] = True
        assert (await refused(provider.check_issuer(None)))[0] == "invalid"

    with_fake(always)


def test_a_secret_that_cannot_be_read_is_said_and_not_shown(tmp_path):
    secret = tmp_path / "secret"

    async def look(fake: Fake, provider: Provider) -> None:
        reason, text = await refused(provider.claims(FLOW, "code"))
        assert (reason, str(secret) in text) == ("invalid", True)
        assert "/token" not in fake.asked

    with_fake(look, client_secret_file=str(secret))


def test_certificates_that_are_none_are_said(tmp_path):
    (tmp_path / "ca.pem").write_text("none")

    async def look(fake: Fake, provider: Provider) -> None:
        assert "ca.pem" in (await refused(provider.authorization_url(FLOW)))[1]

    with_fake(look, ca=str(tmp_path / "ca.pem"))


def test_one_fetch_is_enough_for_all_who_wait_until_it_is_old():
    async def run() -> None:
        times, now, fails = 0, 0.0, False

        async def fetch() -> int:
            nonlocal times
            times += 1
            await asyncio.sleep(0)
            if fails:
                raise ValueError
            return times

        remembered = Remembered(fetch, lambda: now)
        assert await asyncio.gather(*(remembered.get() for _ in range(9))) == [1] * 9
        assert await remembered.get() == 1
        assert await remembered.get(anew=True) == 2
        now = providers.FRESH_SECONDS
        assert await remembered.get() == 3
        fails, now = True, 2 * providers.FRESH_SECONDS
        results = await asyncio.gather(*(remembered.get() for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [ValueError] * 3 and times == 4
        fails = False
        assert await remembered.get() == 5

    asyncio.run(run())

"""The provider, asked over HTTPS: bounded in time and size, led nowhere else, remembered for a while.

The requests are Authlib's, the way there is aiohttp, which is here anyway.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

import aiohttp
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.discovery import get_well_known_url
from joserfc.jwk import KeySet

from terminals.control.answers import Oidc
from terminals.oidc import protected
from terminals.web.oidc import idtoken
from terminals.web.oidc.flow import Flow
from terminals.web.oidc.trouble import NotSignedIn, quoted

SECONDS: Final = 10.0
"""Most that one request may take, and the wait for its turn."""
MOST_BYTES: Final = 1 << 18
"""Most that an answer may have; aiohttp bounds its head."""
AT_ONCE: Final = 8
FRESH_SECONDS: Final = 3600.0
"""What a provider says of itself, its keys too, is asked for again after that."""
_JSON: Final = {"Accept": "application/json"}
_FORM: Final = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded;charset=UTF-8",
}
_CODE: Final = re.compile(r"[\x20-\x7e]{1,4096}")
"""RFC 6749, A.11; how long it may be we say."""
T = TypeVar("T")


class Remembered(Generic[T]):
    """One value that is fetched when it is needed: once for all who wait, and again when it is old.

    ``clock`` gives monotonic seconds. What could not be fetched is not remembered.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._value: tuple[float, T] | None = None
        self._task: asyncio.Task[T] | None = None

    async def get(self, *, anew: bool = False) -> T:
        """The value; ``anew``: not the one that is there."""
        if self._value is not None and not anew and self._clock() - self._value[0] < FRESH_SECONDS:
            return self._value[1]
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._renew())
        # Whoever goes away takes it from nobody else.
        return await asyncio.shield(self._task)

    async def _renew(self) -> T:
        try:
            value = await self._fetch()
            self._value = (self._clock(), value)
            return value
        finally:
            self._task = None


class Provider:
    """One provider, as its configuration names it."""

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._session: aiohttp.ClientSession | None = None
        self._metadata = Remembered(self._discover)
        self._keys = Remembered(self._fetch_keys)

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()

    # --- the sign-in -----------------------------------------------------------------------

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser is to go.

        Raises:
            NotSignedIn: the provider cannot be asked where that is.
        """
        metadata = await self._metadata.get()
        return str(
            prepare_grant_uri(
                metadata["authorization_endpoint"],
                self._oidc.client_id,
                "code",
                redirect_uri=redirect_uri(flow),
                scope=list(self._oidc.scopes),
                state=flow.state,
                nonce=flow.nonce,
                code_challenge=create_s256_code_challenge(flow.verifier),
                code_challenge_method="S256",
            )
        )

    async def check_issuer(self, issuer: str | None) -> None:
        """Look at the ``iss`` with which a browser has come back (RFC 9207): another provider's answer is not
        for this one.

        Raises:
            NotSignedIn: it is another's, or is not said where it has to be.
        """
        metadata = await self._metadata.get()
        said = metadata.get("authorization_response_iss_parameter_supported") is True
        if issuer != self._oidc.issuer and (said or issuer is not None):
            raise NotSignedIn("invalid", f"an answer of another issuer: {quoted(issuer)}")

    async def claims(self, flow: Flow, code: str) -> dict[str, Any]:
        """What the provider says of whom it has given a code.

        Raises:
            NotSignedIn: the code is not good, the provider does not answer, or is not to be believed.
        """
        if not _CODE.fullmatch(code):
            raise NotSignedIn("invalid", f"what came as a code is none: {quoted(code)}")
        answer = await self._exchange(flow, code)
        text, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(text, str):
            raise NotSignedIn("invalid", 'the provider has sent no ID token: is "openid" among the scopes?')
        for anew in (False, True):  # it may have made other keys since
            try:
                return idtoken.read(
                    text,
                    await self._keys.get(anew=anew),
                    issuer=self._oidc.issuer,
                    client_id=self._oidc.client_id,
                    nonce=flow.nonce,
                    access_token=access_token if isinstance(access_token, str) else None,
                    now=time.time(),
                )
            except idtoken.UnknownKey as error:
                unknown = error
        raise NotSignedIn("invalid", f"signed by no key of the provider: {quoted(str(unknown))}")

    async def leaving_url(self, page: str) -> str | None:
        """Where a browser signs out at the provider, and comes back to ``page`` from; ``None``: nowhere.

        Raises:
            NotSignedIn: the provider does not answer.
        """
        end = (await self._metadata.get()).get("end_session_endpoint")
        if not isinstance(end, str) or not protected(end):
            return None
        words = [("client_id", self._oidc.client_id), ("post_logout_redirect_uri", page)]
        return str(add_params_to_uri(end, words))

    # --- what is asked ---------------------------------------------------------------------

    async def _discover(self) -> dict[str, Any]:
        url = get_well_known_url(self._oidc.issuer, external=True)
        found = await self._ask("GET", url)
        if found.get("issuer") != self._oidc.issuer:
            text = f"{url} is of the issuer {quoted(found.get('issuer'))}, not of {self._oidc.issuer}"
            raise NotSignedIn("invalid", text)
        for key in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(found.get(key), str) or not protected(found[key]):
                raise NotSignedIn("invalid", f"{url}: no https:// address at {key}")
        return found

    async def _fetch_keys(self) -> KeySet:
        metadata = await self._metadata.get()
        return idtoken.keys_of(await self._ask("GET", metadata["jwks_uri"]))

    async def _exchange(self, flow: Flow, code: str) -> dict[str, Any]:
        metadata = await self._metadata.get()
        body = prepare_token_request(
            "authorization_code", redirect_uri=redirect_uri(flow), code=code, code_verifier=flow.verifier
        )
        url, headers, body = self._client(metadata).prepare(
            "POST", metadata["token_endpoint"], dict(_FORM), body
        )
        answer = await self._ask("POST", url, body, headers)
        if (error := answer.get("error")) == "invalid_grant":
            raise NotSignedIn("stale", "the provider does not take the code: it is none, or was used before")
        if error is not None:
            raise NotSignedIn("invalid", f"the provider gives no ID token: {quoted(error)}")
        return answer

    def _client(self, metadata: Mapping[str, Any]) -> ClientAuth:
        if self._oidc.client_secret_file is None:
            return ClientAuth(self._oidc.client_id, None, "none")
        try:  # each time: it may be another
            secret = Path(self._oidc.client_secret_file).read_text().strip()
        except (OSError, ValueError) as error:
            raise NotSignedIn("invalid", f"the client's secret cannot be read: {error}") from None
        known = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" not in known and "client_secret_post" in known:
            return ClientAuth(self._oidc.client_id, secret, "client_secret_post")
        # RFC 6749 has both encoded before they are put together (2.3.1), which Authlib leaves to us.
        name, word = (quote(text, safe="") for text in (self._oidc.client_id, secret))
        return ClientAuth(name, word, "client_secret_basic")

    async def _ask(
        self, method: str, url: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """A JSON object, which an answer with 200 or one that says an error has."""
        where = url.partition("?")[0]
        session = self._http()
        try:
            async with session.request(
                method,
                url,
                data=body,
                headers=headers or _JSON,
                allow_redirects=False,
            ) as response:
                content = await _bounded(response.content)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            text = str(error) or type(error).__name__
            raise NotSignedIn("unreachable", f"{where} does not answer: {quoted(text)}") from None
        except ValueError as error:
            raise NotSignedIn("invalid", f"{where}: {error}") from None
        if status >= 500:
            raise NotSignedIn("unreachable", f"{where} answers with {status}")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not (status == 200 or (method == "POST" and "error" in found)):
            raise NotSignedIn("invalid", f"{where} answers with {status}, and not with what is expected")
        return found

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            try:
                context = ssl.create_default_context(cafile=self._oidc.ca)
            except OSError as error:
                raise NotSignedIn("invalid", f"{self._oidc.ca}: no certificates to trust: {error}") from None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE, ssl=context),
                timeout=aiohttp.ClientTimeout(total=SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                # What is small when it comes and large when it is unpacked is not unpacked.
                auto_decompress=False,
                headers={"Accept-Encoding": "identity"},
            )
        return self._session


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    found = bytearray()
    async for chunk in content.iter_any():
        found += chunk
        if len(found) > MOST_BYTES:
            raise ValueError(f"an answer of more than {MOST_BYTES} bytes")
    return bytes(found)


def redirect_uri(flow: Flow) -> str:
    """Where the provider sends the browser back to."""
    return f"{flow.page}oidc/callback"

"""Who may ask, and what a browser may do with the answers. Pure functions of strings."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable

CHALLENGE = 'Bearer realm="terminals"'

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Server": "terminals",
}
"""Headers of every answer. ``Server`` is there to hide versions."""

API_POLICY = "default-src 'none'; frame-ancestors 'none'"

_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]", re.ASCII)


def authorized(header: str | None, token: bytes) -> bool:
    """Whether an ``Authorization`` header carries the token. Takes the same time for any wrong one."""
    scheme, _, presented = (header or "").partition(" ")
    sent = presented.strip().encode("utf-8", "surrogateescape")
    return hmac.compare_digest(sent, token) and scheme.lower() == "bearer"


def page_policy(host: str, ports: Iterable[int], script_hashes: Iterable[str], nonce: str) -> str:
    """The content security policy of the page.

    Scripts come from this origin, or are the inline ones whose hash (``sha256-...``) is
    given. Connections go to this origin, or to one of ``ports`` on the same ``host`` (the
    request's Host header). Of styles in the page only those with ``nonce`` count: the terminal positions its
    rows with them.
    """
    name = host if host.startswith("[") else host.partition(":")[0]
    if _HOST_NAME.fullmatch(name):
        sockets = [f"{scheme}://{name}:{port}" for port in ports for scheme in ("ws", "wss")]
    elif _IPV6.fullmatch(name.rpartition("]")[0] + "]"):
        # The policy's grammar has no IPv6 addresses; the scheme alone is what can be said.
        sockets = ["ws:", "wss:"]
    else:
        sockets = []
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self'", *(f"'{digest}'" for digest in script_hashes)]),
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self' data:",
            "font-src 'self'",
            " ".join(["connect-src 'self'", *sockets]),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )

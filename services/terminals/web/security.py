"""Who may ask, and what a browser may do with the answers. Pure functions of strings."""

from __future__ import annotations

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
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]", re.ASCII)


def bearer(header: str | None) -> str | None:
    """What an ``Authorization`` header carries; ``None`` where it has another scheme, which is a proxy's."""
    scheme, _, presented = (header or "").partition(" ")
    return presented.strip() if scheme.lower() == "bearer" else None


def page_policy(
    host: str,
    ports: Iterable[int],
    script_hashes: Iterable[str],
    nonce: str,
    neighbours: Iterable[str] = (),
) -> str:
    """The content security policy of the page.

    Scripts come from this origin, or are the inline ones whose hash (``sha256-...``) is
    given. Connections go to this origin, which not every browser takes for that of its
    WebSockets, too, or to one of ``ports`` on the same ``host`` (the request's Host header), or to
    ``neighbours``, addresses of other hosts' WebSockets, to which a visitor may be sent on.
    WebAssembly, with which images are decoded, may be compiled by these scripts; text may not. Of
    styles in the page only those with ``nonce`` count: the terminal positions its rows with them.
    """
    name, _, port = (host, "", "") if host.startswith("[") else host.partition(":")
    if _HOST_NAME.fullmatch(name):
        own = f"{name}:{port}" if _PORT.fullmatch(port) else name
        places = [own, *(f"{name}:{other}" for other in ports)]
        sockets = [f"{scheme}://{place}" for place in places for scheme in ("ws", "wss")]
    elif _IPV6.fullmatch(name.rpartition("]")[0] + "]"):
        # The policy's grammar has no IPv6 addresses; the scheme alone is what can be said.
        sockets = ["ws:", "wss:"]
    else:
        sockets = []
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self' 'wasm-unsafe-eval'", *(f"'{digest}'" for digest in script_hashes)]),
            f"style-src 'self' 'nonce-{nonce}'",
            "img-src 'self' data:",
            "font-src 'self'",
            " ".join(["connect-src 'self'", *sockets, *neighbours]),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        )
    )

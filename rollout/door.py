"""The one address of several hosts: its certificate, and whether it leads where it should."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterable

from rollout.config.model import Door, DoorHost
from rollout.errors import ConfigError
from rollout.files import read_pair

ANSWER_SECONDS = 5.0
OTHER_CERTIFICATE = "shows another certificate than"


def read_certificate(door: Door, tags: Iterable[str]) -> tuple[str, float]:
    """Certificate and key in one text, as HAProxy reads them, and until when it is good, Unix seconds.

    Raises:
        ConfigError: a file cannot be read or is none, they do not belong together, or a name is missing that
            people come by: ``name`` itself, or ``h-TAG.name`` of one of ``tags``.
    """
    from cryptography import x509

    pair = read_pair("door", door)
    try:
        names = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    except x509.ExtensionNotFound:
        known = set()
    for name in (door.name, *(f"h-{tag}.{door.name}" for tag in tags)):
        if not known & {name, f"*.{name.partition('.')[2]}"}:
            raise ConfigError(
                f"door: {door.certificate} is not for {name}; get one for {door.name} and *.{door.name}"
            )
    texts = (pair.certificate_text, pair.key_text)
    return (
        "".join(text.rstrip("\n") + "\n" for text in texts),
        pair.certificate.not_valid_after_utc.timestamp(),
    )


def why_no_answer(door: Door, host: DoorHost, tag: str | None = None) -> str:
    """Ask a door for any host, or for that of a ``tag``; "" where one answers and the certificate is ours."""
    # Whoever issued it, it has to be this one: what other machines trust is not known here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    name = door.name if tag is None else f"h-{tag}.{door.name}"
    try:
        with (
            socket.create_connection((host.address, door.port), ANSWER_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=name) as tls,
        ):
            if tls.getpeercert(binary_form=True) != _first(door.certificate.read_text()):
                return f"{OTHER_CERTIFICATE} {door.certificate}"
            tls.sendall(f"GET /health/live HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(tls)
            answer.begin()
            return "" if answer.status == 200 else f"answers {answer.status} for {name}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{host.address} port {door.port}: {error or type(error).__name__}"


def _first(text: str) -> bytes:
    """The first certificate of a file, which is the door's own."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end)

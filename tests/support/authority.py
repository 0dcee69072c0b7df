"""Real certificates, by an authority of the test's own."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority, and the files of its certificates, for ``names``, in one folder."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self._names = names or ("127.0.0.1", "localhost")
        self._ca = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)
        self.files = {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
        self.issue()

    def issue(self, *, days: float = 90, only: str = "") -> None:
        """Write a new certificate and its key, or only one of the two."""
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        begin = end - datetime.timedelta(days=100)
        leaf = self._ca.issue_cert(*self._names, not_before=begin, not_after=end)
        parts = {
            "certificate": b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
            "key": leaf.private_key_pem.bytes(),
        }
        for name, content in parts.items():
            if only in ("", name):
                path = Path(self.files[name])
                path.with_suffix(".new").write_bytes(content)
                path.with_suffix(".new").replace(path)

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

"""What a web process loads, and has: nothing of a provider's where none is configured."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
from terminals.control.answers import Front, Oidc
from terminals.access import Access
from terminals.web.app import WebSettings, build_app
from terminals.web.backend import ManagerBackend
import terminals.web.serve

settings = WebSettings(b"token", "g1", "build", {"web": 4110})
oidc = None
if sys.argv[1] == "with":
    oidc = Oidc(issuer="https://id.example.com", client_id="terminals", public_urls=("https://t.example/",))
app = build_app(settings, ManagerBackend("nowhere"), access=Access(b"token", Front()), oidc=oidc)
heavy = [name for name in ("authlib", "joserfc", "cryptography") if name in sys.modules]
paths = [resource.canonical for resource in app.router.resources() if "oidc" in resource.canonical]
print(json.dumps([heavy, sorted(paths)]))
"""


@pytest.mark.parametrize("provider", ["with", "without"])
def test_only_who_has_a_provider_carries_what_it_takes(provider):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, provider], capture_output=True, text=True, check=True
    )
    heavy, paths = json.loads(done.stdout)
    if provider == "without":
        assert (heavy, paths) == ([], [])
    else:
        assert heavy == ["authlib", "joserfc", "cryptography"]
        own = ["/api/oidc", "/oidc/callback"]
        assert paths == sorted(own + [f"/terminals{path}" for path in own])

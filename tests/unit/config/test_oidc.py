"""What rollout.yaml says of a provider: the whole way to web processes, and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from terminals.control.answers import Front
from terminals.control.framing import pack, reader
from terminals.manager.config import ManagerConfig
from terminals.oidc import read_oidc

from rollout.config import Defaults, Environment, load
from rollout.direct.compose import compose_variables
from rollout.engine.manager import manager_config
from rollout.errors import ConfigError

SHIPPED = Path(__file__).parents[3] / "rollout.yaml"
GOOD: dict[str, Any] = {
    "issuer": "https://id.example.com/realms/tools",
    "client_id": "terminals",
    "public_urls": ["https://tools.example.com/terminals/"],
    "default_role": "user",
}


def configured(**changes: Any) -> Environment:
    """An environment with a provider."""
    return Environment.model_validate(
        {
            "hosts": {"one": {"root": "/srv/t"}},
            "listen": {"system": 4001, "claude": 4002, "web": 4110},
            "gates": [{"metric": "smoke.pass_ratio", "op": ">", "threshold": 0.9}],
            "oidc": {key: value for key, value in (GOOD | changes).items() if value is not None},
        },
        context={"base": Path("/srv/conf")},
    )


def of_manager(folder: Path, environment: Environment, secrets: str | None = None) -> ManagerConfig:
    """What the session manager makes of it."""
    found = manager_config(
        environment,
        environment.listen,
        Defaults(),
        socket="run/manager.sock",
        state="state",
        host="127.0.0.1",
        name="one",
        secrets=secrets,
    )
    path = folder / "manager.json"
    path.write_text(json.dumps(found))
    return ManagerConfig.load(path)


def test_what_is_said_of_a_provider_is_what_web_processes_are_told(tmp_path):
    changes = {
        "client_secret_file": "secret",
        "ca": "ca.pem",
        "label": "Example",
        "scopes": ["openid", "email"],
        "user_claim": "email",
        "user_prefix": "",
        "roles_claim": "roles",
        "roles": {"operator": ["admins"], "viewer": ["audit", "legal"]},
        "default_role": None,
        "session_seconds": "8h",
    }
    environment = configured(**changes)
    front = of_manager(tmp_path, environment).front
    told = reader(Front)(pack(front)).oidc
    assert told is not None and told == front.oidc
    assert told.client_secret_file == "/srv/conf/secret" and told.ca == "/srv/conf/ca.pem"
    assert (told.issuer, told.client_id) == (GOOD["issuer"], "terminals")
    assert told.public_urls == tuple(GOOD["public_urls"])
    assert (told.label, told.scopes, told.session_seconds) == ("Example", ("openid", "email"), 8 * 3600)
    assert (told.user_claim, told.user_prefix, told.roles_claim) == ("email", "", "roles")
    assert told.roles == {"operator": ("admins",), "viewer": ("audit", "legal")}
    assert told.default_role is None


def test_files_that_are_brought_to_hosts_are_named_as_they_are_there(tmp_path):
    environment = configured(client_secret_file="secret", ca="ca.pem")
    told = of_manager(tmp_path, environment, "/run/terminals/secrets").front.oidc
    assert told.client_secret_file == "/run/terminals/secrets/oidc-secret"
    assert told.ca == "/run/terminals/secrets/oidc-ca.pem"
    told = of_manager(tmp_path, configured(), "/run/terminals/secrets").front.oidc
    assert (told.client_secret_file, told.ca) == (None, None)


def test_without_a_word_there_is_no_provider_and_no_network_for_one(tmp_path):
    environment = configured().model_copy(update={"oidc": None})
    assert of_manager(tmp_path, environment).front.oidc is None
    assert "oidc" not in json.loads((tmp_path / "manager.json").read_text())
    assert compose_variables(environment)["TERMINALS_WEB_NETWORK"] == "none"
    assert compose_variables(configured())["TERMINALS_WEB_NETWORK"] == "bridge"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "http://id.example.com"}, "has no TLS"),
        ({"issuer": "http://127.0.0.1.example.com"}, "has no TLS"),
        ({"issuer": "http://[2001:db8::1]"}, "has no TLS"),
        ({"issuer": "id.example.com"}, "is no https:// address"),
        ({"issuer": "https://"}, "is no https:// address"),
        ({"issuer": "https://user:word@id.example.com"}, "is no https:// address"),
        ({"issuer": "https://id.example.com/?tenant=1"}, "expected a URL such as"),
        ({"issuer": "https://[id"}, ""),
        ({"public_urls": []}, "at least one address"),
        ({"public_urls": ["http://tools.example.com/"]}, "has no TLS"),
        ({"public_urls": ["https://tools.example.com/terminals"]}, "ends with a slash"),
        ({"public_urls": ["https://tools.example.com/#/"]}, "ends with a slash"),
        ({"public_urls": ["https://Tools.example.com/"]}, "lower case"),
        ({"public_urls": ["https://tools.example.com:443/"]}, "without :443"),
        ({"client_id": ""}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"scopes": ["profile"]}, '"openid" among them'),
        ({"scopes": ["openid email"]}, '"openid" among them'),
        ({"user_prefix": "~"}, "no ~"),
        ({"user_prefix": "x" * 40}, "leave room"),
        ({"default_role": None}, "nobody could sign in"),
        ({"default_role": None, "roles": {"user": []}}, "nobody could sign in"),
        ({"default_role": "guest"}, "default_role"),
        ({"roles": {"guest": ["x"]}}, "roles"),
        ({"issuer": "https://accounts.google.com"}, "everybody who has an account"),
        ({"session_seconds": "1m"}, "300 seconds to 7 days"),
        ({"session_seconds": "8d"}, "300 seconds to 7 days"),
        ({"isuer": "x"}, "isuer"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_for_whoever_reads_it(changes, said):
    with pytest.raises(ValueError) as info:
        configured(**changes)
    assert "oidc" in str(info.value) and said in str(info.value)
    # A session manager that is told so by hand refuses it, too.
    seconds = {"1m": 60, "8d": 8 * 86400}
    oidc = {key: seconds.get(str(value), value) for key, value in (GOOD | changes).items()}
    with pytest.raises((ValueError, TypeError), match="oidc") as by_hand:
        read_oidc({key: value for key, value in oidc.items() if value is not None})
    assert "\n" not in str(by_hand.value)


def test_a_mistake_is_told_with_its_place(tmp_path):
    path = tmp_path / "rollout.yaml"
    text = SHIPPED.read_text().replace("root: .rollout", "root: /srv")
    for oidc, said in (
        (
            GOOD | {"issuer": "http://id.example.com"},
            "environments.dev.oidc.issuer: 'http://id.example.com' has",
        ),
        (GOOD | {"default_role": None}, "environments.dev.oidc: nobody could sign in"),
        (GOOD | {"isuer": "x"}, 'environments.dev.oidc.isuer: unknown key; did you mean "issuer"?'),
    ):
        path.write_text(text.replace("    listen:", f"    oidc: {json.dumps(oidc)}\n    listen:", 1))
        with pytest.raises(ConfigError) as info:
            load(path)
        assert said in str(info.value) and "\n" not in str(info.value)
    path.write_text(text.replace("    listen:", f"    oidc: {json.dumps(GOOD)}\n    listen:", 1))
    assert load(path).environment("dev").oidc is not None


def test_this_very_machine_needs_no_tls(tmp_path):
    for host in ("127.0.0.1:8080", "localhost:8080", "[::1]:8080"):
        environment = configured(
            issuer=f"http://{host}/realms/tools", public_urls=[f"http://{host}/terminals/"]
        )
        assert of_manager(tmp_path, environment).oidc is not None

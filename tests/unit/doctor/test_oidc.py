"""The files of a provider that people sign in by, before a rollout brings them anywhere."""

from __future__ import annotations

from rollout.config import Environment, Oidc
from rollout.doctor.oidc import examine_oidc
from tests.support.authority import Authority


def environment(**files: object) -> Environment:
    return Environment.model_construct(
        name="dev",
        oidc=Oidc(
            issuer="https://id.example.com",
            client_id="terminals",
            public_urls=["https://tools.example.com/"],
            default_role="user",
            **files,
        ),
    )


def test_no_provider_and_a_public_client_need_none():
    assert not list(examine_oidc(Environment.model_construct(name="dev", oidc=None)))
    assert not list(examine_oidc(environment()))


def test_the_secret_is_there_and_is_nobody_else_s(tmp_path):
    secret = tmp_path / "secret"

    def verdict() -> tuple[str, str]:
        (found,) = examine_oidc(environment(client_secret_file=secret))
        assert found.subject == "dev oidc.client_secret_file"
        assert bool(found.remedy) == (found.verdict == "wrong")
        assert "of ours" not in found.text
        return found.verdict, found.text

    assert verdict() == ("wrong", f"{secret}: No such file or directory")
    secret.touch(0o600)
    assert verdict() == ("wrong", f"{secret} is empty")
    secret.write_text("of ours\n")
    assert verdict()[0] == "ok"
    for mode in (0o640, 0o604, 0o620):
        secret.chmod(mode)
        assert verdict()[0] == "wrong" and "open to others" in verdict()[1]
    secret.chmod(0o600)
    secret.write_bytes(b"\xff")
    assert verdict() == ("wrong", f"{secret}: it is no text")


def test_certificates_are_some(tmp_path):
    authority = Authority(tmp_path)
    assert [found.verdict for found in examine_oidc(environment(ca=authority.ca))] == ["ok"]
    (tmp_path / "none.pem").write_text("none")
    for name in ("none.pem", "missing.pem"):
        (found,) = examine_oidc(environment(ca=tmp_path / name))
        assert (found.verdict, found.subject) == ("wrong", "dev oidc.ca")

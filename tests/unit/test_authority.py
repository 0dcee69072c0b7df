"""By what hosts know each other: made here, and good for that alone."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from terminals.cluster.asker import Credentials
from terminals.cluster.news import Plan, name_of

from rollout import authority
from rollout.authority import DAY, RENEWED_DAYS, check_authority, host_certificate, make_authority
from rollout.config.model import Authority
from rollout.errors import ConfigError


@pytest.fixture
def files(tmp_path: Path) -> Authority:
    files = Authority(certificate=tmp_path / "ca.pem", key=tmp_path / "ca.key")
    make_authority(files, "hosts of a test")
    return files


def credentials(files: Authority, tag: str, folder: Path) -> Credentials:
    """What a host makes of its files."""
    issued = host_certificate(files, tag, folder)
    for name, text in (("pem", issued.certificate), ("key", issued.key)):
        (folder / f"at-{tag}.{name}").write_text(text)
    return Credentials(
        Plan(
            control="",
            socket="",
            neighbours=[],
            interval=1,
            authority=str(files.certificate),
            certificate=str(folder / f"at-{tag}.pem"),
            key=str(folder / f"at-{tag}.key"),
        )
    )


def meet(asks: Credentials, answers: Credentials, name: str) -> dict:
    """One asks the other, whom it takes for ``name``; gives the certificate that the other has seen."""
    (one, other), seen = socket.socketpair(), {}
    for end in (one, other):
        end.settimeout(10)

    def answer() -> None:
        with suppress(OSError), answers.server.wrap_socket(other, server_side=True) as secure:
            seen.update(secure.getpeercert() or {})

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with asks.client.wrap_socket(one, server_hostname=name) as secure:
            secure.recv(1)  # what the other thinks of our certificate comes after the handshake
    finally:
        thread.join(10)
    return seen


def test_two_hosts_know_each_other_by_their_tags(files, tmp_path):
    one, other = (credentials(files, tag, tmp_path) for tag in ("aaaa", "bbbb"))
    seen = meet(one, other, name_of("bbbb"))
    assert ("DNS", name_of("aaaa")) in seen["subjectAltName"]
    with pytest.raises(ssl.SSLCertVerificationError, match="ostname"):
        meet(one, other, name_of("cccc"))


def test_another_authority_s_host_is_nobody(files, tmp_path):
    other = Authority(certificate=tmp_path / "b" / "ca.pem", key=tmp_path / "b" / "ca.key")
    make_authority(other, "somebody else")
    with pytest.raises(ssl.SSLError):
        meet(
            credentials(files, "aaaa", tmp_path), credentials(other, "bbbb", tmp_path / "b"), name_of("bbbb")
        )
    with pytest.raises(ssl.SSLError):
        meet(
            credentials(other, "aaaa", tmp_path / "b"), credentials(files, "bbbb", tmp_path), name_of("bbbb")
        )


def test_a_host_is_no_authority(files, tmp_path):
    """Who has taken one host over cannot pass for the others."""
    host_certificate(files, "aaaa", tmp_path)
    taken = Authority(certificate=tmp_path / "aaaa.pem", key=tmp_path / "aaaa.key")
    (tmp_path / "forged").mkdir()
    forged = host_certificate(taken, "bbbb", tmp_path / "forged")
    chain = tmp_path / "forged" / "chain.pem"
    chain.write_text(forged.certificate + taken.certificate.read_text())
    (tmp_path / "forged" / "key.pem").write_text(forged.key)
    liar = credentials(files, "cccc", tmp_path)
    liar.server.load_cert_chain(chain, tmp_path / "forged" / "key.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(credentials(files, "dddd", tmp_path), liar, name_of("bbbb"))


def test_keys_are_for_their_owner_only_and_shown_to_nobody(files, tmp_path):
    issued = host_certificate(files, "aaaa", tmp_path / "made")
    for path in (files.key, tmp_path / "made" / "aaaa.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" in issued.key
    assert "PRIVATE" not in repr(issued)
    # The same to the last byte, or hosts would be brought it again and again.
    assert host_certificate(files, "aaaa", tmp_path / "made") == issued


def test_one_is_used_until_it_is_old_or_no_good(files, tmp_path, monkeypatch):
    def issued() -> str:
        return host_certificate(files, "aaaa", tmp_path).certificate

    first = issued()
    assert issued() == first
    now = time.time()
    monkeypatch.setattr(authority.time, "time", lambda: now + (RENEWED_DAYS - 1) * DAY)
    assert issued() == first
    monkeypatch.setattr(authority.time, "time", lambda: now + (RENEWED_DAYS + 1) * DAY)
    second = issued()
    assert second != first
    monkeypatch.undo()
    for name, text in (("aaaa.key", "x"), ("aaaa.pem", "x"), ("aaaa.key", None)):
        before = issued()
        (tmp_path / name).unlink()
        if text is not None:
            (tmp_path / name).write_text(text)
        assert issued() != before
    before = issued()
    other = Authority(certificate=tmp_path / "b" / "ca.pem", key=tmp_path / "b" / "ca.key")
    make_authority(other, "another")
    assert host_certificate(other, "aaaa", tmp_path).certificate != before


def test_an_authority_is_never_made_in_the_place_of_one(files):
    before = files.key.read_text()
    with pytest.raises(ConfigError, match="exists"):
        make_authority(files, "again")
    assert files.key.read_text() == before


def test_it_lasts_longer_than_what_it_makes(files, tmp_path):
    ends = check_authority(files)
    assert ends > host_certificate(files, "aaaa", tmp_path).ends + 5 * 365 * DAY
    assert datetime.datetime.fromtimestamp(ends, datetime.UTC).year > 2030


@pytest.mark.parametrize("which", ["certificate", "key"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "No such file or directory; make the authority with rollout certify, or bring both"),
        (lambda path: path.write_text("nonsense"), "authority: "),
        (lambda path: path.write_bytes(os.urandom(64)), "authority"),
        (lambda path: path.unlink() or path.mkdir(), "Is a directory"),
    ],
)
def test_files_that_are_none_are_said_in_one_line(files, tmp_path, which, damage, said):
    damage(getattr(files, which))
    with pytest.raises(ConfigError) as caught:
        host_certificate(files, "aaaa", tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_of_another_certificate_is_said(files, tmp_path):
    other = Authority(certificate=tmp_path / "b" / "ca.pem", key=tmp_path / "b" / "ca.key")
    make_authority(other, "another")
    with pytest.raises(ConfigError, match=r"ca.key is not the private key of .*ca.pem"):
        check_authority(files.model_copy(update={"key": other.key}))


def test_nothing_outlives_an_authority_and_one_that_has_ended_makes_nothing(tmp_path, monkeypatch):
    soon = Authority(certificate=tmp_path / "soon.pem", key=tmp_path / "soon.key")
    monkeypatch.setattr(authority, "AUTHORITY_DAYS", 10)
    make_authority(soon, "soon")
    assert host_certificate(soon, "aaaa", tmp_path).ends == check_authority(soon)
    ended = Authority(certificate=tmp_path / "ended.pem", key=tmp_path / "ended.key")
    monkeypatch.setattr(authority, "AUTHORITY_DAYS", -0.01)
    make_authority(ended, "ended")
    with pytest.raises(ConfigError, match="its certificate has ended"):
        host_certificate(ended, "bbbb", tmp_path)


def test_what_cannot_be_kept_is_said(files, tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(ConfigError, match=r"Not a directory|File exists"):
        host_certificate(files, "aaaa", place)

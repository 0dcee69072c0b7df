"""Every mistake in rollout.yaml is one line: file, line, column, key, what is wrong, the way out."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.config import Config, load
from rollout.errors import ConfigError, ExitCode

MINIMAL = """\
version: 1
project: terminals
source: services
state: .rollout
environments:
  dev:
    hosts:
      local: {root: /tmp/r/dev}
    listen: {system: 5001, claude: 5002, web: 5110}
    canary:
      - {weight: 100, hold: 5s}
    checks: [validate]
    gates:
      - {metric: validate.pass_ratio, op: ">", threshold: 0.95}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def _write(text: str) -> Path:
        path = tmp_path / "rollout.yaml"
        path.write_text(text)
        return path

    return _write


def refusal(path: Path) -> str:
    """The one line that loading the file ends in."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_shipped_file_loads_and_chains_three_environments() -> None:
    config = load(Path(__file__).parents[3] / "rollout.yaml")
    assert {name: env.after for name, env in config.environments.items()} == {
        "dev": None,
        "staging": "dev",
        "production": "staging",
    }
    assert [step.weight for step in config.environment("staging").canary] == [10, 50, 100]


def test_paths_are_relative_to_the_file_and_names_come_from_the_keys(short_path: Path) -> None:
    path = short_path / "rollout.yaml"
    path.write_text(MINIMAL.replace("/tmp/r/dev", ".rollout/env/dev"))
    config = load(path)
    host = config.environment("dev").hosts["local"]
    assert (config.environment("dev").name, host.name) == ("dev", "local")
    assert host.root == short_path / ".rollout/env/dev"
    assert config.ledger_url == f"sqlite:///{short_path}/.rollout/ledger.db"


def test_gates_get_the_defaults_of_their_metric(write: Write) -> None:
    gate = (
        '    load: {users: 400}\n    gates:\n      - {metric: load.connect_ms, op: "<", threshold: 100ms}\n'
    )
    config = load(write(MINIMAL.split("    gates:")[0] + gate))
    (gate_,) = config.environment("dev").gates
    assert (gate_.name, gate_.threshold, gate_.percentile) == ("load.connect_ms p95", 100.0, 95.0)
    assert (gate_.min_samples, gate_.on) == (20, "shift")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("gates:", "gaets:", ':13:5: environments.dev.gaets: unknown key; did you mean "gates"?'),
        ("{weight:", "{weigth:", '11:10: environments.dev.canary.0.weigth: unknown key; did you mean "weight"?'),
        ("weight: 100", "weight: many", '11:18: environments.dev.canary.0.weight: expected a whole number, got "many"'),
        ("hold: 5s", "hold: soon", 'environments.dev.canary.0.hold: expected a duration such as 200ms'),
        ("hold: 5s", "hold: true", "expected a duration such as 200ms, 5s, 10m, 24h or 7d, got true"),
        ("system: 5001", "system: 70000", "listen.system: expected at most 65535, got 70000"),
        ("system: 5001", 'system: "5001"', 'listen.system: expected a whole number, got "5001"'),
        ("version: 1", "version: 2", "rollout.yaml:1:10: version: expected one of 1, got 2"),
        ("project: terminals\n", "", "rollout.yaml:1:1: project: missing key; add it"),
        ("project: terminals", "project: Web Terminals", "2:10: project: \"Web Terminals\" is not a name"),
        ("[validate]", "[validat]", "checks.0: expected one of validate, smoke, infra, got \"validat\""),
        ("[validate]", "validate", 'checks: expected a list ([a, b]), got "validate"'),
        ("validate.pass_ratio", "validate.pas_ratio", 'no metric "validate.pas_ratio"; did you mean "validate.pass_ratio"?'),
        ("threshold: 0.95", "threshold: 95", "expected a share from 0 to 1, or a percentage such as 95%, got 95"),
        ('op: ">"', 'op: "=>"', "expected one of <, <=, >, >=, ==, got \"=>\""),
        ("state: .rollout", "state: .rollout\npath: x", "5:1: path: unknown key"),
        ("  dev:\n", "  dev:\n    criteria: []\n", '7:5: environments.dev.criteria: unknown key; it is called "soak_gates" now'),
        ("  dev:\n", "  dev:\n    watch: true\n", '7:5: environments.dev.watch: unknown key; it is called "takeback" now'),
        ("  dev:\n", "  dev:\n    name: x\n", "7:5: environments.dev.name: unknown key; the name is the key above it"),
        ("  dev:", "  Dev:", '6:3: environments.Dev: "Dev" is not a name'),
        ("root: /tmp/r/dev", "root: 7", "hosts.local.root: expected a path, got 7"),
        ("hosts:\n      local: {root: /tmp/r/dev}", "hosts: {}", "hosts: expected at least one entry; add one"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(write: Write, old: str, new: str, expected: str) -> None:
    assert old in MINIMAL
    message = refusal(write(MINIMAL.replace(old, new, 1)))
    assert message.startswith("rollout.yaml:")
    assert expected in message


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("/", "no directory to give away"),
        ("~", "no directory to give away"),
        ("/home", "no directory to give away"),
        (".", "has the state in it"),
        (".rollout", "has the state in it"),
        ("..", "has the state in it"),
        (".rollout/../.rollout", "has the state in it"),
        ("link", "has the state in it"),
        ("/tmp/r/dev/inside", "are one in the other; part them"),
        ("/tmp/r", "are one in the other; part them"),
        ("/tmp/100%", "has '%' in it, which means something else"),
        ("/tmp/a;b", "has ';' in it, which means something else"),
    ],
)
def test_a_root_is_nothing_but_an_environments(
    write: Write, short_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, said: str
) -> None:
    """Its teardown removes all that is in it."""
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.chdir(short_path)
    (short_path / "link").symlink_to(short_path / ".rollout")
    root = {"~": str(home), "/home": str(home.parent)}.get(root, root)
    second = MINIMAL.split("environments:\n")[1].replace("  dev:", "  other:").replace("/tmp/r/dev", root)
    second = second.replace("5001", "6001").replace("5002", "6002").replace("5110", "6110")
    path = short_path / "rollout.yaml"
    path.write_text(MINIMAL + second)
    assert said in refusal(path)


def test_the_first_mistake_in_the_file_is_told_and_the_others_counted(write: Write) -> None:
    text = MINIMAL.replace("gates:", "gaets:").replace("weight:", "weigth:")
    message = refusal(write(text))
    assert message.startswith("rollout.yaml:11:10: environments.dev.canary.0.weigth: unknown key")
    assert message.endswith("(and 3 more)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: [1\n", "rollout.yaml:2:1: not valid YAML"),
        ("version: 1\n\tproject: x\n", "rollout.yaml:2:1: not valid YAML"),
        ("version: 1\nversion: 1\n", "rollout.yaml:2:1: not valid YAML: found duplicate key"),
        ("", "rollout.yaml:1:1: the file is empty"),
        ("- a\n", "expected a mapping, got a list"),
        ("just words\n", 'expected a mapping, got "just words"'),
        ("a: &a [*a]\n", "unknown key"),
        ("environments: &e\n  dev: *e\n", "rollout.yaml:"),
    ],
)
def test_malformed_yaml_is_one_line(write: Write, text: str, expected: str) -> None:
    assert expected in refusal(write(text))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Path("rollout.yaml")) == (
        'rollout.yaml: no such file; "rollout init" writes one, --config FILE names another'
    )


def test_a_directory_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)


def test_a_file_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rollout.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8 text" in refusal(path)


def test_an_unknown_environment_names_the_nearest(write: Write) -> None:
    config: Config = load(write(MINIMAL))
    with pytest.raises(ConfigError, match=r'rollout.yaml: no environment "dve"; did you mean "dev"\?'):
        config.environment("dve")
    with pytest.raises(ConfigError, match=r'no environment "mars"; known: dev'):
        config.environment("mars")


def test_objects_never_change(write: Write) -> None:
    config = load(write(MINIMAL))
    with pytest.raises(Exception, match="frozen"):
        config.project = "other"  # type: ignore[misc]


def test_addresses_are_of_tls_where_it_is_configured(write: Write) -> None:
    listen = load(write(MINIMAL)).environment("dev").listen
    assert listen.url(listen.web, "http") == "http://127.0.0.1:5110/"
    tls = "tls: {certificate: tls/cert.pem, key: /etc/key.pem, name: terminals.example}}"
    path = write(MINIMAL.replace("web: 5110}", f"web: 5110, {tls}"))
    listen = load(path).environment("dev").listen
    assert listen.url(listen.web, "http") == "https://terminals.example:5110/"
    assert listen.url(listen.system, "ws") == "wss://terminals.example:5001/"
    assert listen.tls is not None
    assert listen.tls.certificate == path.parent / "tls" / "cert.pem"  # relative to the file
    assert listen.tls.key == Path("/etc/key.pem")


def test_addresses_of_ipv6_have_brackets(write: Write) -> None:
    listen = load(write(MINIMAL.replace("listen: {", 'listen: {host: "::1", '))).environment("dev").listen
    assert listen.url(listen.system, "ws") == "ws://[::1]:5001/"


def test_a_certificate_without_its_key_is_refused(write: Write) -> None:
    text = MINIMAL.replace("web: 5110}", "web: 5110, tls: {certificate: c.pem}}")
    assert "listen.tls.key" in refusal(write(text))

"""A part's code is known of a build and of a running process, and is the same."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import terminals
from terminals.holder.main import RESUMES, VERSION
from terminals.holder.main import own_code as holder_code
from terminals.parts import (
    PARTS,
    own_code,
    parts_of_wheels,
    settings_digest,
    without_secrets,
)

PACKAGE = Path(terminals.__file__).parent


def wheels(folder: Path, *, changed: str = "", uvloop: str = "") -> list[Path]:
    """As a build has them, with a change to one file."""
    from importlib.metadata import version

    services = folder / "terminal_services-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(services, "w") as archive:
        for path in PACKAGE.rglob("*.py"):
            name = path.relative_to(PACKAGE.parent).as_posix()
            archive.writestr(name, path.read_bytes() + (b"\n# changed\n" if name == changed else b""))
    names = [
        f"uvloop-{uvloop or version('uvloop')}-cp311-cp311-manylinux.whl",
        *(
            f"{name}-{version(name)}-py3-none-any.whl"
            for name in ("aiohttp", "apprise", "click", "msgspec", "websockets")
        ),
    ]
    return [services, *(folder / name for name in names)]


@pytest.mark.parametrize("part", PARTS)
def test_a_build_and_a_process_of_it_have_the_same_code(tmp_path, part):
    assert parts_of_wheels(wheels(tmp_path)).codes[part] == own_code(part)


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ("terminals/worker/connection.py", set()),
        ("terminals/monitor/check.py", {"monitor"}),
        ("terminals/client/terminal.py", {"monitor"}),
        ("terminals/holder/main.py", {"holder"}),
        ("terminals/manager/session.py", {"manager"}),
        ("terminals/control/channel.py", {"manager", "monitor"}),
        ("terminals/protocol/breaker.py", {"manager", "monitor"}),
        ("terminals/screens/emulator.py", {"manager"}),
        ("terminals/cli.py", {"manager", "monitor"}),
    ],
)
def test_a_change_is_one_of_the_parts_that_it_concerns(tmp_path, changed, parts):
    made = wheels(tmp_path, changed=changed)
    assert {part for part in PARTS if parts_of_wheels(made).codes[part] != own_code(part)} == parts


def test_another_version_of_what_it_needs_is_a_change(tmp_path):
    assert parts_of_wheels(wheels(tmp_path, uvloop="0.0.1")).codes["manager"] != own_code("manager")


def test_without_the_services_there_is_no_code(tmp_path):
    with pytest.raises(ValueError, match="no wheel of the services"):
        parts_of_wheels([tmp_path / "uvloop-1-py3-none-any.whl"]).codes["manager"]


@pytest.mark.parametrize(
    ("part", "modules"),
    [
        ("manager", "cli manager.server manager.terminator recordings.recorder screens.keeper access"),
        ("monitor", "cli monitor.service monitor.read"),
        ("holder", "holder.main"),
    ],
)
def test_a_part_imports_nothing_that_is_not_its_own(part, modules):
    """Or a change there would never reach it."""
    names = ", ".join(f"terminals.{name}" for name in modules.split())
    program = (
        f"import sys; import {names}; print(*(name for name in sys.modules if name.startswith('terminals.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    tops = {name.split(".")[1] for name in done.stdout.split()}
    # The command line names the monitor's commands, which are none of the manager's.
    assert tops - {"monitor"} <= set(PARTS[part])


def test_the_holder_which_imports_nothing_says_the_same_of_itself():
    assert holder_code() == own_code("holder")


def test_of_a_build_it_is_known_what_its_holder_can_go_on_from(tmp_path):
    assert parts_of_wheels(wheels(tmp_path)).holder == {"version": VERSION, "resumes": RESUMES}
    assert VERSION in RESUMES


def test_a_build_of_before_says_less_of_its_holder_or_nothing(tmp_path):
    services = tmp_path / "terminal_services-0.0.1-py3-none-any.whl"
    for source, said in ((b"VERSION = 1\nX, Y = 1, 2\n", {"version": 1}), (None, {})):
        with zipfile.ZipFile(services, "w") as archive:
            archive.writestr("terminals/__init__.py", "")
            if source is not None:
                archive.writestr("terminals/holder/main.py", source)
        assert parts_of_wheels([services]).holder == said


def test_settings_are_shown_without_what_is_secret():
    settings = {
        "profiles": {"system": {"command": ["sh"], "env": {"KEY": "secret"}}},
        "notify": [{"name": "ops", "url": "json://user:secret@example.org"}, {"name": "b", "url_file": "f"}],
    }
    shown = without_secrets(settings)
    assert "secret" not in str(shown)
    assert shown["profiles"]["system"]["command"] == ["sh"]
    assert shown["notify"][1] == {"name": "b", "url_file": "f"}
    assert without_secrets(settings) == shown != without_secrets({**settings, "notify": []})


def test_settings_have_one_digest_in_any_order():
    assert settings_digest({"a": 1, "b": [2]}) == settings_digest({"b": [2], "a": 1})
    assert settings_digest({"a": 1}) != settings_digest({"a": 2})

"""A wheel that is made again from its installation is the one that was installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
import uv

from rollout.build.installed import wheel_of
from rollout.build.make import SOURCE_DATE_EPOCH
from rollout.build.source import find_source
from rollout.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The services' wheel, as `rollout build` makes it from their source."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [uv.find_uv_bin(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT / "services")],
        env={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH},
        check=True,
    )
    return next(folder.glob("*.whl"))


def installed(wheel: Path, target: Path, *installer: str) -> Distribution:
    subprocess.run(
        [*installer, "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    return next(iter(distributions(path=[str(target)])))


def by_pip(wheel: Path, target: Path) -> Distribution:
    return installed(wheel, target, sys.executable, "-m", "pip", "--disable-pip-version-check")


def by_uv(wheel: Path, target: Path) -> Distribution:
    return installed(wheel, target, uv.find_uv_bin(), "pip")


@pytest.mark.parametrize("install", [by_pip, by_uv])
def test_it_is_the_very_file_that_was_installed(wheel: Path, tmp_path: Path, install) -> None:
    found = install(wheel, tmp_path / "site")
    again = wheel_of(found, tmp_path)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_what_was_changed_after_it_was_installed_is_refused(wheel: Path, tmp_path: Path) -> None:
    found = by_uv(wheel, tmp_path / "site")
    changed = tmp_path / "site" / "terminals" / "cli.py"
    text = changed.read_text()
    changed.unlink()  # it is the very file of uv's cache, which every later installation gets
    changed.write_text(text + "# changed\n")
    with pytest.raises(ConfigError, match=r"cli\.py: not as it was installed; install terminal-services"):
        wheel_of(found, tmp_path)
    changed.unlink()
    with pytest.raises(ConfigError, match=r"cli\.py: No such file"):
        wheel_of(found, tmp_path)


def test_what_is_installed_to_be_worked_on_is_built_from_its_source(tmp_path: Path) -> None:
    found = find_source("installed", tmp_path)
    assert (found.folder, found.lock, found.installed) == (ROOT / "services", ROOT, None)


def test_a_folder_that_is_not_the_services_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"services/pyproject.toml: No such file .*source: installed"):
        find_source(tmp_path / "services", tmp_path)

"""From the two wheels alone, in a folder of one's own: the build is the one that the source tree makes."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uv

from rollout.build import build
from rollout.build.make import SOURCE_DATE_EPOCH

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``rollout``, installed from wheels; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    tool, python = uv.find_uv_bin(), folder / "venv" / "bin" / "python"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}
    for project in (ROOT, ROOT / "services"):
        subprocess.run(
            [tool, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(project)],
            env=environment,
            check=True,
        )
    wheels = [str(wheel) for wheel in folder.glob("*.whl")]
    subprocess.run([tool, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")], check=True)
    subprocess.run(
        [tool, "pip", "install", "--quiet", "--python", str(python), "--no-deps", *wheels], check=True
    )
    own = next((folder / "venv" / "lib").glob("*/site-packages"))
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return python.parent / "rollout"


@pytest.mark.slow("makes two builds and an installation")
def test_the_installed_services_give_the_build_of_their_source(program: Path, tmp_path: Path) -> None:
    def rollout(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True
        )

    assert "next: rollout build" in rollout("init").stdout
    made: dict[str, Any] = json.loads(rollout("build", "--output", "json").stdout)
    assert rollout("build").stdout.splitlines() == [made["id"], "next: rollout deploy dev"]
    assert made["id"] == build(ROOT / "services", tmp_path / "other", lock_root=ROOT).id

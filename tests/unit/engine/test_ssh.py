"""What OpenSSH makes of our options and of its user's configuration."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from rollout.engine.ssh import ssh_options


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs ssh")
@pytest.mark.parametrize("wish", ["no", "accept-new", "ask"])
def test_an_unknown_host_key_is_refused_whatever_the_configuration_says(tmp_path, wish):
    config = tmp_path / "config"
    config.write_text(f"Host *\n    StrictHostKeyChecking {wish}\n    User somebody\n")
    command = ["ssh", *ssh_options(config), "-G", "host"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "stricthostkeychecking true" in said
    assert "user somebody" in said, "the rest is the user's"

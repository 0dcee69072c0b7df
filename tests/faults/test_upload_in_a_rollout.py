"""A gigabyte is uploaded while a release replaces everything but the shell that it goes to."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.client import Terminal
from terminals.protocol.backoff import Backoff

from tests.support.project import Project, source_of
from tests.support.stack import until

pytestmark = [
    pytest.mark.rollout,
    pytest.mark.slow("a gigabyte, and two deployments; test_upload_survives.py kills and shifts in seconds"),
]

MEGABYTE = 1 << 20
SHELL = ["env", "TERM=dumb", "/bin/bash", "--norc", "--noprofile"]


class Dev(Project):
    """One environment where files may be uploaded."""

    def configure(self, source: Path | None = None) -> None:
        files = {"upload": True, "download": True, "max_bytes": "2GB"}
        environment = {
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "profiles": {"system": {"command": SHELL, "files": files}, "claude": {"command": SHELL}},
            "canary": [{"weight": 50, "hold": "1s"}, {"weight": 100, "hold": "1s"}],
            "checks": ["smoke"],
            "gates": [{"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}],
        }
        self.write({"dev": environment}, **({"source": str(source)} if source else {}))

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.configure()


@pytest.fixture
def project() -> Iterator[Dev]:
    with Dev.deployed() as project:
        yield project


def test_a_gigabyte_goes_on_through_a_deployment(project, tmp_path):
    source, there = tmp_path / "disk.img", tmp_path / "there"
    there.mkdir()
    block, digest = random.Random(1).randbytes(MEGABYTE), hashlib.sha256()
    with source.open("wb") as file:
        for number in range(1024):
            piece = b"%08d" % number + block[8:]
            digest.update(piece)
            file.write(piece)
    token = (project.folder / "dev" / "run" / "token").read_text().strip()
    url = f"ws://127.0.0.1:{project.listen('dev')['system']}/"
    with Terminal(url, token=token, backoff=Backoff(base=0.05, cap=0.5)) as terminal:
        terminal.send(f"cd {there}; PS1=; stty -echo; echo in-$((1+1))\n".encode())
        terminal.expect(rb"in-2\r?\n", 60)
        before = project.manager("dev")["manager"]
        upload = terminal.files.upload(source)
        until(lambda: terminal.pump(0.1) or upload.done > 50 * MEGABYTE, "a part of it")
        # Another build of everything: its session manager replaces the one that runs.
        other = source_of("99.0.0", project.folder)
        for name in ("manager/registry.py", "worker/main.py"):
            path = other / "terminals" / name
            path.write_text(path.read_text() + "\n# another build\n")
        project.configure(other)
        codes: list[int] = []

        def deploy() -> None:
            codes.extend((project.run("build"), project.run("deploy", "dev")))

        deployment = threading.Thread(target=deploy)
        deployment.start()
        while deployment.is_alive():
            terminal.pump(0.1)
            if upload.done > 900 * MEGABYTE:
                time.sleep(0.5)  # what is left is for afterwards
        deployment.join()
        assert codes == [0, 0], project.said
        assert not upload.over, "it was faster than the deployment"
        terminal.wait_for(upload, 600)
        assert terminal.stats.reconnects >= 1
        assert project.manager("dev")["manager"]["pid"] != before["pid"]
        assert terminal.attached is not None
        assert terminal.attached.build.startswith("99.0.0")
    with (there / "disk.img").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()
    assert [path.name for path in there.iterdir()] == ["disk.img"]

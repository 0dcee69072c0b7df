"""Make a base image where no registry is reached: Debian's Python, by mmdebstrap, into the local engine.

The same packages give the same image id. An image of the tag that is there is left alone;
``--again`` makes it anew, to take in Debian's security updates.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

from rollout.build.archive import Archive, keep_layer, normalized_config
from rollout.build.image import load
from rollout.errors import RolloutError

TAG = "terminals-base:bookworm"
SUITE = "bookworm"
PACKAGES = (
    "python3",
    "python3-venv",     # pip's own wheels, for the build stages
    "tini",             # first process: passes signals on, reaps orphans of shells
    "ca-certificates",
    "procps",           # ps, top, free: what people expect in a shell
    "less",
    "usr-is-merged",    # instead of usrmerge, which mmdebstrap takes first, and its 54 MB of Perl
)  # fmt: skip
UNWANTED = (
    "usrmerge",
    "libfile-find-rule-perl",
    "libnumber-compare-perl",
    "libtext-glob-perl",
    "perl",
    "libperl5.36",
    "perl-modules-5.36",
    "libgdbm-compat4",
    "libgdbm6",
)
LEAVE_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")
KEEP = ("/usr/share/doc/*/copyright",)
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1577836800"))
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def make(client: docker.DockerClient, tag: str) -> str:
    """Make the base and give it ``tag``; returns its id.

    Raises:
        OSError: mmdebstrap is not there, or failed.
        EngineError: the engine refused the image.
    """
    if shutil.which("mmdebstrap") is None:
        raise OSError("mmdebstrap is not installed: apt-get install --no-install-recommends mmdebstrap")
    paths = [f"--dpkgopt=path-exclude={path}" for path in LEAVE_OUT]
    paths += [f"--dpkgopt=path-include={path}" for path in KEEP]
    with tempfile.TemporaryDirectory(prefix="base-image-") as temporary:
        folder = Path(temporary)
        root = folder / "root.tar"
        done = subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(PACKAGES)}", *paths,
             f"--customize-hook=chroot \"$1\" dpkg --purge {' '.join(UNWANTED)} >/dev/null",
             "--customize-hook=rm -f \"$1\"/etc/hostname \"$1\"/etc/resolv.conf", SUITE, str(root)],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise OSError(f"mmdebstrap ended with status {done.returncode}; its reason is above")
        with root.open("rb") as file:
            layer = keep_layer(file, folder)
        config = normalized_config(
            {
                "architecture": MACHINES.get(platform.machine(), platform.machine()),
                "os": "linux",
                "config": {
                    "Cmd": ["/bin/bash"],
                    "Env": ["PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"],
                },
                "history": [{"created_by": f"mmdebstrap {SUITE}"}],
            },
            [layer.diff_id],
            EPOCH,
        )
        archive = Archive(config, [layer], [tag])
        load(client, archive)
    return archive.image_id


def main() -> int:
    """Make it, or say in one line why not."""
    parser = argparse.ArgumentParser(description="Make a base image from Debian packages.")
    parser.add_argument("--tag", default=TAG)
    parser.add_argument("--again", action="store_true", help="also when there is one")
    arguments = parser.parse_args()
    try:
        client = docker.from_env(timeout=300)
        if not arguments.again:
            try:
                print(f"{arguments.tag} is there: {client.images.get(arguments.tag).id}")
                return 0
            except ImageNotFound:
                pass
        made = make(client, arguments.tag)
        size = client.images.get(arguments.tag).attrs["Size"]
    except (OSError, DockerException, RolloutError) as error:
        print(f"base-image: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.tag}: {made}, {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

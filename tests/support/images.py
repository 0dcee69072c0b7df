"""Make the images that tests start from, where they can be made: a base for the services, and the lab's host.

Both are kept by the engine for the next time. Made beside the linters, no test has to wait for them.
"""

from __future__ import annotations

import shutil
import sys

import docker
from docker.errors import DockerException, ImageNotFound

from lab import image
from lab.model import LabError
from scripts import base_image


def main() -> int:
    """Make what is missing; where that is not possible, the tests that need it are skipped and say so."""
    try:
        engine = docker.from_env(timeout=600)
        engine.ping()
    except DockerException as error:
        print(f"no images for the tests: no Docker engine answers ({error})", file=sys.stderr)
        return 0
    if shutil.which("mmdebstrap") is None:
        print("no images for the tests: mmdebstrap is not installed", file=sys.stderr)
        return 0
    try:
        engine.images.get(base_image.TAG)
    except ImageNotFound:
        print(f"making {base_image.TAG}", file=sys.stderr)
        base_image.make(engine, base_image.TAG)
    try:
        if not image.present():
            print(f"making {image.tag()}", file=sys.stderr)
            image.make()
    except LabError as error:
        print(f"images for the tests: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

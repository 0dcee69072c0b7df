"""Make the images that tests start from, where they can be made: a base for the services, and the lab's host.

Both are kept by the engine for the next time. Made beside the linters, no test has to wait for them.
"""

from __future__ import annotations

import sys

import pytest

from lab import image
from lab.model import LabError
from tests.support import docker
from tests.support.lab import require_lab


def main() -> int:
    """Make what is missing; where that is not possible, the tests that need it are skipped and say so."""
    print("making the images that tests start from, where they are missing", file=sys.stderr)
    try:
        require_lab()
        docker.base()
        if not image.present():
            image.make()
    except pytest.skip.Exception as reason:
        print(f"no images for the tests: {reason}", file=sys.stderr)
    except LabError as error:
        print(f"images for the tests: {error.message}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

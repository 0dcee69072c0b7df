"""Fixtures that take long to make, shared by everything that needs a real image."""

from __future__ import annotations

import pytest

from rollout.model import BuildRef, ImageRef
from tests.support import docker


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildRef, ImageRef]:
    """The services as a build with an image; the test is skipped where no engine is.

    Each process of a run makes it, and it is the same one: it goes when all of them have ended.
    """
    build, image = docker.make_image(tmp_path_factory.mktemp("built"))
    docker.remove_after_the_run(image)
    return build, image

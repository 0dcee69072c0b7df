"""Fixtures that take long to make, shared by everything that needs a real image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout.model import BuildRef, ImageRef
from tests.support import docker


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BuildRef, ImageRef]]:
    """The services as a build with an image; the test is skipped where no engine is."""
    build, image = docker.make_image(tmp_path_factory.mktemp("built"))
    yield build, image
    docker.remove(image)

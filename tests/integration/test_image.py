"""The image of a build: what it is, what it is not, and that the same source gives the same one."""

from __future__ import annotations

import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from docker.errors import APIError, ContainerError

from demo.source import copy_of_services
from rollout.build import BuildStore
from rollout.build.image import (
    CACHE,
    IMAGE,
    KEPT,
    MAKING,
    SBOM,
    STAGE,
    archive_of,
    build_image,
    call_latest,
    forget_the_last,
    prune_stages,
    remove_left,
)
from rollout.errors import ConfigError
from rollout.model import ImageRef
from tests.support.docker import PROJECT, SERVICES, base, client, make_image, remove
from tests.support.project import source_of
from tests.support.stack import until

pytestmark = pytest.mark.docker
BEGUN = datetime.now(UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("image")


@pytest.fixture
def made(built):
    return built


def run(image, *command: str, entrypoint: str = "bash", **options) -> str:
    """Run a command in a container as hardened as those of the Compose files."""
    hardened = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    output = client().containers.run(
        image.id,
        list(command),
        entrypoint=entrypoint,
        remove=True,
        network_mode="none",
        **hardened,
        **options,
    )
    return output.decode()


def test_not_root_on_a_read_only_root(made):
    _, image = made
    assert run(image, "-c", "id -u; id -g; echo $HOME").split() == ["10001", "10001", "/home/terminals"]
    with pytest.raises(ContainerError, match="Read-only file system"):
        run(image, "-c", "touch /opt/terminals/x")
    assert run(image, "-c", "grep ^Cap /proc/self/status").split()[1::2] == ["0" * 16] * 5


def test_the_program_and_a_usable_shell_are_there(made):
    _, image = made
    assert run(image, "--version", entrypoint="terminals").startswith("terminals, version")
    assert "less" in run(
        image, "-lc", "ps >/dev/null && command -v less && infocmp xterm-256color >/dev/null"
    )


def test_labels_say_what_it_is(made):
    build, image = made
    attributes = client().images.get(image.tag).attrs
    labels = attributes["Config"]["Labels"]
    assert attributes["Id"] == image.id
    assert labels["org.opencontainers.image.title"] == "terminal-services"
    assert labels["org.opencontainers.image.version"] == build.version
    assert labels["org.opencontainers.image.revision"] == build.revision
    assert labels["rollout.digest"] == f"sha256:{build.digest}"


def test_installed_are_the_wheels_of_the_build(made):
    build, image = made
    code = "from importlib.metadata import distributions as d\nfor x in d(): print(x.name.lower(), x.version)"
    found = run(image, "-c", code, entrypoint="/opt/terminals/bin/python")
    wheels = [path.name.split("-")[:2] for path in (Path(build.path) / "wheels").iterdir()]
    assert sorted(line.replace("-", "_").split() for line in found.splitlines()) == sorted(
        [name.lower(), version] for name, version in wheels
    )


@pytest.mark.slow("the image is made three times over")
def test_same_source_and_base_give_the_same_image(made, folder):
    build, image = made
    copy = folder / "copy"
    copy_of_services(copy)
    for path in copy.rglob("*"):
        path.touch()
    # The revision is part of what an image says of itself, and a copy has none.
    remove(image)
    forget_the_last(client(), PROJECT)
    again, first = make_image(folder / "one", copy)
    remove(first)
    forget_the_last(client(), PROJECT)
    assert again.id == build.id
    _, second = make_image(folder / "two", copy)
    try:
        assert second == first
        assert second.layers == image.layers
    finally:
        remove(second)
        # As recorded: it comes back from its parts.
        assert build_image(build, SERVICES, project=PROJECT, base=base()) == image
        assert client().images.get(image.tag).id == image.id


def test_nothing_of_the_making_is_left_in_the_engine(made):
    """Whatever else the engine has: a run of tests that was killed may have left something an hour ago."""
    engine = client()

    def none_left() -> bool:
        stages = engine.images.list(filters={"label": STAGE, "dangling": True})
        making = engine.images.list(f"{PROJECT}{MAKING}")
        return not stages and not [
            image.tags for image in making if datetime.fromisoformat(image.attrs["Created"]) > BEGUN
        ]

    # Another process of this run may be at making one, too.
    until(none_left, "nothing being left", 120)


@pytest.mark.slow("two images more")
def test_what_has_not_changed_is_not_made_again(made, folder):
    """As the engine makes layers, they tell when: the same ones are of the same making."""

    def last() -> list[str]:
        kept = [one for one in client().images.list(f"{PROJECT}{CACHE}") if STAGE not in one.labels]
        newest = max(kept, key=lambda one: str(one.attrs["Created"]))
        return list(newest.attrs["RootFS"]["Layers"])

    def changed(number: int) -> tuple[ImageRef, list[str]]:
        source = source_of(f"9.9.{number}", folder / "sources")
        _, image = make_image(folder / "kept", source)
        return image, last()

    (first, before), (second, after) = changed(1), changed(2)
    try:
        assert before[-1] != after[-1]
        assert before[:-1] == after[:-1]
        assert first.layers[:-1] == second.layers[:-1]
        assert len(client().images.list(f"{PROJECT}{CACHE}")) <= 2 * KEPT
    finally:
        remove(first)
        remove(second)


def test_what_a_killed_making_has_left_goes_with_the_next(made):
    """The base is of long ago; what is made right now is no business of another making."""
    _, image = made
    name = f"{PROJECT}{MAKING}"
    container = client().containers.create(image.id)
    young = container.commit(name, "young")
    container.remove()
    try:
        assert client().images.get(base()).tag(name, "old")
        remove_left(client(), PROJECT)
        tags = [tag for left in client().images.list(name) for tag in left.tags]
        assert f"{name}:young" in tags
        assert f"{name}:old" not in tags
        assert client().images.get(base()).tags, "the image itself has another name, and stays"
    finally:
        client().images.remove(young.id, force=True)


def beside(
    others: Callable[[threading.Event], int], number: int, act: Callable[[], None], times: int
) -> list[int]:
    """Do something so often, while so many others do theirs until they are told to end; what they say."""
    done = threading.Event()
    with ThreadPoolExecutor(number) as pool:
        running = [pool.submit(others, done) for _ in range(number)]
        try:
            for _ in range(times):
                act()
        finally:
            done.set()
    return [one.result() for one in running]


def test_two_builds_at_once_on_one_engine_do_not_mind_each_others_tidying():
    def hammer(done: threading.Event) -> int:
        other, refused = client(), 0
        while not done.is_set():
            try:
                other.images.prune({"dangling": True, "label": STAGE})
            except APIError:
                refused += 1
        return refused

    refused = beside(hammer, 3, lambda: prune_stages(client()), 50)
    assert sum(refused) > 0, "nobody was ever refused: this shows nothing"


def test_whoever_starts_it_by_hand_need_not_name_it(made):
    _, image = made
    call_latest(image, PROJECT)
    try:
        assert client().images.get(f"{PROJECT}:latest").id == image.id
    finally:
        client().images.remove(f"{PROJECT}:latest")
    assert client().images.get(image.tag).id == image.id


def test_a_build_has_one_image(made, folder):
    build, image = made
    assert BuildStore(Path(build.path).parent).image(build) == image
    other = folder / "other"
    other.mkdir()
    (other / "Dockerfile").write_text((SERVICES / "Dockerfile").read_text() + "LABEL other=1\n")
    with pytest.raises(ConfigError, match="another base or Dockerfile"):
        build_image(build, other, project=PROJECT, base=base())


def test_unreachable_base_names_the_way_out(made, folder):
    build, _ = made
    with pytest.raises(ConfigError, match="make base-image"):
        build_image(build, SERVICES, project=PROJECT, base="127.0.0.1:1/no-such:base")


def test_changed_part_is_noticed(made, folder):
    build, image = made
    copy = folder / "changed"
    shutil.copytree(build.path, copy)
    (copy / IMAGE / "config.json").write_bytes(b"{}")
    with pytest.raises(ConfigError, match="was changed"):
        archive_of(copy, image)


def test_components_are_listed(made):
    build, image = made
    text = (Path(build.path) / SBOM).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    data = json.loads(text)
    assert data["metadata"]["component"]["hashes"][0]["content"] == image.id.removeprefix("sha256:")
    hashes = {
        component["purl"].partition("@")[0].removeprefix("pkg:pypi/"): component["hashes"][0]["content"]
        for component in data["components"]
        if component["purl"].startswith("pkg:pypi/")
    }
    manifest = json.loads((Path(build.path) / "manifest.json").read_text())
    assert sorted(hashes.values()) == sorted(manifest["files"].values())
    installed = run(image, "-c", r"dpkg-query -W -f '${Package}@${Version}\n'").split()
    listed = {
        f"{component['name']}@{component['version']}"
        for component in data["components"]
        if component["purl"].startswith("pkg:deb/debian/")
    }
    assert listed == set(installed)


def test_layers_that_a_release_changes_are_small(made):
    build, image = made
    sizes = [
        (Path(build.path) / IMAGE / f"{layer.replace(':', '-')}.tar.gz").stat().st_size
        for layer in image.layers
    ]
    assert sizes[-1] < sum(sizes) / 50
    with tarfile.open(Path(build.path) / IMAGE / f"{image.layers[-1].replace(':', '-')}.tar.gz") as layer:
        files = [name for name in layer.getnames() if "site-packages/" in name]
    assert all("site-packages/terminal" in name for name in files)


def test_what_another_making_takes_away_is_no_fault_of_this_one(made):
    """What is listed is looked at one by one, and may be gone by then."""
    _, image = made
    name = f"{PROJECT}{MAKING}"

    def hammer(done: threading.Event) -> int:
        other, made = client(), 0
        container = other.containers.create(image.id)
        while not done.is_set():
            young = container.commit(name, f"{threading.get_ident()}")
            other.images.remove(young.id, force=True)
            made += 1
        container.remove()
        return made

    assert all(count > 10 for count in beside(hammer, 2, lambda: remove_left(client(), PROJECT), 100))

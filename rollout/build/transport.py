"""Bringing a build's image to a host, straight over SSH or by a registry: only the layers that it lacks.

The engine's loader opens a layer's file only when it does not have that layer on top of the same
layers below. So what it has need not travel.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from docker.errors import DockerException

from rollout.build.archive import Archive, chain_ids
from rollout.build.hosts import NOT_FOUND, UNREACHABLE, Answer, Host
from rollout.build.image import archive_of, engine, restore
from rollout.errors import EngineError
from rollout.model import ImageRef

Progress = Callable[[int, int], None]
"""Called with the bytes that have left, and those that will have in the end."""

CUT_OFF = (UNREACHABLE, -9, 137)
"""Exit statuses of a connection that fails or breaks (ssh's own), and of a loader that was killed."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What it took to bring an image to a host: bytes, and the layers (diff ids) that the host lacked."""

    bytes: int
    layers: tuple[str, ...]


def send_image(
    host: Host, folder: Path, image: ImageRef, *, on_progress: Progress = lambda sent, total: None
) -> Sent:
    """Bring the image of the build in ``folder`` to a host's engine, unless it is there, and check its id.

    May be done again whenever it was interrupted.

    Raises:
        ConfigError: the image's parts on this machine are incomplete or changed.
        EngineError: the host does not answer, has no room or no engine, or has got something else.
    """
    there = _images(host)
    if image.id in there:
        _tag(host, image)
        return Sent(0, ())
    known = {chain for layers in there.values() for chain in chain_ids(layers)}
    lacking = [
        diff_id
        for diff_id, chain in zip(image.layers, chain_ids(image.layers), strict=True)
        if chain not in known
    ]
    for travelling in dict.fromkeys((tuple(lacking), image.layers)):
        stream = _Counted(archive_of(folder, image, list(travelling)), on_progress)
        answer = host.run(["docker", "load", "--quiet"], stream)
        if answer.status == 0:
            _check(host, image)
            return Sent(stream.sent, travelling)
        if "no such file" not in answer.errors:
            break
        # A layer that was there has been removed meanwhile: then all of them travel.
    raise _failure(host, answer, f"loading {image.tag}, {stream.sent} of {stream.total} bytes sent")


class _Counted:
    """An archive's stream, counted as it leaves."""

    def __init__(self, archive: Archive, on_progress: Progress) -> None:
        self._archive = archive
        self._on_progress = on_progress
        self.sent = 0
        self.total = archive.size

    def __iter__(self) -> Iterator[bytes]:
        for block in self._archive.blocks():
            yield block
            self.sent += len(block)
            self._on_progress(self.sent, self.total)


def push_image(folder: Path, image: ImageRef, registry: str) -> str:
    """Put the image of the build in ``folder`` into a registry (``host[:port]/path``) by the local engine.

    Returns the name to pull it by: ``registry/project@sha256:...``.

    Raises:
        ConfigError: the image's parts on this machine are incomplete or changed.
        EngineError: the engine or the registry refused it.
    """
    client = engine()
    restore(client, folder, image)
    project, _, tag = image.tag.partition(":")
    name = f"{registry.rstrip('/')}/{project}"
    try:
        local = client.images.get(image.id)
        local.tag(name, tag)
        for line in client.images.push(name, tag, stream=True, decode=True):
            if "error" in line:
                raise EngineError(f"{registry}: {line['error']}")
        local.reload()
    except DockerException as error:
        raise EngineError(f"{registry}: {error}") from None
    digests = [digest for digest in local.attrs["RepoDigests"] if digest.startswith(f"{name}@")]
    if not digests:
        raise EngineError(f"{registry}: the engine knows no digest of {name} after pushing it")
    return str(digests[0])


def pull_image(host: Host, image: ImageRef, name: str) -> None:
    """Have a host pull what :func:`push_image` has put into a registry under ``name``, and check its id.

    Raises:
        EngineError: the host or the registry does not answer, or it is another image.
    """
    answer = host.run(["docker", "pull", "--quiet", name])
    if answer.status != 0:
        raise _failure(host, answer, f"pulling {name}")
    if _id(host, name) != image.id:
        raise EngineError(f"{host.name}: {name} is not image {image.id}; build and push it again")
    _tag(host, image)


def _images(host: Host) -> dict[str, list[str]]:
    """The images of a host's engine: the diff ids of each one's layers, by id."""
    answer = _asked(host, "docker", "image", "ls", "--all", "--quiet", "--no-trunc")
    ids = sorted(set(answer.output.split()))
    if not ids:
        return {}
    form = "{{json .Id}} {{json .RootFS.Layers}}"
    # One that was removed between the two questions is an error; the others are told of all the same.
    answer = host.run(["docker", "image", "inspect", "--format", form, *ids])
    found = {}
    for line in answer.output.splitlines():
        name, _, layers = line.partition(" ")
        found[str(json.loads(name))] = list(json.loads(layers) or [])
    return found


def _check(host: Host, image: ImageRef) -> None:
    found = _id(host, image.tag)
    if found != image.id:
        raise EngineError(
            f"{host.name}: {image.tag} arrived as {found or 'nothing'}, not as {image.id}; it is not used."
            f" Remove it there (docker rmi {image.tag}) and look at who else writes to that engine"
        )


def _id(host: Host, name: str) -> str:
    return host.run(["docker", "image", "inspect", "--format", "{{.Id}}", name]).output.strip()


def _tag(host: Host, image: ImageRef) -> None:
    _asked(host, "docker", "tag", image.id, image.tag)


def _asked(host: Host, *command: str) -> Answer:
    answer = host.run(command)
    if answer.status != 0:
        raise _failure(host, answer, " ".join(command[:3]))
    return answer


def _failure(host: Host, answer: Answer, doing: str) -> EngineError:
    words = " ".join((answer.errors.strip() or answer.output.strip() or "no reason given").split())[-400:]
    if "no space left" in words.lower():
        text = (
            f"the disk of its engine is full ({words}); make room there (docker system df), then do it again"
        )
    elif answer.status in CUT_OFF or "broken pipe" in words.lower():
        text = f"interrupted ({words}); see that the host is reachable, then do it again: none of it is used"
    elif answer.status == NOT_FOUND:
        text = f"there is no docker program ({words}); provision the host first"
    else:
        text = f"{words} (exit status {answer.status})"
    return EngineError(f"{host.name}: {doing}: {text}")

"""The image of a build: made by the local engine, without the times of its making, and kept in parts.

The engine stamps what it builds with the time. So its result is saved, its own layers and its
configuration are written again without times, and loaded: the same build on the same base has
the same id everywhere. The layers of the base stay as they are, for hosts to share.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound
from docker.models.images import Image

from rollout.build.archive import (
    Archive,
    Layer,
    created,
    keep_layer,
    layer_path,
    normalized_config,
    normalized_layer,
)
from rollout.build.make import SOURCE_DATE_EPOCH
from rollout.build.sbom import write_sbom
from rollout.build.store import MANIFEST, WHEELS, file_digest, read_image
from rollout.errors import ConfigError, EngineError
from rollout.model import BuildRef, ImageRef

DOCKERFILE = "Dockerfile"
IMAGE = "image"
"""The folder of a build that holds its image: the configuration, and each layer once."""
CONFIG = "config.json"
SBOM = "sbom.cdx.json"
STAGE = "rollout.stage"
"""Label of the stages that are not part of the image, and would stay in the engine for ever."""
MAKING = "-building"
"""What the name of an image ends with that is being made."""
CACHE = "-cache"
"""What the name ends with of what was made last: the next making does nothing again that has not changed."""
KEPT = 3
"""Of images, and of stages."""
NORMALIZED = "normalized-1-"
"""What names of files begin with that say which layer one became; the number goes up when that changes."""
TRIES = 3
TAKEN_AWAY = "No such image"
LEFT_SECONDS = 2 * 60 * 60
TIMEOUT = 600
EPOCH = int(SOURCE_DATE_EPOCH)


def engine() -> docker.DockerClient:
    """The engine that the environment (``DOCKER_HOST``) or the standard socket names.

    Raises:
        EngineError: none answers.
    """
    try:
        client = docker.from_env(timeout=TIMEOUT)
        client.ping()
    except DockerException as error:
        raise EngineError(
            f"no Docker engine answers: {error}; start one, or set DOCKER_HOST to where it is"
        ) from None
    return client


def build_image(
    build: BuildRef,
    source: Path,
    *,
    project: str,
    base: str,
    on_progress: Callable[[str], None] = lambda line: None,
) -> ImageRef:
    """Make the image of a build with ``source``/Dockerfile on ``base``, and record it in its manifest.

    It is tagged ``<project>:<build id>`` in the local engine; its parts and a list of its components
    (CycloneDX) are kept in the build's folder. A build has one image: an existing one is only put
    into the engine again.

    Raises:
        ConfigError: no Dockerfile, no such base, or the build has an image of another base or Dockerfile.
        EngineError: the engine is not there, or failed.
    """
    client = engine()
    folder = Path(build.path)
    try:
        recipe = file_digest(source / DOCKERFILE)
    except OSError as error:
        raise ConfigError(f"{source / DOCKERFILE}: {error.strerror}; an image is built by it") from None
    with _engine_errors("building the image"):
        base_image = _base(client, base, on_progress)
        if (made := read_image(folder)) is not None:
            if (made.base, made.recipe) != (base_image.id, recipe):
                raise ConfigError(
                    f"{folder}: build {build.id} has an image of another base or Dockerfile, and is carried"
                    f" unchanged; raise the version of {source}, or remove this folder if it is nowhere yet"
                )
            restore(client, folder, made)
            return made
        on_progress(f"building the image on {base}")
        # A name of its own: the build's is given to the rewritten image only.
        making = f"{project}{MAKING}:{uuid.uuid4().hex[:12]}"
        built = _build(client, build, source, base, making)
        try:
            on_progress("taking the times out of the image")
            with tempfile.TemporaryDirectory(dir=folder, prefix=".image-") as temporary:
                parts = Path(temporary) / IMAGE
                parts.mkdir()
                layers = _rewrite(built, base_image, parts, folder.parent.parent / "cache" / "layers")
                config = (parts / CONFIG).read_bytes()
                tag = f"{project}:{build.id}"
                archive = Archive(config, layers, [tag])
                load(client, archive)
                size = int(client.images.get(tag).attrs["Size"])
                layer_ids = tuple(layer.diff_id for layer in layers)
                made = ImageRef(archive.image_id, tag, layer_ids, str(base_image.id), recipe, size)
                on_progress("listing the components")
                write_sbom(folder / SBOM, build, made, parts)
                shutil.rmtree(folder / IMAGE, ignore_errors=True)  # of a run that was killed
                parts.rename(folder / IMAGE)
            keep_for_the_next(client, project, built)
        finally:
            client.images.remove(making)
            remove_left(client, project)
            prune_stages(client)
    _record(folder, made)
    return made


def keep_for_the_next(client: docker.DockerClient, project: str, built: Image) -> None:
    """Name what was made, and the stage that is not part of it: the engine forgets what has no name, and all
    that it was made of.

    A few of each are kept: another making may be just about to use what was made before this.
    """
    name = f"{project}{CACHE}"
    for image in (built, *_listed(client, None, {"dangling": True, "label": STAGE})):
        with contextlib.suppress(ImageNotFound):  # another making's, and gone
            image.tag(name, str(image.id).removeprefix("sha256:")[:12])
    kept = _listed(client, name)
    for of_a_stage in (False, True):
        alike = [image for image in kept if (STAGE in image.labels) is of_a_stage]
        alike.sort(key=lambda image: str(image.attrs["Created"]), reverse=True)
        _untag(client, name, alike[KEPT:])


def forget_the_last(client: docker.DockerClient, project: str) -> None:
    """Take the names away that :func:`keep_for_the_next` has given: the next making begins with nothing."""
    name = f"{project}{CACHE}"
    _untag(client, name, _listed(client, name))
    prune_stages(client)


def _listed(
    client: docker.DockerClient, name: str | None, filters: dict[str, Any] | None = None
) -> list[Image]:
    """Images of a name. They are looked at one by one, and another making takes its own away meanwhile."""
    while True:
        with contextlib.suppress(ImageNotFound):
            return client.images.list(name, filters=filters)


def _untag(client: docker.DockerClient, name: str, images: Sequence[Image]) -> None:
    for image in images:
        for tag in image.tags:
            if tag.startswith(f"{name}:"):
                with contextlib.suppress(ImageNotFound):  # another making has done so
                    client.images.remove(tag)


def remove_left(client: docker.DockerClient, project: str) -> None:
    """Take away what a making left that was killed: no making takes so long."""
    for image in _listed(client, f"{project}{MAKING}"):
        if datetime.fromisoformat(image.attrs["Created"]).timestamp() > time.time() - LEFT_SECONDS:
            continue
        _untag(client, f"{project}{MAKING}", [image])


def prune_stages(client: docker.DockerClient) -> None:
    """Take away stages that are not part of any image.

    The engine does one such thing at a time and refuses the next. What is left then goes the next time.
    """
    try:
        client.images.prune({"dangling": True, "label": STAGE})
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise


def archive_of(folder: Path, image: ImageRef, present: list[str] | None = None) -> Archive:
    """The image of the build in ``folder`` as a stream; see :class:`Archive` for ``present``.

    Raises:
        ConfigError: a part is missing, or the configuration is not that of the image.
    """
    parts = folder / IMAGE
    layers = [Layer(diff_id, layer_path(parts, diff_id)) for diff_id in image.layers]
    missing = [str(layer.path) for layer in layers if not layer.path.is_file()]
    try:
        archive = Archive((parts / CONFIG).read_bytes(), layers, [image.tag], present)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; build it again") from None
    if missing or archive.image_id != image.id:
        what = f"{missing[0]} is missing" if missing else f"{parts / CONFIG} was changed"
        raise ConfigError(
            f"{what}: this is not image {image.id} any more; remove {folder} and build it again"
        )
    return archive


def restore(client: docker.DockerClient, folder: Path, image: ImageRef) -> None:
    """Put a build's image into an engine that does not have it, or has another by its tag.

    Raises:
        ConfigError: see :func:`archive_of`.
        EngineError: the engine refused it.
    """
    try:
        if client.images.get(image.tag).id == image.id:
            return
    except ImageNotFound:
        pass
    load(client, archive_of(folder, image))


def call_latest(image: ImageRef, project: str) -> None:
    """Let ``<project>:latest`` be this image in the local engine, for whoever starts it by hand.

    No environment is ever given an image by that name.

    Raises:
        EngineError: the engine is not there, or failed.
    """
    with _engine_errors("naming the image"):
        engine().images.get(image.tag).tag(project, "latest")


def load(client: docker.DockerClient, archive: Archive) -> None:
    """Load an image and check that it is the one.

    Raises:
        EngineError: the engine refused it, or has made something else of it.
    """
    with _engine_errors("loading the image"):
        # The stub wants a file; what is sent is what requests can send, and that is an iterator, too.
        loaded = client.images.load(cast(Any, archive.blocks()))
    if [image.id for image in loaded] != [archive.image_id]:
        raise EngineError(f"the engine loaded {[image.id for image in loaded]}, not {archive.image_id}")


@contextlib.contextmanager
def _engine_errors(doing: str) -> Any:
    try:
        yield
    except BuildError as error:
        words = "".join(str(line.get("stream", "")) for line in error.build_log)
        raise EngineError(f"{doing}: {error.msg}; its last words: {words[-600:]}") from None
    except APIError as error:
        raise EngineError(f"{doing}: the engine says: {error.explanation or error}") from None
    except (DockerException, OSError) as error:
        raise EngineError(f"{doing}: {error}") from None


def _base(client: docker.DockerClient, base: str, on_progress: Callable[[str], None]) -> Image:
    with contextlib.suppress(ImageNotFound):
        return client.images.get(base)
    on_progress(f"pulling {base}")
    try:
        return client.images.pull(base)
    except DockerException as error:
        raise ConfigError(
            f"image.base: {base} is not here and cannot be pulled: {error}; where no registry is reached,"
            ' "make base-image" makes terminals-base:bookworm'
        ) from None


def _build(client: docker.DockerClient, build: BuildRef, source: Path, base: str, tag: str) -> Image:
    manifest = json.loads((Path(build.path) / MANIFEST).read_text())
    name = str(manifest["project"])
    labels = {
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": build.version,
        "org.opencontainers.image.revision": str(manifest["revision"]),
        "org.opencontainers.image.created": created(EPOCH),
        "org.opencontainers.image.base.name": base,
        "rollout.build": build.id,
        "rollout.digest": f"sha256:{build.digest}",
    }
    with tempfile.TemporaryDirectory(prefix="rollout-image-") as temporary:
        context = Path(temporary)
        shutil.copy2(source / DOCKERFILE, context)
        for kind in ("dependencies", "services"):
            (context / kind).mkdir()
        own = name.replace("-", "_") + "-"
        for wheel in sorted((Path(build.path) / WHEELS).glob("*.whl")):
            shutil.copyfile(
                wheel, context / ("services" if wheel.name.startswith(own) else "dependencies") / wheel.name
            )
        tries = 0
        while True:
            tries += 1
            try:
                image, _ = client.images.build(
                    path=temporary,
                    tag=tag,
                    buildargs={"BASE": base},
                    labels=labels,
                    rm=True,
                    forcerm=True,
                )
                return image
            except (APIError, BuildError) as error:
                # Somebody has taken away what this one had just begun with.
                if TAKEN_AWAY not in str(error) or tries == TRIES:
                    raise


def _rewrite(built: Image, base: Image, parts: Path, cache: Path) -> list[Layer]:
    """Save the built image in parts, rewritten above the base's layers."""
    below = list(base.attrs["RootFS"]["Layers"])
    cache.mkdir(parents=True, exist_ok=True)
    layers: list[Layer] = []
    with tempfile.TemporaryFile(dir=parts) as file:
        for block in built.save():
            file.write(block)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as saved:
            (manifest,) = json.loads(_member(saved, "manifest.json").read())
            config = json.loads(_member(saved, manifest["Config"]).read())
            diff_ids = config["rootfs"]["diff_ids"]
            if diff_ids[: len(below)] != below:
                raise EngineError(f"{built.id} does not stand on {base.id}: the base was changed meanwhile")
            for diff_id, name in zip(diff_ids, manifest["Layers"], strict=True):
                if diff_id in below:
                    if not layer_path(cache, diff_id).exists():
                        keep_layer(_member(saved, name), cache)
                    layers.append(Layer(diff_id, layer_path(cache, diff_id)))
                    continue
                layers.append(_normalized(diff_id, saved, name, cache))
    # Builds share most layers: each is on the disk once.
    kept = [replace(layer, path=layer_path(parts, layer.diff_id)) for layer in layers]
    for old, new in zip(layers, kept, strict=True):
        if not new.path.exists():
            os.link(old.path, new.path)
    (parts / CONFIG).write_bytes(normalized_config(config, [layer.diff_id for layer in kept], EPOCH))
    return kept


def _normalized(diff_id: str, saved: tarfile.TarFile, name: str, cache: Path) -> Layer:
    """A layer of the engine's as it is without times; of one that was rewritten before that is known."""
    known = cache / f"{NORMALIZED}{diff_id.replace(':', '-')}"
    with contextlib.suppress(OSError):
        became = known.read_text()
        if layer_path(cache, became).exists():
            return Layer(became, layer_path(cache, became))
    with tempfile.TemporaryFile(dir=cache) as rewritten:
        normalized_layer(_member(saved, name), rewritten, EPOCH)
        rewritten.seek(0)
        layer = keep_layer(rewritten, cache)
    new = known.with_name(f".{uuid.uuid4().hex}")
    new.write_text(layer.diff_id)
    new.replace(known)
    return layer


def _member(saved: tarfile.TarFile, name: str) -> Any:
    member = saved.extractfile(name)
    if member is None:
        raise EngineError(f"the engine saved an image without {name}")
    return member


def _record(folder: Path, image: ImageRef) -> None:
    path = folder / MANIFEST
    manifest = json.loads(path.read_text()) | {"image": asdict(image), "sbom": SBOM}
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(manifest, indent=2) + "\n")
    temporary.replace(path)

"""Images as data, in the form that ``docker save`` writes and ``docker load`` reads.

An image's id is the SHA-256 of its configuration, which lists the SHA-256 of each layer's tar (its
*diff id*) and nothing of how it is packed. A layer is known to an engine by its *chain id*, which
depends on the layers below it, too.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

BLOCK = 1 << 20
_COMPRESSION = 6


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its diff id (``sha256:...``) and the file that holds it, compressed."""

    diff_id: str
    path: Path


def digest_of(data: bytes) -> str:
    """``sha256:`` and the hexadecimal SHA-256."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer, the lowest first."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def created(epoch: int) -> str:
    """A time as image configurations state it."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def normalized_layer(source: IO[bytes], target: IO[bytes], epoch: int) -> None:
    """Write a layer's tar again, without what depends on when it was made.

    Every entry gets the time ``epoch``; entries are sorted, hard links after what they link to.
    """
    with (
        tarfile.open(fileobj=source, mode="r:") as old,
        tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda entry: (entry.islnk(), entry.name)):
            entry.mtime = epoch
            entry.uname = entry.gname = ""
            entry.pax_headers = {
                key: value for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")
            }
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)


def normalized_config(config: dict[str, Any], diff_ids: Sequence[str], epoch: int) -> bytes:
    """An image's configuration as bytes, without the times and container ids of its build.

    ``diff_ids`` are those of the rewritten layers.
    """
    kept = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
    settings = {key: value for key, value in config.get("config", {}).items() if key not in _OF_THE_BUILD}
    history = [
        {**{key: value for key, value in entry.items() if key != "comment"}, "created": created(epoch)}
        for entry in config.get("history", [])
    ]
    kept |= {"created": created(epoch), "config": settings, "history": history}
    kept["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


_OF_THE_BUILD = {"Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr"}


def layer_path(folder: Path, diff_id: str) -> Path:
    """Where a folder of image parts keeps a layer."""
    return folder / f"{diff_id.replace(':', '-')}.tar.gz"


def keep_layer(source: IO[bytes], folder: Path) -> Layer:
    """Keep a layer's tar, compressed, in ``folder`` under its diff id."""
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as file:
        temporary = Path(file.name)
        try:
            with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
                while block := source.read(BLOCK):
                    digest.update(block)
                    packed.write(block)
        except BaseException:
            temporary.unlink()
            raise
    diff_id = f"sha256:{digest.hexdigest()}"
    path = layer_path(folder, diff_id)
    temporary.chmod(0o644)
    temporary.replace(path)
    return Layer(diff_id, path)


class Archive:
    """A ``docker load`` stream: configuration, the layers that are ``present``, and the names of the rest.

    ``layers`` are all of the image's; of those not in ``present`` (by diff id) the files do not travel:
    the loader opens a layer's file only when the engine lacks that layer.
    """

    def __init__(
        self,
        config: bytes,
        layers: Sequence[Layer],
        tags: Sequence[str],
        present: Sequence[str] | None = None,
    ) -> None:
        self.image_id = digest_of(config)
        self._layers = [layer for layer in layers if present is None or layer.diff_id in present]
        name = f"{self.image_id.removeprefix('sha256:')}.json"
        names = [f"{layer.diff_id.removeprefix('sha256:')}.tar.gz" for layer in layers]
        manifest = json.dumps([{"Config": name, "RepoTags": list(tags), "Layers": names}]).encode()
        self._small = {name: config, "manifest.json": manifest}

    @property
    def size(self) -> int:
        """Bytes of the whole stream."""
        sizes = [len(data) for data in self._small.values()]
        sizes += [layer.path.stat().st_size for layer in self._layers]
        return sum(tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE)) for size in sizes) + len(_END)

    def blocks(self) -> Iterator[bytes]:
        """The stream, in blocks of at most a mebibyte.

        Raises:
            OSError: a layer's file is gone or cannot be read.
        """
        for name, data in self._small.items():
            yield _header(name, len(data)) + data + _padding(len(data))
        for layer in self._layers:
            with layer.path.open("rb") as file:
                size = layer.path.stat().st_size
                yield _header(f"{layer.diff_id.removeprefix('sha256:')}.tar.gz", size)
                while block := file.read(BLOCK):
                    yield block
                yield _padding(size)
        yield _END


_END = bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)

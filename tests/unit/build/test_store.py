"""What is deployed is what the digest says: the archive that travels, not only the wheels beside it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from rollout.build.store import ARCHIVE, MANIFEST, SUMS, WHEELS, BuildStore, content_digest, file_digest
from rollout.errors import ConfigError

GOOD = {"a-1-py3-none-any.whl": b"first", "b-2-py3-none-any.whl": b"second"}


def sums_of(folder: Path) -> dict[str, str]:
    return {path.name: file_digest(path) for path in sorted((folder / WHEELS).iterdir())}


@pytest.fixture
def build(tmp_path):
    """A build, whose archive is made anew by what it is called with."""
    folder = tmp_path / "builds" / "1-abc"
    (folder / WHEELS).mkdir(parents=True)
    for name, data in GOOD.items():
        (folder / WHEELS / name).write_bytes(data)
    sums = sums_of(folder)
    manifest = {"id": "1-abc", "version": "1", "digest": content_digest(sums), "revision": "", "created": 1.0}
    (folder / MANIFEST).write_text(json.dumps(manifest))

    def pack(*more, wheels=GOOD, said=None):
        listed = said if said is not None else {name: sums.get(name, "0" * 64) for name in wheels}
        with tarfile.open(folder / ARCHIVE, "w") as archive:
            entries = [(MANIFEST, (folder / MANIFEST).read_bytes())]
            entries += [(SUMS, "".join(f"{d}  {WHEELS}/{n}\n" for n, d in listed.items()).encode())]
            wheel_folder = tarfile.TarInfo(WHEELS)
            wheel_folder.type = tarfile.DIRTYPE
            archive.addfile(wheel_folder)
            entries += [(f"{WHEELS}/{name}", data) for name, data in wheels.items()]
            for name, data in entries:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
            for entry in more:
                archive.addfile(entry, io.BytesIO(b"x" * entry.size))

    store = BuildStore(tmp_path / "builds")
    pack()
    store.verify(store.find(None))
    return pack, lambda: store.verify(store.find(None)), folder


def extra(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, "/etc/passwd"
    return entry


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


EVIL = {**GOOD, "a-1-py3-none-any.whl": b"evil"}


@pytest.mark.parametrize(
    "changes",
    [
        {"wheels": EVIL},
        {"wheels": EVIL, "said": {name: digest(data) for name, data in EVIL.items()}},
        {"wheels": {**GOOD, "c.whl": b"more"}, "said": {n: digest(d) for n, d in GOOD.items()}},
        {"wheels": dict(list(GOOD.items())[:1])},
        {"said": {}},
    ],
    ids=["another wheel", "with sums to match", "one more", "one less", "no sums"],
)
def test_another_content_is_refused(build, changes):
    pack, verify, _ = build
    pack(**changes)
    with pytest.raises(ConfigError, match="build it again"):
        verify()


@pytest.mark.parametrize(
    "entry",
    [
        extra("wheels/c.whl", size=3),
        extra("wheels/a-1-py3-none-any.whl", size=3),
        extra("wheels/deep/c.whl", size=3),
        extra("../outside.whl", size=3),
        extra("setup.py", size=3),
        extra("SHA256SUMS", size=3),
        extra("wheels/link.whl", tarfile.SYMTYPE),
        extra("wheels/hard.whl", tarfile.LNKTYPE),
        extra("elsewhere", tarfile.DIRTYPE),
        extra("device", tarfile.CHRTYPE),
    ],
    ids=lambda entry: f"{entry.name} {entry.type!r}",
)
def test_nothing_else_travels(build, entry):
    pack, verify, _ = build
    pack(entry)
    with pytest.raises(ConfigError, match="build it again"):
        verify()


@pytest.mark.parametrize("data", [b"", b"no archive", None])
def test_an_archive_that_is_none_is_refused(build, data):
    _, verify, folder = build
    if data is None:
        (folder / ARCHIVE).unlink()
    else:
        (folder / ARCHIVE).write_bytes(data)
    with pytest.raises(ConfigError, match="build it again"):
        verify()

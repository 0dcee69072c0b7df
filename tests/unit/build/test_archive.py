"""Images as data: rewriting layers, chain ids, and the stream that an engine loads."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from rollout.build.archive import (
    Archive,
    chain_ids,
    digest_of,
    keep_layer,
    normalized_config,
    normalized_layer,
)

EPOCH = 1577836800


def layer(*entries: tarfile.TarInfo, mtime: float) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            entry.mtime = mtime
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return buffer.getvalue()


def entry(
    name: str, *, size: int = 0, link: str = "", headers: dict[str, str] | None = None
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.linkname, info.pax_headers = size, link, headers or {}
    info.uname = "somebody"
    if link:
        info.type = tarfile.LNKTYPE
    return info


def normalized(data: bytes) -> bytes:
    target = io.BytesIO()
    normalized_layer(io.BytesIO(data), target, EPOCH)
    return target.getvalue()


def test_layers_that_differ_in_time_and_order_become_the_same():
    one = layer(entry("b", size=3), entry("a", size=700), mtime=1.5)
    two = layer(entry("a", size=700), entry("b", size=3), mtime=99.0)
    assert one != two
    assert normalized(one) == normalized(two)


def test_contents_capabilities_and_deletions_stay():
    xattr = {"SCHILY.xattr.security.capability": "cap", "atime": "12.5"}
    data = layer(entry("dir/.wh.gone"), entry("dir/file", size=5, headers=xattr), mtime=7.0)
    with tarfile.open(fileobj=io.BytesIO(normalized(data))) as tar:
        assert tar.getnames() == ["dir/.wh.gone", "dir/file"]
        member = tar.getmember("dir/file")
        assert tar.extractfile(member).read() == b"xxxxx"
        assert member.pax_headers == {"SCHILY.xattr.security.capability": "cap"}
        assert (member.mtime, member.uname) == (EPOCH, "")


def test_hard_links_come_after_what_they_link_to():
    data = layer(entry("z", size=1), entry("a", link="z"), mtime=1.0)
    with tarfile.open(fileobj=io.BytesIO(normalized(data))) as tar:
        assert tar.getnames() == ["z", "a"]


def test_configurations_that_differ_in_time_become_the_same():
    def config(stamp: str, container: str) -> dict:
        return {
            "architecture": "amd64",
            "os": "linux",
            "created": stamp,
            "container": container,
            "config": {"User": "10001", "Hostname": container, "Image": f"sha256:{stamp}"},
            "history": [{"created": stamp, "created_by": "RUN"}],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:old"]},
        }

    one = normalized_config(config("2026", "c1"), ["sha256:new"], EPOCH)
    assert one == normalized_config(config("2027", "c2"), ["sha256:new"], EPOCH)
    data = json.loads(one)
    assert data["config"] == {"User": "10001"}
    assert data["created"] == data["history"][0]["created"] == "2020-01-01T00:00:00Z"
    assert data["rootfs"]["diff_ids"] == ["sha256:new"]


def test_chain_ids_depend_on_what_lies_below():
    first, second = chain_ids(["sha256:a", "sha256:b"])
    assert first == "sha256:a"
    assert second == f"sha256:{hashlib.sha256(b'sha256:a sha256:b').hexdigest()}"
    assert chain_ids(["sha256:c", "sha256:b"])[1] != second


@pytest.fixture
def layers(tmp_path):
    return [keep_layer(io.BytesIO(layer(entry(name, size=size), mtime=0)), tmp_path) for name, size in
            (("one", 5), ("two", 3 << 20))]  # fmt: skip


def test_a_kept_layer_is_named_by_its_content(layers, tmp_path):
    data = layer(entry("one", size=5), mtime=0)
    assert layers[0].diff_id == digest_of(data)
    assert keep_layer(io.BytesIO(data), tmp_path) == layers[0]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("present", [None, [0], []])
def test_the_stream_has_the_wanted_layers_and_the_stated_size(layers, present):
    wanted = None if present is None else [layers[index].diff_id for index in present]
    archive = Archive(b'{"os":"linux"}', layers, ["name:tag"], wanted)
    blocks = list(archive.blocks())
    data = b"".join(blocks)
    assert len(data) == archive.size
    assert max(map(len, blocks)) <= 2 << 20
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        (manifest,) = json.loads(tar.extractfile("manifest.json").read())
        assert manifest["RepoTags"] == ["name:tag"]
        assert (
            f"sha256:{hashlib.sha256(tar.extractfile(manifest['Config']).read()).hexdigest()}"
            == archive.image_id
        )
        assert len(manifest["Layers"]) == 2
        travelling = [name for name in manifest["Layers"] if name in tar.getnames()]
        expected = manifest["Layers"] if present is None else [manifest["Layers"][index] for index in present]
        assert travelling == expected

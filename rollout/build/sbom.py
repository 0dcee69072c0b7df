"""What an image is made of, in CycloneDX: the wheels of the build, and the Debian packages of the base."""

from __future__ import annotations

import json
import tarfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import parse_wheel_filename

from rollout.build.archive import layer_path
from rollout.build.make import SOURCE_DATE_EPOCH
from rollout.build.store import MANIFEST
from rollout.model import BuildRef, ImageRef

DPKG_STATUS = "var/lib/dpkg/status"
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")


def write_sbom(path: Path, build: BuildRef, image: ImageRef, parts: Path) -> None:
    """Write the components of an image, whose layers are in ``parts``, as CycloneDX 1.6 in JSON.

    The same image gives the same file.

    Raises:
        OSError: a layer or the manifest of the build cannot be read.
    """
    manifest = json.loads((Path(build.path) / MANIFEST).read_text())
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, image.id), components=_wheels(manifest["files"]))
    bom.metadata.timestamp = datetime.fromtimestamp(int(SOURCE_DATE_EPOCH), UTC)
    bom.metadata.component = Component(
        name=image.tag.partition(":")[0],
        version=build.id,
        type=ComponentType.CONTAINER,
        bom_ref=image.id,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.id.removeprefix("sha256:"))],
    )
    for component in _debian_packages(image, parts):
        bom.components.add(component)
    bom.register_dependency(bom.metadata.component, bom.components)
    path.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")


def _wheels(files: dict[str, str]) -> list[Component]:
    found = []
    for file, digest in files.items():
        name, version, _, _ = parse_wheel_filename(file)
        url = PackageURL("pypi", None, name, str(version))
        found.append(
            Component(
                name=name,
                version=str(version),
                type=ComponentType.LIBRARY,
                bom_ref=url.to_string(),
                purl=url,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
        )
    return found


def _debian_packages(image: ImageRef, parts: Path) -> list[Component]:
    """What dpkg says is installed; nothing for a base that is not Debian's."""
    found = []
    texts = _read(image, parts, {DPKG_STATUS, *OS_RELEASE})
    said = next((texts[name] for name in OS_RELEASE if name in texts), "")
    release = _values(said.replace("=", ": ").replace('"', ""))
    system = release.get("ID", "debian")
    for paragraph in texts.get(DPKG_STATUS, "").split("\n\n"):
        entry = _values(paragraph)
        if not entry.get("Status", "").endswith(" installed"):
            continue
        qualifiers = {"arch": entry["Architecture"], "distro": f"{system}-{release.get('VERSION_ID', '')}"}
        url = PackageURL("deb", system, entry["Package"], entry["Version"], qualifiers)
        found.append(
            Component(
                name=entry["Package"],
                version=entry["Version"],
                type=ComponentType.LIBRARY,
                bom_ref=url.to_string(),
                purl=url,
            )
        )
    return found


def _values(paragraph: str) -> dict[str, str]:
    lines = (line.partition(": ") for line in paragraph.splitlines() if not line.startswith(" "))
    return {name: value for name, colon, value in lines if colon}


def _read(image: ImageRef, parts: Path, wanted: set[str]) -> dict[str, str]:
    """Those of the wanted text files that the image has, each as its highest layer has it.

    A layer takes seconds to read: once, and no more of them than it takes.
    """
    found: dict[str, str] = {}
    for diff_id in reversed(image.layers):
        with tarfile.open(layer_path(parts, diff_id), "r:gz") as layer:
            for member in layer:
                name = member.name.removeprefix("./")
                # No links: what one points to may be anywhere before it, and is read by its own name.
                if name in wanted and name not in found and member.isreg():
                    file = layer.extractfile(member)
                    assert file is not None
                    found[name] = file.read().decode(errors="replace")
                    if DPKG_STATUS in found and found.keys() & set(OS_RELEASE):
                        return found
    return found

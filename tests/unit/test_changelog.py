"""CHANGELOG.md is made from the fragments in changelog.d/, and released from them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the changelog is made from and by, and of the changelog."""
    for name in ("pyproject.toml", "CHANGELOG.md", "scripts/changelog.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "changelog.d", tmp_path / "changelog.d")
    return tmp_path


def make(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``scripts/changelog.py`` in the copy."""
    command = [sys.executable, "scripts/changelog.py", *words]
    return subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)


def only(project: Path, *fragments: str) -> None:
    """Make these, as ``SECTION/NAME``, the only fragments; each says its name."""
    for old in (project / "changelog.d").glob("*/*"):
        old.unlink()
    for name in fragments:
        path = project / "changelog.d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"This is {path.name}.\n")


def released(project: Path, *releases: str) -> None:
    """A changelog that has these releases and nothing unreleased."""
    parts = (f"\n## {release}\n\n### Terminals\n\n* What was new.\n" for release in releases)
    (project / "CHANGELOG.md").write_text("# Changelog\n\n<!-- releases -->\n" + "".join(parts))


def test_changelog_is_what_the_fragments_give(project):
    done = make(project)
    assert done.returncode == 0, done.stderr
    made = (project / "CHANGELOG.md").read_text()
    assert made == (ROOT / "CHANGELOG.md").read_text(), "run `make changelog`"


def test_fragments_are_where_towncrier_looks_and_have_a_known_type():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    sections = {section["path"] for section in config["section"]}
    name = re.compile(rf"(\d+|\+[a-z0-9-]+)\.({'|'.join(kind['directory'] for kind in config['type'])})\.md")
    folder = ROOT / "changelog.d"
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    wrong = [
        str(path)
        for path in files
        if path != Path("template.md") and (str(path.parent) not in sections or not name.fullmatch(path.name))
    ]
    assert not wrong, f"changelog.d/SECTION/+NAME.TYPE.md, with SECTION one of {sorted(sections)}"


def test_plain_towncrier_drafts_the_same():
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0.1.0", "--date", "today"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## 0.1.0 (today)\n\n### ")


def test_only_sections_with_changes_are_named_and_other_types_than_added_have_a_heading(project):
    only(project, "page/7.fixed.md", "page/+a.added.md", "watching/+b.added.md")
    released(project)
    assert make(project).returncode == 0
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    assert (project / "CHANGELOG.md").read_text() == (
        f"# Changelog\n\n<!-- releases -->\n\n## {version} (unreleased)\n"
        "\n### The page\n\n* This is +a.added.md.\n\n#### Fixed\n\n* This is 7.fixed.md. (#7)\n"
        "\n### Watching\n\n* This is +b.added.md.\n"
    )


def test_made_twice_it_is_the_same(project):
    only(project, "page/+a.added.md")
    released(project, "0.0.2 (2026-01-02)", "0.0.1 (2026-01-01)")
    make(project)
    once = (project / "CHANGELOG.md").read_text()
    make(project)
    assert (project / "CHANGELOG.md").read_text() == once
    assert re.findall(r"^## (.*)", once, re.MULTILINE)[1:] == ["0.0.2 (2026-01-02)", "0.0.1 (2026-01-01)"]


def test_a_release_uses_the_fragments_up_and_stands_once(project):
    only(project, "page/+a.added.md")
    released(project, "0.0.1 (2026-01-01)")
    make(project)
    done = make(project, "2026-12-01")
    assert done.returncode == 0, done.stderr
    text = (project / "CHANGELOG.md").read_text()
    assert "unreleased" not in text
    assert text.count("This is +a.added.md.") == 1
    assert re.findall(r"\((\d.*)\)$", text, re.MULTILINE) == ["2026-12-01", "2026-01-01"]
    assert not list((project / "changelog.d").glob("*/*"))
    make(project)
    assert (project / "CHANGELOG.md").read_text() == text


def test_a_version_is_released_once(project):
    only(project, "page/+a.added.md")
    make(project, "2026-12-01")
    before = (project / "CHANGELOG.md").read_text()
    only(project, "page/+b.added.md")
    done = make(project)
    assert done.returncode == 1
    assert "raise the version in pyproject.toml" in done.stderr
    assert (project / "CHANGELOG.md").read_text() == before


def test_a_name_that_is_no_fragments_is_an_error_and_the_changelog_stays(project):
    only(project, "page/+a.addded.md")
    before = (project / "CHANGELOG.md").read_text()
    done = make(project)
    assert done.returncode == 1
    assert "+a.addded.md" in done.stderr
    assert (project / "CHANGELOG.md").read_text() == before


def test_nothing_is_not_released(project):
    only(project)
    done = make(project, "2026-12-01")
    assert done.returncode == 1
    assert "nothing to release" in done.stderr

# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""The directory of an environment on a host: its own, or it is neither taken nor removed."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host

MARK = ".rollout-root"
# What an environment has had since before there was a mark.
KNOWN = ("conf/programs", "compose/manager.yaml")
NOBODYS = {"lost+found"}


def claim(host: Host, root: Path, mode: int) -> None:
    """Take the directory for an environment: what somebody else has made would go with it.

    Raises:
        Failed: there is something else in it.
    """
    if (root / MARK).exists():
        return
    if _anything(root) and not any((root / name).exists() for name in KNOWN):
        raise Failed(
            f"{root} is not empty, and no environment of rollout: name another root, or an empty one"
        )
    if not host.check:
        if not root.exists():
            root.mkdir(parents=True)
            root.chmod(mode)
        (root / MARK).write_text('An environment of rollout: "rollout teardown" removes all that is here.\n')
    host.did.append("Take the environment's directory")


def check(root: Path) -> None:
    """See that a directory that is to be removed is an environment's.

    Raises:
        Failed: it has something in it, and rollout has not made it.
    """
    if _anything(root) and not (root / MARK).exists():
        raise Failed(
            f"{root} has no {MARK}, so rollout has not made it, and does not remove it; if it is of an"
            " earlier version, deploy once more, or remove it by hand"
        )


def remove(host: Host, root: Path) -> None:
    """Remove it with all that is in it, its mark last: it goes on where it was ended."""
    if not root.is_dir():
        return
    if not host.check:
        for path in root.iterdir():
            if path.name != MARK:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        (root / MARK).unlink(missing_ok=True)
        root.rmdir()
    host.did.append("Remove the environment's directory")


def _anything(root: Path) -> bool:
    return root.is_dir() and any(path.name not in NOBODYS for path in root.iterdir())

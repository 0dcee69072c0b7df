# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What stays while generations come and go: session manager, holder and monitor, whoever runs them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ansible_collections.terminals.rollout.plugins.module_utils.control import Control
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host

Part = Mapping[str, Any]
"""Options of one, as ``options.py`` has them: its ``build``, and the digest and text of its settings."""


class Environment(Protocol):
    """Where they are replaced."""

    control: Control

    def replace_manager(self, part: Part) -> None:
        """Put another session manager in the place of the one that runs. Sessions go on."""

    def renew_holder(self, part: Part, fence: int | None) -> None:
        """Have the holder go on as another build."""

    def replace_monitor(self, part: Part) -> None:
        """Put another monitor in the place of the one that runs."""

    def remove_monitor(self) -> None:
        """Have no monitor."""


def replace_parts(environment: Environment, options: Mapping[str, Any]) -> None:
    """Put others in the place of those that options name as ``replaced``.

    Raises:
        Failed: somebody else is in charge, nothing is said of one of them, or it does not come.
    """
    replaced, fence = options["replaced"], options["fence"]
    missing = [part for part in ("manager", "holder") if part in replaced and not options[part]]
    if missing:
        raise Failed(f"nothing is said of what is to be in the place of: {', '.join(missing)}")
    environment.control.in_charge(fence)
    if "manager" in replaced:
        environment.replace_manager(options["manager"])
    if "holder" in replaced:
        environment.renew_holder(options["holder"], fence)
    if "monitor" in replaced and options["monitor"]:
        environment.replace_monitor(options["monitor"])
    elif "monitor" in replaced:
        environment.remove_monitor()


def settings_file(host: Host, folder: Path, part: Part, *, directory: int, file: int) -> Path:
    """The file of a part's settings in a folder; the last are the modes of both.

    Those of an earlier one are there: it goes back to them.
    """
    host.directory(folder, directory)
    path = folder / f"{part['settings']}.json"
    if part["config"]:
        text = json.dumps(part["config"], indent=4, sort_keys=True)
        host.write("Write its settings", path, f"{text}\n", file)
    return path

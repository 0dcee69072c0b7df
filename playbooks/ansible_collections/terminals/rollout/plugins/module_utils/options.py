# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Options that several modules have: what they are is in the documentation fragments of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils import docker, process
from ansible_collections.terminals.rollout.plugins.module_utils.host import Host

SETTINGS: dict[str, Any] = {
    "build": {"type": "str", "required": True},
    "settings": {"type": "str", "required": True},
    "config": {"type": "dict", "default": {}},
}
IMAGE: dict[str, Any] = {"image": {"type": "str", "required": True}}
SECRETS: dict[str, Any] = {"secrets": {"type": "dict", "default": {}, "no_log": True}}
CERTIFICATES: dict[str, Any] = {"certificates": {"type": "dict", "default": {}, "no_log": True}}
GENERATION: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent", "verified"], "default": "present"},
    "generation": {"type": "str", "required": True},
    "workers": {"type": "int", "default": 1},
    "fence": {"type": "int"},
}
REPLACED: dict[str, Any] = {
    "replaced": {
        "type": "list",
        "elements": "str",
        "choices": ["manager", "holder", "monitor"],
        "required": True,
    },
    "fence": {"type": "int"},
}
CONTROL: dict[str, Any] = {
    "ctl": {"type": "list", "elements": "str", "required": True},
    "fence": {"type": "int", "required": True},
}
GONE: dict[str, Any] = {"state": {"type": "str", "choices": ["absent"], "required": True}}
PROCESS: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "seconds": {"type": "int", "default": 60},
}
PROCESS_PARTS: dict[str, Any] = {
    "manager": {"type": "dict", "options": SETTINGS},
    "monitor": {"type": "dict", "options": SETTINGS},
}
DOCKER: dict[str, Any] = {
    "root": {"type": "path", "required": True},
    "project": {"type": "str", "required": True},
    "seconds": {"type": "int", "default": 60},
}
COMPOSE: dict[str, Any] = {
    "compose": {
        "type": "list",
        "elements": "str",
        "default": ["docker", "compose", "--ansi", "never", "--progress", "quiet"],
    },
    "variables": {"type": "dict", "default": {}},
}
DOCKER_PARTS: dict[str, Any] = {
    "manager": {"type": "dict", "options": {**SETTINGS, **IMAGE, **SECRETS, **CERTIFICATES}},
    "monitor": {"type": "dict", "options": {**SETTINGS, **IMAGE, **SECRETS}},
}


def process_environment(host: Host, options: dict[str, Any]) -> process.Environment:
    """The environment that options of ``PROCESS`` name."""
    return process.Environment(host, Path(options["root"]), seconds=options["seconds"])


def docker_environment(host: Host, options: dict[str, Any]) -> docker.Environment:
    """The environment that options of ``DOCKER`` name, and those of ``COMPOSE`` where there are any."""
    return docker.Environment(
        host,
        Path(options["root"]),
        options["project"],
        compose=options.get("compose", ()),
        variables=options.get("variables"),
        seconds=options["seconds"],
    )

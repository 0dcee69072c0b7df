"""A YAML file as plain data, with the line and column of every key and item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.config.wording import shown
from rollout.errors import ConfigError

MAX_CHARACTERS = 1 << 20
MAX_VALUES = 50_000
"""With the aliases written out: a few lines can name a billion."""

MAX_DEPTH = 500

Place = tuple[str | int, ...]
"""A path into the data: keys of mappings and indexes of lists."""


@dataclass(frozen=True, slots=True)
class Document:
    """YAML, parsed: ``keys`` and ``values`` are (line, column) from 1."""

    path: Path
    data: Any
    keys: dict[Place, tuple[int, int]]
    values: dict[Place, tuple[int, int]]

    def position(self, place: Place, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the nearest thing the file has for ``place``: its value, or its key."""
        first = self.keys if key else self.values
        for end in range(len(place), 0, -1):
            part = place[:end]
            where = (first.get(part) if end == len(place) else None) or self.keys.get(part)
            where = where or self.values.get(part)
            if where is not None:
                return where
        return (1, 1)

    def error(self, place: Place, text: str, *, key: bool = False) -> ConfigError:
        """Make the error for a place: ``rollout.yaml:12:7: environments.dev.weigth: text``."""
        line, column = self.position(place, key=key)
        dotted = ".".join(str(part) for part in place)
        return ConfigError(f"{shown(self.path)}:{line}:{column}: {dotted + ': ' if dotted else ''}{text}")


def _depth(text: str) -> int:
    """How deep brackets are in brackets, wherever they stand."""
    deepest = depth = 0
    for char in text:
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


class _TooMany(Exception):
    pass


def read_document(path: Path) -> Document:
    """Read a YAML 1.2 file.

    Raises:
        ConfigError: no such file, not readable, or not YAML; names line and column.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f'{shown(path)}: no such file; "rollout init" writes one, --config FILE names another'
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown(path)}: not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror}; make it a readable file") from None
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{shown(path)}: {len(text)} characters, and at most {MAX_CHARACTERS} are read; is it the right"
            " file?"
        )
    if _depth(text) > MAX_DEPTH:
        raise ConfigError(f"{shown(path)}: not valid YAML: brackets in brackets without an end")
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark is not None else ""
        problem = (error.problem or error.context or "malformed").strip().splitlines()[0]
        # Of a key that is there twice it would repeat both values, and they may be secrets.
        problem = problem.partition(" with value ")[0]
        raise ConfigError(f"{shown(path)}{place}: not valid YAML: {problem}{_remedy(problem)}") from None
    except RecursionError:
        raise ConfigError(f"{shown(path)}: not valid YAML: brackets in brackets without an end") from None
    except (YAMLError, ValueError) as error:
        problem = str(error).strip().splitlines()[0] if str(error).strip() else "malformed"
        raise ConfigError(f"{shown(path)}: not valid YAML: {problem}") from None
    keys: dict[Place, tuple[int, int]] = {}
    values: dict[Place, tuple[int, int]] = {}
    try:
        data = _plain(tree, (), keys, values, frozenset())
    except _TooMany:
        raise ConfigError(
            f"{shown(path)}: aliases that hold aliases come to more than {MAX_VALUES} values; write out what"
            " is meant"
        ) from None
    return Document(path, data, keys, values)


def _remedy(problem: str) -> str:
    if "found character '\\t'" in problem:
        return "; indent with spaces, not tabs"
    if "duplicate key" in problem:
        return "; remove one of them"
    return "; check the indentation, colons and brackets there"


def _plain(
    node: Any,
    place: Place,
    keys: dict[Place, tuple[int, int]],
    values: dict[Place, tuple[int, int]],
    above: frozenset[int],
) -> Any:
    """Copy ruamel's tree into plain data, noting positions. A node that holds itself becomes None."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarfloat import ScalarFloat

    if len(keys) + len(values) > MAX_VALUES:
        raise _TooMany
    if id(node) in above:
        return None
    if isinstance(node, CommentedMap):
        places: dict[Any, list[int]] = node.lc.data or {}
        result = {}
        for key, child in node.items():
            here = (*place, key if isinstance(key, int) and not isinstance(key, bool) else str(key))
            if key in places:
                key_line, key_column, line, column = places[key][:4]
                keys[here] = (key_line + 1, key_column + 1)
                values[here] = (line + 1, column + 1)
            result[key] = _plain(child, here, keys, values, above | {id(node)})
        return result
    if isinstance(node, CommentedSeq):
        items: dict[int, list[int]] = node.lc.data or {}
        plain = []
        for index, child in enumerate(node):
            if index in items:
                values[(*place, index)] = (items[index][0] + 1, items[index][1] + 1)
            plain.append(_plain(child, (*place, index), keys, values, above | {id(node)}))
        return plain
    if isinstance(node, ScalarFloat):
        return float(node)
    if isinstance(node, str):
        return str(node)
    return node

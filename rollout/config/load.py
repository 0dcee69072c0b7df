"""Reading ``rollout.yaml``: parse, validate, lint; the first problem is one line that names its place."""

from __future__ import annotations

from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollout.config.document import Document, Place, read_document
from rollout.config.lint import problems
from rollout.config.model import Config
from rollout.config.units import describe
from rollout.config.wording import suggestion
from rollout.errors import ConfigError

_GIVEN_BY_THE_KEY = ("Environment", "Host", "DoorHost")
_RENAMED = {("Environment", "criteria"): "soak_gates", ("Environment", "watch"): "takeback"}


def load(path: str | Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: the file is missing or wrong; ``file:line:column: key: what is wrong; the way out``.
    """
    document = read_document(Path(path).absolute())
    if not isinstance(document.data, dict):
        what = (
            "the file is empty"
            if document.data is None
            else f"expected a mapping, got {describe(document.data)}"
        )
        raise document.error((), f'{what}; "rollout init" writes a complete file')
    _refuse_given_names(document)
    try:
        config = Config.model_validate(
            document.data | {"path": str(document.path)}, context={"base": document.path.parent}
        )
    except ValidationError as error:
        raise _first(document, error) from None
    found = sorted(problems(config), key=lambda problem: document.position(problem.place))
    if found:
        raise document.error(found[0].place, found[0].text + _others(len(found) - 1))
    parted = {name: environment.without_lost() for name, environment in config.environments.items()}
    return config.model_copy(update={"environments": parted})


def _refuse_given_names(document: Document) -> None:
    """``path`` of the file and ``name`` of what is named by its key are filled in, never written."""
    if "path" in document.data:
        raise document.error(("path",), _unknown_key("path", Config), key=True)
    environments = document.data.get("environments")
    for name, environment in environments.items() if isinstance(environments, dict) else ():
        if not isinstance(environment, dict):
            continue
        places: list[tuple[Place, Any]] = [(("environments", name), environment)]
        door = environment.get("door")
        for at, section in (((), environment), (("door",), door)):
            hosts = section.get("hosts") if isinstance(section, dict) else None
            places += [
                (("environments", name, *at, "hosts", key), host)
                for key, host in (hosts.items() if isinstance(hosts, dict) else ())
            ]
        for place, section in places:
            if isinstance(section, dict) and "name" in section:
                raise document.error((*place, "name"), "unknown key; the name is the key above it", key=True)


def _first(document: Document, error: ValidationError) -> ConfigError:
    """Turn the first problem of the file, missing keys last, into the one line."""
    every = error.errors(include_url=False)
    places = [_place(each) for each in every]
    # A list with a wrong entry is also "too short", and a misspelt key also leaves one missing: echoes both.
    details = [
        each
        for each, place in zip(every, places, strict=True)
        if each["type"] != "too_short" or not any(other[:-1][: len(place)] == place for other in places)
    ]
    details.sort(key=lambda each: (each["type"] == "missing", document.position(_place(each))))
    detail = details[0]
    place = _place(detail)
    about_key = detail["type"] == "extra_forbidden" or detail["loc"][-1:] == ("[key]",)
    return document.error(place, _text(detail, place) + _others(len(details) - 1), key=about_key)


def _others(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""


def _place(detail: ErrorDetails) -> Place:
    return tuple(part for part in detail["loc"] if part != "[key]")


def _text(detail: ErrorDetails, place: Place) -> str:
    """Say one of pydantic's errors in the words of the file, with the way out."""
    got, context = describe(detail["input"]), detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(str(place[-1]), _section(place[:-1]))
        case "missing":
            return "missing key; add it"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"expected a mapping (key: value), got {got}"
        case "tuple_type" | "list_type":
            return f"expected a list ([a, b]), got {got}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"expected a whole number, got {got}"
        case "float_type" | "float_parsing":
            return f"expected a number, got {got}"
        case "string_type":
            return f"expected text, got {got}" + ("; put it in quotes" if got[0].isdigit() else "")
        case "string_pattern_mismatch":
            return f"{got} is not a name; use lower-case letters, digits and -, beginning with a letter"
        case "literal_error":
            known = [word.strip("' ") for word in str(context["expected"]).replace(" or ", ",").split(",")]
            return f"expected one of {', '.join(filter(None, known))}, got {got}"
        case "too_short":
            return "expected at least one entry; add one"
        case "value_error":
            return str(context["error"])
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            sign, limit = next(
                (text, context[key])
                for key, text in (
                    ("gt", "more than"),
                    ("ge", "at least"),
                    ("lt", "less than"),
                    ("le", "at most"),
                )
                if key in context
            )
            return f"expected {sign} {limit:g}, got {got}"
        case _:
            return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, got {got}"


def _unknown_key(key: str, section: type[BaseModel] | None) -> str:
    if section is None:
        return "unknown key; remove it"
    if new := _RENAMED.get((section.__name__, key)):
        return f'unknown key; it is called "{new}" now'
    hidden = {"path"} if section is Config else {"name"} if section.__name__ in _GIVEN_BY_THE_KEY else set()
    return f"unknown key; {suggestion(key, [name for name in section.model_fields if name not in hidden])}"


def _section(place: Place) -> type[BaseModel] | None:
    """Find the model that describes a place of the file."""
    current: Any = Config
    for part in place:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = None if field is None else field.annotation
        else:
            # The entries of dict[Name, X] and of tuple[X, ...].
            arguments = get_args(current)
            current = arguments[1 if get_origin(current) is dict else 0] if arguments else None
        if get_origin(current) in (Union, UnionType):
            current = next(each for each in get_args(current) if each is not type(None))
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None

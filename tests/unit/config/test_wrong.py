"""Every key of the shipped configuration, wrong in several ways: each file is refused by one line with its
place and the way out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rollout.config import load
from rollout.config.document import Document, Place, read_document
from rollout.errors import ConfigError

SHIPPED = Path(__file__).parents[3] / "rollout.yaml"
LINES = SHIPPED.read_text().splitlines()


def shipped() -> Document:
    return read_document(SHIPPED)


def leaf(place: Place) -> object:
    found = DOCUMENT.data
    for part in place:
        found = found[part]
    return found


DOCUMENT = shipped()
# Once each, also of what several environments share.
LEAVES = list({DOCUMENT.values[place]: place for place in reversed(DOCUMENT.values)}.values())
LEAVES = [place for place in LEAVES if not isinstance(leaf(place), dict | list)]
KEYS = list({DOCUMENT.keys[place]: place for place in reversed(DOCUMENT.keys)}.values())
KEYS = [place for place in KEYS if isinstance(place[-1], str)]
FREE = ("environments", "hosts", "profiles", "env", "notify")
"""What is under these has the names that its writer likes."""


def spelt(place: Place) -> str:
    return ".".join(map(str, place))


def changed(line: int, column: int, old: str, new: str) -> str:
    """The shipped file with another word at that place."""
    text = LINES[line - 1]
    assert text[column - 1 :].startswith(old), (text, column, old)
    return "\n".join(
        [*LINES[: line - 1], text[: column - 1] + new + text[column - 1 + len(old) :], *LINES[line:], ""]
    )


def word_at(line: int, column: int) -> str:
    """The scalar there, as it is written."""
    text = LINES[line - 1][column - 1 :]
    if text[0] in "\"'":
        return text[: text.index(text[0], 1) + 1]
    for end, char in enumerate(text):
        if char in ",}]" or text[end:].startswith((": ", " #")):
            return text[:end].rstrip()
    return text.rstrip()


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refused(text: str) -> str:
        path = tmp_path / "rollout.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert "\n" not in caught.value.message
        return caught.value.message

    return refused


def test_there_are_enough_of_them():
    assert len(LEAVES) + len(KEYS) >= 100


@pytest.mark.parametrize("place", LEAVES, ids=spelt)
@pytest.mark.parametrize("wrong", ["{a: {b: 1}}"])
def test_another_shape_in_place_of_a_value(refusal, place, wrong):
    line, column = DOCUMENT.values[place]
    message = refusal(changed(line, column, word_at(line, column), wrong))
    assert message.startswith(f"rollout.yaml:{line}:"), message
    assert spelt(place) in message
    assert any(way in message for way in ("expected", "must", "write", "use", "unknown key")), message


@pytest.mark.parametrize("place", [p for p in KEYS if len(p) < 2 or p[-2] not in FREE], ids=spelt)
def test_a_key_that_is_misspelt(refusal, place):
    line, column = DOCUMENT.keys[place]
    word = str(place[-1])
    message = refusal(changed(line, column, word, f"{word}x"))
    assert message.startswith("rollout.yaml:"), message
    assert "unknown key" in message or "missing" in message


def bomb(levels: int) -> str:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(30), "aliases that hold aliases"),
        (bomb(30).replace("[", "{b: [").replace("]", "]}"), "aliases that hold aliases"),
        ("a: " + "[" * 20_000, "brackets in brackets"),
        ("a: " + "{a: " * 20_000, "brackets in brackets"),
        ("# " + "x" * (1 << 20), "is it the right file?"),
    ],
    ids=["lists", "mappings", "deep lists", "deep mappings", "long"],
)
def test_a_file_that_would_take_for_ever_is_refused_soon(refusal, text, said):
    started = time.process_time()
    load(SHIPPED)
    usual = time.process_time() - started
    started = time.process_time()
    assert said in refusal(text)
    assert time.process_time() - started < 50 * usual

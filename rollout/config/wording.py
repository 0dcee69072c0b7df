"""How errors name files, keys and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def shown(path: Path) -> str:
    """Name a file the way its reader would: relative to the working directory where it is below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say what was probably meant: the nearest known word, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"known: {', '.join(words)}" if words else "none is known here"

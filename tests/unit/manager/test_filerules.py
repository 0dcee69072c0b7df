"""What a file may be called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.manager.filerules import MAX_NAME, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("Grüße 👩‍👧.txt", "Grüße 👩👧.txt"),
        ("", "upload"),
        ("...", "..."),
        ("./", "upload"),
        ("a/..", "upload"),
        ("\u202e\u200b", "upload"),
        (" a ", "a"),
        ("x" * 300, "x" * 200),
        ("ü" * 300, "ü" * 100),
        ("x" * 300 + ".gz", "x" * 197 + ".gz"),
        ("x" * 100 + "." + "y" * 300, "x" * 100 + "." + "y" * 99),
    ],
)
def test_it_is_what_a_person_would_call_it(name, safe):
    assert safe_name(name) == safe


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=400))
def test_it_is_a_name_in_any_folder(name):
    safe = safe_name(name)
    assert safe not in ("", ".", "..")
    assert not set("/\\\0\n\x1b") & set(safe)
    assert 0 < len(safe.encode()) <= MAX_NAME
    assert safe_name(safe) == safe

"""The holder is the standard library and itself: it runs without site packages. So does a health check."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import terminals.health
import terminals.holder

FILES = [*sorted(Path(terminals.holder.__file__).parent.glob("*.py")), Path(terminals.health.__file__)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_imports_nothing_else(file):
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    others = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in others if not name.startswith("terminals.holder")} == set()

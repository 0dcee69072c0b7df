"""What a browser has to fetch before it shows the page."""

from __future__ import annotations

import gzip
import re

from terminals.web.assets import STATIC, Assets

FIRST = 200_000
"""Bytes, compressed, before a terminal is seen."""


def needed(assets: Assets) -> list[str]:
    """What the page's loader fetches."""
    found = re.search(r'"([^"]*)"\.split\(" "\)', assets.page("nonce").decode())
    assert found
    return found[1].split()


def test_the_page_is_small():
    assets = Assets.load()
    first = needed(assets)
    assert first == ["page.css", "page.js"]
    transferred = sum(len(gzip.compress(assets.files[name][1])) for name in first)
    assert transferred + len(gzip.compress(assets.page("nonce"))) < FIRST


def test_what_few_want_is_fetched_by_those_alone():
    assets = Assets.load()
    assert "later/images.js" in assets.files
    assert "later/images.js" not in needed(assets)
    assert len(assets.files["later/images.js"][1]) == (STATIC / "later/images.js").stat().st_size

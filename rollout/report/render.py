"""The document as Markdown and as HTML.

Whatever the document holds was said by somebody else: a host, a test, an operator. Both templates escape
every value by themselves; what is markup says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rollout.model import JsonObject
from rollout.report.text import clean, moment, slug
from rollout.units import duration

_MARKUP = re.compile(
    r"[\\`*\[\]|~$]|<(?=[A-Za-z/!?]|$)|&(?=#?[A-Za-z0-9]+;|$)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[>#+-]"
)
"""What begins something in Markdown where it stands; ``a < b``, ``5 > 3`` and ``a_b`` do not."""
SHOWN_LINKS = 3


class Raw(str):
    """Markdown that a filter of ours has made."""

    __slots__ = ()


def markdown(data: JsonObject) -> str:
    """The report for people, in GitHub's Markdown."""
    text = _markdown().get_template("report.md.j2").render(**data, anchors=_anchors(data))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def html(data: JsonObject) -> str:
    """The report as one page that needs nothing else: no script, no request, light and dark, printable."""
    from rollout.report.draw import legend, svg

    plots = [plot for plot in data["plots"] if plot["series"]]
    drawn = {plot["id"]: Markup(svg(plot)) for plot in plots}  # noqa: S704 - escaped where it is drawn
    legends = {plot["id"]: legend(plot) for plot in plots}
    return fill("report.html.j2", **data, anchors=_anchors(data), drawn=drawn, legends=legends)


def fill(template: str, **data: Any) -> str:
    """A template of this package's with values, which are escaped: of the report, or of the dashboard."""
    return _html().get_template(template).render(**data)


def _anchors(data: JsonObject) -> dict[str, str]:
    return {item["id"]: item["anchor"] for item in data["evidence"]}


# --- Markdown ---------------------------------------------------------------------------------


def escape(value: object) -> str:
    """A value as one line of plain text in Markdown, in a table too."""
    return (
        value
        if isinstance(value, Raw)
        else _MARKUP.sub(r"\\\g<0>", clean(value).strip() or " " * bool(str(value)))
    )


def code(value: object) -> Raw:
    """A value as a code span: fenced by more backticks than it has, since nothing can be escaped within."""
    text = clean(value).replace("|", "\\|")
    if not text:
        return Raw("")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Raw(f"{fence}{pad}{text}{pad}{fence}")


def links(ids: Sequence[str], anchors: dict[str, str]) -> Raw:
    """References to evidence; only what the appendix shows is linked."""
    shown = [
        f"[{escape(name)}](#{anchors[name]})" if name in anchors else escape(name)
        for name in list(ids)[:SHOWN_LINKS]
    ]
    more = len(ids) - len(shown)
    return Raw(", ".join(shown) + (f" and {more} more" if more > 0 else ""))


def anchor(item: dict[str, Any]) -> Raw:
    """An evidence's id as a place that links lead to."""
    return Raw(f'<a id="{item["anchor"]}"></a>{escape(item["id"])}')


def block(value: str) -> Raw:
    """Lines as a code block, longer-fenced than anything within."""
    lines = [clean_line(line) for line in value.split("\n")]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return Raw("\n".join([f"{fence}text", *lines, fence]))


def clean_line(line: str) -> str:
    """A line of a drawing: its indentation stays."""
    return line[: len(line) - len(line.lstrip())] + clean(line)


@cache
def _markdown() -> Environment:
    environment = Environment(
        loader=PackageLoader("rollout.report"),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown; finalize escapes every value
    )
    environment.filters.update(code=code, links=links, block=block, anchor=anchor, raw=Raw, **_SHARED)
    return environment


# --- HTML -------------------------------------------------------------------------------------


def _visible(value: Any) -> Any:
    """Hidden characters made visible; HTML's own escaping follows."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else clean_lines(value)


def clean_lines(value: str) -> str:
    """:func:`clean`, line by line."""
    return "\n".join(clean_line(line) for line in value.split("\n"))


@cache
def _html() -> Environment:
    environment = Environment(
        loader=PackageLoader("rollout.report"),
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    environment.filters.update(_SHARED)
    return environment


_SHARED: dict[str, Any] = {"moment": moment, "duration": duration, "slug": slug}

"""Plots as SVG, by matplotlib, to stand within a page: its text, its colours from the page's variables."""

from __future__ import annotations

import io
import logging
import re
import warnings
from typing import Any

from rollout.report.text import clean

INK = "#010203"
"""Stands for the page's text colour until the drawing is done."""
COLOURS = ("#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04", "#0a0a05", "#0a0a06")
"""Stand for the page's ``--s1`` to ``--s6``, which are apart for colour-blind people in both themes."""
STYLES = ((), (6, 2), (6, 2, 1, 2), (1, 1.5), (3, 1), (9, 3))
"""Dashes, in points: whoever sees no colours tells the lines by them."""
PAIRED: dict[str, tuple[float, ...]] = {"p50": (3, 1.5), "p95": ()}
FEW = 40
"""A series of fewer points gets a mark on each: a point without neighbours would not be seen."""
LOG_RATIO = 30.0
SIZE = (4.6, 2.7)
INTERVALS = {
    4: [1, 2, 3, 4, 6, 12, 24],  # hours
    5: [1, 2, 5, 10, 15, 30, 60],  # minutes
    6: [1, 2, 5, 10, 15, 20, 30, 60],  # seconds
}
"""Distances between ticks, by dateutil's frequencies, so that any time has some that are not too many."""
FORMATS = ["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S"]
ZEROS = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"]

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "path.simplify": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def svg(plot: dict[str, Any]) -> str:
    """One plot of the document; its title and description are within it for screen readers."""
    # What it warns of (a letter that its own font has not, its caches) is nothing to the reader of a report.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": plot["id"]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0.0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0.0)
        _lines(axes, plot)
        _scale(axes, plot)
        _marks(axes, plot)
        out = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    return _into_page(out.getvalue(), plot)


def legend(plot: dict[str, Any]) -> list[dict[str, Any]]:
    """For each series its name, the number of its colour, and its dashes as SVG wants them."""
    found = []
    for index, one in enumerate(plot["series"]):
        colour, dashes = style(plot, index)
        found.append(
            {"name": one["name"], "n": one["n"], "colour": colour + 1, "dashes": " ".join(map(str, dashes))}
        )
    return found


def style(plot: dict[str, Any], index: int) -> tuple[int, tuple[float, ...]]:
    """Colour and dashes of a series: the p50 and p95 of one thing share the colour."""
    names = [one["name"] for one in plot["series"]]
    subject, _, rank = names[index].rpartition(" ")
    if rank in PAIRED:
        subjects = list(dict.fromkeys(name.rpartition(" ")[0] for name in names))
        return subjects.index(subject) % len(COLOURS), PAIRED[rank]
    return index % len(COLOURS), STYLES[index % len(STYLES)]


def _lines(axes: Any, plot: dict[str, Any]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    for index, one in enumerate(plot["series"]):
        colour, dashes = style(plot, index)
        values = [float("nan") if value is None else value for value in one["v"]]
        seen = sum(value is not None for value in one["v"])
        times = [date2num(_date(at)) for at in one["t"]]
        mark = "o" if seen <= FEW else "None"
        axes.plot(
            times,
            values,
            color=COLOURS[colour],
            linestyle=(0, dashes) if dashes else "-",
            linewidth=1.6,
            marker=mark,
            markersize=2.5,
        )
    locator = AutoDateLocator(minticks=3, maxticks=6)
    locator.intervald |= INTERVALS
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, formats=FORMATS, zero_formats=ZEROS))
    axes.set_xlim(date2num(_date(plot["from"])), date2num(_date(plot["to"])))
    axes.set_ylabel(clean(plot["unit"]))
    axes.set_xlabel("UTC")
    axes.grid(visible=True, color=INK, alpha=0.15, linewidth=0.6)


def _date(at: float) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC)


def _scale(axes: Any, plot: dict[str, Any]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    values = [value for one in plot["series"] for value in one["v"] if value is not None]
    low, high = min(values), max(values)
    if plot["unit"] == "%":
        axes.set_ylim(max(0.0, min(low, 95.0) - 3), 101.0)
    elif low > 0 and high / low > LOG_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, high * 1.15 or 1.0)


def _marks(axes: Any, plot: dict[str, Any]) -> None:
    from matplotlib.dates import date2num

    for gap in plot["gaps"]:
        axes.axvspan(
            date2num(_date(gap["from"])), date2num(_date(gap["to"])), color=INK, alpha=0.12, linewidth=0
        )
    for mark in plot["marks"]:
        at = date2num(_date(mark["at"]))
        axes.axvline(at, color=INK, alpha=0.55, linewidth=0.9, linestyle=":")
        axes.annotate(
            clean(mark["label"])[:24],
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=7.5,
            annotation_clip=False,
        )


def _into_page(text: str, plot: dict[str, Any]) -> str:
    """Only the drawing, with names of its own, the page's colours, and a width that follows the page."""
    from markupsafe import escape

    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^a-z0-9-]", "", plot["id"])
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = text.replace(INK, "var(--ink)")
    for number, colour in enumerate(COLOURS, 1):
        text = text.replace(colour, f"var(--s{number})")
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL
    )  # it is for the whole page
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    named = f'<title id="{prefix}-t">{escape(clean(plot["title"]))}</title>'
    named += f'<desc id="{prefix}-d">{escape(clean(plot["alt"]))}</desc>'
    return f'{head} role="img" aria-labelledby="{prefix}-t {prefix}-d">{named}{rest}'

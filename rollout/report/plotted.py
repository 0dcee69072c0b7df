"""What is plotted: which series, over which time, with the steps of the shift as marks. No drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.report.material import Material
from rollout.report.series import SHIFT_BINS, binned, load_series, monitor_series, percentile
from rollout.report.text import moment
from rollout.units import count, number

UNITS = {"latency": "ms", "success": "%", "memory": "MB", "sessions": "sessions"}
TITLES = {
    "latency": "Time to connect and to reconnect",
    "success": "Success",
    "memory": "Memory of the largest worker",
    "sessions": "Sessions",
}
MAX_MARKS = 12


def plots(material: Material) -> list[dict[str, Any]]:
    """Four plots across the shift and, where monitors were asked, four of the time since."""
    found = shift_plots(material)
    soak = _soak_window(material)
    if soak is not None:
        found += _scope(material, "soak", soak, monitor_series(material.monitor, soak))
    return found


def shift_plots(material: Material) -> list[dict[str, Any]]:
    """The four across the shift, which may go on."""
    window = _shift_window(material)
    if window is None:
        return _scope(material, "shift", (material.record.started, material.record.started), {})
    return _scope(material, "shift", window, _across(material, window))


def _across(material: Material, window: tuple[float, float]) -> dict[str, list[Any]]:
    """The load users', and the monitors' where there was no load and of what load users cannot see."""
    load = load_series(material.samples, window)
    seen = monitor_series(material.monitor, window, SHIFT_BINS)
    return {
        "latency": _some(load["latency"]) or seen["latency"],
        "success": _some(load["success"]) or seen["success"],
        "memory": _some(seen["memory"]) or _gauges(material, window),
        "sessions": _some(load["sessions"]) + _some(seen["sessions"]),
    }


def _some(series: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in series if one["n"]]


def _gauges(material: Material, window: tuple[float, float]) -> list[dict[str, Any]]:
    """Memory as the gates read it, at the end of each watch."""
    points: dict[str, list[tuple[float, float]]] = {}
    for item in material.evidence:
        if item.metric == "generation.memory_bytes" and item.n and item.value is not None:
            name = item.labels.get("generation", "")
            points.setdefault(name, []).append((item.ended, item.value / 1e6))
    return [
        binned(f"worker of {name}", mine, window, SHIFT_BINS, percentile(100))
        for name, mine in points.items()
    ]


def _scope(
    material: Material, scope: str, window: tuple[float, float], series: dict[str, list[Any]]
) -> list[dict[str, Any]]:
    marks, gaps = _marks(material, window), _gaps(material, window)
    when = f"{moment(window[0])} to {moment(window[1])} UTC"
    found = []
    for name, unit in UNITS.items():
        mine = _some(series.get(name, []))
        title = TITLES[name] + (" across the shift" if scope == "shift" else " since the promotion")
        found.append(
            {
                "id": f"{scope}-{name}",
                "scope": scope,
                "title": title,
                "unit": unit,
                "from": window[0],
                "to": window[1],
                "series": mine,
                "marks": marks if mine else [],
                "gaps": gaps if mine else [],
                "alt": _alt(title, unit, when, mine, marks, gaps) if mine else "",
                "missing": "" if mine else _missing(scope, name),
            }
        )
    return found


def _alt(
    title: str,
    unit: str,
    when: str,
    series: Sequence[dict[str, Any]],
    marks: Sequence[Any],
    gaps: Sequence[Any],
) -> str:
    said = []
    for one in series:
        values = [value for value in one["v"] if value is not None]
        said.append(f"{one['name']} from {number(min(values))} to {number(max(values))} {unit}")
    steps = "; steps: " + ", ".join(mark["label"] for mark in marks) if marks else ""
    blind = f"; blind {count(len(gaps), 'time')}" if gaps else ""
    return f"{title}, {when}: {'; '.join(said)}{steps}{blind}."


def _missing(scope: str, name: str) -> str:
    if scope == "soak":
        return "the monitors have no such records of this time"
    if name == "memory":
        return "no monitor was asked, and no gate read it"
    return "no load run has left samples, and no monitor was asked"


def _marks(material: Material, window: tuple[float, float]) -> list[dict[str, Any]]:
    found = []
    for entry in material.journal:
        if entry.phase != "begin" or not window[0] <= entry.at <= window[1]:
            continue
        if entry.step.startswith("shift-"):
            found.append({"at": entry.at, "label": f"{entry.step.split('-')[1]} %"})
        elif entry.step == "rollback-shift":
            found.append({"at": entry.at, "label": "back"})
    return found[:MAX_MARKS]


def _gaps(material: Material, window: tuple[float, float]) -> list[dict[str, float]]:
    """When a monitor was blind, within the window."""
    found = []
    for log in (material.monitor or {}).values():
        for record in log.records if log else ():
            if record.get("kind") != "gap":
                continue
            end, seconds = float(record["at"]), float(record.get("seconds") or 0.0)
            start = max(end - seconds, window[0])
            if start < min(end, window[1]):
                found.append({"from": start, "to": min(end, window[1])})
    return found[:100]


def _shift_window(material: Material) -> tuple[float, float] | None:
    times = [float(sample["t"]) for sample in (*material.samples[:1], *material.samples[-1:])]
    times += [
        entry.at
        for entry in material.journal
        if entry.step.startswith(("shift-", "watch-", "checks", "gate", "rollback-shift"))
    ]
    return (min(times), max(times)) if times and max(times) > min(times) else None


def _soak_window(material: Material) -> tuple[float, float] | None:
    if material.monitor is None or material.record.ended is None:
        return None
    until = material.after[0].started if material.after else material.now
    return (material.record.ended, until) if until > material.record.ended else None

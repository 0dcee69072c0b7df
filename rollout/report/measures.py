"""Key figures, each with the evidence it stands on, and the appendix of all evidence. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.config.metrics import METRICS
from rollout.model import Evidence, Verdict
from rollout.report.material import Material
from rollout.report.series import percentile
from rollout.report.text import figure, slug, unit_of
from rollout.units import count, growth, quantity, share

MAX_EVIDENCE = 400
FIGURES = {
    "time_to_promote_s": "from the start to the promotion, without the time it lay interrupted",
    "interrupted_s": "during which it lay interrupted, and nobody was at work",
    "verdict_to_turned_s": "from the verdict to all new connections on the build before",
    "verdict_to_rolled_back_s": "from the verdict to the last session on the build before",
    "sessions_moved": "live sessions carried over by the shift",
    "sessions_drained": "sessions that ended by themselves during the shift",
    "sessions_severed": "sessions cut off by the shift",
    "sessions_returned": "live sessions carried back by the rollback",
    "load_users": "load users in live shells",
    "load_unfinished": "load users who did not check their shells to the end",
    "load_reconnections": "reconnections of the load users",
    "load_loops": "reconnection loops that the load users saw",
    "bytes_verified": "bytes of output that the load users checked",
    "bytes_lost": "bytes of output that never arrived",
    "bytes_doubled": "bytes of output that arrived twice",
    "commands_twice": "commands that ran more than once",
}


def metrics(material: Material, judged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each metric there is evidence of, in the catalogue's order; then the rollout's figures."""
    newest: dict[str, dict[tuple[tuple[str, str], ...], Evidence]] = {}
    for item in material.evidence:
        # Parts are in the whole, which is there, too.
        if item.labels.get("role") != "baseline" and item.part == "all":
            newest.setdefault(item.metric, {})[tuple(sorted(item.labels.items()))] = item
    known = [name for name in METRICS if name in newest]
    rows = []
    for name in known + [name for name in newest if name not in METRICS]:
        items = list(newest[name].values())
        value, text, basis = _together(items, unit_of(name))
        row = next((row for row in reversed(judged) if row["metric"] == name and row["step"]), None)
        if items[0].kind == "series" and row is not None and row["measured"] is not None:
            value, text, basis = row["measured"], growth(row["measured"]), f"{text}, {basis}"
        rows.append(
            {
                "name": name,
                "help": METRICS[name].help if name in METRICS else "",
                "value": value,
                "unit": unit_of(name),
                "n": sum(item.n for item in items),
                "text": text,
                "basis": basis,
                "interval": row["interval"] if row else "",
                "verdict": row["verdict"] if row else None,
                "evidence": [item.id for item in items],
            }
        )
    return rows + [
        {
            "name": name,
            "help": help_,
            "value": material.record.figures[name],
            "unit": "",
            "n": None,
            "text": figure(name, material.record.figures[name]),
            "basis": "",
            "interval": "",
            "verdict": None,
            "evidence": [f"figure-{name}"],
        }
        for name, help_ in FIGURES.items()
        if name in material.record.figures
    ]


def _together(items: Sequence[Evidence], unit: str) -> tuple[float | None, str, str]:
    """Pieces of one metric as one figure, as the gates take them together; as text; and from what."""
    n = sum(item.n for item in items)
    samples = [sample for item in items for sample in item.samples]
    kind = items[0].kind
    if not n or (kind in ("samples", "series") and not samples):
        return None, "nothing", "nothing was observed"
    match kind:
        case "ratio" | "rate":
            good = sum(item.successes or 0 for item in items)
            return good / n, share(good / n), f"{good} of {n}"
        case "samples":
            p95 = percentile(95)(samples)
            half = quantity(percentile(50)(samples), unit)
            return p95, f"p95 {quantity(p95, unit)}", f"p50 {half}, {count(len(samples), 'sample')}"
        case "series":
            unit = METRICS[items[0].metric].readings if items[0].metric in METRICS else ""
            first, last = (quantity(value, unit) for value in (samples[0], samples[-1]))
            return None, f"from {first} to {last}", count(len(samples), "reading")
        case "count":
            total = sum(item.value or 0.0 for item in items)
            return total, quantity(total, unit), count(n, "observation")
        case "gauge":
            most = max(item.value or 0.0 for item in items)
            return most, quantity(most, unit), count(n, "observation")


def evidence(material: Material) -> list[dict[str, Any]]:
    """Every piece of evidence, without its raw samples, and each figure of the record."""
    record = material.record
    rows = []
    for item in {item.id: item for item in material.evidence}.values():
        value, text, basis = _together([item], unit_of(item.metric))
        rows.append(
            {
                "id": item.id,
                "anchor": slug(item.id),
                "metric": item.metric,
                "kind": item.kind,
                "source": item.source,
                "from": item.started,
                "to": item.ended,
                "n": item.n,
                "value": value,
                "text": f"{text} ({basis})",
                "labels": dict(item.labels),
            }
        )
    figures: list[dict[str, Any]] = [
        {
            "id": f"figure-{name}",
            "anchor": slug(f"figure-{name}"),
            "metric": name,
            "kind": "figure",
            "source": "the rollout's record",
            "from": record.started,
            "to": record.ended,
            "n": None,
            "value": value if isinstance(value, int | float) else None,
            "text": figure(name, value),
            "labels": {},
        }
        for name, value in record.figures.items()
    ]
    return rows[-MAX_EVIDENCE:] + figures


def left_out(material: Material) -> int:
    """How many pieces the appendix does not show; the ledger has them."""
    return max(0, len({item.id for item in material.evidence}) - MAX_EVIDENCE)


def passed(rows: Sequence[dict[str, Any]]) -> tuple[int, int, int]:
    """How many of the gates (or criteria) passed, each as it was seen last; of how many; and how many of
    those that did not pass only warn."""
    last = {row["gate"]: row for row in rows}
    bad = [row for row in last.values() if row["verdict"] != Verdict.PASS]
    return len(last) - len(bad), len(last), sum(row["severity"] == "warning" for row in bad)

"""Test results by suite and group, each failed test with what it fails. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.report.judged import covers
from rollout.report.material import Material
from rollout.report.text import slug
from rollout.units import share

ORDER = ("validate", "smoke", "infra")


def split(material: Material) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The checks of the build: the last run of each suite; and those made after a rollback, of the build
    before it.

    A check belongs to the step that had begun last when it started; a resumed step runs its suites anew.
    """
    begins = [entry for entry in material.journal if entry.phase == "begin"]
    runs: dict[str, dict[int, list[dict[str, Any]]]] = {}
    after: list[dict[str, Any]] = []
    for check in material.checks:
        begun = [index for index, entry in enumerate(begins) if entry.at <= check["started"]]
        last = begun[-1] if begun else -1
        if last >= 0 and begins[last].step.startswith("rollback-"):
            after.append(check)
        else:
            runs.setdefault(check["suite"], {}).setdefault(last, []).append(check)
    return [check for each in runs.values() for check in each[max(each)]], after


def failed(checks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that did not pass."""
    return [check for check in checks if not check["ok"]]


def suites(
    checks: Sequence[dict[str, Any]],
    judged: Sequence[dict[str, Any]],
    material: Material,
) -> list[dict[str, Any]]:
    """One entry a suite; ``judged`` are the rows of gates and criteria that a failed test may fail."""
    found = []
    for suite in sorted({check["suite"] for check in checks}, key=_place):
        mine = [check for check in checks if check["suite"] == suite]
        passed = sum(bool(check["ok"]) for check in mine)
        groups: dict[str, dict[str, Any]] = {}
        for check in mine:
            group = groups.setdefault(
                check["group"], {"group": check["group"], "passed": 0, "total": 0, "tests": []}
            )
            group["passed"] += bool(check["ok"])
            group["total"] += 1
            group["tests"].append(_test(check))
        found.append(
            {
                "suite": suite,
                "passed": passed,
                "total": len(mine),
                "ratio": passed / len(mine),
                "text": f"{passed}/{len(mine)} ({share(passed / len(mine))})",
                "groups": list(groups.values()),
                "failed": [_failure(check, judged) for check in failed(mine)],
                "evidence": [item.id for item in material.evidence if item.metric == f"{suite}.pass_ratio"],
            }
        )
    return found


def _place(suite: str) -> tuple[int, str]:
    return (ORDER.index(suite) if suite in ORDER else len(ORDER), suite)


def anchor(check: dict[str, Any]) -> str:
    """The anchor of a check in the appendix."""
    return slug(f"check-{check['key']}")


def _test(check: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": check["name"],
        "ok": bool(check["ok"]),
        "seconds": round(float(check["seconds"]), 3),
        "detail": check["detail"],
        "anchor": anchor(check),
    }


def _failure(check: dict[str, Any], judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        **_test(check),
        "group": check["group"],
        "started": check["started"],
        "impact": _impact(check, judged),
    }


def _impact(check: dict[str, Any], judged: Sequence[dict[str, Any]]) -> list[str]:
    """What a failed test fails, by the verdicts; or that nothing judges it."""
    rows = {row["gate"]: row for row in judged if covers(row["metric"], check["suite"], check["group"])}
    if not rows:
        return ["no gate judges it"]
    return [
        f"{'soak gate' if row['step'] in ('', 'criteria') else 'gate'} {row['gate']} {row['target']}:"
        f" {row['verdict'] if row['step'] else 'not judged yet'}"
        + (f" ({row['actual']})" if row["measured"] is not None else "")
        + (", which only warns" if row["severity"] != "critical" else "")
        for row in rows.values()
    ]

"""Checks that produce evidence through the front door of an environment, as a user would.

``validate`` and ``smoke`` are the two suites of the deployment that this project began
with, by the same names; ``load`` runs Locust.
"""

from rollout.checks.runner import CheckFailed, CheckResult, Target, run_suite

__all__ = ["CheckFailed", "CheckResult", "Target", "run_suite"]

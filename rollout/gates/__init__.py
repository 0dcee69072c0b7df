"""Gates: pure functions from evidence to a verdict. They fail closed."""

from rollout.gates.evaluate import evaluate, evaluate_all

__all__ = ["evaluate", "evaluate_all"]

"""Gates: pure functions from evidence to a verdict. They fail closed."""

from rollout.gates.condition import ONCE, GateLike, Look
from rollout.gates.evaluate import deciding, evaluate, evaluate_all
from rollout.gates.watching import END, Watch, checkpoints

__all__ = ["END", "ONCE", "GateLike", "Look", "Watch", "checkpoints", "deciding", "evaluate", "evaluate_all"]

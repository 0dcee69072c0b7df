"""How soon a bad build is left: from the failed gate to all new connections, and to the last of its people.

    python -m benchmarks.way_back --people 30 --rounds 3

Rollouts of processes on this machine: everybody is moved to a build that then fails its gate.
"""

from __future__ import annotations

import argparse

from rollout.errors import ExitCode
from tests.support.project import TwoStages


def measure(project: TwoStages, people: int) -> dict[str, float]:
    """Figures of one rollout that is taken back from under so many people; each keeps its shell."""
    residents = [project.resident("dev") for _ in range(people)]
    assert project.run("deploy", "dev") == ExitCode.GATE_FAILED, project.said
    for resident in residents:
        resident.leave()
    figures: dict[str, float] = project.json("history", "dev")[0]["figures"]
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with TwoStages.deployed() as project:
        # Fails as soon as it is asked, when all are on the new build.
        gate = {"metric": "generation.memory_bytes", "op": "<", "threshold": "1MB"}
        project.configure(canary=[{"weight": 100, "hold": "1s"}], gates=[gate])
        for _ in range(options.rounds):
            found = measure(project, options.people)
            print(
                f"{found['sessions_moved']:.0f} sessions went to it, {found['sessions_returned']:.0f} came"
                f" back; from the verdict to all new connections {found['verdict_to_turned_s']:.2f} s,"
                f" to the last of the sessions {found['verdict_to_rolled_back_s']:.2f} s"
            )


if __name__ == "__main__":
    main()

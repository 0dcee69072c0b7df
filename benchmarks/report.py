"""What a report costs, with a day of records at one-minute checks from each of several hosts.

    python -m benchmarks.report [--hosts 3]

Reading the same records from JSON is measured beside it, as a yardstick.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout.report import collect, html, markdown
from tests.support import summaries


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    done = work()
    return time.perf_counter() - started, done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, default=3)
    hosts = parser.parse_args().hosts
    with tempfile.TemporaryDirectory() as folder:
        config = summaries.project(Path(folder))
        summaries.seed(config)
        record = summaries.fixed(config)
        now = (record.ended or 0.0) + summaries.DAY + 60
        log = summaries.day(record.ended or 0.0, record.generation)
        live = summaries.live(config, log, record, now)
        live["monitor"] = {f"host{number}": log for number in range(hosts)}
        lines = [json.dumps(entry) for entry in log.records] * hosts
        yardstick, _ = timed(lambda: [json.loads(line) for line in lines])
        collecting, data = timed(lambda: collect(config, "dev", **live))
        writing, text = timed(lambda: markdown(data))
        first, _ = timed(lambda: html(data))
        again, page = timed(lambda: html(data))
    print(f"records                          {len(lines)} of {hosts} hosts")
    print(f"reading them from JSON, ms       {yardstick * 1000:.0f}")
    print(f"collect, ms                      {collecting * 1000:.0f} ({collecting / yardstick:.1f} times)")
    print(f"Markdown, ms                     {writing * 1000:.0f} ({len(text) / 1e3:.0f} kB)")
    print(f"HTML, matplotlib loaded, ms       {first * 1000:.0f}")
    print(f"HTML again, ms                   {again * 1000:.0f} ({len(page) / 1e3:.0f} kB)")
    print(f"JSON, kB                         {len(json.dumps(data)) / 1e3:.0f}")


if __name__ == "__main__":
    main()

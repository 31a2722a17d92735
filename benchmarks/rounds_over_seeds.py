"""Does a round help? The demo's round over several seeds: held-out adversarial failures that each classifier accepts.

The peer is the round's own baseline, calibrated to the same KL divergence and measured on the same snippets. Every seed
has its own simulated world, annotators and training. `--quick` takes the tests' tiny sizes, which show that it runs and
nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import finish

ROOT = Path(__file__).resolve().parents[1]


def run_seed(seed: int, preset: str, home: Path) -> dict[str, Any]:
    """The report of one round."""
    command = [sys.executable, str(ROOT / "manage.py"), "run_round", "--preset", preset, "--seed", str(seed)]
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "BROKER_URL")}
    subprocess.run(command, check=True, env={**environment, "GAUNTLET_HOME": str(home)}, stdout=subprocess.DEVNULL)
    (report,) = home.glob("rounds/*/report.json")
    content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return content


def row(report: dict[str, Any]) -> dict[str, Any]:
    """What a round's report says of its main set."""
    first, last = report["classifiers"][0], report["classifiers"][-1]
    before, after = (one["assessment"]["adversarial"][report["main_set"]]["fnr"] for one in (first, last))
    found = report["comparisons"][report["main_set"]]
    return {
        "seed": report["round"]["seed"],
        "before": before,
        "after": after,
        "difference": found["difference"],
        "p_clusters": found["p_value_clusters"],
        "attacks": report["attacks"],
        "in_distribution": [one["assessment"]["fnr"] for one in (first, last)],
        "failure_rate": [one["assessment"]["failure_rate"] for one in (first, last)],
        "seconds": sum(stage["seconds"] for stage in report["timing"]),
    }


def percent(rate: dict[str, Any]) -> str:
    """Counts, rate and interval."""
    estimate = "none" if rate["estimate"] is None else f"{100 * rate['estimate']:.1f} %"
    return f"{rate['failures']:g}/{rate['n']:g} {estimate} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def main() -> None:
    """Runs the rounds and prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed at the tests' tiny sizes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    preset = "tiny" if options.quick else "demo"
    rows = []
    for seed in options.seeds[:1] if options.quick else options.seeds:
        with tempfile.TemporaryDirectory() as home:
            rows.append(row(run_seed(seed, preset, Path(home))))
        last = rows[-1]
        print(
            f"seed {seed}: failures accepted before {percent(last['before'])}, after {percent(last['after'])}; "
            f"difference [{100 * last['difference']['low']:.1f}, {100 * last['difference']['high']:.1f}] points, "
            f"p {last['p_clusters']}; {last['seconds']:.0f} s",
            flush=True,
        )
    before = sum(one["before"]["failures"] for one in rows) / sum(one["before"]["n"] for one in rows)
    after = sum(one["after"]["failures"] for one in rows) / sum(one["after"]["n"] for one in rows)
    print(f"all seeds: {100 * before:.1f} % before, {100 * after:.1f} % after")
    finish(
        benchmark="rounds_over_seeds",
        ours=round(after, 4),
        peer=round(before, 4),
        ratio=round(before / after, 2) if after else None,
        target="> 1, every interval of the difference below 0",
        preset=preset,
        rounds=rows,
    )


if __name__ == "__main__":
    main()

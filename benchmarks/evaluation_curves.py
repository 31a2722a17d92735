"""How long do the whole curves of KL and of quality take, and how much memory, against pandas?

KL: ten million scores, 100 completions a prompt, every threshold. Peer: pandas, which ranks by prompt, sorts and adds
up. Quality: 120,000 completions of 5,000 prompts compared in pairs, 200 thresholds with 1,000 bootstrap samples of the
prompts each. Peer: pandas, a group-by of what is accepted a threshold, then numpy's choice of prompts, sample by
sample; it is given 20 thresholds and its time taken ten times. Both find the same numbers, which is checked. Each
measurement runs in a process of its own, so that its peak memory is its own; what it had with its data alone is printed
beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from _common import finish  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from engine.evaluation.quality import Compared, compared, quality_of_prompts  # noqa: E402
from engine.evaluation.quality_choice import score_grid, threshold_at_quality  # noqa: E402
from engine.evaluation.threshold import kl_curve  # noqa: E402

DRAWS, THRESHOLDS, PEERS, RESAMPLES = 100, 200, 20, 1000
TARGET = {"kl_seconds": 10, "kl_gb": 2, "quality_seconds": 2}
Floats = NDArray[np.float64]


def main() -> None:
    """Prints a line a measurement."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="a tenth of the scores and prompts")
    options.add_argument("--only", choices=MEASURED, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    scores, prompts = (1_000_000, 500) if chosen.quick else (10_000_000, 5000)
    if chosen.only:
        print(json.dumps(MEASURED[chosen.only](prompts if "quality" in chosen.only else scores)))
        return
    found = {name: _apart(name, quick=chosen.quick) for name in MEASURED}
    for name, one in found.items():
        memory = f"peak {one['peak_gb']:5.2f} GB, {one['data_gb']:.2f} GB of them before"
        print(f"{name:16}{one['seconds']:9.2f} s   {memory}")
    for curve in ("kl", "quality"):
        if not np.allclose(found[curve]["values"], found[f"{curve} peer"]["values"], atol=1e-6):
            raise SystemExit(f"{curve}: the peer found other values")
    ratios = {
        "kl": found["kl peer"]["seconds"] / found["kl"]["seconds"],
        "quality": found["quality peer"]["seconds"] / found["quality"]["seconds"],
    }
    print(f"\nas quick as the peer: KL {ratios['kl']:.1f} times, quality {ratios['quality']:.0f} times")
    kept = ("seconds", "peak_gb", "data_gb")
    shown = {name: {key: round(one[key], 3) for key in kept} for name, one in found.items()}
    finish(
        "evaluation_curves",
        ours={name: one for name, one in shown.items() if "peer" not in name},
        peer={name: one for name, one in shown.items() if "peer" in name},
        ratio=round(min(ratios.values()), 2),
        target=TARGET,
        ratios={name: round(ratio, 2) for name, ratio in ratios.items()},
        scores=scores,
        completions=24 * prompts,
        resamples=RESAMPLES,
    )


def _apart(name: str, *, quick: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--only", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(work: Callable[[], tuple[Floats, float]]) -> dict[str, Any]:
    """`work` answers the values to compare and how often its time is to be taken."""
    before, began = _peak(), time.perf_counter()
    values, times = work()
    seconds = (time.perf_counter() - began) * times
    return {"seconds": seconds, "peak_gb": _peak(), "data_gb": before, "values": [float(value) for value in values]}


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _scores(n: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal((n // DRAWS, DRAWS), dtype=np.float32)
    drawn *= 2
    drawn += rng.standard_normal((n // DRAWS, 1), dtype=np.float32) - 4
    return drawn


def _grid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """From where one in fifty is accepted up to where all but one in fifty are."""
    return np.linspace(*np.quantile(logits[::97], [0.02, 0.98]), THRESHOLDS).astype(np.float32)


def kl(n: int) -> dict[str, Any]:
    """Ours: every threshold; those of the peer are looked up."""
    logits = _scores(n)
    grid = _grid(logits)

    def work() -> tuple[Floats, float]:
        curve = kl_curve(logits)
        return np.append(curve.kl, 0.0)[np.searchsorted(curve.logit, grid)], 1

    return _measured(work)


def kl_peer(n: int) -> dict[str, Any]:
    """Every threshold, as one writes it with pandas: ranks by prompt, sorted by score, added up."""
    logits = _scores(n)
    grid = _grid(logits)
    frame = pd.DataFrame({"prompt": np.repeat(np.arange(len(logits)), DRAWS), "logit": logits.ravel()})

    def work() -> tuple[Floats, float]:
        step = 1 / frame.groupby("prompt")["logit"].rank(method="first")
        ordered = frame.assign(step=step).sort_values("logit", ascending=False)
        curve = ordered.groupby("logit", sort=False)["step"].sum().cumsum() / len(logits)
        ascending = curve.sort_index()
        places = np.searchsorted(ascending.index.to_numpy(), grid)
        return np.append(ascending.to_numpy(), 0.0)[places], 1

    return _measured(work)


def _pairs(prompts: int) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(prompts), rng.permutation(np.resize(np.arange(4, 21), prompts)))
    first, second = rng.normal(0, 2, (2, codes.size)).astype(np.float32)
    return codes, first, second, rng.choice([0.0, 0.5, 1.0], codes.size, p=[0.4, 0.2, 0.4])


def quality(prompts: int) -> dict[str, Any]:
    """Ours, from the pairs to the chosen threshold."""
    pairs = _pairs(prompts)
    return _measured(lambda: (_kept(threshold_at_quality(compared(*pairs), resamples=RESAMPLES).curve), 1))


def _kept(points: Any) -> Floats:
    return np.array([point.quality for point in points])[:: THRESHOLDS // PEERS][:PEERS]


def quality_peer(prompts: int) -> dict[str, Any]:
    """Some of the thresholds, with their intervals."""
    pairs = _pairs(prompts)
    data: Compared = compared(*pairs)
    grid = score_grid(data)[:: THRESHOLDS // PEERS][:PEERS]
    frame = pd.DataFrame({"prompt": data.prompts, "logit": data.logits, "win": data.wins})
    assert quality_of_prompts(data, grid).shape == (prompts, PEERS)

    def work() -> tuple[Floats, float]:
        rng, found = np.random.default_rng(0), []
        for at in grid:
            accepted = frame[frame["logit"] < at].groupby("prompt")["win"].mean()
            each = accepted.reindex(range(prompts), fill_value=0.0).to_numpy()
            means = [each[rng.integers(0, prompts, prompts)].mean() for _ in range(RESAMPLES)]
            np.quantile(means, [0.025, 0.975])
            found.append(each.mean())
        return np.array(found), THRESHOLDS / PEERS

    return _measured(work)


MEASURED: dict[str, Callable[[int], dict[str, Any]]] = {
    "kl": kl,
    "kl peer": kl_peer,
    "quality": quality,
    "quality peer": quality_peer,
}


if __name__ == "__main__":
    main()

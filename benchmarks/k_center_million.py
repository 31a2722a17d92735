"""Does k-center scale: 1,000,000 x 384 vectors in a file, 100,000 labelled, 1,000 picked, on two cores under 4 GB?

The vectors are seeded clusters (`_vectors.py`), written to a file in fp32 and mapped; the labelled have seen nine in
ten of the clusters. Selection runs in a process of its own, whose peak resident memory, mapped pages and libraries
included, is what is shown. Three questions:

Time. The peer is the bandwidth bound of greedy k-center that passes over the pool once a pick: one matrix-vector
product through the mapped file, the best of three, times the picks. Distances to the labelled are left out of that
bound and counted in ours. Processor seconds stand beside, for busy machines: there set OMP_NUM_THREADS=1, or threads
that wait for each other count as work.

Quality. On a sample of 50,000 of the pool, against all the labelled: the covering radius of `k_center_batched` over
that of exact greedy, computed here without any bound: every distance to the labelled, then one full pass a pick. What
as many picks at random leave stands beside.

Memory. Peak resident memory of the process that chose from the million.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from _vectors import clustered_blocks  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from engine.query_strategies import QUERY_STRATEGIES, covering  # noqa: E402

MEMORY, SHARE = 4.0, 1.05
"""GB; covering radius over that of exact greedy."""
DIMENSION = 384
Floats = NDArray[np.floating]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--quick", action="store_true", help="50,000 vectors, 5,000 labelled, 200 picked, sample 10,000"
    )
    options.add_argument("--half", action="store_true", help="the file in fp16")
    options.add_argument("--strategy", default="k_center_batched", choices=sorted(QUERY_STRATEGIES))
    options.add_argument("--choose", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    n, m, k, sampled = (50_000, 5_000, 200, 10_000) if chosen.quick else (1_000_000, 100_000, 1_000, 50_000)
    if chosen.choose:
        choose(chosen.choose, chosen.strategy, k)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder / "pool.npy", n, seed=1, dtype=np.float16 if chosen.half else np.float32)
        write(folder / "labelled.npy", m, seed=2, dtype=np.float32, unseen=10)
        pool = np.load(folder / "pool.npy", mmap_mode="r")
        one_pass, one_pass_processor = (min(times) for times in zip(*(mat_vec(pool) for _ in range(3)), strict=True))
        found = json.loads(
            subprocess.run(
                [sys.executable, __file__, "--choose", made, "--strategy", chosen.strategy]
                + ["--quick"] * chosen.quick,
                check=True,
                stdout=subprocess.PIPE,
            ).stdout
        )
        rows = np.sort(np.random.default_rng(3).choice(n, sampled, replace=False))
        share = beside_exact(pool[rows].astype(np.float32), np.load(folder / "labelled.npy"), chosen.strategy, k)
    bound = one_pass * k
    print(f"{n:,} x {DIMENSION} {'fp16' if chosen.half else 'fp32'}, mapped; {m:,} labelled; {k:,} picked")
    print(f"{'':<40}{'by the clock':>12}{'processor':>12}")
    for name, clock, processor in (
        ("one exact pass", one_pass, one_pass_processor),
        ("bound of one exact pass a pick", bound, one_pass_processor * k),
        (f"{chosen.strategy}, all", found["seconds"], found["processor"]),
        ("  of it until the first pick", found["first"], found["first_processor"]),
    ):
        print(f"{name:<40}{clock:>10.2f} s{processor:>10.2f} s")
    print(f"{'peak resident memory':<40}{found['peak_gb']:>9.2f} GB (target under {MEMORY:g})")
    print(f"{'radius over exact, on a sample':<40}{share['ratio']:>9.4f} (target at most {SHARE:g})")
    print(f"{'  that of random picks, and of none':<40}{share['random']:>9.4f}{share['none']:>9.4f}")
    finish(
        "k_center_million",
        ours=round(found["seconds"], 1),
        peer=round(bound, 1),
        ratio=round(bound / found["seconds"], 2),
        target={"peak_gb": MEMORY, "radius_over_exact": SHARE},
        unit="seconds",
        met=found["peak_gb"] < MEMORY and share["ratio"] <= SHARE,
        quick=chosen.quick,
        strategy=chosen.strategy,
        half=chosen.half,
        one_pass_seconds=round(one_pass, 3),
        first_pick_seconds=round(found["first"], 1),
        processor_seconds={"ours": round(found["processor"], 1), "peer": round(one_pass_processor * k, 1)},
        peak_gb=round(found["peak_gb"], 2),
        **{f"sample_{name}": round(value, 4) for name, value in share.items()},
    )


def write(path: Path, n: int, *, seed: int, dtype: type, unseen: int = 0) -> None:
    """A file of vectors, block by block."""
    file = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(n, DIMENSION))
    start = 0
    for block in clustered_blocks(n, DIMENSION, seed=seed, unseen=unseen):
        file[start : start + len(block)] = block
        start += len(block)
    file.flush()


def choose(folder: Path, strategy: str, k: int) -> None:
    """In a process of its own: chooses, and prints how long it took and how much memory."""
    pool = np.load(folder / "pool.npy", mmap_mode="r")
    labelled = np.load(folder / "labelled.npy")
    start, start_processor = time.perf_counter(), time.process_time()
    first: dict[str, float] = {}

    def progress(done: int, total: int) -> None:
        if done and not first:
            first["first"] = time.perf_counter() - start
            first["first_processor"] = time.process_time() - start_processor

    picks = QUERY_STRATEGIES[strategy](pool, np.zeros(len(pool)), labelled, k, progress=progress)
    seconds, processor = time.perf_counter() - start, time.process_time() - start_processor
    if len(set(picks.tolist())) != k:
        raise SystemExit("the picks are not distinct")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "processor": processor, "peak_gb": peak, **first}))


def mat_vec(pool: Floats) -> tuple[float, float]:
    """Seconds of one pass by the clock and by processor time: every vector times one, by blocks."""
    vector = np.ones(DIMENSION, dtype=np.float32)
    start, start_processor = time.perf_counter(), time.process_time()
    for at in range(0, len(pool), 1 << 15):
        pool[at : at + (1 << 15)].astype(np.float32, copy=False) @ vector
    return time.perf_counter() - start, time.process_time() - start_processor


def beside_exact(sample: Floats, labelled: Floats, strategy: str, k: int) -> dict[str, float]:
    """Covering radii of the strategy and of plain exact greedy on the same sample."""
    known = covering(sample, labelled).distances
    start = time.perf_counter()
    picks = QUERY_STRATEGIES[strategy](sample, np.zeros(len(sample)), labelled, k)
    seconds = time.perf_counter() - start
    by_chance = np.random.default_rng(4).choice(len(sample), k, replace=False)
    ours, random = (float(np.minimum(known, covering(sample, sample[p]).distances).max()) for p in (picks, by_chance))
    nearest = known.copy()
    for _ in range(k):
        farthest = int(np.argmax(nearest))
        nearest = np.minimum(nearest, np.sqrt(np.maximum(squared(sample, farthest), 0)))
    exact = float(nearest.max())
    over = {"ratio": ours / exact, "random": random / exact, "none": float(known.max()) / exact}
    return {"radius": ours, "exact": exact, "seconds": seconds, **over}


def squared(sample: Floats, row: int) -> Floats:
    """(n,) squared distances from one of the sample, all of which are unit vectors."""
    return 2 - 2 * (sample @ sample[row])


if __name__ == "__main__":
    main()

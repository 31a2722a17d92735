"""How much faster is our exact k-center greedy than small-text's `greedy_coreset`, and does it cover as well?

Peer: `small_text.query_strategies.coresets.greedy_coreset` (1.4.1) with Euclidean distances on unit rows, as its
`GreedyCoreset` calls it by default. 10,000 snippets, 500 labelled ones besides, 50 picked; ours the best of three by
the clock, theirs once, with as many threads as the machine gives either; processor seconds stand beside. Vectors are
those of snippets from ../shared/data/stories (or --stories DIR) by `TokenMeanEncoder`, else seeded clusters.

It is called as `query()` calls it, with the pool before the labelled: only then are its picks, which are places among
the unlabelled, also the rows that it measures the next distances to. Called with the labelled first, as its docstring
allows, it measures to other rows; the last lines show what that costs in radius, on a smaller pool. Every radius is the
greatest distance from a pool's snippet to its nearest labelled or picked one, all pairs in float64 by SciPy, as is the
brute-force greedy that both are held against.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from _common import finish  # noqa: E402
from _vectors import clustered  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy.spatial.distance import cdist  # noqa: E402
from small_text.query_strategies.coresets import greedy_coreset  # noqa: E402

from engine.corpus import read_stories  # noqa: E402
from engine.corpus.sampling import story_windows  # noqa: E402
from engine.embeddings import TokenMeanEncoder  # noqa: E402
from engine.policies import load_policy  # noqa: E402
from engine.query_strategies import QUERY_STRATEGIES  # noqa: E402

TARGET = 100.0
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="2,000 snippets, 100 labelled, 20 picked")
    options.add_argument("--stories", type=Path, default=ROOT.parent / "shared" / "data" / "stories")
    chosen = options.parse_args()
    n, m, k = (2_000, 100, 20) if chosen.quick else (10_000, 500, 50)
    vectors, source = embedded(n + m, chosen.stories)
    pool, labelled = vectors[:n], vectors[n:]
    ours, processor, picks = min((timed_ours(pool, labelled, k) for _ in range(3)), key=lambda run: run[0])
    start = time.perf_counter(), time.process_time()
    theirs_picks = greedy_coreset(vectors, np.arange(n), np.arange(n, n + m), k, distance_metric="euclidean")
    theirs, theirs_processor = time.perf_counter() - start[0], time.process_time() - start[1]
    reference = brute_force(pool, labelled, k)
    radii = {
        "ours": radius(pool, labelled, picks),
        "small-text": radius(pool, labelled, theirs_picks),
        "brute force": radius(pool, labelled, reference),
        "labelled alone": radius(pool, labelled, picks[:0]),
    }
    print(f"{n:,} x {vectors.shape[1]} {source}, {m} labelled, pick {k}")
    print(f"{'':<16}{'seconds':>9}{'processor':>11}{'covering radius':>17}")
    measured = {"ours": (ours, processor), "small-text": (theirs, theirs_processor)}
    for name, value in radii.items():
        clock, busy = (f"{seconds:.3f}" for seconds in measured[name]) if name in measured else ("", "")
        print(f"{name:<16}{clock:>9}{busy:>11}{value:>17.6f}")
    print(f"ratio {theirs / ours:.0f} (target {TARGET:.0f}); our picks are brute force's: {same(picks, reference)}")
    confused = labelled_first(vectors, min(n, 2_000), min(m, 100), 20)
    finish(
        "k_center_vs_small_text",
        ours=round(ours, 4),
        peer=round(theirs, 2),
        ratio=round(theirs / ours, 1),
        target=TARGET,
        unit="seconds",
        processor_ratio=round(theirs_processor / processor, 1),
        met=theirs / ours >= TARGET and radii["ours"] <= radii["small-text"] * (1 + 1e-6),
        quick=chosen.quick,
        vectors=source,
        radii={name: round(value, 6) for name, value in radii.items()},
        picks_are_brute_forces=same(picks, reference),
        **confused,
    )


def timed_ours(pool: Floats, labelled: Floats, k: int) -> tuple[float, float, Ints]:
    """Seconds, processor seconds and the picks. Equal values: plain farthest-first, which is what the peer does."""
    start = time.perf_counter(), time.process_time()
    picks = QUERY_STRATEGIES["k_center_greedy"](pool, np.zeros(len(pool)), labelled, k)
    return time.perf_counter() - start[0], time.process_time() - start[1], picks


def labelled_first(vectors: Floats, n: int, m: int, k: int) -> dict[str, float]:
    """The peer with the labelled before the pool, where its picks are not the rows it takes them for."""
    labelled, pool = vectors[:m], vectors[m : m + n]
    theirs = greedy_coreset(vectors[: m + n], np.arange(m, m + n), np.arange(m), k, distance_metric="euclidean")
    ours, peer = (radius(pool, labelled, picks) for picks in (timed_ours(pool, labelled, k)[2], theirs))
    print(f"labelled before the pool ({n:,}, {m} labelled, pick {k}): radius ours {ours:.6f}, small-text {peer:.6f}")
    return {"radius_ours_labelled_first": round(ours, 6), "radius_peer_labelled_first": round(peer, 6)}


def brute_force(pool: Floats, labelled: Floats, k: int) -> Ints:
    """Greedy k-center in float64, with no bound, no block and no library but SciPy's distances."""
    exact = pool.astype(np.float64)
    nearest = cdist(exact, labelled.astype(np.float64)).min(axis=1)
    picks: list[int] = []
    for _ in range(k):
        picks.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, cdist(exact, exact[picks[-1:]])[:, 0])
    return np.array(picks)


def radius(pool: Floats, labelled: Floats, picks: Ints) -> float:
    """Greatest distance to the nearest centre, in float64."""
    centres = np.concatenate([labelled, pool[picks]]).astype(np.float64)
    return float(cdist(pool.astype(np.float64), centres).min(axis=1).max())


def same(picks: Ints, reference: Ints) -> bool:
    """Whether the same were picked in the same order."""
    return picks.tolist() == reference.tolist()


def embedded(count: int, stories: Path) -> tuple[Floats, str]:
    """(count, 384) unit rows in random order, and where they come from."""
    if not stories.is_dir():
        return clustered(count, 384, seed=0), "seeded clusters"
    texts = [*islice(windows(stories), 2 * count)]
    if len(texts) < count:
        return clustered(count, 384, seed=0), "seeded clusters"
    rows = TokenMeanEncoder().encode(texts)
    return rows[np.random.default_rng(0).permutation(len(rows))[:count]], "snippets of stories"


def windows(stories: Path) -> Iterator[str]:
    """Distinct snippets, valid or not."""
    policy, seen = load_policy("injury"), set()
    for story in read_stories(stories):
        for _, window in story_windows(story, policy, seed=0):
            text = f"{window.snippet.prompt} {window.snippet.completion}"
            if text not in seen:
                seen.add(text)
                yield text


if __name__ == "__main__":
    main()

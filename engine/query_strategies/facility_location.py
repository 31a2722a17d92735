"""Snippets that stand for the pool: every one has a near chosen or labelled neighbour, those of value above all."""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from engine.progress import Progress, silent
from engine.query_strategies.checks import Pool, checked_pool
from engine.query_strategies.similarity import NEIGHBOURS, best_similarity, similarity_graph

_TELL: Final = 64


def facility_location(
    embeddings: NDArray[np.floating],
    values: NDArray[np.floating],
    labelled: NDArray[np.floating],
    k: int,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """(min(k, n),) indices that greedily maximise the sum over the pool of w(x) max s(x, c), c chosen or labelled.

    s is the cosine, 0 where it is negative, and 0 beyond a point's 32 nearest; w is 0.1 + the value's rank. The sum is
    monotone and submodular, so the chosen reach at least 1 - 1/e of what the best k would add to `labelled` (Nemhauser,
    Wolsey and Fisher 1978), on a pool of at most 32 of the full sum. Lazy: an old gain is an upper bound, so only the
    best of a heap is computed anew (Minoux 1978; apricot, 1906.03543). Equal gains go by `seed`; once nothing gains,
    so do all the rest.

    O(n d) times what the graph's index looks at (`similarity.py`), then O(32 n + k re-evaluations). The pool is read by
    blocks; the index holds it once more, in fp16 where it is large, and the graph takes 256 bytes a row.
    """
    pool = checked_pool(embeddings, values, labelled, k)
    if pool.k == 0:
        return np.zeros(0, dtype=np.int64)

    def alive() -> None:
        progress(0, pool.k)

    graph = similarity_graph(pool.vectors, NEIGHBOURS, alive)
    covered = best_similarity(pool.vectors, pool.labelled, alive)
    return _lazy_greedy(graph, covered, pool, seed, progress)


def _lazy_greedy(
    graph: csc_array, covered: NDArray[np.float32], pool: Pool, seed: int, progress: Progress
) -> NDArray[np.int64]:
    """Greedy by column gains; `covered` (n,) is each point's similarity to its nearest so far, and is changed."""
    weights = pool.weights
    order = np.random.default_rng([seed, 0x666163]).permutation(pool.values.size)
    gains = _all_gains(graph, covered, weights)
    heap = list(zip((-gains[order]).tolist(), range(order.size), strict=True))
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < pool.k:
        _, place = heapq.heappop(heap)
        column = int(order[place])
        start, end = graph.indptr[column], graph.indptr[column + 1]
        rows, similar = graph.indices[start:end], graph.data[start:end]
        gain = float(weights[rows] @ np.maximum(similar - covered[rows], 0))
        if heap and (-gain, place) > heap[0]:
            heapq.heappush(heap, (-gain, place))
            continue
        chosen.append(column)
        covered[rows] = np.maximum(covered[rows], similar)
        if len(chosen) % _TELL == 0 or len(chosen) == pool.k:
            progress(len(chosen), pool.k)
    return np.array(chosen, dtype=np.int64)


def _all_gains(graph: csc_array, covered: NDArray[np.float32], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) what each column alone would add."""
    added = weights[graph.indices] * np.maximum(graph.data - covered[graph.indices], 0)
    return np.add.reduceat(np.append(added, 0), graph.indptr[:-1]) * (np.diff(graph.indptr) > 0)

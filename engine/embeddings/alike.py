"""Near-duplicate vectors among millions, shard by shard: random hyperplanes find candidates, cosines decide.

Charikar 2002: two vectors at an angle a lie on one side of a random hyperplane with probability 1 - a / pi. A code is
the sides of 24 planes as a number, and each vector has 48 codes; a pair of cosine 0.95 shares one of them with
probability 0.979, one of 0.97 with 0.999, one of 0.3 with 0.0002, so that of ten million vectors some two thousand are
looked at and not all. Within a shard every pair is looked at. A near-duplicate joins the group of the first vector that
it is like and that leads a group: so a group is as wide as the threshold, and never a chain.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

THRESHOLD: Final = 0.95
"""The least cosine of a near-duplicate (SemDeDup, 2303.09540)."""
TABLES: Final = 48
BITS: Final = 24
_SEED: Final = 0x616C
_LOW: Final = 0xFFFF
_BLOCK: Final = 1024

Codes = NDArray[np.uint32]


def codes_of(vectors: NDArray[np.floating]) -> Codes:
    """(n, 48) codes of (n, d) unit rows, the same on every machine but for sides within rounding. O(1152 n d)."""
    rows = np.asarray(vectors, dtype=np.float32)
    planes = np.random.default_rng(_SEED).standard_normal((rows.shape[1], TABLES * BITS), dtype=np.float32)
    weights = np.uint32(1) << np.arange(BITS, dtype=np.uint32)
    codes = np.zeros((len(rows), TABLES), dtype=np.uint32)
    for start in range(0, len(rows), _BLOCK):
        sides = (rows[start : start + _BLOCK] @ planes > 0).reshape(-1, TABLES, BITS)
        codes[start : start + _BLOCK] = (sides * weights).sum(axis=2, dtype=np.uint32)
    return codes


def groups_within(vectors: NDArray[np.floating], *, threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """(n,) for each unit row the first row that leads a group and whose cosine to it is at least `threshold`; its own
    place where there is none, as for the leaders themselves. O(n^2 d): for a shard of some thousands."""
    rows = np.asarray(vectors, dtype=np.float32)
    leads = np.zeros(len(rows), dtype=bool)
    groups = np.arange(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        alike = rows[start : start + _BLOCK] @ rows.T >= threshold
        for place, near in enumerate(alike, start):
            like = np.flatnonzero(near[:place] & leads[:place])
            leads[place] = not like.size
            groups[place] = like[0] if like.size else place
    return groups


class AlikeSearch:
    """The rows of a new shard, to be held against the leaders of shards before it, one shard after another."""

    def __init__(self, vectors: NDArray[np.floating], codes: Codes, *, threshold: float = THRESHOLD) -> None:
        """`vectors` (n, d) unit rows with their `codes` (n, 48)."""
        self._rows = np.asarray(vectors, dtype=np.float32)
        self._threshold = threshold
        self._order = np.argsort(codes, axis=0, kind="stable")
        self._sorted = np.take_along_axis(codes, self._order, axis=0)
        self._low = np.zeros((TABLES, _LOW + 1), dtype=bool)
        self._low[np.arange(TABLES), codes & _LOW] = True

    def matches(self, vectors: NDArray[np.floating], codes: Codes, leads: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(n,) for each row of the new shard the first leader of the earlier one that it is like; -1 where none is.

        `vectors` (m, d), memory-mapped or not, `codes` (m, 48) and `leads` (m,) are the earlier shard's. O(48 m), and
        O(d) for each pair that shares a code.
        """
        found = np.full(len(self._rows), len(vectors), dtype=np.int64)
        for table in range(TABLES):
            column = np.asarray(codes[:, table])
            theirs = np.flatnonzero(self._low[table, column & _LOW] & leads)
            mine, theirs = self._sharing(table, column[theirs], theirs)
            fresh = theirs < found[mine]
            mine, theirs = mine[fresh], theirs[fresh]
            for start in range(0, mine.size, 1 << 15):
                part = slice(start, start + (1 << 15))
                other = np.asarray(vectors[theirs[part]], dtype=np.float32)
                like = np.einsum("nd,nd->n", self._rows[mine[part]], other) >= self._threshold
                np.minimum.at(found, mine[part][like], theirs[part][like])
        return np.where(found == len(vectors), -1, found)

    def _sharing(
        self, table: int, codes: NDArray[np.uint32], theirs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All pairs of a row here and one of `theirs` with the same code in the table."""
        column = self._sorted[:, table]
        first, last = np.searchsorted(column, codes, "left"), np.searchsorted(column, codes, "right")
        counts = last - first
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(first, counts) + within
        return self._order[places, table].astype(np.int64), np.repeat(theirs, counts)

"""Errors of several classifiers on several labelled sets: who misses what was made to fool whom (figures 5, 7, 8).

Each classifier is judged at its own threshold. A set that holds only what one classifier accepts says nothing about
that one: its cell is marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from engine.errors import BadInput
from engine.evaluation.curves import error_rates, scored, to_logit
from engine.evaluation.rates import RateDict, beta_credible

Kind = Literal["false negatives", "false positives"]


class LabelledSet(NamedTuple):
    """Labelled snippets that every classifier has scored."""

    name: str
    logits: Mapping[str, ArrayLike]
    """Classifier -> (n,)."""
    failures: ArrayLike
    """(n,) bool, the labels."""
    clusters: ArrayLike | None = None
    """(n,) labels of any kind: which snippets come from one seed or prompt; None where each stands alone."""
    target: str | None = None
    """The classifier that accepts all of them by construction; None where they were chosen by none."""


class ErrorCell(TypedDict):
    """One classifier on one set."""

    classifier: str
    set: str
    own_target: bool
    """Whether the set holds only what this classifier accepts."""
    credible: RateDict
    """As the paper draws it: Beta(1 + k, 1 + n - k), snippets taken as independent."""
    clustered: RateDict
    """The same share with seeds or prompts as what was drawn."""


class ErrorMatrix(TypedDict):
    """A row for each classifier evaluated, a column for each set; `cells` row by row."""

    kind: Kind
    level: float
    classifiers: list[str]
    sets: list[str]
    targets: dict[str, str | None]
    """Set -> the classifier that it was made to fool."""
    cells: list[ErrorCell]


def error_matrix(
    kind: Kind, thresholds: Mapping[str, float], sets: Sequence[LabelledSet], *, level: float = 0.95
) -> ErrorMatrix:
    """Shares of failures accepted ("false negatives") or of harmless snippets rejected ("false positives").

    `thresholds` maps each classifier to its own, in [0, 1]; rows are in their order, columns in that of `sets`. A set
    without failures (or harmless snippets) has no estimate and [0, 1]. Raises BadInput for a set that lacks a
    classifier's logits, lengths that differ, NaN, or two sets of one name. O(classifiers * snippets log snippets).
    """
    names = [one.name for one in sets]
    if len(set(names)) != len(names):
        raise BadInput("two sets have one name", where="error_matrix")
    cells = [_cell(kind, name, at, one, level) for name, at in thresholds.items() for one in sets]
    return ErrorMatrix(
        kind=kind,
        level=level,
        classifiers=list(thresholds),
        sets=names,
        targets={one.name: one.target for one in sets},
        cells=cells,
    )


def joined(name: str, sets: Sequence[LabelledSet], keys: Sequence[Sequence[str]]) -> LabelledSet:
    """Several sets with one target as one, each snippet once; `keys` (one sequence a set) say which are the same.

    Raises BadInput for sets of different targets or classifiers. O(snippets).
    """
    if len({one.target for one in sets}) > 1 or len({frozenset(one.logits) for one in sets}) > 1:
        raise BadInput("sets of different targets or classifiers are not one", where="joined")
    flat = [key for part in keys for key in part]
    first = list({key: place for place, key in reversed(list(enumerate(flat)))}.values())
    keep = np.sort(np.asarray(first, dtype=np.int64))
    clusters = [np.asarray(one.clusters) for one in sets if one.clusters is not None]
    return LabelledSet(
        name,
        {who: _flat([one.logits[who] for one in sets])[keep] for who in (sets[0].logits if sets else ())},
        _flat([one.failures for one in sets]).astype(bool)[keep],
        np.concatenate(clusters)[keep] if len(clusters) == len(sets) and clusters else None,
        sets[0].target if sets else None,
    )


def _flat(parts: Sequence[ArrayLike]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.concatenate([np.asarray(part, dtype=np.float32).ravel() for part in parts])


def _cell(kind: Kind, classifier: str, threshold: float, one: LabelledSet, level: float) -> ErrorCell:
    if classifier not in one.logits:
        raise BadInput(f"{classifier} has not scored {one.name}", where="error_matrix")
    found = error_rates(scored(one.logits[classifier], one.failures, one.clusters), to_logit(threshold), level=level)
    rate = found.fnr if kind == "false negatives" else found.fpr
    return ErrorCell(
        classifier=classifier,
        set=one.name,
        own_target=one.target == classifier,
        credible=beta_credible(int(rate.failures), int(rate.n), level=level).as_dict(),
        clustered=rate.as_dict(),
    )

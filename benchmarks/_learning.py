"""A learning curve: label a batch, fit the head, measure, choose the next; and what curves over seeds amount to."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.float32]

INITIAL, BATCH, STEPS = 25, 25, 20
POOL = 3000
"""Unlabelled texts at most; a larger set is drawn from anew with every seed."""
ACCEPTED = math.exp(-0.5)
"""Share of harmless text that the filter accepts, 61 %: were all prompts alike, that is a KL divergence of 0.5."""
UPSAMPLE_CAP = 5.0
INVERSE_REGULARISATION = 10.0


class Points(NamedTuple):
    """Embeddings (n, d) and whether each is positive (n,)."""

    x: Rows
    y: NDArray[np.bool_]


class Task(NamedTuple):
    """Where labels are spent, and where it shows."""

    name: str
    pool: Points
    harmless: Rows
    """(h, d), unlabelled text as the filter meets it; sets the threshold that acquisition functions are told."""
    test: Points
    positive_share: float | None = None
    """Positives of the pool are drawn down to this share; None leaves them as they are."""


class Head(NamedTuple):
    """A logistic layer."""

    weights: Floats
    bias: float

    def logits(self, x: Rows) -> Floats:
        """(n,) of (n, d)."""
        return np.asarray(x @ self.weights.astype(np.float32) + self.bias, dtype=np.float64)


class Situation(NamedTuple):
    """What a strategy may know when it chooses."""

    x: Rows
    """(n, d), the whole pool."""
    unlabelled: Ints
    labelled: Ints
    y: NDArray[np.bool_]
    """Of `labelled`, in its order."""
    head: Head
    harmless: Rows
    k: int
    seed: int


Choose = Callable[[Situation], Ints]
"""`k` distinct members of `unlabelled`."""


class Curve(NamedTuple):
    """(steps + 1,) each: after the initial labels, and after each batch."""

    auc: Floats
    """Area under the ROC curve on the test set."""
    fnr: Floats
    """Share of the test set's positives accepted at the threshold that accepts `ACCEPTED` of its harmless text."""
    found: Floats
    """Positives among the labels a strategy chose."""


class Estimate(NamedTuple):
    """A mean over seeds, its interval, and of a difference the p-value."""

    mean: float
    low: float
    high: float
    p: float


def learn(task: Task, choose: Choose, seed: int, *, steps: int = STEPS) -> Curve:
    """One run. Pool and initial labels follow from task and seed alone, so that strategies are compared in pairs."""
    rng = np.random.default_rng([seed, zlib.crc32(task.name.encode())])
    pool = drawn(task, rng)
    labelled = initial(pool.y, INITIAL, rng)
    head, points = fit(pool.x[labelled], pool.y[labelled]), []
    for step in range(steps + 1):
        points.append((*measured(head, task.test), float(pool.y[labelled[INITIAL:]].sum())))
        if step == steps:
            break
        rest = np.setdiff1d(np.arange(pool.y.size), labelled)
        now = Situation(pool.x, rest, labelled, pool.y[labelled], head, task.harmless, BATCH, 1000 * seed + step)
        chosen = choose(now)
        if np.unique(chosen).size != min(BATCH, rest.size) or not np.isin(chosen, rest).all():
            raise ValueError(f"chose {chosen.size} texts that are not {BATCH} distinct unlabelled ones")
        labelled = np.concatenate([labelled, np.sort(chosen)])  # the same texts in another order: the same fit
        head = fit(pool.x[labelled], pool.y[labelled], start=head)
    return Curve(*(np.array(values) for values in zip(*points, strict=True)))


def drawn(task: Task, rng: np.random.Generator) -> Points:
    """This seed's pool: positives drawn down to the task's share, then at most `POOL` of all, in random order."""
    positives, negatives = (np.flatnonzero(task.pool.y == value) for value in (True, False))
    if task.positive_share is not None:
        wanted = round(negatives.size * task.positive_share / (1 - task.positive_share))
        positives = rng.choice(positives, min(wanted, positives.size), replace=False)
    rows = rng.permutation(np.concatenate([positives, negatives]))[:POOL]
    return Points(task.pool.x[rows], task.pool.y[rows])


def initial(y: NDArray[np.bool_], n: int, rng: np.random.Generator) -> Ints:
    """`n` random rows; a set of one class is drawn again, since nothing could be fitted to it."""
    if y.all() or not y.any():
        raise ValueError("the pool has one class only")
    while True:
        rows = rng.choice(y.size, n, replace=False)
        if 0 < y[rows].sum() < n:
            return np.asarray(rows, dtype=np.int64)


def fit(x: Rows, y: NDArray[np.bool_], *, start: Head | None = None) -> Head:
    """The same head for every strategy; positives weigh as the recipe's upsampling would have them."""
    weight = float(np.clip((~y).sum() / y.sum(), 1, UPSAMPLE_CAP))
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=200, tol=1e-3, warm_start=True)
    if start is not None:
        model.coef_, model.intercept_ = start.weights[None, :], np.array([start.bias])
    model.fit(x.astype(np.float64), y, sample_weight=np.where(y, weight, 1.0))
    return Head(model.coef_[0].copy(), float(model.intercept_[0]))


def threshold(head: Head, harmless: Rows) -> float:
    """The score that accepts `ACCEPTED` of this harmless text."""
    at = float(np.quantile(head.logits(harmless), ACCEPTED))
    return 1 / (1 + math.exp(-at))


def measured(head: Head, test: Points) -> tuple[float, float]:
    """Area under the ROC curve, and the share of positives accepted where `ACCEPTED` of the harmless are."""
    logits = head.logits(test.x)
    at = np.quantile(logits[~test.y], ACCEPTED)
    return auc(logits, test.y), float((logits[test.y] < at).mean())


def auc(logits: Floats, positives: NDArray[np.bool_]) -> float:
    """Share of pairs, a positive and a negative, in which the positive has the higher logit; ties count half."""
    n = int(positives.sum())
    above = stats.rankdata(logits)[positives].sum() - n * (n + 1) / 2
    return float(above / (n * (positives.size - n)))


def area(values: ArrayLike) -> float:
    """Mean height of the curve over evenly spaced points, by the trapezium rule."""
    heights = np.asarray(values, dtype=np.float64)
    return float(np.trapezoid(heights) / (heights.size - 1))


def mean_of(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Mean of (n,) values, one a seed, with Student's interval; p tells it from 0. Raises ValueError for n < 2."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        raise ValueError("an interval over seeds needs two of them")
    mean, error = float(sample.mean()), float(stats.sem(sample))
    if error == 0:
        return Estimate(mean, mean, mean, float(mean == 0))
    half = error * float(stats.t.ppf((1 + level) / 2, sample.size - 1))
    p = 2 * float(stats.t.sf(abs(mean) / error, sample.size - 1))
    return Estimate(mean, mean - half, mean + half, p)


def paired(ours: ArrayLike, baseline: ArrayLike) -> Estimate:
    """Mean difference of (n,) and (n,), the same seed at the same place."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"{a.size} and {b.size} seeds make no pairs")
    return mean_of(a - b)


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value adjusted for all of them, in order (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors), 1)
    found = np.empty(len(p_values))
    found[order] = adjusted
    return [float(p) for p in found]

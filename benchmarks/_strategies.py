"""Every way of choosing that the label-efficiency benchmark compares: ours from the registries, and small-text's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _learning import Choose, Floats, Head, Ints, Rows, Situation, fit, threshold
from scipy.special import expit
from small_text import query_strategies as small_text
from small_text.data.datasets import SklearnDataset

from engine.acquisition import ACQUISITION, Opinions, acquisition
from engine.errors import BadInput
from engine.query_strategies import QUERY_STRATEGIES, query_strategy

OTHERS = 2
"""Heads on resampled labels, for acquisition functions that compare classifiers."""
SUBPOOL = 1000
"""small-text's slowest strategies see this many unlabelled texts, drawn anew for each batch by its own wrapper."""
PLAIN = {"top", "random"}
"""Strategies that choose by value alone or by chance; each of the others has acquisition functions that fit it."""
FITTING = {"badge": ("margin",), "hybrid": ("near_threshold", "margin"), "k_means_pp": ("",)}
"""Where that is not `near_threshold` alone: badge's is the paper's own, k_means_pp asks for no values."""
ALIKE = {
    "margin": ("entropy", "expected_change"),
    "small-text breaking ties": ("least confidence", "prediction entropy"),
}
"""In two classes, on vectors of one length, these choose the same texts but for ties (tests hold it): one is run."""


def strategies() -> dict[str, Choose]:
    """By name, `random` first. Ours are `acquisition` under `top`, and `strategy · acquisition`."""
    ours = {
        name: partial(_ours, "top", name) for name in sorted(ACQUISITION) if name not in ("random", *also("margin"))
    }
    for strategy in sorted(QUERY_STRATEGIES.keys() - PLAIN):
        for value in FITTING.get(strategy, ("near_threshold",)):
            name = f"{strategy} · {value}" if value else strategy
            ours[name] = partial(_ours, strategy, value or "random")
    chance = {"random": partial(_ours, "random", "random"), "random, other draws": partial(_ours, "top", "random")}
    theirs = {name: make for name, make in THEIRS.items() if name not in also("small-text breaking ties")}
    return {**chance, **ours, **{f"small-text {name}": partial(_theirs, make) for name, make in theirs.items()}}


def also(name: str) -> tuple[str, ...]:
    """What chooses the same texts as the strategy of that name and is not run."""
    return ALIKE.get(name, ())


def wants_others(name: str) -> bool:
    """Whether the acquisition function of that name compares classifiers."""
    try:
        acquisition(name)(Opinions(np.array([0.0, 1.0]), 0.5))
    except BadInput:
        return True
    return False


def _ours(strategy: str, value: str, now: Situation) -> Ints:
    rows = now.x[now.unlabelled]
    others = _committee(now) if wants_others(value) else []
    opinions = Opinions(
        now.head.logits(rows),
        threshold(now.head, now.harmless),
        [one.logits(rows) for one in others],
        [threshold(one, now.harmless) for one in others],
        rows,
    )
    values = acquisition(value)(opinions, seed=now.seed)
    chosen = query_strategy(strategy)(rows, values, now.x[now.labelled], now.k, seed=now.seed)
    return now.unlabelled[chosen]


def _committee(now: Situation) -> list[Head]:
    """Heads on labels drawn with replacement, as many of each class as there are."""
    rng = np.random.default_rng([now.seed, 0x636F6D])
    classes = [np.flatnonzero(now.y == value) for value in (True, False)]
    members = []
    for _ in range(OTHERS):
        drawn = np.concatenate([rng.choice(rows, rows.size) for rows in classes])
        members.append(fit(now.x[now.labelled[drawn]], now.y[drawn], start=now.head))
    return members


class _Asked:
    """Our head, as small-text asks a classifier."""

    num_classes = 2

    def __init__(self, head: Head) -> None:
        self._head = head

    def predict_proba(self, dataset: SklearnDataset) -> Floats:
        """(n, 2)."""
        score = expit(self._head.logits(dataset.x))
        return np.stack([1 - score, score], axis=1)

    def embed(self, dataset: SklearnDataset, *, return_proba: bool = False, **_: object) -> object:
        """The sentence embeddings, which all strategies share."""
        return (dataset.x, self.predict_proba(dataset)) if return_proba else dataset.x


class _Discriminator:
    """A logistic head that tells labelled from unlabelled texts, and the factory of it."""

    def new(self) -> _Discriminator:
        """One that has seen nothing."""
        return _Discriminator()

    def fit(self, dataset: SklearnDataset) -> _Discriminator:
        """Fits it to the labels `unlabelled` (1) and `labelled` (0)."""
        self._asked = _Asked(fit(dataset.x, np.asarray(dataset.y) == 1))
        return self

    def predict_proba(self, dataset: SklearnDataset) -> Floats:
        """(n, 2)."""
        return self._asked.predict_proba(dataset)


class _GreedyCoreset(small_text.GreedyCoreset):  # type: ignore[misc]
    """The same choices: 1.4.1 leaves its `batch_size` out of the call, and 100 rows at a time take far longer."""

    def sample(
        self,
        clf: object,
        dataset: object,
        unlabelled: Ints,
        labelled: Ints,
        y: Ints,
        n: int,
        embeddings: Rows,
        **_: object,
    ) -> Ints:
        """Indices into `indices_unlabeled`."""
        return small_text.greedy_coreset(
            embeddings, unlabelled, labelled, n, distance_metric="euclidean", batch_size=SUBPOOL
        )


def _on_subpool(make: Callable[[], Any]) -> Any:
    return small_text.SubsamplingQueryStrategy(make(), SUBPOOL)


THEIRS: dict[str, Callable[[], Any]] = {
    "breaking ties": small_text.BreakingTies,
    "least confidence": small_text.LeastConfidence,
    "prediction entropy": small_text.PredictionEntropy,
    "greedy coreset": partial(_on_subpool, partial(_GreedyCoreset, "euclidean")),
    "lightweight coreset": small_text.LightweightCoreset,
    "embedding k-means": small_text.EmbeddingKMeans,
    "contrastive": partial(_on_subpool, partial(small_text.ContrastiveActiveLearning, pbar=None)),
    "discriminative": partial(
        _on_subpool, partial(small_text.DiscriminativeActiveLearning, _Discriminator(), 5, pbar=None)
    ),
}
"""Of small-text 1.4.1's strategies for one label a text. Not here: BALD (wants dropout), SEALS and AnchorSubsampling
(want hnswlib, and choose a subpool for another strategy)."""


def _theirs(make: Callable[[], Any], now: Situation) -> Ints:
    np.random.seed(now.seed % 2**32)  # small-text draws from numpy's global chance
    dataset = SklearnDataset(now.x, np.zeros(len(now.x), dtype=np.int64), target_labels=np.array([0, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = make().query(_Asked(now.head), dataset, now.unlabelled, now.labelled, now.y.astype(np.int64), n=now.k)
    return np.asarray(chosen, dtype=np.int64)

"""Rejection sampling: draw completions until the classifier accepts one (paper, A.2)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.classifiers.base import Classifier
from engine.errors import BadInput
from engine.generation.base import Generator
from engine.generation.chance import child_seed
from engine.progress import Progress, silent
from engine.snippets import Snippet


class Sampled(NamedTuple):
    """What the filtered generator answers to one prompt."""

    completion: str | None
    """The first accepted completion, or None when all draws were rejected."""
    draws: int
    """Draws up to and including the accepted one; all of them when none was."""
    logit: float
    """Of the accepted completion; NaN when none was."""
    rejected: tuple[float, ...] = ()
    """Logits of the draws before it, in order, or of all; +inf for an empty completion, which is never scored."""


class Filter(NamedTuple):
    """A classifier at a threshold, through which completions come one by one."""

    classifier: Classifier
    threshold: float


def logit_cutoff(threshold: float) -> np.float32:
    """The logit a completion must stay below to be accepted at `threshold`; -inf at 0, +inf at 1.

    Raises BadInput outside [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise BadInput(f"must be between 0 and 1, not {threshold}", where="threshold")
    if threshold in (0, 1):
        return np.float32(-math.inf if threshold == 0 else math.inf)
    return np.float32(math.log(threshold) - math.log1p(-threshold))


def accepts(logits: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Whether completions with these logits are accepted, of their shape: the one rule, score < threshold.

    Compared as logits in fp32, where scores near 0 or 1 still differ. NaN is rejected. Raises BadInput for a threshold
    outside [0, 1].
    """
    return np.asarray(np.asarray(logits, dtype=np.float32) < logit_cutoff(threshold))


def rejection_stream(
    prompts: Iterable[str],
    generator: Generator,
    classifier: Classifier,
    threshold: float,
    *,
    seed: int,
    max_draws: int = 100,
    at_once: int = 256,
    first: int = 0,
    progress: Progress = silent,
) -> Iterator[list[Sampled]]:
    """What `rejection_sample` says to a stream of prompts, `at_once` at a time, in order; holds no more of them.

    `first` is the number of the first prompt, a multiple of `at_once`: what was broken off goes on from any list's
    beginning with the same draws. A prompt that comes twice gets two independent answers. `progress` counts prompts
    within the list at hand.
    """
    if first % at_once:
        raise ValueError(f"first must be a multiple of {at_once}, not {first}")
    source = iter(prompts)
    while chunk := list(islice(source, at_once)):
        chance = child_seed(seed, "stream", first)
        yield rejection_sample(
            chunk, generator, classifier, threshold, seed=chance, max_draws=max_draws, progress=progress
        )
        first += len(chunk)


def rejection_sample(
    prompts: Sequence[str],
    generator: Generator,
    classifier: Classifier,
    threshold: float,
    *,
    seed: int,
    max_draws: int = 100,
    progress: Progress = silent,
) -> list[Sampled]:
    """The first of up to `max_draws` completions of each prompt whose score is strictly below `threshold`.

    Rounds of 1, 2, 4, ... draws go to all prompts still open, so that classifier batches stay full; at most half of
    the draws made are thrown away. Within a round equal completions of a prompt are scored once. An empty completion
    is a rejected draw. `progress` counts prompts that have their answer.
    """
    filters = [Filter(classifier, threshold)]
    return shared_sample(prompts, generator, filters, seed=seed, max_draws=max_draws, progress=progress)[0]


def shared_sample(
    prompts: Sequence[str],
    generator: Generator,
    filters: Sequence[Filter],
    *,
    seed: int,
    max_draws: int = 100,
    progress: Progress = silent,
) -> list[list[Sampled]]:
    """As `rejection_sample` by each of several filters on the same stream of proposals: by filter, then by prompt.

    Two filters' answers to a prompt are the same draw unless they decide otherwise on one of the draws up to it
    (coupling by common random numbers). A draw is scored by the filters that have no answer yet. `progress` counts
    prompts that have all their answers.
    """
    for one in filters:
        logit_cutoff(one.threshold)  # wrong, it is to be said before anything is drawn
    answers: list[dict[int, Sampled]] = [{} for _ in filters]
    rejected: list[list[list[float]]] = [[[] for _ in prompts] for _ in filters]
    drawn, still_open = 0, list(range(len(prompts)))

    def tick(done: int, total: int) -> None:
        progress(len(prompts) - len(still_open), len(prompts))

    while drawn < max_draws and still_open:
        n = min(max(1, drawn + 1), max_draws - drawn)
        asked = [prompts[i] for i in still_open]
        proposals = dict(
            zip(still_open, generator.complete(asked, n, seed=child_seed(seed, "rejection", drawn), progress=tick),
                strict=True)
        )  # fmt: skip
        for one, found, before in zip(filters, answers, rejected, strict=True):
            mine = [i for i in still_open if i not in found]
            if not mine:
                continue
            logits = _score([prompts[i] for i in mine], [proposals[i] for i in mine], one.classifier, tick)
            _decide(mine, proposals, logits, one.threshold, found, before)
        drawn += n
        still_open = [i for i in still_open if not all(i in found for found in answers)]
        tick(0, 0)
    return [
        [found.get(i, Sampled(None, drawn, math.nan, tuple(before[i]))) for i in range(len(prompts))]
        for found, before in zip(answers, rejected, strict=True)
    ]


def _decide(
    indices: Sequence[int],
    proposals: Mapping[int, Sequence[str]],
    logits: NDArray[np.float32],
    threshold: float,
    answers: dict[int, Sampled],
    rejected: Sequence[list[float]],
) -> None:
    """Adds the first accepted proposal of each of these prompts to `answers`, and what came before it to `rejected`."""
    accepted = accepts(logits, threshold)
    for row, index in enumerate(indices):
        n = len(proposals[index])
        first = int(accepted[row].argmax()) if accepted[row].any() else n
        rejected[index] += map(float, logits[row, :first])
        if first < n:
            before = tuple(rejected[index])
            answers[index] = Sampled(proposals[index][first], len(before) + 1, float(logits[row, first]), before)


def _score(
    prompts: Sequence[str], proposals: Sequence[Sequence[str]], classifier: Classifier, progress: Progress
) -> NDArray[np.float32]:
    """Logits (prompts, n); +inf for empty completions. Each distinct snippet is scored once."""
    snippets = [Snippet(p, c) for p, row in zip(prompts, proposals, strict=True) for c in row]
    distinct = list(dict.fromkeys(s for s in snippets if s.completion))
    known = dict(zip(distinct, classifier.logits(distinct, progress=progress), strict=True)) if distinct else {}
    flat = [known.get(s, np.float32(math.inf)) for s in snippets]
    return np.asarray(flat, dtype=np.float32).reshape(len(prompts), -1)

"""The paraphrase attack: reword known failures until some pass the classifier (paper, 4.3.2 and A.6)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.stats import beta

from engine.attacks.base import Ask, Paraphraser, draw_many
from engine.attacks.novelty import Novelty
from engine.classifiers.base import Classifier
from engine.generation.chance import child_seed
from engine.generation.rejection import logit_cutoff
from engine.progress import Progress, silent
from engine.snippets import Snippet, SnippetRules, refusals

Stop = Literal["most_kept", "least_kept", "all_drawn", "low_yield", "nothing_new", "query_budget", "time_budget"]


class ParaphraseSettings(BaseModel):
    """How long a seed is attacked, and what is kept. Defaults: the paper's 5 to 10, methods E.1 for the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    most: int = Field(10, ge=1)
    """A seed is done when so many are kept."""
    least: int = Field(5, ge=1)
    """A seed is also done when so many are kept after `least_draws`."""
    least_draws: int = Field(64, ge=1)
    max_draws: int = Field(200, ge=1)
    batch: int = Field(16, ge=1)
    """Paraphrases asked for at a time."""
    min_acceptance: float = Field(0.02, ge=0, le=1)
    """A seed is given up when the upper 95 % limit of its acceptance rate falls below."""
    near_duplicate_jaccard: float = Field(0.7, ge=0, le=1)
    """Word 5-gram overlap with the seed or a kept paraphrase above which a paraphrase is nothing new."""
    near_duplicate_cosine: float | None = Field(None, ge=-1, le=1)
    """Also by cosine of sentence embeddings; None: not looked at."""
    query_budget: int | None = Field(None, ge=0)
    """Classifier scores for the whole attack."""
    time_budget_s: float | None = Field(None, gt=0)
    seeds_at_once: int = Field(64, ge=1)
    """Seeds attacked side by side, so that classifier batches are full."""
    keep_all: bool = False
    """Keep what the classifier rejects too: for a held-out set that favours no classifier."""

    @model_validator(mode="after")
    def _in_order(self) -> ParaphraseSettings:
        if self.least > self.most:
            raise ValueError(f"least: {self.least} is above most: {self.most}")
        return self


class Candidate(NamedTuple):
    """A kept paraphrase."""

    seed_index: int
    snippet: Snippet
    logit: float
    """NaN where no classifier was asked."""


@dataclass(slots=True)
class SeedOutcome:
    """What the attack on one seed came to."""

    drawn: int = 0
    invalid: int = 0
    duplicates: int = 0
    scored: int = 0
    accepted: int = 0
    """Scored below the threshold; more than `kept` where duplicates or the limit took some."""
    kept: int = 0
    stop: Stop | None = None


class ParaphraseOutcome(NamedTuple):
    """All candidates, by seed and then in the order drawn, and how each seed fared."""

    candidates: list[Candidate]
    seeds: list[SeedOutcome]

    @property
    def acceptance(self) -> float:
        """Accepted among scored, over all seeds: itself a measure of robustness. NaN when nothing was scored."""
        scored = sum(s.scored for s in self.seeds)
        return sum(s.accepted for s in self.seeds) / scored if scored else math.nan


@dataclass(slots=True)
class _Attack:
    """One seed under attack."""

    index: int
    snippet: Snippet
    novelty: Novelty
    outcome: SeedOutcome
    kept: list[Candidate] = field(default_factory=list)
    idle: int = 0
    """Rounds in a row that brought nothing to score."""


def paraphrase(
    seeds: Sequence[Snippet],
    paraphraser: Paraphraser,
    classifier: Classifier | None,
    threshold: float,
    settings: ParaphraseSettings,
    *,
    rules: SnippetRules,
    seed: int,
    progress: Progress = silent,
) -> ParaphraseOutcome:
    """Paraphrases of `seeds` that are valid by `rules`, new, and accepted (logit below the threshold's, strictly).

    Draws for one seed depend on `seed` and its text only. Seeds are attacked `seeds_at_once` side by side, one
    classifier call a round for all. `classifier` may be None with `keep_all`. `progress` counts seeds that are done.
    Raises BadInput for a threshold outside [0, 1] and what the paraphraser and classifier raise.
    """
    if classifier is None and not settings.keep_all:
        raise ValueError("a classifier is wanted unless keep_all is set")
    cutoff = logit_cutoff(threshold)
    limit = _Budget(settings)
    attacks = [_Attack(i, s, Novelty(s, settings), SeedOutcome()) for i, s in enumerate(seeds)]
    seen = {s.content_hash for s in seeds}
    waiting = list(reversed(attacks))
    active: list[_Attack] = []
    while waiting or active:
        while waiting and len(active) < settings.seeds_at_once:
            active.append(waiting.pop())
        done = len(seeds) - len(waiting) - len(active)

        def tick(_done: int, _total: int, done: int = done) -> None:
            progress(done, len(seeds))

        fresh = _draw(active, paraphraser, classifier, settings, rules, seen, seed, tick)
        _judge(fresh, classifier, cutoff, settings, limit, tick)
        for attack in active:
            attack.outcome.stop = _stop(attack, settings) or limit.reached()
        active = [a for a in active if a.outcome.stop is None]
        progress(len(seeds) - len(waiting) - len(active), len(seeds))
    return ParaphraseOutcome([c for a in attacks for c in a.kept], [a.outcome for a in attacks])


class _Budget:
    """What the whole attack may cost."""

    def __init__(self, settings: ParaphraseSettings) -> None:
        self.queries = settings.query_budget
        self.ends = None if settings.time_budget_s is None else time.monotonic() + settings.time_budget_s

    def spend(self, queries: int) -> None:
        if self.queries is not None:
            self.queries -= queries

    def reached(self) -> Stop | None:
        if self.queries is not None and self.queries <= 0:
            return "query_budget"
        return "time_budget" if self.ends is not None and time.monotonic() >= self.ends else None


def _draw(
    active: Sequence[_Attack],
    paraphraser: Paraphraser,
    classifier: Classifier | None,
    settings: ParaphraseSettings,
    rules: SnippetRules,
    seen: set[str],
    seed: int,
    progress: Progress,
) -> list[tuple[_Attack, Snippet]]:
    """One batch for each active seed, without what is invalid or not new; adds to `seen`."""
    asks = [
        Ask(a.snippet, min(settings.batch, settings.max_draws - a.outcome.drawn), _draw_seed(seed, a)) for a in active
    ]
    fresh: list[tuple[_Attack, Snippet]] = []
    for attack, drawn in zip(active, draw_many(paraphraser, asks, progress=progress), strict=True):
        before = len(fresh)
        attack.outcome.drawn += len(drawn)
        for snippet in drawn:
            if refusals(snippet, rules, count_tokens=classifier.count_tokens if classifier else None):
                attack.outcome.invalid += 1
            elif snippet.content_hash in seen or not attack.novelty.is_new(snippet):
                attack.outcome.duplicates += 1
            else:
                fresh.append((attack, snippet))
            seen.add(snippet.content_hash)
        attack.idle = attack.idle + 1 if len(fresh) == before else 0
    return fresh


def _draw_seed(seed: int, attack: _Attack) -> int:
    return child_seed(seed, "paraphrase", attack.snippet.content_hash, attack.outcome.drawn, attack.idle)


def _judge(
    fresh: list[tuple[_Attack, Snippet]],
    classifier: Classifier | None,
    cutoff: np.float32,
    settings: ParaphraseSettings,
    limit: _Budget,
    progress: Progress,
) -> None:
    """Score what was drawn, all seeds in one call, and keep what is accepted and still new."""
    if limit.queries is not None and classifier is not None:
        fresh = fresh[: max(0, limit.queries)]
    if not fresh:
        return
    logits = np.full(len(fresh), math.nan, dtype=np.float32)
    if classifier is not None:
        logits = classifier.logits([snippet for _, snippet in fresh], progress=progress)
        limit.spend(len(fresh))
    for (attack, snippet), logit in zip(fresh, logits, strict=True):
        outcome = attack.outcome
        outcome.scored += classifier is not None
        outcome.accepted += bool(logit < cutoff)
        if not (settings.keep_all or logit < cutoff) or outcome.kept >= settings.most:
            continue
        if attack.novelty.is_new(snippet):
            attack.novelty.add(snippet)
            attack.kept.append(Candidate(attack.index, snippet, float(logit)))
            outcome.kept += 1
        else:
            outcome.duplicates += 1


def _stop(attack: _Attack, settings: ParaphraseSettings) -> Stop | None:
    outcome = attack.outcome
    if outcome.kept >= settings.most:
        return "most_kept"
    if outcome.kept >= settings.least and outcome.drawn >= settings.least_draws:
        return "least_kept"
    if outcome.drawn >= settings.max_draws:
        return "all_drawn"
    if attack.idle >= 3:
        return "nothing_new"
    if not settings.keep_all and acceptance_limit(outcome.accepted, outcome.scored) < settings.min_acceptance:
        return "low_yield"
    return None


def acceptance_limit(accepted: int, scored: int) -> float:
    """Upper one-sided 95 % Clopper-Pearson limit of an acceptance rate; 1 when nothing was scored."""
    if accepted >= scored:
        return 1.0
    return float(beta.ppf(0.95, accepted + 1, scored - accepted))

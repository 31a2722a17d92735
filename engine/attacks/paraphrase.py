"""The paraphrase attack: reword known failures until some pass the classifier (paper, 4.3.2 and A.6)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import betaincinv

from engine import embeddings
from engine.attacks.base import Ask, Paraphraser, draw_many
from engine.attacks.novelty import Novelty
from engine.classifiers.base import Classifier
from engine.generation.chance import child_seed
from engine.generation.rejection import logit_cutoff
from engine.progress import Progress, silent
from engine.snippets import Snippet, SnippetRules, refusals

_IDLE_ROUNDS = 3
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
    """Also by cosine of MiniLM's sentence embeddings (about 10 ms a paraphrase); None: not looked at."""
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

    def keep(self, snippet: Snippet, logit: float) -> None:
        """Among the candidates, unless too near one of them."""
        if self.novelty.is_new(snippet):
            self.novelty.add(snippet)
            self.kept.append(Candidate(self.index, snippet, logit))
            self.outcome.kept += 1
        else:
            self.outcome.duplicates += 1


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
    encoder = None if settings.near_duplicate_cosine is None else embeddings.SentenceEncoder()
    attacks = [_Attack(i, s, Novelty(s, settings, encoder), SeedOutcome()) for i, s in enumerate(seeds)]
    run = _Run(paraphraser, classifier, logit_cutoff(threshold), settings, rules, seed, {s.content_hash for s in seeds})
    while pending := [a for a in attacks if a.outcome.stop is None]:
        tick = partial(_tell, progress, len(seeds) - len(pending), len(seeds))
        active = pending[: settings.seeds_at_once]
        run.judge(run.draw(active, tick), tick)
        spent = run.spent()
        for attack in pending if spent else active:
            attack.outcome.stop = _stop(attack, settings) or spent
        tick()
    progress(len(seeds), len(seeds))
    return ParaphraseOutcome([c for a in attacks for c in a.kept], [a.outcome for a in attacks])


def acceptance_limit(accepted: int, scored: int) -> float:
    """Upper one-sided 95 % Clopper-Pearson limit of an acceptance rate; 1 when nothing was scored."""
    return 1.0 if accepted >= scored else float(betaincinv(accepted + 1, scored - accepted, 0.95))


class _Run:
    """One call of the attack: whom it asks, what it has seen, what it may still spend."""

    def __init__(
        self,
        paraphraser: Paraphraser,
        classifier: Classifier | None,
        cutoff: np.float32,
        settings: ParaphraseSettings,
        rules: SnippetRules,
        seed: int,
        seen: set[str],
    ) -> None:
        self._paraphraser = paraphraser
        self._classifier = classifier
        self._cutoff = cutoff
        self._settings = settings
        self._rules = rules
        self._seed = seed
        self._seen = seen
        self._queries = settings.query_budget
        self._ends = math.inf if settings.time_budget_s is None else time.monotonic() + settings.time_budget_s

    def spent(self) -> Stop | None:
        """Which budget is used up."""
        if self._queries is not None and self._queries <= 0:
            return "query_budget"
        return "time_budget" if time.monotonic() >= self._ends else None

    def draw(self, active: Sequence[_Attack], progress: Progress) -> list[tuple[_Attack, Snippet]]:
        """One batch for each active seed, without what is invalid or not new."""
        most = self._settings.max_draws
        asks = [Ask(a.snippet, min(self._settings.batch, most - a.outcome.drawn), self._seed_of(a)) for a in active]
        fresh: list[tuple[_Attack, Snippet]] = []
        for attack, drawn in zip(active, draw_many(self._paraphraser, asks, progress=progress), strict=True):
            attack.outcome.drawn += len(drawn)
            new = [snippet for snippet in drawn if self._is_new(attack, snippet)]
            attack.idle = 0 if new else attack.idle + 1
            fresh.extend((attack, snippet) for snippet in new)
        return fresh if self._queries is None or self._classifier is None else fresh[: self._queries]

    def judge(self, fresh: Sequence[tuple[_Attack, Snippet]], progress: Progress) -> None:
        """Score what was drawn, all seeds in one call, and keep what is accepted and still new."""
        logits = np.full(len(fresh), math.nan, dtype=np.float32)
        if self._classifier is not None and fresh:
            logits = self._classifier.logits([snippet for _, snippet in fresh], progress=progress)
            self._queries = None if self._queries is None else self._queries - len(fresh)
        for (attack, snippet), logit in zip(fresh, logits, strict=True):
            accepted = bool(logit < self._cutoff)
            attack.outcome.scored += self._classifier is not None
            attack.outcome.accepted += accepted
            if (accepted or self._settings.keep_all) and attack.outcome.kept < self._settings.most:
                attack.keep(snippet, float(logit))

    def _is_new(self, attack: _Attack, snippet: Snippet) -> bool:
        """Whether a drawn snippet is worth scoring; counts it where it is not."""
        count = self._classifier.count_tokens if self._classifier else None
        first_seen = snippet.content_hash not in self._seen
        self._seen.add(snippet.content_hash)
        if refusals(snippet, self._rules, count_tokens=count):
            attack.outcome.invalid += 1
            return False
        if not first_seen or not attack.novelty.is_new(snippet):
            attack.outcome.duplicates += 1
            return False
        return True

    def _seed_of(self, attack: _Attack) -> int:
        return child_seed(self._seed, attack.snippet.content_hash, attack.outcome.drawn, attack.idle)


def _tell(progress: Progress, done: int, total: int, *_: int) -> None:
    """Report seeds, whatever the work inside counts."""
    progress(done, total)


def _stop(attack: _Attack, settings: ParaphraseSettings) -> Stop | None:
    outcome = attack.outcome
    if outcome.kept >= settings.most:
        return "most_kept"
    if outcome.kept >= settings.least and outcome.drawn >= settings.least_draws:
        return "least_kept"
    if outcome.drawn >= settings.max_draws:
        return "all_drawn"
    if attack.idle >= _IDLE_ROUNDS:
        return "nothing_new"
    if not settings.keep_all and acceptance_limit(outcome.accepted, outcome.scored) < settings.min_acceptance:
        return "low_yield"
    return None

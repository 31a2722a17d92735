"""The paraphrase attack: reword known failures until some pass the classifier (paper, 4.3.2 and A.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import betaincinv

from engine import embeddings
from engine.attacks.base import Budget, Candidate, Meter, Outcome, SeedOutcome, Stop, Target, stop_of, with_similarity
from engine.attacks.novelty import Novelty
from engine.attacks.paraphrasers.base import Ask, Paraphraser, draw_many
from engine.config import Named
from engine.errors import BudgetSpent
from engine.generation.chance import child_seed
from engine.generation.rejection import logit_cutoff
from engine.progress import Progress, silent
from engine.snippets import Snippet, SnippetRules, refusals

if TYPE_CHECKING:
    from engine.classifiers.base import Classifier

_IDLE_ROUNDS = 3


class ParaphraseSettings(BaseModel):
    """How long a seed is attacked, and what is kept. Defaults: the paper's 5 to 10, methods E.1 for the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paraphraser: Named = Named(name="embedded")
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
    seeds_at_once: int = Field(64, ge=1)
    """Seeds attacked side by side, so that classifier batches are full."""

    @model_validator(mode="before")
    @classmethod
    def _least_follows(cls, data: Any) -> Any:
        """Who asks for fewer than the default least wants no more than those."""
        if isinstance(data, dict) and isinstance(most := data.get("most"), int) and "least" not in data:
            return {**data, "least": max(1, min(5, most))}
        return data

    @model_validator(mode="after")
    def _in_order(self) -> ParaphraseSettings:
        if self.least > self.most:
            raise ValueError(f"least: {self.least} is above most: {self.most}")
        return self


@dataclass(frozen=True, slots=True)
class ParaphraseAttack:
    """Rewords each seed with one paraphraser, and keeps what the classifier accepts."""

    paraphraser: Paraphraser
    settings: ParaphraseSettings

    def run(
        self, seeds: Sequence[Snippet], target: Target, budget: Budget, *, seed: int, progress: Progress = silent
    ) -> Outcome:
        """As the protocol says. Draws for one seed depend on `seed` and its text only; one classifier call a round."""
        rules = target.policy.snippet_rules
        meter = Meter(budget)
        run = _Run(self.paraphraser, self.settings, rules, seed, meter, target.classifier, target.threshold)
        attacks = _attack(seeds, run, progress)
        found = with_similarity([one for attack in attacks for one in attack.kept], seeds, target)
        return Outcome(found, [attack.outcome for attack in attacks], meter.queries, meter.seconds)


def retell(
    seeds: Sequence[Snippet],
    paraphraser: Paraphraser,
    draws: int,
    *,
    rules: SnippetRules,
    seed: int,
    progress: Progress = silent,
) -> list[Candidate]:
    """Up to `draws` paraphrases of each seed, valid by `rules` and new, whoever accepts them: a held-out set that
    favours no classifier. Their logits are NaN.
    """
    settings = ParaphraseSettings(most=draws, least=1, least_draws=draws, max_draws=draws, batch=draws)
    run = _Run(paraphraser, settings, rules, seed, Meter(Budget()), None, 1.0)
    return [one for attack in _attack(seeds, run, progress) for one in attack.kept]


def acceptance_limit(accepted: int, scored: int) -> float:
    """Upper one-sided 95 % Clopper-Pearson limit of an acceptance rate; 1 when nothing was scored."""
    return 1.0 if accepted >= scored else float(betaincinv(accepted + 1, scored - accepted, 0.95))


@dataclass(slots=True)
class _Seed:
    """One seed under attack."""

    index: int
    snippet: Snippet
    novelty: Novelty
    outcome: SeedOutcome = field(default_factory=SeedOutcome)
    kept: list[Candidate] = field(default_factory=list)
    idle: int = 0
    """Rounds in a row that brought nothing to score."""

    def keep(self, snippet: Snippet, logit: float) -> None:
        """Among the candidates, unless too near one of them."""
        if self.novelty.is_new(snippet):
            self.novelty.add(snippet)
            self.kept.append(Candidate(self.index, snippet, logit, queries=self.outcome.queries))
            self.outcome.kept += 1
        else:
            self.outcome.duplicates += 1


def _attack(seeds: Sequence[Snippet], run: _Run, progress: Progress) -> list[_Seed]:
    settings = run.settings
    encoder = None if settings.near_duplicate_cosine is None else embeddings.SentenceEncoder()
    attacks = [_Seed(i, s, Novelty(s, settings, encoder)) for i, s in enumerate(seeds)]
    run.seen |= {s.content_hash for s in seeds}
    while pending := [a for a in attacks if a.outcome.stop is None]:
        tick = partial(_tell, progress, len(seeds) - len(pending), len(seeds))
        active = pending[: settings.seeds_at_once]
        if not run.spent():
            run.judge(run.draw(active, tick), tick)
        spent = run.spent()
        for attack in pending if spent else active:
            stop = run.stop(attack)
            attack.outcome.stop = stop if stop == "enough" or not spent else spent
        tick()
    progress(len(seeds), len(seeds))
    return attacks


class _Run:
    """One call of the attack: whom it asks, what it has seen, what it may still spend."""

    def __init__(
        self,
        paraphraser: Paraphraser,
        settings: ParaphraseSettings,
        rules: SnippetRules,
        seed: int,
        meter: Meter,
        classifier: Classifier | None,
        threshold: float,
    ) -> None:
        self.settings = settings
        self.seen: set[str] = set()
        self._paraphraser = paraphraser
        self._rules = rules
        self._seed = seed
        self._meter = meter
        self._classifier = classifier
        self._cutoff = logit_cutoff(threshold)
        self._unpaid: BudgetSpent | None = None

    def spent(self) -> Stop | None:
        """Which budget is used up."""
        if self._unpaid is not None:
            return stop_of(self._unpaid)
        return self._meter.spent()

    def draw(self, active: Sequence[_Seed], progress: Progress) -> list[tuple[_Seed, Snippet]]:
        """One batch for each active seed, without what is invalid or not new."""
        most = self.settings.max_draws
        asks = [Ask(a.snippet, min(self.settings.batch, most - a.outcome.drawn), self._seed_of(a)) for a in active]
        fresh: list[tuple[_Seed, Snippet]] = []
        for attack, drawn in zip(active, draw_many(self._paraphraser, asks, progress=progress), strict=True):
            if isinstance(drawn, BudgetSpent):
                self._unpaid = drawn
                continue
            attack.outcome.drawn += len(drawn)
            new = [snippet for snippet in drawn if self._is_new(attack, snippet)]
            attack.idle = 0 if new else attack.idle + 1
            fresh.extend((attack, snippet) for snippet in new)
        return fresh if self._classifier is None else fresh[: self._meter.left]

    def judge(self, fresh: Sequence[tuple[_Seed, Snippet]], progress: Progress) -> None:
        """Score what was drawn, all seeds in one call, and keep what is accepted and still new."""
        logits = np.full(len(fresh), math.nan, dtype=np.float32)
        if self._classifier is not None and fresh:
            self._meter.pays(len(fresh))
            logits = self._classifier.logits([snippet for _, snippet in fresh], progress=progress)
        for (attack, snippet), logit in zip(fresh, logits, strict=True):
            accepted = bool(logit < self._cutoff)
            attack.outcome.queries += self._classifier is not None
            attack.outcome.accepted += accepted
            if (accepted or self._classifier is None) and attack.outcome.kept < self.settings.most:
                attack.keep(snippet, float(logit))

    def stop(self, attack: _Seed) -> Stop | None:
        """Why the attack on a seed ends now, if it does."""
        outcome, settings = attack.outcome, self.settings
        if outcome.kept >= settings.most:
            return "enough"
        if outcome.kept >= settings.least and outcome.drawn >= settings.least_draws:
            return "enough"
        if outcome.drawn >= settings.max_draws or attack.idle >= _IDLE_ROUNDS:
            return "searched"
        if self._classifier is None:
            return None
        limit = acceptance_limit(outcome.accepted, outcome.queries)
        return "low_yield" if limit < settings.min_acceptance else None

    def _is_new(self, attack: _Seed, snippet: Snippet) -> bool:
        """Whether a drawn snippet is worth scoring; counts it where it is not."""
        count = self._classifier.count_tokens if self._classifier else None
        first_seen = snippet.content_hash not in self.seen
        self.seen.add(snippet.content_hash)
        if refusals(snippet, self._rules, count_tokens=count):
            attack.outcome.invalid += 1
            return False
        if not first_seen or not attack.novelty.is_new(snippet):
            attack.outcome.duplicates += 1
            return False
        return True

    def _seed_of(self, attack: _Seed) -> int:
        return child_seed(self._seed, attack.snippet.content_hash, attack.outcome.drawn, attack.idle)


def _tell(progress: Progress, done: int, total: int, *_: int) -> None:
    """Report seeds, whatever the work inside counts."""
    progress(done, total)

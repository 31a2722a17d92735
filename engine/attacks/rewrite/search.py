"""The rewrite search over many seeds at once: edits that make a classifier accept a failure and keep it one.

It is the paper's tool-assisted rewriting (4.3.3) without the person.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.attacks.base import (
    Budget,
    Candidate,
    Encoder,
    Meter,
    Outcome,
    SeedOutcome,
    Stop,
    Target,
    stop_of,
    with_similarity,
)
from engine.attacks.language_models import Likelihood, language_model
from engine.attacks.rewrite.base import Ask, Found, Goal, Plan, State
from engine.attacks.rewrite.constraints import CHECKS, CONSTRAINTS
from engine.attacks.rewrite.moves import MOVES
from engine.attacks.rewrite.recipes import Recipe, RewriteSettings
from engine.attacks.rewrite.searches import SEARCHES
from engine.attacks.substitution.base import CandidateSource
from engine.attacks.substitution.suggest import SubstitutionEngine
from engine.attacks.substitution.words import Slot
from engine.errors import BudgetSpent
from engine.generation.rejection import logit_cutoff
from engine.progress import Progress, silent
from engine.snippets import Snippet, refusals


@dataclass(frozen=True, slots=True)
class RewriteAttack:
    """Searches for edits of each seed by one recipe."""

    settings: RewriteSettings
    source: CandidateSource

    def run(
        self, seeds: Sequence[Snippet], target: Target, budget: Budget, *, seed: int, progress: Progress = silent
    ) -> Outcome:
        """As the protocol says; there is no chance in it, so `seed` changes nothing."""
        engine = SubstitutionEngine(target.white_box(), target.classifier, self.source)
        found = rewrite_search(
            seeds, engine, target, self.settings, budget=budget, at_once=self.settings.at_once, progress=progress
        )
        return found._replace(candidates=with_similarity(found.candidates, seeds, target))


def rewrite_search(
    seeds: Sequence[Snippet],
    engine: SubstitutionEngine,
    target: Target,
    recipe: Recipe,
    *,
    budget: Budget | None = None,
    protected: Sequence[Sequence[Slot]] | None = None,
    at_once: int = 16,
    progress: Progress = silent,
) -> Outcome:
    """Rewritings of `seeds` that the target accepts, valid, and within the recipe's limits; without similarities.

    Seeds are searched nearest to the threshold first, `at_once` side by side, their texts in the classifier's same
    batches; what is found for a seed does not depend on the others unless a budget ends, or unless another seed's
    search came to the same text first. `protected`: spans of each seed's completion that are not touched.
    Deterministic. Raises BadInput for a threshold outside [0, 1].
    """
    meter = Meter(budget or Budget())
    run, plan = _Run(engine, target.encoder, meter), _plan(engine, target, recipe)
    runs = [_Seed(i, seed, (protected or [()] * len(seeds))[i], recipe.wanted) for i, seed in enumerate(seeds)]
    for one, logit in zip(runs, run.first_logits(seeds), strict=True):
        one.begin(logit, plan, recipe, run.spent)
    waiting = sorted((one for one in runs if one.steps), key=lambda one: one.outcome.logit)
    active: list[_Seed] = []
    while waiting or active:
        while waiting and len(active) < at_once:
            active.append(waiting.pop(0))
        run.step(active)
        if run.spent:
            for one in [*active, *waiting]:
                one.end(run.spent)
            waiting = []
        active = [one for one in active if one.outcome.stop is None]
        progress(sum(one.outcome.stop is not None for one in runs), len(runs))
    progress(len(runs), len(runs))
    return Outcome(_once(runs), [one.outcome for one in runs], meter.queries, meter.seconds)


_STUTTER = re.compile(r"\b(\w+)\s+\1\b", re.IGNORECASE)
"""A word twice in a row: nobody writes that."""


def _plan(engine: SubstitutionEngine, target: Target, recipe: Recipe) -> Plan:
    policy = target.policy
    limits = {name: value for name, value in recipe.constraints if value is not None}

    def valid(seed: Snippet, state: State) -> bool:
        if _STUTTER.search(state.snippet.completion) and not _STUTTER.search(seed.completion):
            return False
        return not refusals(state.snippet, policy.snippet_rules, count_tokens=target.classifier.count_tokens)

    return Plan(
        goal=Goal(logit_cutoff(target.threshold), recipe.wanted),
        moves=[MOVES[name] for name in recipe.moves],
        checks=[*(CHECKS[name](policy, value) for name, value in limits.items() if name in CHECKS), valid],
        constraints=[CONSTRAINTS[name](policy, value) for name, value in limits.items() if name in CONSTRAINTS],
        engine=engine,
        candidates=recipe.candidates,
        tried=recipe.tried,
        width=recipe.width,
        max_edits=recipe.max_edits,
        give_up=recipe.give_up,
    )


def _once(runs: Sequence[_Seed]) -> list[Candidate]:
    """All finds by seed; what two seeds came to is the first one's."""
    seen = {one.snippet.content_hash for one in runs}
    kept: list[Candidate] = []
    for one in runs:
        for candidate in one.found:
            key = candidate.snippet.content_hash
            if key in seen:
                one.outcome.kept -= 1
                one.outcome.duplicates += 1
            else:
                seen.add(key)
                kept.append(candidate)
    return kept


@dataclass(slots=True)
class _Seed:
    """One seed's search on its way."""

    index: int
    snippet: Snippet
    protected: Sequence[Slot]
    wanted: int
    outcome: SeedOutcome = field(default_factory=SeedOutcome)
    found: list[Candidate] = field(default_factory=list)
    steps: Generator[Ask | Found, Any, None] | None = None
    ask: Ask | None = None

    def begin(self, logit: float | None, plan: Plan, recipe: Recipe, spent: Stop | None) -> None:
        """Starts the search, or says why there is none."""
        if logit is None:
            self.outcome.stop = spent or "query_budget"
            return
        self.outcome.logit, self.outcome.queries = logit, 1
        start = State(self.snippet, logit, closed=tuple(self.protected))
        if plan.goal.reached(start):
            self.outcome.stop = "accepted_already"
            return
        self.steps = SEARCHES[recipe.search](start, plan)
        self.go_on(None)

    def end(self, stop: Stop) -> None:
        """Ends the search where it is."""
        if self.outcome.stop is None:
            self.outcome.stop = stop
        if self.steps is not None:
            self.steps.close()

    def go_on(self, answer: object) -> None:
        """Sends the answer to what was asked; goes on to the next question or the end."""
        assert self.steps is not None
        try:
            step = self.steps.send(answer)
            while isinstance(step, Found):
                state, queries = step.state, self.outcome.queries
                self.found.append(Candidate(self.index, state.snippet, state.logit, state.edits, queries))
                self.outcome.accepted += 1
                self.outcome.kept += 1
                step = next(self.steps)
            self.ask = step
        except StopIteration:
            self.outcome.stop = "enough" if self.outcome.kept >= self.wanted else "searched"


class _Run:
    """Answers what the searches ask, those of one kind together, and counts what it costs."""

    def __init__(self, engine: SubstitutionEngine, encoder: Callable[[], Encoder], meter: Meter) -> None:
        self._engine = engine
        self._encoder = encoder
        self._meter = meter
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._likelihoods: dict[tuple[str, str], Likelihood] = {}
        self._asked: set[tuple[str, str]] = set()
        self.spent: Stop | None = None

    def first_logits(self, seeds: Sequence[Snippet]) -> list[float | None]:
        """The margins of as many seeds as the budget has queries for."""
        paid: list[Snippet] = []
        if self._meter.spent() == "time_budget":
            self.spent = "time_budget"
        for seed in seeds:
            if self.spent or not self._pays([seed], "logits"):
                break
            paid.append(seed)
        return [*self._engine.logits(paid), *[None] * (len(seeds) - len(paid))]

    def step(self, active: Sequence[_Seed]) -> None:
        """Answers every search's question, or ends the run where the budget does."""
        if self._meter.spent() == "time_budget":
            self.spent = "time_budget"
            return
        asks = [one.ask for one in active if one.ask is not None]
        paid = 0
        for one, ask in zip(active, asks, strict=True):
            before = self._meter.queries
            if ask.what in ("logits", "gradients") and not self._pays(ask.snippets, ask.what):
                break
            one.outcome.queries += self._meter.queries - before
            paid += 1
        try:
            for one, answer in zip(active, self._answers(asks[:paid]), strict=False):
                one.go_on(answer)
        except BudgetSpent as spent:  # a source of words asks an endpoint
            self.spent = stop_of(spent)

    def _pays(self, snippets: Sequence[Snippet], what: str) -> bool:
        """Takes what the texts cost off the budget, each once; nothing where it does not suffice."""
        new = {(what, one.content_hash) for one in snippets} - self._asked
        if not self._meter.pays(len(new)):
            self.spent = "query_budget"
            return False
        self._asked |= new
        return True

    def _answers(self, asks: Sequence[Ask]) -> list[object]:
        """The answers in order, one call of a model for each kind of question."""
        by_kind: dict[tuple[str, str], list[Snippet]] = {}
        for ask in asks:
            by_kind.setdefault((ask.what, ask.model), []).extend(ask.snippets)
        self._engine.prepare(by_kind.get(("gradients", ""), []))
        logits = iter(self._engine.logits(by_kind.get(("logits", ""), [])))
        self._encode(by_kind.get(("vectors", ""), []))
        for (what, model), snippets in by_kind.items():
            if what == "likelihoods":
                self._read(model, snippets)
        answers: list[object] = []
        for ask in asks:
            if ask.what == "logits":
                answers.append([next(logits) for _ in ask.snippets])
            elif ask.what == "vectors":
                answers.append(np.stack([self._vectors[one.completion] for one in ask.snippets]))
            elif ask.what == "likelihoods":
                answers.append([self._likelihoods[ask.model, one.content_hash] for one in ask.snippets])
            else:
                answers.append(None)
        return answers

    def _encode(self, snippets: Sequence[Snippet]) -> None:
        new = [text for text in dict.fromkeys(one.completion for one in snippets) if text not in self._vectors]
        if new:
            self._vectors |= zip(new, self._encoder().encode(new), strict=True)

    def _read(self, model: str, snippets: Sequence[Snippet]) -> None:
        new = {one.content_hash: one for one in snippets if (model, one.content_hash) not in self._likelihoods}
        for key, found in zip(new, language_model(model).likelihoods(list(new.values())), strict=True):
            self._likelihoods[model, key] = found

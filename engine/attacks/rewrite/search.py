"""The rewrite search over many seeds at once: edits that make a classifier accept a failure and keep it one.

It is the paper's tool-assisted rewriting (4.3.3) without the person.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from engine.attacks.rewrite.base import Ask, Edit, Found, Goal, Plan, State
from engine.attacks.rewrite.constraints import CHECKS, CONSTRAINTS
from engine.attacks.rewrite.moves import MOVES
from engine.attacks.rewrite.recipes import Recipe
from engine.attacks.rewrite.searches import SEARCHES
from engine.attacks.substitution.suggest import SubstitutionEngine
from engine.attacks.substitution.words import Slot
from engine.generation.rejection import logit_cutoff
from engine.policies import Policy
from engine.progress import Progress, silent
from engine.snippets import Snippet

Stop = Literal["most_kept", "accepted_already", "searched", "query_budget", "time_budget"]


class Budget(BaseModel):
    """When an attack ends at the latest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int | None = Field(None, ge=0)
    """Texts that the classifier scores or is asked the gradient of; each text once."""
    seconds: float | None = Field(None, gt=0)


class Rewriting(NamedTuple):
    """A rewriting that the classifier accepts."""

    seed_index: int
    snippet: Snippet
    logit: float
    edits: tuple[Edit, ...]
    queries: int
    """Queries of its seed's search until it was found."""


@dataclass(slots=True)
class Searched:
    """What the search from one seed came to."""

    logit: float = math.nan
    queries: int = 0
    found: int = 0
    stop: Stop | None = None


class RewriteOutcome(NamedTuple):
    """All rewritings, by seed and then in the order found, and how each search went."""

    rewritings: list[Rewriting]
    seeds: list[Searched]
    queries: int
    seconds: float


class Encoder(Protocol):
    """Texts as unit rows."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d)."""
        ...


def rewrite_search(
    seeds: Sequence[Snippet],
    engine: SubstitutionEngine,
    encoder: Encoder,
    threshold: float,
    recipe: Recipe,
    *,
    policy: Policy,
    budget: Budget | None = None,
    protected: Sequence[Sequence[Slot]] | None = None,
    at_once: int = 16,
    progress: Progress = silent,
) -> RewriteOutcome:
    """Rewritings of `seeds` that are accepted at `threshold` (strictly below), valid, and within the recipe's limits.

    Seeds are searched nearest to the threshold first, `at_once` side by side, their texts in the classifier's same
    batches; what is found for a seed does not depend on the others unless a budget ends. `protected`: spans of each
    seed's completion that are not touched. Deterministic. Raises BadInput for a threshold outside [0, 1].
    """
    run = _Run(engine, encoder, budget or Budget())
    plan = _plan(engine, threshold, recipe, policy)
    runs = [_Seed(i, seed, (protected or [()] * len(seeds))[i], recipe.wanted) for i, seed in enumerate(seeds)]
    for one, logit in zip(runs, run.first_logits(seeds), strict=True):
        one.begin(logit, plan, recipe)
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
    return RewriteOutcome(
        [r for one in runs for r in one.found], [one.outcome for one in runs], run.queries, run.seconds
    )


def _plan(engine: SubstitutionEngine, threshold: float, recipe: Recipe, policy: Policy) -> Plan:
    limits = recipe.constraints
    return Plan(
        goal=Goal(logit_cutoff(threshold), recipe.wanted),
        moves=[MOVES[name] for name in recipe.moves],
        checks=[CHECKS[name](policy, value) for name, value in limits.items() if name in CHECKS],
        constraints=[CONSTRAINTS[name](policy, value) for name, value in limits.items() if name in CONSTRAINTS],
        engine=engine,
        candidates=recipe.candidates,
        tried=recipe.tried,
        width=recipe.width,
        max_edits=recipe.max_edits,
    )


@dataclass(slots=True)
class _Seed:
    """One seed's search on its way."""

    index: int
    snippet: Snippet
    protected: Sequence[Slot]
    wanted: int
    outcome: Searched = field(default_factory=Searched)
    found: list[Rewriting] = field(default_factory=list)
    steps: Generator[Ask | Found, Any, None] | None = None
    ask: Ask | None = None

    def begin(self, logit: float | None, plan: Plan, recipe: Recipe) -> None:
        """Starts the search, or says why there is none."""
        if logit is None:
            self.outcome.stop = "query_budget"
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
                self.found.append(
                    Rewriting(self.index, step.state.snippet, step.state.logit, step.state.edits, self.outcome.queries)
                )
                self.outcome.found += 1
                step = next(self.steps)
            self.ask = step
        except StopIteration:
            self.outcome.stop = "most_kept" if self.outcome.found >= self.wanted else "searched"


class _Run:
    """Answers what the searches ask, those of one kind together, and counts what it costs."""

    def __init__(self, engine: SubstitutionEngine, encoder: Encoder, budget: Budget) -> None:
        self._engine = engine
        self._encoder = encoder
        self._budget = budget
        self._began = time.monotonic()
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._asked: set[tuple[str, str]] = set()
        self.queries = 0
        self.spent: Stop | None = None

    @property
    def seconds(self) -> float:
        """Since the attack began."""
        return time.monotonic() - self._began

    def first_logits(self, seeds: Sequence[Snippet]) -> list[float | None]:
        """The margins of as many seeds as the budget has queries for."""
        paid = []
        for seed in seeds:
            if not self._pays([seed], "logits"):
                break
            paid.append(seed)
        return [*self._engine.logits(paid), *[None] * (len(seeds) - len(paid))]

    def step(self, active: Sequence[_Seed]) -> None:
        """Answers every search's question, or ends the run where the budget does."""
        if self._budget.seconds is not None and self.seconds >= self._budget.seconds:
            self.spent = "time_budget"
            return
        asks = [one.ask for one in active if one.ask is not None]
        paid = 0
        for one, ask in zip(active, asks, strict=True):
            before = self.queries
            if ask.what != "vectors" and not self._pays(ask.snippets, ask.what):
                break
            one.outcome.queries += self.queries - before
            paid += 1
        for one, answer in zip(active, self._answers(asks[:paid]), strict=False):
            one.go_on(answer)

    def _pays(self, snippets: Sequence[Snippet], what: str) -> bool:
        """Takes what the texts cost off the budget, each once; nothing where it does not suffice."""
        new = {(what, one.content_hash) for one in snippets} - self._asked
        if self._budget.queries is not None and self.queries + len(new) > self._budget.queries:
            self.spent = "query_budget"
            return False
        self._asked |= new
        self.queries += len(new)
        return True

    def _answers(self, asks: Sequence[Ask]) -> list[object]:
        """The answers in order, one call of a model for each kind of question."""
        by_kind: dict[str, list[Snippet]] = {"logits": [], "gradients": [], "vectors": []}
        for ask in asks:
            by_kind[ask.what].extend(ask.snippets)
        self._engine.prepare(by_kind["gradients"])
        logits = iter(self._engine.logits(by_kind["logits"]))
        self._encode(by_kind["vectors"])
        answers: list[object] = []
        for ask in asks:
            if ask.what == "logits":
                answers.append([next(logits) for _ in ask.snippets])
            elif ask.what == "vectors":
                answers.append(np.stack([self._vectors[one.completion] for one in ask.snippets]))
            else:
                answers.append(None)
        return answers

    def _encode(self, snippets: Sequence[Snippet]) -> None:
        new = [text for text in dict.fromkeys(one.completion for one in snippets) if text not in self._vectors]
        if new:
            self._vectors |= zip(new, self._encoder.encode(new), strict=True)

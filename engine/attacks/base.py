"""What every attack is: from known failures it looks for snippets that a classifier accepts and that still fail."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from engine.classifiers.base import Classifier
from engine.errors import BudgetSpent
from engine.policies import Policy
from engine.progress import Progress, silent
from engine.snippets import Snippet

if TYPE_CHECKING:
    from engine.classifiers.white_box import WhiteBox

Stop = Literal[
    "enough",
    "accepted_already",
    "searched",
    "low_yield",
    "query_budget",
    "time_budget",
    "token_budget",
    "money_budget",
]
"""Why the attack on a seed ended: enough was found; the classifier accepts the seed itself; nothing more to try; what
was tried is hardly ever accepted; a budget of the whole attack was used up."""
BUDGET_STOPS = frozenset({"query_budget", "time_budget", "token_budget", "money_budget"})
Kind = Literal["replace", "insert", "delete", "clause", "filler"]


class Budget(BaseModel):
    """When an attack ends at the latest. None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int | None = Field(None, ge=0)
    """Texts that the classifier scores or is asked the gradient of; never exceeded."""
    seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Wall time; what is under way ends."""
    tokens: int | None = Field(None, ge=0)
    """Of requests to an endpoint, prompts and answers; the ledger that the attack was made with keeps to it."""
    money: float | None = Field(None, ge=0, allow_inf_nan=False)
    """US dollars for requests to an endpoint, by the prices in `engine/endpoints/prices.toml` or the settings; kept by
    the same ledger."""

    def share(self, start: int, stop: int, whole: int) -> Budget:
        """What the seeds from `start` to `stop` of `whole` may spend: the shares of all parts add up to the whole."""
        return Budget(
            queries=None if self.queries is None else self.queries * stop // whole - self.queries * start // whole,
            seconds=None if self.seconds is None else self.seconds * ((stop - start) / whole),
            tokens=None if self.tokens is None else self.tokens * stop // whole - self.tokens * start // whole,
            money=None if self.money is None else self.money * ((stop - start) / whole),
        )


class Encoder(Protocol):
    """Texts as unit rows."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d)."""
        ...


class Target(NamedTuple):
    """What is attacked: a classifier at its threshold, under a policy."""

    policy: Policy
    classifier: Classifier
    threshold: float
    """A completion is accepted iff its score is below."""
    white_box: Callable[[], WhiteBox]
    """Loads the network with its gradients; only attacks that look inside ask for it."""
    encoder: Callable[[], Encoder]
    """Loads the sentence encoder that tells how similar a find is to its seed."""


class Edit(NamedTuple):
    """One change of a completion."""

    kind: Kind
    at: int
    """Where it begins, in characters of the text before it."""
    before: str
    after: str


class Candidate(NamedTuple):
    """What an attack found: valid by the policy, accepted by the classifier, and for people to judge."""

    seed_index: int
    snippet: Snippet
    logit: float
    edits: tuple[Edit, ...] = ()
    """From the seed's completion on, one after the other; none where the whole was told anew."""
    queries: int = 0
    """Spent on its seed until it was found."""
    similarity: float = math.nan
    """Cosine of the completions' sentence embeddings, find and seed, in [-1, 1]."""


@dataclass(slots=True)
class SeedOutcome:
    """What the attack on one seed came to."""

    logit: float = math.nan
    """The seed's own, where the attack asked for it."""
    queries: int = 0
    drawn: int = 0
    """Texts proposed."""
    invalid: int = 0
    duplicates: int = 0
    accepted: int = 0
    """Scored below the threshold; more than `kept` where duplicates or the limit took some."""
    kept: int = 0
    stop: Stop | None = None


class Outcome(NamedTuple):
    """All finds, by seed and then in the order found, how each seed fared, and what it took."""

    candidates: list[Candidate]
    seeds: list[SeedOutcome]
    queries: int
    seconds: float


class Attack(Protocol):
    """An attack with its settings. Deterministic given `seed`, but for where a time or money budget ends it."""

    def run(
        self, seeds: Sequence[Snippet], target: Target, budget: Budget, *, seed: int, progress: Progress = silent
    ) -> Outcome:
        """Finds for `seeds`: each valid, accepted by the classifier, new beside its seed and the others.

        Stops cleanly on each budget; queries are kept to the last. `progress` counts seeds that are done. Raises
        BadInput for a threshold outside [0, 1], and what an endpoint raises.
        """
        ...


@dataclass(slots=True)
class Meter:
    """What an attack has spent of its budget."""

    budget: Budget
    queries: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the attack began."""
        return time.monotonic() - self.began

    @property
    def left(self) -> int | None:
        """Queries that may still be made; None: any number."""
        return None if self.budget.queries is None else self.budget.queries - self.queries

    def pays(self, queries: int) -> bool:
        """Takes so many queries off the budget; nothing where it does not suffice."""
        if self.left is not None and queries > self.left:
            return False
        self.queries += queries
        return True

    def spent(self) -> Stop | None:
        """Which budget is used up."""
        if self.left == 0:
            return "query_budget"
        late = self.budget.seconds is not None and self.seconds >= self.budget.seconds
        return "time_budget" if late else None


def stop_of(spent: BudgetSpent) -> Stop:
    """How a seed ends that a budget for requests ended."""
    return "token_budget" if spent.what == "tokens" else "money_budget"


def with_similarity(candidates: Sequence[Candidate], seeds: Sequence[Snippet], target: Target) -> list[Candidate]:
    """The finds, each with its similarity to its seed. One call of the encoder, none where nothing was found."""
    if not candidates:
        return []
    texts = list(dict.fromkeys(text for one in candidates for text in _completions(one, seeds)))
    row_of = {text: row for row, text in enumerate(texts)}
    vectors = target.encoder().encode(texts)
    pairs = ([row_of[text] for text in _completions(one, seeds)] for one in candidates)
    cosines = [float(vectors[first] @ vectors[second]) for first, second in pairs]
    return [one._replace(similarity=cosine) for one, cosine in zip(candidates, cosines, strict=True)]


def _completions(candidate: Candidate, seeds: Sequence[Snippet]) -> tuple[str, str]:
    return candidate.snippet.completion, seeds[candidate.seed_index].completion

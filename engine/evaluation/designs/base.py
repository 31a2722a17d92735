"""A label plan and its answer: what a design of buying labels is given, promises and returns.

What is estimated is the failure rate of the deployed filter, of which the pool is a sample, not that of the pool: an
output's weight is its stratum's share of the pool over the labels bought there, without finite-population correction.
Drawing without replacement makes the pool's own rate better known; that the pool is a sample makes up for exactly that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict

Floats = NDArray[np.float64]
REPEATS = (
    "Some prompts gave several outputs, which may fail together: the interval allows for it by an effective sample "
    "size, an approximation. One output a prompt needs none."
)


class OutputPool(NamedTuple):
    """Outputs of a deployed filter (first accepted of at most K proposals a prompt) that labels may be bought for."""

    logits: NDArray[np.float32]
    """(n,) by the filter's classifier, all accepted."""
    second: NDArray[np.float32] | None
    """(n,) by a second opinion; None where there is none."""
    prompts: NDArray[np.int64]
    """(n,): those that share a prompt share a code."""
    chances: Floats | None = None
    """(n,) that each is a failure, in [0, 1], fitted to pilot labels (`scores.with_pilot`); None: by the logits."""


class Wanted(NamedTuple):
    """What the buyer of labels wants to know, and what labels cost."""

    relative: float = 0.5
    """Half-width of the interval wanted, relative to the rate."""
    level: float = 0.95
    guess: float | None = None
    """Rate expected, in (0, 1), from a pilot, an earlier round or the classifier; None: by the pool's scores."""
    confirmations: int = 2
    """Further labels that each Yes gets before it counts."""
    labels_each: int = 1
    """Labels an output gets at first."""
    price: float | None = None
    """USD a label."""
    seconds: float | None = None
    """Annotator's time a label."""
    false_yes: float = 0.0
    """Share of sound outputs of which the first label says Yes, in [0, 1]: their confirmations cost labels too."""
    interval: Literal["estimate", "certificate"] = "estimate"
    """Whose width is meant: the design's, or the certificate's, which is wider."""


class StratumDict(TypedDict):
    """A `Stratum` as JSON."""

    size: int
    labels: int
    low: float
    high: float


class Stratum(NamedTuple):
    """Outputs of like sampling score: `low` <= score < `high`."""

    size: int
    """Outputs of the pool."""
    labels: int
    """Outputs to be labelled."""
    low: float
    high: float

    def as_dict(self) -> StratumDict:
        """Plain JSON types."""
        return StratumDict(size=self.size, labels=self.labels, low=self.low, high=self.high)


class LabelPlanDict(TypedDict):
    """A `LabelPlan` as JSON."""

    design: str
    title: str
    outputs: int
    outputs_low: int
    outputs_high: int
    labels: int
    expected_failures: float
    floor: int
    money: float | None
    hours: float | None
    reachable: bool
    reached: float
    strata: list[StratumDict]
    note: str
    stop_at: int


class LabelPlan(NamedTuple):
    """How many labels a design takes for what is wanted, before any is bought."""

    design: str
    title: str
    outputs: int
    """Expected to be labelled."""
    outputs_low: int
    """This and `outputs_high`: the central 80 % of what the run may take."""
    outputs_high: int
    labels: int
    """With confirmations."""
    expected_failures: float
    floor: int
    """Outputs that any method must label that is true without assumptions and as precise (`planning.label_floor`)."""
    money: float | None
    """USD; None where no price was given."""
    hours: float | None
    reachable: bool
    """Whether the pool holds enough for the precision wanted."""
    reached: float
    """Relative half-width expected: the one wanted or, where it is out of reach, what the whole pool gives."""
    strata: tuple[Stratum, ...]
    """Ascending in the score; empty where the design has none."""
    note: str
    """For people."""
    stop_at: int = 0
    """Failures at which buying stops; 0 where the number of outputs is fixed."""

    def as_dict(self) -> LabelPlanDict:
        """Plain JSON types."""
        return LabelPlanDict(
            design=self.design,
            title=self.title,
            outputs=self.outputs,
            outputs_low=self.outputs_low,
            outputs_high=self.outputs_high,
            labels=self.labels,
            expected_failures=self.expected_failures,
            floor=self.floor,
            money=self.money,
            hours=self.hours,
            reachable=self.reachable,
            reached=self.reached,
            strata=[one.as_dict() for one in self.strata],
            note=self.note,
            stop_at=self.stop_at,
        )

    @classmethod
    def from_dict(cls, fields: LabelPlanDict) -> LabelPlan:
        """The plan of which `as_dict` made `fields`. Raises BadInput where fields are missing or unknown."""
        try:
            values: dict[str, Any] = {**fields, "strata": tuple(Stratum(**one) for one in fields["strata"])}
            return cls(**values)
        except (KeyError, TypeError) as wrong:
            raise BadInput(f"not a label plan: {wrong}", where="plan") from wrong


class Answers(NamedTuple):
    """What people said, in the order in which labels were bought."""

    indices: NDArray[np.int64]
    """(k,) into the pool, each at most once."""
    failures: NDArray[np.bool_]
    """(k,), confirmed."""


class TiersDict(TypedDict):
    """`Tiers` as JSON."""

    certificate: RateDict
    estimate: RateDict
    forecast: RateDict | None
    notes: list[str]


class Tiers(NamedTuple):
    """The failure rate of the deployed filter per output, by how much must be believed."""

    certificate: Rate
    """True whatever the scores are worth."""
    estimate: Rate
    """By the design: its estimate is unbiased, its interval may miss failures that no score can see."""
    forecast: Rate | None
    """Extrapolated by a model: no certificate. None where nothing can be said."""
    notes: tuple[str, ...]
    """What the figures do not hold, for people."""

    def as_dict(self) -> TiersDict:
        """Plain JSON types."""
        return TiersDict(
            certificate=self.certificate.as_dict(),
            estimate=self.estimate.as_dict(),
            forecast=None if self.forecast is None else self.forecast.as_dict(),
            notes=list(self.notes),
        )


class Design(NamedTuple):
    """A way to buy labels. Everything is settled by its arguments and the seed, so a broken-off purchase goes on."""

    name: str
    title: str
    what: str
    """A sentence for people."""
    plan: Callable[[OutputPool, Wanted, int], LabelPlan]
    """Of a seed."""
    order: Callable[[OutputPool, LabelPlan, int], NDArray[np.int64]]
    """Indices of outputs in the order in which labels are bought; of a seed."""
    enough: Callable[[OutputPool, LabelPlan, Wanted, Answers], bool]
    """Whether the run may stop."""
    estimate: Callable[[OutputPool, LabelPlan, Answers, float], Tiers]
    """At a level."""


def checked(pool: OutputPool) -> OutputPool:
    """The pool. Raises BadInput where it is empty, its arrays differ in length, or a score is no number. O(n)."""
    n = pool.logits.size
    if not n:
        raise BadInput("no outputs to buy labels for", where="pool")
    for name, values in (("second", pool.second), ("prompts", pool.prompts), ("chances", pool.chances)):
        if values is not None and values.shape != (n,):
            raise BadInput(f"{n} logits, but {name} of shape {values.shape}", where="pool")
    for name, scores in (("logits", pool.logits), ("second", pool.second)):
        if scores is not None and np.isnan(scores).any():
            raise BadInput(f"{name} hold NaN", where="pool")
    if pool.chances is not None and not ((pool.chances >= 0) & (pool.chances <= 1)).all():
        raise BadInput("chances must lie in [0, 1]", where="pool")
    return pool


def matched(pool: OutputPool, answers: Answers) -> Answers:
    """The answers. Raises BadInput where they are not distinct outputs of the pool, a label each. O(k log k)."""
    places = answers.indices
    if places.shape != answers.failures.shape:
        raise BadInput(f"{places.size} outputs, {answers.failures.size} labels", where="answers")
    if places.size and (places.min() < 0 or places.max() >= pool.logits.size):
        raise BadInput("an output that the pool does not hold", where="answers")
    if np.unique(places).size != places.size:
        raise BadInput("an output answered twice", where="answers")
    return answers


def repeats(pool: OutputPool, answers: Answers) -> list[str]:
    """What is to be said where several answers are of one prompt's outputs; nothing where none are. O(k log k)."""
    of = pool.prompts[answers.indices]
    return [REPEATS] if np.unique(of).size < of.size else []

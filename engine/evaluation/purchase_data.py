"""The content of a report of an evaluation that bought labels, as JSON."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from engine.evaluation.chained import ChainedDict
from engine.evaluation.designs.base import TiersDict
from engine.evaluation.difference import DifferenceDict
from engine.evaluation.label_error import LabelEffectDict
from engine.evaluation.rates import RateDict


class Subject(TypedDict):
    """A classifier at its threshold."""

    id: str
    name: str
    condition: str
    encoder: str
    threshold: float | None


class Asked(TypedDict):
    """What was to be known, and how labels were drawn."""

    design: str
    title: str
    what: str
    relative: float
    interval: NotRequired[str]
    """Of which tier `relative` is the half-width: estimate or certificate. Reports of before lack it."""
    level: float
    labels_each: int
    confirmations: int
    confirmed_by: str
    source: str
    tries: int
    seed: int


class Bought(TypedDict):
    """What it took."""

    outputs: int
    """That the answer rests on."""
    sent: int
    snippets: int
    """Distinct texts among them."""
    labels: int
    """Bought for this evaluation, the pilot's and confirmations among them."""
    gold: NotRequired[int]
    """Answers to gold, paid like labels and planned by nobody. Reports of before count them as labels."""
    had: int
    """That these texts had before; used, not bought."""
    annotators: int
    seconds: float | None
    money: float | None
    planned: int
    pilot: int


class Confirming(TypedDict):
    """What confirmations did."""

    suspected: int
    """Outputs of which the first labels said failure."""
    confirmed: int
    alone: int
    """Settled with fewer labels than wanted, since nobody else could judge them."""
    unconfirmed: RateDict
    """Share of the labelled outputs that would have counted without confirmations."""


class LabelError(TypedDict):
    """What labels are assumed to err, and what the estimate is if they do."""

    assumed_by: Literal["settings", "confirmations"]
    """Who says how many sound outputs get a Yes. That failures get a No no confirmation shows."""
    shown: RateDict
    """Of labelled outputs that do not count as failures, those whose first label said failure."""
    effect: LabelEffectDict
    """Of a difference: on the difference."""


class Example(TypedDict):
    """An output or a text, with the classifier's logit and what people said."""

    snippet: str
    prompt: str
    completion: str
    logit: float
    labels: list[str]


class BatchFacts(TypedDict):
    """A batch whose answers the figures rest on; answers in no batch were imported."""

    id: str
    name: str
    adapter: str
    labels: int
    """Its answers that count here."""
    bought: bool
    """For this evaluation; or they were there before. Reports of before list those bought alone, and lack it."""


class Lineage(TypedDict):
    """Where every figure leads back to."""

    classifier: str
    weights: str | None
    snapshot: str | None
    policy: str
    outputs: str | None
    round: str | None
    parent: str | None
    batches: list[BatchFacts]
    annotators: int
    simulated: int


SIGNS = {
    "tiers": "subject minus against: below 0 the subject fails less often",
    "found.difference": "against minus subject: above 0 the subject fails less often",
}
"""How the two differences of a report are to be read, since their signs are opposite."""


class DifferenceFound(TypedDict):
    """Of an evaluation against another classifier: what was found, and what it certifies."""

    found: DifferenceDict
    """First: the other classifier, `against`; second: the one evaluated, `subject`. Its `difference` is the first minus
    the second, so that its sign is the opposite of that of `tiers`."""
    signs: dict[str, str]
    """SIGNS. Reports of before lack it."""
    chained: ChainedDict | None
    """From the certificate of the evaluation that it goes on from; None without one."""
    level: float
    """Of `chained`."""
    power: float
    """Of `smallest`. Reports of before lack both."""
    smallest: float | None
    """The smallest difference per prompt that so many labels show with a chance of `power`; None: not even the largest
    that the outputs allow."""


class PurchaseReport(TypedDict):
    """All of it."""

    id: str
    name: str
    kind: str
    created_at: str
    policy: str
    question: str
    failure: str
    notice: str | None
    subject: Subject
    against: Subject | None
    second: str | None
    asked: Asked
    plan: dict[str, Any]
    """`chosen` and `designs`, each an `engine.evaluation.designs.LabelPlan`; `pilot`; `outputs`."""
    tiers: TiersDict
    """In a difference: the rate of the filter of `subject` minus that of `against`; below 0 it is the safer one."""
    difference: DifferenceFound | None
    bought: Bought
    confirming: Confirming
    label_error: LabelError | None
    """None where labels that err as assumed would say nothing. Reports of before lack it."""
    logits: dict[str, list[float]]
    """Histogram of the outputs' logits: `edges`, `counts`."""
    failures: list[Example]
    false_positives: list[Example]
    lineage: Lineage

"""What a round's report holds, as plain JSON types, and the caveats that go with every number."""

from __future__ import annotations

from typing import TypedDict

from engine.aggregation.agreement import AgreementDict, KappaPairDict
from engine.evaluation.assessment import Assessment
from engine.evaluation.compare import ComparisonDict
from engine.evaluation.designs.base import TiersDict
from engine.evaluation.purchase_data import DifferenceFound
from engine.evaluation.quality_choice import QualityDict
from engine.evaluation.rates import RateDict
from engine.evaluation.robustness import ErrorMatrix
from engine.evaluation.threshold import ThresholdDict
from engine.evaluation.yields import YieldComparisonDict, YieldDict


class RoundFacts(TypedDict):
    """What was run."""

    id: str
    name: str
    policy: str
    question: str
    """The policy's question, as annotators read it."""
    seed: int
    created_at: str
    """ISO 8601, UTC."""
    corpus: str
    encoder: str
    generator: str
    paraphraser: str
    simulated: str | None
    """What is simulated, in a sentence for people; None where nothing is."""


class FunnelStep(TypedDict):
    """How many were left after one step, in order."""

    name: str
    count: int


class TrainingCount(TypedDict):
    """Training snippets of one source and choice."""

    source: str
    choice: str
    count: int


class QualityFigures(QualityDict):
    """The lowest threshold that keeps quality, and Q at the one in use."""

    in_use: RateDict
    """`failures` is the prompts with nothing accepted, `n` the prompts."""


class QualityBasis(TypedDict):
    """The pairs of completions that quality rests on."""

    asked: int
    """Pairs that somebody compared."""
    decided: int
    """Pairs that needed nobody: one of them empty, or both the same."""
    unanswered: int
    """Pairs left out because nobody answered."""
    note: str
    """What of it is simulated, in a sentence; may be empty."""


class QualityReport(QualityFigures, QualityBasis):
    """What filtering by a classifier costs in quality."""


class ClassifierReport(TypedDict):
    """One classifier: how it was trained, calibrated and how it did."""

    name: str
    """Short, e.g. "baseline"."""
    id: str
    calibration: ThresholdDict
    quality: QualityReport | None
    """None where nothing was compared."""
    training: list[TrainingCount]
    assessment: Assessment


class Labels(TypedDict):
    """What was asked of annotators."""

    spent: int
    by_batch: dict[str, int]
    by_choice: dict[str, int]
    annotators: int
    seconds: float | None
    """Time annotators spent, None where it was not measured."""


class AttackSpending(TypedDict):
    """What an attack asked of endpoints."""

    requests: int
    """Paid for."""
    reused: int
    """Answered from the cache."""
    tokens: int
    """Of prompts and completions, paid for."""
    money: float | None
    """USD; None where a price is not known."""


class StrongCandidate(TypedDict):
    """A candidate to read beside its seed. All texts are data from outside."""

    seed_prompt: str
    seed_completion: str
    prompt: str
    completion: str
    score: float
    """By the classifier attacked, in [0, 1]."""
    reward: float | None
    """What ranked it, where that is not the score."""
    similarity: float | None
    """To its seed, -1 to 1; None where not measured."""
    edits: int | None
    """None where not counted."""
    label: str | None
    """None while people have not agreed."""


class AttackRunReport(TypedDict):
    """One attack on one classifier."""

    classifier: str
    """The name it has in `Report.classifiers`."""
    yields: YieldDict
    stops: dict[str, int]
    """How many seeds ended for which reason."""
    spending: AttackSpending | None
    """None where no endpoint was asked."""
    strongest: list[StrongCandidate]
    """Up to ten, the strongest first: lowest score, or highest reward."""


class AttackReport(TypedDict):
    """One attack, on each classifier in the order of `Report.classifiers`, from the same seeds and settings."""

    name: str
    """In the registry."""
    title: str
    """As it reads in a sentence after "the yield of": "Paraphrases", "Token substitution"."""
    settings: str
    """In a line."""
    simulated: str | None
    """What of it is simulated, in a sentence; None where nothing is."""
    trains: bool
    """Whether its finds on training failures were trained on; else it was only measured."""
    runs: list[AttackRunReport]
    comparison: YieldComparisonDict | None
    """First run against last; None where there is one."""


class Robustness(TypedDict):
    """Every classifier at its own threshold on what was made to fool each, and on labelled text of elsewhere."""

    false_negatives: ErrorMatrix
    """On all finds of the measured attacks on each classifier, and on the held-out re-tellings."""
    by_attack: ErrorMatrix
    """The same, an attack at a time."""
    false_positives: ErrorMatrix
    """Harmless snippets rejected: of the test set, and out of distribution."""
    dev: ErrorMatrix | None
    """False negatives on the policy's labelled validation texts, by source; None where there are none."""


class ExampleText(TypedDict):
    """A snippet to read. Its text is data from outside."""

    prompt: str
    completion: str
    label: str
    scores: dict[str, float]
    """Score in [0, 1] by classifier name."""
    note: str


class Examples(TypedDict):
    """Snippets worth reading."""

    false_negatives: list[ExampleText]
    false_positives: list[ExampleText]
    attack: list[ExampleText]


class LineageStep(TypedDict):
    """Something the figures come from: a classifier, a dataset snapshot, a batch, a seed story."""

    name: str
    id: str
    detail: str


class StageTime(TypedDict):
    """How long a stage of the round took."""

    stage: str
    seconds: float


class Certified(TypedDict):
    """An evaluation that bought labels."""

    id: str
    tiers: TiersDict
    outputs: int
    """Labelled."""
    labels: int
    """Bought for it, confirmations among them."""
    had: int
    """Labels that these texts had before."""


class Reliability(TypedDict):
    """How often the filters themselves fail, and which of the two less."""

    rates: dict[str, Certified]
    """By the name in `Report.classifiers`."""
    difference: Certified
    """Rate of the last classifier's filter less that of the first's."""
    compared: DifferenceFound
    needed: int
    """Labels where the two differ for a difference as precise as `instead_precision`, prompts enough given."""
    instead: dict[str, int]
    """Labels that other ways would take, by their titles."""
    instead_precision: float
    """Half-width that these were planned for, relative to the rate."""


class Report(TypedDict):
    """A round's report. Classifiers in the order they came to be: the first is "before", the last "after"."""

    round: RoundFacts
    funnel: list[FunnelStep]
    classifiers: list[ClassifierReport]
    main_set: str
    """Name of the adversarial set the first line answers for; it should be nobody's own target."""
    comparisons: dict[str, ComparisonDict]
    """First against last classifier, by set: adversarial sets by their names, IN_DISTRIBUTION for the test set."""
    labels: Labels
    agreement: AgreementDict | None
    kappas: list[KappaPairDict]
    attacks: list[AttackReport]
    robustness: Robustness | None
    """None where no attack was measured."""
    reliability: Reliability | None
    """None where no labels were bought for outputs of the filters."""
    examples: Examples
    caveats: list[str]
    """Of this round; STANDARD_CAVEATS are always added."""
    lineage: list[LineageStep]
    timing: list[StageTime]


IN_DISTRIBUTION = "in distribution"
"""Key of the in-distribution test set in `Report.comparisons`."""

STANDARD_CAVEATS = (
    "Failures may hide where nothing was sampled: zero failures among n snippets only says that the rate is likely "
    "below about 3/n.",
    "Labels are wrong at times. One false Yes among the accepted weighs as much as one true failure, and accepted "
    "failures are rare, so each should be confirmed by independent annotators before it is believed.",
    "Snippets that share a prompt or re-tell one seed are not independent. Intervals allow for it through an effective "
    "sample size (or prompts as the unit); the McNemar test and the credible interval do not.",
    "The threshold was chosen from prompts of its own, drawn like those of the test; it carries the error its interval "
    "shows. Classifiers are compared at equal KL divergence, never at equal thresholds.",
    "The test snippets are a finite sample of what the generator can say, and stand for these prompts and this "
    "generator only.",
    "A classifier attacked with snippets it was made to accept has a false negative rate of 1.0 on them by "
    "construction. Such cells are marked and say nothing about it.",
)
"""Methods, C.5, and what the paper says of figure 5."""


def current(report: Report) -> Report:
    """A report as written today. One that was stored before attacks were compared lists none; one from before
    completions were compared, or robustness or reliability was measured, has none."""
    classifiers = [ClassifierReport(**{"quality": None, **one}) for one in report["classifiers"]]
    return Report(**{"attacks": [], "robustness": None, "reliability": None, **report, "classifiers": classifiers})


def all_caveats(report: Report) -> list[str]:
    """The standard caveats, what the figures themselves call for, and those of the round."""
    found = list(STANDARD_CAVEATS)
    targets = {one["calibration"]["target"] for one in report["classifiers"]}
    if len(targets) > 1:
        found.insert(0, "The classifiers were calibrated to different KL divergences: their rates do not compare.")
    prompts = min((one["calibration"]["prompts"] for one in report["classifiers"]), default=0)
    if 0 < prompts < 300:
        found.append(
            f"Thresholds rest on {prompts} prompts; below 300 the bootstrap interval of KL is somewhat too short."
        )
    return found + list(report["caveats"])

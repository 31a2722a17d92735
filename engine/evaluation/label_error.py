"""What annotators' errors do to a rare rate: at one failure in 30,000 there are a hundred false Yes's to a true one.

So every Yes in the accepted region is confirmed independently before it counts, and the estimate states the label error
it assumes and what that changes (Rogan and Gladen 1978).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

from scipy import stats

from engine.errors import BadInput
from engine.evaluation.rates import Rate, RateDict, clopper_pearson


class Labeler(NamedTuple):
    """How often labels are right, each in (0, 1]; together above 1, or they say nothing."""

    sensitivity: float
    """Share of failures that get a Yes."""
    specificity: float
    """Share of sound outputs that get a No."""

    def confirmed(self, confirmations: int) -> Labeler:
        """Of a Yes that counts only if so many further labels, each independent given the truth, are Yes too. O(1).

        Fewer false ones, and more failures lost.
        """
        if confirmations < 0:
            raise BadInput(f"must not be negative, not {confirmations}", where="confirmations")
        times = 1 + confirmations
        return Labeler(self.sensitivity**times, 1 - (1 - self.specificity) ** times)

    def upheld(self, confirmations: int) -> Labeler:
        """As `confirmed`, but a Yes counts if most of all its labels say Yes. O(1)."""
        if confirmations < 0:
            raise BadInput(f"must not be negative, not {confirmations}", where="confirmations")
        still = (1 + confirmations) // 2
        kept = [float(stats.binom.sf(still - 1, confirmations, p)) for p in (self.sensitivity, 1 - self.specificity)]
        return Labeler(self.sensitivity * kept[0], 1 - (1 - self.specificity) * kept[1])

    def observed(self, rate: float) -> float:
        """The rate of Yes's where failures have this rate. O(1)."""
        return rate * self.sensitivity + (1 - rate) * (1 - self.specificity)

    def true(self, observed: float) -> float:
        """The failure rate behind an observed one, in [0, 1] (Rogan and Gladen). O(1)."""
        informative = self.sensitivity + self.specificity - 1
        return min(1.0, max(0.0, (observed - (1 - self.specificity)) / informative))


def checked_labeler(labeler: Labeler) -> Labeler:
    """The labeler. Raises BadInput for shares outside (0, 1] and for one who says no more than chance. O(1)."""
    good = 0 < labeler.sensitivity <= 1 and 0 < labeler.specificity <= 1
    if not good or labeler.sensitivity + labeler.specificity <= 1:
        raise BadInput(f"{labeler} says nothing about failures", where="labeler")
    return labeler


class LabelEffectDict(TypedDict):
    """A `LabelEffect` as JSON."""

    sensitivity: float
    specificity: float
    confirmations: int
    false_yes: float
    lost: float
    counted: RateDict
    corrected: RateDict
    contradicted: bool
    words: str


class LabelEffect(NamedTuple):
    """An estimate, and what it is if labels err as assumed."""

    assumed: Labeler
    """Of a single label."""
    confirmations: int
    false_yes: float
    """Confirmed Yes's per sound output, all of them wrong."""
    lost: float
    """Share of failures that are not confirmed, or never got a Yes."""
    counted: Rate
    """As the labels say."""
    corrected: Rate
    contradicted: bool
    """Whether fewer Yes's were counted than the assumed errors alone would make: the assumption is too dark."""
    words: str

    def as_dict(self) -> LabelEffectDict:
        """Plain JSON types."""
        return LabelEffectDict(
            sensitivity=self.assumed.sensitivity,
            specificity=self.assumed.specificity,
            confirmations=self.confirmations,
            false_yes=self.false_yes,
            lost=self.lost,
            counted=self.counted.as_dict(),
            corrected=self.corrected.as_dict(),
            contradicted=self.contradicted,
            words=self.words,
        )


def label_effect(
    counted: Rate, assumed: Labeler, *, confirmations: int = 2, by: Literal["all", "most"] = "all"
) -> LabelEffect:
    """The rate behind the one counted, if single labels err as assumed and independently; a Yes counts if `all` its
    confirmations are Yes too, or if `most` of its labels are.

    Estimate and limits go through the same increasing function, so that the interval covers as before. Where even the
    upper limit lies below what false Yes's alone would make, the assumption contradicts the data and the upper limit
    stays as counted. Raises BadInput for a labeler who says nothing. O(1).
    """
    labeler = _counting(assumed, confirmations, by)
    low, high = labeler.true(counted.low), labeler.true(counted.high)
    contradicted = counted.high < labeler.observed(0.0)
    corrected = counted._replace(
        estimate=None if counted.estimate is None else labeler.true(counted.estimate),
        low=low,
        high=counted.high if contradicted else high,
        method=f"{counted.method}, Rogan-Gladen",
    )
    false_yes, lost = labeler.observed(0.0), 1 - labeler.sensitivity
    words = _words(assumed, confirmations, by, labeler)
    if contradicted:
        words += " Fewer were counted than such errors alone would make, so labels err less than assumed."
    return LabelEffect(assumed, confirmations, false_yes, lost, counted, corrected, contradicted, words)


def effect_on_difference(
    counted: Rate, assumed: Labeler, *, confirmations: int = 2, by: Literal["all", "most"] = "all"
) -> LabelEffect:
    """As `label_effect`, of the difference of two filters' rates: false Yes's are as many on either side and cancel,
    and what is lost of failures makes the difference too small. Where one filter has no output there is none that could
    get a false Yes; that is left out. O(1).
    """
    labeler = _counting(assumed, confirmations, by)
    scale = labeler.sensitivity + labeler.specificity - 1
    low, middle, high = (
        None if x is None else max(-1.0, min(1.0, x / scale)) for x in (counted.low, counted.estimate, counted.high)
    )
    method = f"{counted.method}, Rogan-Gladen"
    corrected = counted._replace(estimate=middle, low=low or 0.0, high=high or 0.0, method=method)
    words = f"{_words(assumed, confirmations, by, labeler)} In the difference false ones cancel."
    false_yes, lost = labeler.observed(0.0), 1 - labeler.sensitivity
    return LabelEffect(assumed, confirmations, false_yes, lost, counted, corrected, contradicted=False, words=words)


def _counting(assumed: Labeler, confirmations: int, by: Literal["all", "most"]) -> Labeler:
    """Of an output that counts. Raises BadInput where that says nothing."""
    one = checked_labeler(assumed)
    return checked_labeler(one.confirmed(confirmations) if by == "all" else one.upheld(confirmations))


def _words(assumed: Labeler, confirmations: int, by: Literal["all", "most"], counting: Labeler) -> str:
    after = f"after {confirmations} more" if by == "all" else f"if most of its {1 + confirmations} labels agree"
    return (
        f"Assumed of a label: {100 * assumed.sensitivity:.3g} % of failures get a Yes, and "
        f"{100 * (1 - assumed.specificity):.3g} % of sound outputs do too. A Yes counts {after}: "
        f"then {counting.observed(0.0):.2g} of sound outputs still count as failures, and "
        f"{100 * (1 - counting.sensitivity):.2g} % of failures do not, if annotators err independently."
    )


def rogan_gladen(
    yes: int,
    n: int,
    *,
    failures_found: tuple[int, int],
    sound_passed: tuple[int, int],
    level: float = 0.95,
) -> Rate:
    """Failure rate from `yes` of `n` outputs where the labels' errors are themselves counted on outputs of known truth.

    `failures_found`: failures that got a Yes, of how many; `sound_passed`: sound outputs that got a No, of how many.
    The interval takes Clopper-Pearson limits of all three, each at a third of the chance to be wrong, at their worst
    together: it covers at least `level`. Raises BadInput for impossible counts and for labels that say nothing. O(1).
    """
    third = 1 - (1 - level) / 3
    counted, found, passed = (clopper_pearson(*pair, level=third) for pair in ((yes, n), failures_found, sound_passed))
    if found.estimate is None or passed.estimate is None:
        raise BadInput("labels of outputs of known truth are needed, failures and sound ones", where="rogan_gladen")
    estimate = None
    if counted.estimate is not None:
        estimate = checked_labeler(Labeler(found.estimate, passed.estimate)).true(counted.estimate)
    low = Labeler(found.high, passed.low).true(counted.low) if found.high + passed.low > 1 else 0.0
    worst = found.low + passed.high - 1
    high = Labeler(found.low, passed.high).true(counted.high) if worst > 0 else 1.0
    method = "Rogan-Gladen, Clopper-Pearson of three counts"
    return Rate(estimate, low, max(high, estimate or 0.0) or counted.high, level, method, yes, n)

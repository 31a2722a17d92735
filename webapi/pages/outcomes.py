"""What was measured, as lines people read: a round before and after, a classifier's calibration and evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.evaluation.bought_report import headline
from webapi.models import Classifier, Evaluation, Round
from webapi.pages.figures import percent, rows_of, thousands

Line = tuple[str, Any]
"""A name and a figure: a number, or the JSON form of a rate or statistic."""


class OutcomeRow(NamedTuple):
    """One figure of each classifier."""

    name: str
    values: tuple[Any, ...]


class Outcome(NamedTuple):
    """A finished round: the classifiers before and after, side by side."""

    sentence: str
    classifiers: tuple[str, ...]
    rows: tuple[OutcomeRow, ...]
    labels: int | None


def round_outcome(round_: Round) -> Outcome | None:
    """Before and after, from the round's summary; None until it has one."""
    measured: Mapping[str, Any] = round_.summary.get("classifiers") or {}
    if not measured:
        return None
    lines = [dict(_assessment_lines(one)) for one in measured.values()]
    names = list(dict.fromkeys(name for one in lines for name in one))
    return Outcome(
        sentence=_sentence(list(measured.values()), round_.summary.get("main_set", "")),
        classifiers=tuple(measured),
        rows=tuple(OutcomeRow(name, tuple(one.get(name) for one in lines)) for name in names),
        labels=round_.summary.get("labels"),
    )


def evaluation_lines(results: Mapping[str, Any]) -> list[Line]:
    """An evaluation's figures; those of a shape that is not known are listed as they are."""
    return list(_assessment_lines(results)) if "fnr" in results else list(rows_of(results))


def bought_headline(row: Evaluation) -> str:
    """What an evaluation that bought labels found, in a sentence; empty until it has."""
    if not row.results:
        return ""
    against = {"name": row.against.name} if row.against else None
    return headline({"kind": row.kind, "against": against, **row.results})


class HeadlineRates(NamedTuple):
    """What a list shows of a classifier: failures of attacks it was not the target of, and harmless snippets."""

    accepted_failures: Mapping[str, Any] | None
    rejected_harmless: Mapping[str, Any] | None


def headline_rates(classifier: Classifier) -> HeadlineRates:
    """From the classifier's newest evaluation of a known shape; empty without one."""
    known = [row.results for row in classifier.evaluations.all() if "fpr" in row.results]
    if not known:
        return HeadlineRates(None, None)
    sets = (known[-1].get("adversarial") or {}).values()
    not_its_own = [found["fnr"] for found in sets if "fnr" in found and not found.get("own_target")]
    return HeadlineRates(not_its_own[0] if not_its_own else None, known[-1]["fpr"])


def calibration_lines(classifier: Classifier) -> list[Line]:
    """How the threshold was chosen, and what training took."""
    known = {"calibration", "quality", "training", "sweep"}
    other = {name: value for name, value in classifier.metrics.items() if name not in known}
    calibration = classifier.metrics.get("calibration") or {}
    quality = classifier.metrics.get("quality") or {}
    training = classifier.metrics.get("training") or {}
    swept = classifier.metrics.get("sweep") or {}
    lines: list[Line] = [
        ("Threshold", classifier.threshold),
        ("Threshold as a logit", _logit(calibration)),
        ("KL at the threshold, nats", _divergence(calibration.get("kl"), calibration.get("prompts"))),
        ("Proposals accepted", calibration.get("accept_rate")),
        ("Quality at the threshold", quality_words(quality.get("in_use"))),
        ("Lowest threshold by quality", quality.get("threshold")),
        ("Trained on, snippets", training.get("examples")),
        ("of these failures or unsure", training.get("positives")),
        ("Loss at the end of training", training.get("loss")),
        ("int8 decides as full precision", _share(training.get("int8_equal_decisions"), training.get("int8_checked"))),
        ("Seconds of training", training.get("seconds")),
        ("Misses, on the half of the validation mix that had no say", (swept.get("confirming") or {}).get("fnr")),
        ("Misses, on the half that it was picked by", (swept.get("choosing") or {}).get("fnr")),
    ]
    return [line for line in [*lines, *rows_of(other)] if line[1] is not None]


def _assessment_lines(one: Mapping[str, Any]) -> Iterator[Line]:
    """Of an assessment as `engine.evaluation` writes it, or of the part of it in a round's summary."""
    if one.get("threshold") is not None:
        yield "Threshold", one["threshold"]
    for name, found in (one.get("adversarial") or {}).items():
        own = " (its own target)" if found.get("own_target") else ""
        yield f"False negatives, {name}{own}", found.get("fnr", found)
    yield "False negatives, in distribution", one["fnr"]
    if one.get("failure_rate"):
        yield "Failure rate per output", one["failure_rate"]["per_output"]
    yield "False positives", one["fpr"]


def _sentence(measured: list[Mapping[str, Any]], main_set: str) -> str:
    rates = [(one.get("adversarial") or {}).get(main_set) for one in measured]
    if not rates[0] or not rates[-1]:
        return ""
    before, after = rates[0], rates[-1]
    return f"{_passed(after)} of the {main_set} get through the retrained filter; before, {_passed(before)}."


def _passed(rate: Mapping[str, Any]) -> str:
    share = f" ({percent(rate['estimate'])})" if rate["estimate"] else ""
    return f"{thousands(rate['failures'])} of {thousands(rate['n'])}{share}"


def _logit(calibration: Mapping[str, Any]) -> dict[str, Any] | None:
    if calibration.get("logit") is None:
        return None
    low, high = calibration.get("logit_low"), calibration.get("logit_high")
    return {"estimate": calibration["logit"], "low": low, "high": high}


def _divergence(kl: Mapping[str, Any] | None, prompts: int | None) -> dict[str, Any] | None:
    """A divergence is no share: what counts as failures in it would read as one."""
    return {"estimate": kl["estimate"], "low": kl["low"], "high": kl["high"], "n": prompts} if kl else None


def quality_words(quality: Mapping[str, Any] | None) -> str | None:
    """The counts of a quality are prompts, and what fails in it is no failure."""
    if not quality or quality.get("estimate") is None:
        return None
    interval = f"{percent(quality['low'])} to {percent(quality['high'])}"
    return f"{percent(quality['estimate'])} ({interval}) on {thousands(quality['n'])} prompts"


def _share(share: float | None, of: int | None) -> str | None:
    return None if share is None else f"{percent(share)} of {thousands(of)} snippets"

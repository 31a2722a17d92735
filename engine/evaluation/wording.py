"""Numbers and findings in words: percentages that fit their size, the first line of a report, its verdict."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.aggregation.agreement import EstimateDict
from engine.evaluation.compare import ComparisonDict
from engine.evaluation.rates import RateDict
from engine.evaluation.report_data import ClassifierReport, Report

Direction = Literal["better", "worse", "unclear", "no comparison"]


class Answer(NamedTuple):
    """What a report says first."""

    headline: str
    """What the filter lets through, after and before."""
    verdict: str
    """Whether that is better, plainly."""
    cost: str
    """What it did to ordinary snippets."""
    direction: Direction


def percent(share: float | None) -> str:
    """A share as a percentage with digits that fit its size: 63.0 %, 4.2 %, 0.031 %."""
    if share is None:
        return "no data"
    value = share * 100
    if value == 0 or abs(value) >= 99.95:
        return f"{value:.0f} %"
    digits = 1 if abs(value) >= 1 else min(6, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f} %"


def span(low: float, high: float) -> str:
    """An interval of shares: "4.5 to 14.5 %"."""
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def counted(rate: RateDict) -> str:
    """The counts behind a rate: "12 of 140"."""
    return f"{rate['failures']:,.0f} of {rate['n']:,.0f}"


def share_of(rate: RateDict) -> str:
    """The share itself; no failures read as an upper limit, never as a rate of zero: "below 5.5 %"."""
    if rate["estimate"] is not None and rate["failures"] == 0 and rate["high"] > 0:
        return f"below {percent(rate['high'])}"
    return percent(rate["estimate"])


def points(difference: RateDict) -> str:
    """A difference of shares with its interval, in percentage points."""
    if difference["estimate"] is None:
        return "no data"
    middle, low, high = signed_points((difference["estimate"], difference["low"], difference["high"]))
    return f"{middle} points ({low} to {high})"


def signed_points(shares: Sequence[float]) -> list[str]:
    """Differences of shares in percentage points, with digits that fit the largest: "+0.0012"."""
    largest = 100 * max(map(abs, shares))
    digits = 1 if largest >= 1 or not largest else min(6, 1 - math.floor(math.log10(largest)))
    found = [f"{100 * share:+.{digits}f}" for share in shares]
    return ["0" if not float(text) else text.replace("-", "\N{MINUS SIGN}") for text in found]


def statistic(value: EstimateDict) -> str:
    """A statistic that is no share, e.g. alpha: "0.81 (0.76 to 0.85)"."""
    if value["estimate"] is None:
        return "undefined"
    interval = "" if value["low"] is None or value["high"] is None else f" ({value['low']:.2f} to {value['high']:.2f})"
    return f"{value['estimate']:.2f}{interval}"


def score(value: float) -> str:
    """A score in [0, 1] with three significant digits, never rounded to 0 or 1."""
    if 0.999 < value < 1:
        return f"1 \N{MINUS SIGN} {1 - value:.1e}"
    return f"{value:#.3g}".rstrip(".")


def p_words(comparison: ComparisonDict) -> str:
    """The p value to go by: over clusters where snippets share them, else exact McNemar."""
    clustered = comparison["p_value_clusters"]
    value = comparison["p_value"] if clustered is None else clustered
    test = "exact McNemar" if clustered is None else "sign flips of seeds"
    return f"{test} {p_text(value)}"


def p_text(value: float) -> str:
    """A p value with digits that fit its size: "p = 0.012"."""
    return f"p {'< 0.001' if value < 0.001 else f'= {value:.3f}' if value < 0.1 else f'= {value:.2f}'}"


def duration(seconds: float) -> str:
    """A time for people: 8 s, 4 min 10 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def plain(text: str, limit: int = 40) -> str:
    """Text from outside on one line of a terminal or chart: no control characters, cut to `limit`."""
    safe = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    safe = " ".join(safe.split())
    return safe if len(safe) <= limit else safe[: limit - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def answer(report: Report) -> Answer:
    """The report's first lines. They say so plainly where the last classifier is not better than the first."""
    classifiers, name = report["classifiers"], report["main_set"]
    if not classifiers:
        return Answer("No classifier was assessed.", "", "", "no comparison")
    after = classifiers[-1]
    if name not in after["assessment"]["adversarial"]:
        fnr = after["assessment"]["fnr"]
        headline = f"The filter accepts {counted(fnr)} in-distribution failures ({_interval(fnr, level=True)})."
        return Answer(headline, "It was assessed on no adversarial set.", "", "no comparison")
    if len(classifiers) == 1:
        return Answer(f"{_accepts(after, name)}.", _one_verdict(after, name), "", "no comparison")
    before = classifiers[0]
    headline = f"After the round, {_lower(_accepts(after, name))}; before, {_share(before, name)}{_at_kl(report)}."
    direction, verdict = _verdict(report, before, after)
    return Answer(headline, verdict, _cost(before, after), direction)


def _accepts(one: ClassifierReport, name: str) -> str:
    rate = one["assessment"]["adversarial"][name]["fnr"]
    return f"The filter accepts {counted(rate)} held-out adversarial failures ({_interval(rate, level=True)})"


def _share(one: ClassifierReport, name: str) -> str:
    rate = one["assessment"]["adversarial"][name]["fnr"]
    return f"{counted(rate)} ({_interval(rate)})"


def _interval(rate: RateDict, *, level: bool = False) -> str:
    if rate["estimate"] is None:
        return "no data"
    lead = f"{100 * rate['level']:.0f} % interval " if level else ""
    if rate["failures"] == 0:
        return f"{lead}up to {percent(rate['high'])}"
    return f"{percent(rate['estimate'])}, {lead}{span(rate['low'], rate['high'])}"


def _at_kl(report: Report) -> str:
    targets = {one["calibration"]["target"] for one in report["classifiers"]}
    return f"; each at KL {targets.pop():g}" if len(targets) == 1 else ""


def _one_verdict(one: ClassifierReport, name: str) -> str:
    if one["assessment"]["adversarial"][name]["own_target"]:
        return "That is so by construction: the attack kept only what this classifier accepts."
    return ""


def _verdict(report: Report, before: ClassifierReport, after: ClassifierReport) -> tuple[Direction, str]:
    name = report["main_set"]
    sets = [one["assessment"]["adversarial"][name] for one in (before, after)]
    if any(one["own_target"] for one in sets):
        which = before if sets[0]["own_target"] else after
        return "no comparison", (
            f"This does not compare the two: the attack kept only what {plain(which['name'])} accepts, so its rate is "
            "1.0 by construction."
        )
    found = report["comparisons"].get(name)
    if found is None or found["difference"]["estimate"] is None:
        return "no comparison", "The two were not compared on the same failures."
    gap, p = points(found["difference"]), p_words(found)
    flips = f"{found['only_before']} newly caught, {found['only_after']} newly missed"
    if _is_clear(found) and found["difference"]["high"] < 0:
        return "better", f"The retrained filter is better on this attack: {gap}; {flips}; {p}."
    if _is_clear(found) and found["difference"]["low"] > 0:
        return "worse", f"The retrained filter is worse on this attack: {gap}; {flips}; {p}."
    difference = f"the difference, {gap}, may be chance" if found["difference"]["estimate"] else f"no difference, {gap}"
    return "unclear", f"The retrained filter is not shown to be better: {difference}; {flips}; {p}."


def _is_clear(found: ComparisonDict) -> bool:
    clustered = found["p_value_clusters"]
    return (found["p_value"] if clustered is None else clustered) < 1 - found["difference"]["level"] + 1e-12


def _cost(before: ClassifierReport, after: ClassifierReport) -> str:
    """In-distribution figures beside each other; a claim only where the intervals do not touch."""
    first, last = before["assessment"], after["assessment"]
    missed = f"{counted(last['fnr'])} failures (before, {counted(first['fnr'])})"
    rejected = f"{percent(last['fpr']['estimate'])} of harmless snippets (before, {percent(first['fpr']['estimate'])})"
    text = f"On ordinary snippets it misses {missed} and rejects {rejected}"
    if last["fpr"]["low"] > first["fpr"]["high"]:
        return f"{text}: it rejects more than before."
    if last["fnr"]["low"] > first["fnr"]["high"]:
        return f"{text}: it misses more than before."
    return f"{text}."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]

"""How numbers are written: shares, rates with interval and count, speeds, scores. Plain text in, plain text out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine.evaluation.wording import signed_points

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between a number and its sign: a line never ends there."""


class RateWords(NamedTuple):
    """A rate as a page writes it."""

    estimate: str
    interval: str
    counted: str
    how: str


def percent(share: float | None) -> str:
    """A share as a percentage with digits that fit its size: `63.0 %`, `4.2 %`, `0.031 %`."""
    if share is None:
        return ""
    value = share * 100
    if value == 0 or abs(value) >= 99.95:
        return f"{value:.0f}{NO_BREAK}%"
    digits = 1 if abs(value) >= 1 else min(6, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}{NO_BREAK}%"


def thousands(value: float | None) -> str:
    """A whole number with commas."""
    return "" if value is None else f"{value:,.0f}"


def amount(value: float | None) -> str:
    """A count; millions to two digits: `812`, `2,129`, `2.45 M`."""
    return f"{value / 1e6:.2f} M" if value is not None and value >= 1e6 else thousands(value)


def significant(value: object, digits: int = 3) -> str:
    """A number to some significant digits, tiny ones as a power of ten; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "undefined"
    if abs(value) >= 10**digits or value == int(value):
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits - 1 - math.floor(math.log10(abs(value)))}f}"


def speed(per_second: float | None) -> str:
    """A rate of work in the unit that reads best: `12/s`, `8.4/min`, `3.0/h`."""
    if not per_second:
        return ""
    per, unit = next(
        ((per_second * factor, unit) for factor, unit in ((1, "s"), (60, "min")) if per_second * factor >= 1),
        (per_second * 3600, "h"),
    )
    return f"{amount(per)}/{unit}" if per >= 10 else f"{per:.1f}/{unit}"


def is_rate(value: object) -> bool:
    """Whether this is the JSON form of a rate or of a statistic with an interval."""
    return isinstance(value, Mapping) and {"estimate", "low", "high"} <= value.keys()


def interval_words(value: Mapping[str, Any]) -> RateWords:
    """A rate, or a statistic that is none, with its interval. What counts failures is a rate."""
    return rate_words(value) if value.get("failures") is not None else statistic_words(value)


def rate_words(value: Mapping[str, Any]) -> RateWords:
    """A rate with its interval and count. Without failures it is a limit, never a zero."""
    estimate, low, high = value["estimate"], value["low"], value["high"]
    counted = f"{thousands(value['failures'])} of {thousands(value['n'])}"
    if value["failures"] == 0 and value["n"]:
        return RateWords(f"below {percent(high)}" if high else "none seen", "", counted, _how(value))
    return RateWords(
        estimate="no data" if estimate is None else percent(estimate),
        interval="" if low is None or high is None or estimate is None else f"{percent(low)} to {percent(high)}",
        counted=counted,
        how=_how(value),
    )


def points_words(value: Mapping[str, Any]) -> RateWords:
    """A difference of rates in percentage points."""
    counted = f"{thousands(value['failures'])} of {thousands(value['n'])}"
    if value["estimate"] is None:
        return RateWords("no data", "", counted, _how(value))
    middle, low, high = signed_points((value["estimate"], value["low"], value["high"]))
    return RateWords(f"{middle}{NO_BREAK}points", f"{low} to {high}", counted, _how(value))


def statistic_words(value: Mapping[str, Any]) -> RateWords:
    """A statistic that is no share (alpha, kappa), with its interval and count."""
    estimate, low, high = value["estimate"], value["low"], value["high"]
    return RateWords(
        estimate="undefined" if estimate is None else f"{estimate:.3f}",
        interval="" if low is None or high is None else f"{low:.3f} to {high:.3f}",
        counted=f"n = {thousands(value['n'])}" if value.get("n") is not None else "",
        how=_how(value),
    )


def rows_of(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested figures as lines: `in_distribution: {fnr: …}` gives (`in distribution, fnr`, …).

    Rates stay whole; lists of numbers are for charts and left out.
    """
    for key, value in figures.items():
        name = f"{prefix}, {_plain(key)}" if prefix else _plain(key)
        if isinstance(value, Mapping) and not is_rate(value):
            yield from rows_of(value, name)
        elif not isinstance(value, list) or len(value) <= 5:
            yield name, value


def on_bar(probability: float) -> float:
    """Percent along a bar that runs from logit -10 to 10: the scores that matter lie close to 0."""
    inside = min(max(probability, 1e-9), 1 - 1e-9)
    return round(min(max((math.log(inside / (1 - inside)) + 10) * 5, 0), 100), 2)


def _plain(key: str) -> str:
    return str(key).replace("_", " ")


def _how(value: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (f"{100 * (value.get('level') or 0.95):.0f} % interval", value.get("method"))))

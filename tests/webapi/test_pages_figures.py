"""How numbers are written."""

from __future__ import annotations

import math

import pytest

from webapi.pages.figures import NO_BREAK, interval_words, on_bar, percent, rows_of, significant, speed


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"), (1, "100 %"), (0.63, "63.0 %"), (0.042, "4.2 %"), (0.00999, "1.00 %"), (0.0031, "0.31 %"),
        (0.000274, "0.027 %"), (0.9996, "100 %"), (0.9994, "99.9 %"), (None, ""),
    ],
)  # fmt: skip
def test_shares(share: float | None, words: str) -> None:
    assert percent(share) == words.replace(" ", NO_BREAK)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0213, "0.0213"), (0.00870, "0.00870"), (0.5, "0.500"), (2.0, "2"), (1234.5, "1,234"), (12, "12"),
        (3.2e-7, "3.20e-07"), (math.nan, "undefined"), (True, "True"), (None, ""), ("minilm", "minilm"),
        (-0.25, "-0.250"),
    ],
)  # fmt: skip
def test_significant_digits(value: object, words: str) -> None:
    assert significant(value) == words


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (None, ""),
        (0.0, ""),
        (12.4, "12/s"),
        (1.25, "1.2/s"),
        (0.14, "8.4/min"),
        (0.001, "3.6/h"),
        (56_336, "56,336/s"),
        (2.1e6, "2.10 M/s"),
    ],
)
def test_speeds(rate: float | None, words: str) -> None:
    assert speed(rate) == words


def test_zero_failures_never_read_as_a_zero_rate() -> None:
    words = interval_words({"estimate": 0.0, "low": 0.0, "high": 0.00368, "failures": 0, "n": 1000})
    assert (words.estimate, words.interval, words.counted) == (f"below 0.37{NO_BREAK}%", "", "0 of 1,000")


def test_what_was_not_observed_has_no_estimate() -> None:
    words = interval_words({"estimate": None, "low": 0.0, "high": 1.0, "failures": 0, "n": 0, "method": "exact"})
    assert (words.estimate, words.interval, words.counted) == ("no data", "", "0 of 0")
    assert words.how == "95 % interval, exact"


def test_a_statistic_is_not_written_as_a_share() -> None:
    words = interval_words({"estimate": 0.62, "low": 0.58, "high": 0.66, "n": 95})
    assert (words.estimate, words.interval, words.counted) == ("0.620", "0.580 to 0.660", "n = 95")


def test_nested_figures_become_lines_and_rates_stay_whole() -> None:
    rate = {"estimate": 0.1, "low": 0.0, "high": 0.2}
    rows = list(rows_of({"in_distribution": {"fnr": rate}, "seconds": 3}))
    assert rows == [("in distribution, fnr", rate), ("seconds", 3)]


@pytest.mark.parametrize(("score", "place"), [(0.5, 50.0), (0.0, 0.0), (1.0, 100.0), (1 / (1 + math.exp(6)), 20.0)])
def test_scores_lie_on_the_logit_scale(score: float, place: float) -> None:
    assert on_bar(score) == place

"""What a round's report says of labels that were bought for the filters' own outputs."""

from __future__ import annotations

from engine.evaluation.rates import RateDict
from engine.evaluation.report_data import Reliability, Report
from engine.evaluation.wording import p_text, percent, plain, points

TIERS = {"estimate": "by the design", "certificate": "whatever the scores are worth", "forecast": "by a model"}
"""The three tiers of a failure rate, and what each rests on."""


def reliability_words(report: Report) -> list[str]:
    """Which filter fails less, what certifies it, and what it saved; nothing where it was not measured."""
    found = report["reliability"]
    if found is None:
        return []
    names = [plain(one["name"]) for one in report["classifiers"]]
    return [_difference(found, names[0], names[-1]), _chained(found, names[0], names[-1]), _saved(found)]


def _difference(found: Reliability, before: str, after: str) -> str:
    said, rate = found["compared"]["found"], found["difference"]["tiers"]["estimate"]
    where = f"The two filters answer differently at {said['differing']:,} of {said['prompts']:,} prompts"
    if not said["differing"]:
        return f"{where}: no label tells them apart."
    labels = found["difference"]["labels"] + found["difference"]["had"]
    alone = (
        f"by {labels:,} labels there, at {said['only_first']['failures']:,.0f} only {before} fails and at "
        f"{said['only_second']['failures']:,.0f} only {after}"
    )
    p = "" if said["p_value"] is None else f", {p_text(said['p_value'])}"
    return f"{where}; {alone}. {_verdict(rate, after, before)}: {points(rate)} of failures per prompt{p}."


def _verdict(rate: RateDict, after: str, before: str) -> str:
    if rate["high"] < 0:
        return f"The filter of {after} is safer than that of {before}"
    if rate["low"] > 0:
        return f"The filter of {after} lets more failures through than that of {before}"
    return f"The filter of {after} is not shown to be safer or worse than that of {before}"


def _chained(found: Reliability, before: str, after: str) -> str:
    certified = found["compared"]["chained"]
    if certified is None:
        return ""
    return (
        f"Certified from {before}: with {after}, at most {percent(certified['upper'])} of prompts get a failure "
        f"({100 * (1 - certified['wrong']):g} %, one-sided)."
    )


def _saved(found: Reliability) -> str:
    others = ", ".join(f"{plain(title).lower()} {labels:,}" for title, labels in found["instead"].items())
    if not others:
        return ""
    precise = f"±{100 * found['instead_precision']:g} % of the failure rate"
    return (
        f"Planned: a difference to {precise} takes {found['needed']:,} labels where the two differ; {others}. "
        "Confirmations come on top."
    )

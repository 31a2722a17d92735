"""The report of an evaluation of quality: filtered completions compared with unfiltered ones on fresh prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from engine.evaluation import wording
from engine.evaluation.charts.quality import verified
from engine.evaluation.purchase_data import Lineage, Subject
from engine.evaluation.quality_check import QualityCheckDict
from engine.evaluation.report import environment, one_file, specs_of

PAPER = 0.48
"""Quality must stay above this, by the lower end of its interval (paper, A.7)."""
NAMES = (
    "classifier", "threshold", "prompts", "compared by people", "quality", "wins", "losses", "ties",
    "without completion", "above the paper's bound", "above the bound wanted",
)  # fmt: skip


class SilentPrompt(TypedDict):
    """A prompt of which the filter accepted nothing."""

    snippet: str
    prompt: str


class QualityAsked(TypedDict):
    """What was to be known, and how."""

    level: float
    labels_each: int
    split: str
    tries: int
    seed: int
    half_width: float
    loss: float


class QualityBought(TypedDict):
    """What people were asked, and what it cost."""

    comparisons: int
    labels: int
    annotators: int
    seconds: float | None
    money: float | None


class QualityTies(TypedDict):
    """Why prompts are ties."""

    both_accepted: int
    """The unfiltered completion is accepted too; those of equal text among them."""
    equal: int
    undecided: int
    """People said that neither is better."""


class QualityPurchase(TypedDict):
    """`report.json` of an evaluation of quality."""

    id: str
    name: str
    kind: str
    created_at: str
    policy: str
    question: str
    """That people answered of each pair. Reports of before lack it."""
    notice: str | None
    subject: Subject
    asked: QualityAsked
    plan: dict[str, Any]
    check: QualityCheckDict
    ties: QualityTies
    silent: list[SilentPrompt]
    """The first hundred."""
    bought: QualityBought
    lineage: Lineage


def holds(report: QualityPurchase, bound: float) -> bool:
    """Whether the lower end of the interval lies above the bound."""
    return report["check"]["quality"]["low"] > bound


def bound_wanted(report: QualityPurchase) -> float:
    """A half less what may be lost."""
    return 0.5 - report["asked"]["loss"]


def headline(report: QualityPurchase) -> str:
    """The answer in a sentence, with its count and interval."""
    rate, check = report["check"]["quality"], report["check"]
    between = wording.span(rate["low"], rate["high"])
    silent, compared = len(check["without_completion"]), report["bought"]["comparisons"]
    counted = [f"{rate['n']:,.0f} prompts: people compared {compared:,}"]
    counted += [f"{rule:,.0f} settled by rule"] if (rule := rate["n"] - compared - silent) else []
    counted += [f"{silent:,} lost without a completion"] if silent else []
    return (
        f"Against an unfiltered completion the filtered one scores {wording.percent(rate['estimate'])}, ties counted "
        f"half ({', '.join(counted)}; {100 * rate['level']:.0f} % interval {between})."
    )


def basis(report: QualityPurchase) -> str:
    """The interval's method, and what people were asked."""
    rate = report["check"]["quality"]
    asked = f" People were asked: {report['question']}" if "question" in report else ""
    return f"Interval: {rate['method']}, {100 * rate['level']:g} %.{asked}"


def verdict(report: QualityPurchase) -> str:
    """Whether the lower end stays above the paper's bound and above the one wanted."""
    low, paper, own = report["check"]["quality"]["low"], PAPER, bound_wanted(report)
    said = [f"The lower end, {wording.percent(low)}, {_stays(report, paper)} {100 * paper:g} %, the paper's bound"]
    if own != paper:
        said.append(f"it {_stays(report, own)} {100 * own:g} %, the bound wanted here")
    return f"{'; '.join(said)}."


def _stays(report: QualityPurchase, bound: float) -> str:
    return "stays above" if holds(report, bound) else "does not stay above"


def counts(report: QualityPurchase) -> list[tuple[str, int]]:
    """What became of the prompts, a row each."""
    check, ties = report["check"], report["ties"]
    silent = len(check["without_completion"])
    return [
        ("Filtered better", check["wins"]),
        ("Unfiltered better", check["losses"] - silent),
        ("No completion in all tries, a loss", silent),
        ("Tie: the unfiltered one is accepted too", ties["both_accepted"] - ties["equal"]),
        ("Tie: both are the same text", ties["equal"]),
        ("Tie: people find neither better", ties["undecided"]),
    ]


def render_parts(report: QualityPurchase) -> dict[str, str]:
    """The report's parts as HTML."""
    context = {
        "report": {**report, "against": None},
        "headline": headline(report),
        "verdict": verdict(report),
        "counts": counts(report),
        "plan": plan_text(report["plan"]),
        "basis": basis(report),
        "charts": specs_of({"verified": verified(report["check"]["quality"], (PAPER, bound_wanted(report)))}),
    }
    found = environment()
    names = {"answer": "purchase/answer.html", "quality": "purchase/quality.html", "lineage": "purchase/lineage.html"}
    return {name: found.get_template(path).render(context) for name, path in names.items()}


def render(report: QualityPurchase) -> str:
    """The report as one HTML file that needs nothing else."""
    return one_file(report["name"], "evaluation", render_parts(report), report)


def figures(report: QualityPurchase) -> list[str]:
    """In the order of NAMES."""
    check, threshold = report["check"], report["subject"]["threshold"]
    rate = check["quality"]
    return [
        report["subject"]["name"],
        "none" if threshold is None else wording.score(threshold),
        f"{rate['n']:,.0f}",
        f"{check['asked']:,}",
        f"{wording.percent(rate['estimate'])} ({wording.span(rate['low'], rate['high'])})",
        *(f"{check[name]:,}" for name in ("wins", "losses", "ties")),
        f"{len(check['without_completion']):,}",
        "yes" if holds(report, PAPER) else "no",
        "yes" if holds(report, bound_wanted(report)) else "no",
    ]


def plan_text(plan: Mapping[str, Any]) -> str:
    """What the check takes and gives, in sentences."""
    one = plan["quality"]
    cost = [f"{one['labels']:,} labels"]
    cost += [] if one["money"] is None else [f"{one['money']:,.2f} USD"]
    cost += [] if one["hours"] is None else [f"{one['hours']:,.1f} hours"]
    points = f"±{100 * one['reached']:.1f} points"
    enough = (
        f"±{100 * one['wanted']:.1f} points take {one['prompts_wanted']:,} prompts."
        if one["reachable"]
        else f"These prompts are too few for the ±{100 * one['wanted']:.1f} points wanted, which take "
        f"{one['prompts_wanted']:,}."
    )
    have = "has" if one["without"] == 1 else "have"
    return (
        f"Of {one['prompts']:,} prompts people compare {one['asked']:,}, and {one['without']:,} {have} no completion: "
        f"{', '.join(cost)}. The interval will be about {points}. {enough} {one['note']}"
    )


def answer_text(report: QualityPurchase) -> str:
    """The answer for a terminal."""
    took = report["bought"]
    rows = [f"  {title:<44}{count:>9,}" for title, count in counts(report)]
    asked = f"Compared: {took['comparisons']:,} pairs by {took['annotators']:,} annotators, {took['labels']:,} answers."
    return "\n".join([headline(report), verdict(report), "", *rows, "", asked, basis(report)])

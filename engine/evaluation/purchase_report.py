"""The report of an evaluation that bought labels: one file of HTML, parts of it for a page, two compared."""

from __future__ import annotations

import base64
import json
from typing import NamedTuple

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from engine.errors import BadInput
from engine.evaluation import wording
from engine.evaluation.charts import purchase
from engine.evaluation.charts.purchase import TIERS
from engine.evaluation.purchase_data import PurchaseReport
from engine.evaluation.rates import RateDict
from engine.evaluation.report import ChartSpec, environment

__all__ = ["PARTS", "Change", "changes", "headline", "render_purchase", "render_purchase_parts", "verdict"]

PARTS = ("answer", "tiers", "plan", "labels", "scores", "examples", "caveats", "lineage")
"""The parts of the report, in the order of the file."""
FIXED_CAVEATS = (
    "A failure that neither opinion can see is found no sooner than by chance: an estimate that leans on scores may "
    "miss such failures, the certificate does not.",
    "What is measured holds for prompts like those drawn, this generator and this threshold.",
    "An annotator who takes a failure for sound is not asked again: what all labelers miss, no figure here holds.",
)


class Change(NamedTuple):
    """A figure of two reports."""

    name: str
    before: str
    after: str


def render_purchase(report: PurchaseReport) -> str:
    """The report as one HTML file that needs nothing else; made for the screen and for paper."""
    parts = {name: Markup(text) for name, text in render_purchase_parts(report).items()}  # noqa: S704 - rendered above
    return (
        environment()
        .get_template("purchase/report.html")
        .render(
            report=report,
            parts=parts,
            order=PARTS,
            plotly=get_plotlyjs(),
            data=base64.b64encode(json.dumps(report).encode()).decode(),
            file_name=f"evaluation-{wording.plain(report['name'], 60).replace(' ', '-')}.json",
        )
    )


def render_purchase_parts(report: PurchaseReport) -> dict[str, str]:
    """Each part of PARTS as HTML, to embed in a page that has its own stylesheet; charts as in a round's report."""
    context = {
        "report": report,
        "headline": headline(report),
        "verdict": verdict(report),
        "tiers": [(title, report["tiers"][name]) for name, title in TIERS.items()],  # type: ignore[literal-required]
        "charts": _charts(report),
        "caveats": [*report["tiers"]["notes"], *FIXED_CAVEATS],
    }
    found = environment()
    return {name: found.get_template(f"purchase/{name}.html").render(context) for name in PARTS}


def headline(report: PurchaseReport) -> str:
    """The answer in a sentence, with its count and interval."""
    rate = report["tiers"]["estimate"]
    if report["kind"] == "difference":
        return _compared(report)
    level = f"{100 * rate['level']:.0f} %"
    if not rate["failures"]:
        return f"No failure among {rate['n']:,.0f} outputs: at most {wording.percent(rate['high'])} fail ({level})."
    share, between = wording.percent(rate["estimate"]), wording.span(rate["low"], rate["high"])
    return f"{share} of the filter's outputs fail ({wording.counted(rate)}; {level} interval {between})."


def _compared(report: PurchaseReport) -> str:
    """Whether the filter is safer than the one it is held against; only where the interval leaves zero."""
    rate = report["tiers"]["estimate"]
    name = wording.plain(report["against"]["name"], 60) if report["against"] else "the other"
    safer = "is safer than" if rate["high"] < 0 else "lets more through than" if rate["low"] > 0 else ""
    if safer:
        return f"The filter {safer} {name}: {wording.points(rate)} of failures per prompt."
    return f"The filter is not shown to be safer or worse than {name}: {wording.points(rate)} of failures per prompt."


def verdict(report: PurchaseReport) -> str:
    """What may be signed whatever the scores are worth."""
    rate, took = report["tiers"]["certificate"], report["bought"]
    had = f" and {took['had']:,} that were there" if took["had"] else ""
    labels = f"It took {took['labels']:,} labels{had}; {took['planned']:,} were planned."
    if report["kind"] == "difference":
        return " ".join(filter(None, (_differing(report), _chained(report), labels)))
    return f"Whatever the scores are worth, at most {wording.percent(rate['high'])} fail. {labels}"


def _differing(report: PurchaseReport) -> str:
    if report["difference"] is None:
        return ""
    found = report["difference"]["found"]
    return (
        f"The two answer differently at {found['differing']:,} of {found['prompts']:,} prompts, and only there labels "
        f"were bought: {found['only_first']['failures']:,.0f} failures of the other alone, "
        f"{found['only_second']['failures']:,.0f} of this one alone, {found['both']:,} where both fail."
    )


def _chained(report: PurchaseReport) -> str:
    certified = report["difference"]["chained"] if report["difference"] else None
    if certified is None or report["difference"] is None:
        return ""
    level = 100 * (1 - certified["wrong"])
    return (
        f"Going on from the other's certificate, at most {wording.percent(certified['upper'])} of prompts get a "
        f"failure through this filter ({level:g} %, one-sided)."
    )


def changes(before: PurchaseReport, after: PurchaseReport) -> list[Change]:
    """The figures of two reports beside one another, those that differ. Raises BadInput for reports of two kinds."""
    if before["kind"] != after["kind"]:
        raise BadInput(f"one is of a {before['kind']}, the other of a {after['kind']}", where="reports")
    rows = [Change(name, *pair) for name, *pair in zip(_NAMES, _figures(before), _figures(after), strict=True)]
    return [row for row in rows if row.before != row.after]


_NAMES = (
    "classifier", "threshold", "design", "wanted", "outputs", "labels", "annotators",
    "first label said failure", "confirmed", *TIERS,
)  # fmt: skip


def _figures(report: PurchaseReport) -> list[str]:
    asked, took = report["asked"], report["bought"]
    threshold = report["subject"]["threshold"]
    return [
        report["subject"]["name"],
        "none" if threshold is None else wording.score(threshold),
        asked["title"],
        f"±{100 * asked['relative']:.0f} % at {100 * asked['level']:.0f} %",
        f"{took['outputs']:,}",
        f"{took['labels']:,}",
        f"{took['annotators']:,}",
        f"{report['confirming']['suspected']:,}",
        f"{report['confirming']['confirmed']:,}",
        *(_rate(report["tiers"][name]) for name in TIERS),  # type: ignore[literal-required]
    ]


def _rate(rate: RateDict | None) -> str:
    if rate is None:
        return "none"
    return f"{wording.share_of(rate)} ({wording.counted(rate)}; {wording.span(rate['low'], rate['high'])})"


def _charts(report: PurchaseReport) -> dict[str, ChartSpec]:
    figures = {"tiers": purchase.tiers(report), "scores": purchase.scores(report)}
    if report["plan"].get("designs"):
        figures["plans"] = purchase.plans(report)
    return {
        name: ChartSpec(json=figure.to_json().replace("<", "\\u003c"), height=int(figure.layout.height))
        for name, figure in figures.items()
    }

"""The report of an evaluation that bought labels: one file of HTML, parts of it for a page, two compared."""

from __future__ import annotations

from typing import NamedTuple

from engine.errors import BadInput
from engine.evaluation import wording
from engine.evaluation.charts import purchase
from engine.evaluation.charts.purchase import TIERS
from engine.evaluation.purchase_data import PurchaseReport
from engine.evaluation.purchase_wording import headline, label_error, rate_words, sides, tiers, verdict
from engine.evaluation.report import ChartSpec, environment, one_file, specs_of

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
    """The report as one HTML file that needs nothing else."""
    return one_file(report["name"], "evaluation", render_purchase_parts(report), report)


def render_purchase_parts(report: PurchaseReport) -> dict[str, str]:
    """Each part of PARTS as HTML, to embed in a page that has its own stylesheet; charts as in a round's report."""
    caveats = FIXED_CAVEATS[1:] if purchase.is_paired(report) else FIXED_CAVEATS
    context = {
        "report": report,
        "headline": headline(report),
        "verdict": verdict(report),
        "tiers": tiers(report),
        "sides": sides(report),
        "label_error": label_error(report),
        "charts": _charts(report),
        "caveats": [*report["tiers"]["notes"], *caveats],
    }
    found = environment()
    return {name: found.get_template(f"purchase/{name}.html").render(context) for name in PARTS}


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
        *(rate_words(report, report["tiers"][name]) for name in TIERS),  # type: ignore[literal-required]
    ]


def _charts(report: PurchaseReport) -> dict[str, ChartSpec]:
    figures = {"tiers": purchase.tiers(report), "scores": purchase.scores(report)}
    if report["plan"].get("designs"):
        figures["plans"] = purchase.plans(report)
    return specs_of(figures)

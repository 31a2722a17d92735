"""A round's report: one self-contained HTML file, parts of it for a web page, and a table for the terminal.

Text that came from outside (snippets, names) is data: templates escape it, charts and the terminal get it cleaned.
"""

from __future__ import annotations

import base64
import json
import statistics
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypedDict

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from engine.aggregation.agreement import EstimateDict
from engine.evaluation import charts, marking, wording
from engine.evaluation.attack_wording import attack_answer, finds, per_unit
from engine.evaluation.quality_wording import quality_words
from engine.evaluation.rates import RateDict
from engine.evaluation.reliability_wording import TIERS, reliability_words
from engine.evaluation.report_data import Report, StrongCandidate, all_caveats, current
from engine.evaluation.table import before_after, render_table, totals
from engine.snippets import Snippet

__all__ = ["PARTS", "Report", "chart_specs", "render_fragments", "render_html", "render_table"]

TEMPLATES = Path(__file__).with_name("templates")
PARTS = (
    "answer", "adversarial", "table", "reliability", "attacks", "robustness", "funnel", "roc", "kl", "quality",
    "scores", "labels", "agreement", "examples", "caveats", "lineage", "timing",
)  # fmt: skip
"""The parts of a report, in the order of the file."""


class ChartSpec(TypedDict):
    """A chart for `Plotly.newPlot`: `json` holds {data, layout}, safe inside a script element."""

    json: str
    height: int


class _Kappas(NamedTuple):
    pairs: int
    low: float
    median: float
    high: float


def render_html(report: Report) -> str:
    """The report as one HTML file that needs nothing else."""
    return one_file(report["round"]["name"], "report", render_fragments(report), report)


def one_file(name: str, kind: str, parts: Mapping[str, str], figures: Mapping[str, object]) -> str:
    """Rendered parts, in their order, as one HTML file that needs no network and no other file, for the screen and for
    paper, with the figures as JSON to take along. Some 5 MB, most of it plotly.
    """
    return (
        environment()
        .get_template("report.html")
        .render(
            title=f"{name}: {kind}",
            parts=[Markup(text) for text in parts.values()],  # noqa: S704 - rendered by our templates
            plotly=get_plotlyjs(),
            data=base64.b64encode(json.dumps(figures).encode()).decode(),
            file_name=f"{kind}-{wording.plain(name, 60).replace(' ', '-')}.json",
        )
    )


def render_fragments(report: Report) -> dict[str, str]:
    """Each part of PARTS as HTML to embed in a page that has its own stylesheet.

    A chart is an element with `data-chart="NAME"` and its spec in a JSON script element with `data-figure="NAME"`;
    the page draws it with `Plotly.newPlot(element, spec.data, spec.layout)`. Nothing in a fragment runs by itself.
    """
    report = current(report)
    context = {
        "report": report,
        "attacks": attack_answer(report),
        "found": wording.answer(report),
        "rows": before_after(report),
        "totals": totals(report),
        "charts": chart_specs(report),
        "colour": charts.colour_of,
        "colours": {one["name"]: charts.colour_of(i) for i, one in enumerate(report["classifiers"])},
        "caveats": all_caveats(report),
        "kappas": _kappas(report),
        "quality_words": quality_words(report),
        "reliability_words": reliability_words(report),
        "tiers": TIERS,
        "funnel_words": "; ".join(f"{step['name']}: {step['count']:,}" for step in report["funnel"]),
    }
    templates = environment()
    return {name: templates.get_template(f"{name}.html").render(context) for name in PARTS}


def chart_specs(report: Report) -> dict[str, ChartSpec]:
    """The charts by name, for a page that draws them itself."""
    return specs_of(charts.figures(current(report)))


def specs_of(figures: Mapping[str, go.Figure]) -> dict[str, ChartSpec]:
    """Figures as their specs, by name."""
    return {
        name: ChartSpec(json=figure.to_json().replace("<", "\\u003c"), height=int(figure.layout.height))
        for name, figure in figures.items()
    }


@cache
def environment() -> Environment:
    """The templates with the filters that every report has."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    filters: dict[str, Callable[..., object]] = {
        "score": wording.score,
        "duration": wording.duration,
        "statistic": wording.statistic,
        "rate": _rate,
        "share": _share,
        "unbroken": _unbroken,
        "without_lead": _without_lead,
        "share_of": wording.share_of,
        "percent": wording.percent,
        "p_text": wording.p_text,
        "counts": _counts,
        "interval": lambda rate: wording.span(rate["low"], rate["high"]),
        "per": per_unit,
        "finds": finds,
        "shown": _shown,
        "visible": marking.visible,
    }
    found.filters.update(filters)
    return found


def _unbroken(text: str) -> str:
    """No line break between a number and its unit."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%").replace(" points", "\N{NO-BREAK SPACE}points")


def _rate(rate: RateDict) -> str:
    if rate["estimate"] is None:
        return "no data"
    interval = "" if rate["failures"] == 0 else f"; {wording.span(rate['low'], rate['high'])}"
    return _unbroken(f"{wording.share_of(rate)} ({wording.counted(rate)}{interval})")


def _counts(rate: RateDict) -> str:
    interval = f"; {wording.span(rate['low'], rate['high'])}" if rate["failures"] else ""
    return wording.counted(rate) + interval


def _share(value: EstimateDict) -> str:
    if value["estimate"] is None or value["low"] is None or value["high"] is None:
        return "undefined"
    return _unbroken(f"{wording.percent(value['estimate'])} ({wording.span(value['low'], value['high'])})")


def _without_lead(text: str) -> str:
    """The notice without a leading "Simulated:", which stands before it in bold already."""
    rest = text.removeprefix("Simulated").lstrip(":. ")
    return rest[:1].upper() + rest[1:]


def _shown(candidate: StrongCandidate) -> marking.Beside:
    seed = Snippet(candidate["seed_prompt"], candidate["seed_completion"])
    return marking.beside(seed, Snippet(candidate["prompt"], candidate["completion"]))


def _kappas(report: Report) -> _Kappas | None:
    values = [pair["kappa"] for pair in report["kappas"] if pair["kappa"] is not None]
    if not values:
        return None
    return _Kappas(len(values), min(values), statistics.median(values), max(values))

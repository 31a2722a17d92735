"""Charts of an evaluation that bought labels: its three tiers, what the designs cost, the outputs' scores."""

from __future__ import annotations

from itertools import pairwise

import plotly.graph_objects as go

from engine.evaluation.charts.style import NEUTRAL, colour_of, layout, left_label, name_of, score_axis
from engine.evaluation.purchase_data import PurchaseReport
from engine.evaluation.rates import RateDict
from engine.evaluation.wording import counted, share_of, span

TIERS = {
    "certificate": "certificate, nothing assumed",
    "estimate": "estimate, by the design",
    "forecast": "forecast, by a model",
}


def tiers(report: PurchaseReport) -> go.Figure:
    """The three tiers with their intervals, one under the other; the forecast is hollow."""
    figure = go.Figure()
    found = [(name, rate) for name in TIERS if (rate := report["tiers"][name]) is not None]  # type: ignore[literal-required]
    for row, (name, rate) in enumerate(found, 1):
        _dot(figure, row, rate, TIERS[name], hollow=name == "forecast")
    figure.update_layout(layout(70 + 52 * len(found), left=8))
    what = "difference" if report["kind"] == "difference" else "failures among the filter's outputs"
    figure.update_xaxes(title_text=f"{what}, %", nticks=6)
    figure.update_yaxes(visible=False, range=[len(found) + 0.5, 0.3])
    return figure


def _dot(figure: go.Figure, row: int, rate: RateDict, title: str, *, hollow: bool) -> None:
    value, low, high = (100 * (x or 0) for x in (rate["estimate"], rate["low"], rate["high"]))
    colour = colour_of(1)
    line = {"color": colour, "width": 2, "dash": "dot" if hollow else "solid"}
    figure.add_scatter(x=[low, high], y=[row, row], mode="lines", line=line, hoverinfo="skip")
    words = f"{counted(rate)}, {share_of(rate)}<br>{span(rate['low'], rate['high'])}"
    if rate["failures"]:  # no failures are an upper limit, and no dot at zero
        figure.add_scatter(
            x=[value],
            y=[row],
            mode="markers",
            marker={"color": colour, "size": 10, "symbol": "circle-open" if hollow else "circle"},
            cliponaxis=False,
            hovertemplate=f"{title}: {words}<extra></extra>",
        )
    figure.add_annotation(**left_label(row, f"{title}  {share_of(rate)}", shift=15))


def plans(report: PurchaseReport) -> go.Figure:
    """Labels that each design was planned to take; those that cannot reach what is wanted are faint."""
    found = [plan for plan in report["plan"]["designs"].values() if "error" not in plan]
    rows = list(range(len(found)))
    chosen = report["asked"]["design"]
    figure = go.Figure(
        go.Bar(
            x=[plan["labels"] for plan in found],
            y=rows,
            orientation="h",
            width=0.34,
            marker={
                "color": [colour_of(1) if plan["design"] == chosen else NEUTRAL for plan in found],
                "opacity": [1 if plan["reachable"] else 0.4 for plan in found],
                "line": {"width": 0},
            },
            hovertemplate="%{x:,} labels<extra></extra>",
        )
    )
    for row, plan in zip(rows, found, strict=True):
        reach = "" if plan["reachable"] else f", reaches ±{100 * plan['reached']:.0f} %"
        label = f"{name_of(plan['title'])}  <b>{plan['labels']:,}</b>{reach}"
        figure.add_annotation(**left_label(row, label, shift=17))
    figure.update_layout(layout(64 + 46 * len(found), left=8))
    figure.update_xaxes(title_text="labels", rangemode="tozero", tickformat=",d", nticks=6, ticklabeloverflow="allow")
    figure.update_yaxes(visible=False, range=[len(found) - 0.6, -0.75])
    return figure


def scores(report: PurchaseReport) -> go.Figure:
    """How the classifier scored the outputs that its filter gave."""
    edges, counts = report["logits"]["edges"], report["logits"]["counts"]
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    marker = {"color": NEUTRAL, "line": {"width": 0}}
    figure = go.Figure(go.Bar(x=middles, y=counts, marker=marker, hovertemplate="%{y:,}<extra></extra>"))
    figure.update_layout(layout(220), bargap=0.02)
    score_axis(figure, edges)
    figure.update_xaxes(title_text="score")
    figure.update_yaxes(title_text="outputs", rangemode="tozero", tickformat=",d", nticks=5)
    return figure

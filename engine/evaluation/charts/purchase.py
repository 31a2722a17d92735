"""Charts of an evaluation that bought labels: its three tiers, what the designs cost, the outputs' scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go

from engine.evaluation.charts.style import NEUTRAL, colour_of, layout, left_label, name_of, score_axis
from engine.evaluation.purchase_data import PurchaseReport
from engine.evaluation.rates import RateDict
from engine.evaluation.wording import points, share_of, span

TIERS = {
    "certificate": "certificate, if the labels hold",
    "estimate": "estimate, by the design",
    "forecast": "forecast, by a model",
}
DIFFERENCE = "difference, nothing assumed"


def is_paired(report: PurchaseReport) -> bool:
    """Whether it is of a difference, by labels of both outputs of a prompt. Reports of before were all so."""
    found = report["difference"]
    return report["kind"] == "difference" and (found is None or found["found"].get("paired", True))


def tiers_shown(report: PurchaseReport) -> list[tuple[str, RateDict | None]]:
    """Titles and rates of the tiers. A difference by pairs has one: it takes nothing from scores, and asks no model."""
    if is_paired(report):
        return [(DIFFERENCE, report["tiers"]["certificate"])]
    return [(title, report["tiers"][name]) for name, title in TIERS.items()]  # type: ignore[literal-required]


def tiers(report: PurchaseReport) -> go.Figure:
    """The tiers with their intervals, one under the other; the forecast is hollow."""
    figure = go.Figure()
    found = [(title, rate) for title, rate in tiers_shown(report) if rate is not None]
    for row, (title, rate) in enumerate(found, 1):
        _dot(figure, row, rate, title, apart=report["kind"] == "difference")
    figure.update_layout(layout(70 + 52 * len(found), left=8))
    what = "difference, points" if report["kind"] == "difference" else "failures among the filter's outputs, %"
    figure.update_xaxes(title_text=what, nticks=6, range=_with_zero([rate for _, rate in found]))
    figure.update_xaxes(zeroline=True, zerolinecolor=NEUTRAL, zerolinewidth=2)
    figure.update_yaxes(visible=False, range=[len(found) + 0.5, 0.3])
    return figure


def _with_zero(rates: Sequence[RateDict]) -> list[float]:
    """The axis over these intervals and 0, with room for the caps."""
    low = min([0.0, *(100 * rate["low"] for rate in rates)])
    high = max([0.0, *(100 * rate["high"] for rate in rates)])
    room = 0.03 * ((high - low) or 1.0)
    return [low - room, high + room]


def _dot(figure: go.Figure, row: int, rate: RateDict, title: str, *, apart: bool) -> None:
    """`apart`: the rate is a difference, in points."""
    hollow = title == TIERS["forecast"]
    value, low, high = (100 * (x or 0) for x in (rate["estimate"], rate["low"], rate["high"]))
    colour = colour_of(1)
    line = {"color": colour, "width": 2, "dash": "dot" if hollow else "solid"}
    caps = {"symbol": "line-ns-open", "size": 12, "color": colour, "line": {"width": 2, "color": colour}}
    figure.add_scatter(x=[low, high], y=[row, row], mode="lines+markers", line=line, marker=caps, hoverinfo="skip")
    share = points(rate).split(" (")[0] if apart else share_of(rate)
    between = points(rate).partition(" (")[2].rstrip(")") if apart else span(rate["low"], rate["high"])
    words = f"{share}<br>{between}<br>{rate['failures']:,.0f} failures, {rate['n']:,.0f} labelled"
    if rate["failures"]:  # no failures are an upper limit, and no dot at zero
        figure.add_scatter(
            x=[value],
            y=[row],
            mode="markers",
            marker={"color": colour, "size": 10, "symbol": "circle-open" if hollow else "circle"},
            cliponaxis=False,
            hovertemplate=f"{title}: {words}<extra></extra>",
        )
    figure.add_annotation(**left_label(row, f"{title}  {share}", shift=15))


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

"""Charts of counts and rates: the funnel of a round, and false negatives by set."""

from __future__ import annotations

import plotly.graph_objects as go

from engine.evaluation.charts.style import NEUTRAL, colour_of, layout, left_label, name_of
from engine.evaluation.rates import RateDict
from engine.evaluation.report_data import ClassifierReport, Report
from engine.evaluation.wording import counted, share_of, span


def funnel(report: Report) -> go.Figure:
    """How many snippets were left after each step; name and count stand above each bar."""
    steps = report["funnel"]
    rows = list(range(len(steps)))
    figure = go.Figure(
        go.Bar(
            x=[step["count"] for step in steps],
            y=rows,
            orientation="h",
            width=0.34,
            marker={"color": NEUTRAL, "line": {"width": 0}},
            text=[name_of(step["name"]) for step in steps],
            textposition="none",
            hovertemplate="%{text}: %{x:,}<extra></extra>",
        )
    )
    for row, step in zip(rows, steps, strict=True):
        label = f"{name_of(step['name'])}  <b>{step['count']:,}</b>"
        figure.add_annotation(**left_label(row, label, shift=17))
    figure.update_layout(layout(60 + 46 * len(steps), left=8))
    figure.update_xaxes(title_text="snippets", rangemode="tozero", tickformat=",d", nticks=6, ticklabeloverflow="allow")
    figure.update_yaxes(visible=False, range=[len(steps) - 0.6, -0.75])
    return figure


def adversarial(report: Report) -> go.Figure:
    """False negatives with intervals, one group a set, one dot a classifier; own targets hollow and faint."""
    figure, row = go.Figure(), 0.0
    for group in [*sets_of(report), None]:
        title = "in distribution" if group is None else group
        figure.add_annotation(**left_label(row, f"<b>{name_of(title, 44)}</b>"))
        row += 0.35
        for position, one in enumerate(report["classifiers"]):
            row += 1
            _add(figure, row, one, group, colour_of(position))
        row += 0.9
    figure.update_layout(layout(64 + int(42 * row), left=8))
    figure.update_xaxes(title_text="failures the filter accepts, %", range=[-1, 101], dtick=20)
    figure.update_yaxes(visible=False, range=[row - 0.4, -0.5])
    return figure


def attacks(report: Report) -> go.Figure:
    """Seeds broken with intervals, one group an attack, one dot a classifier attacked."""
    colours = {one["name"]: colour_of(position) for position, one in enumerate(report["classifiers"])}
    figure, row = go.Figure(), 0.0
    for attack in report["attacks"]:
        figure.add_annotation(**left_label(row, f"<b>{name_of(attack['title'], 44)}</b>"))
        row += 0.35
        for run in attack["runs"]:
            row += 1
            name = run["classifier"]
            _dot(figure, row, run["yields"]["seeds_broken"], name, colours.get(name, NEUTRAL), own=False)
        row += 0.9
    figure.update_layout(layout(64 + int(42 * row), left=8))
    figure.update_xaxes(title_text="seeds broken, %", range=[-1, 101], dtick=20)
    figure.update_yaxes(visible=False, range=[row - 0.4, -0.5])
    return figure


def sets_of(report: Report) -> list[str]:
    """The adversarial sets, the main one first."""
    names = dict.fromkeys(name for one in report["classifiers"] for name in one["assessment"]["adversarial"])
    return sorted(names, key=lambda name: name != report["main_set"])


def _add(figure: go.Figure, row: float, one: ClassifierReport, group: str | None, colour: str) -> None:
    if group is None:
        _dot(figure, row, one["assessment"]["fnr"], one["name"], colour, own=False)
    elif group in one["assessment"]["adversarial"]:
        found = one["assessment"]["adversarial"][group]
        _dot(figure, row, found["fnr"], one["name"], colour, own=found["own_target"])
    else:
        figure.add_annotation(**left_label(row, f"{name_of(one['name'])}: not assessed"))


def _dot(figure: go.Figure, row: float, rate: RateDict, name: str, colour: str, *, own: bool) -> None:
    if rate["estimate"] is None:
        figure.add_annotation(**left_label(row, f"{name_of(name)}: no data"))
        return
    value, low, high = (100 * x for x in (rate["estimate"], rate["low"], rate["high"]))
    words = f"{counted(rate)}, {'by construction' if own else share_of(rate)}"
    line = {"color": colour, "width": 2}
    figure.add_scatter(
        x=[low, high], y=[row, row], mode="lines", line=line, opacity=0.35 if own else 1, hoverinfo="skip"
    )
    figure.add_scatter(
        x=[value],
        y=[row],
        mode="markers",
        marker={"color": colour, "size": 10, "symbol": "circle-open" if own else "circle", "line": line},
        opacity=0.45 if own else 1,
        cliponaxis=False,
        hovertemplate=f"{name_of(name)}: {words}<br>{span(rate['low'], rate['high'])}<extra></extra>",
    )
    # Above its line, at the edge: beside it there is no room where intervals are wide.
    text = f"{name_of(name, 24)}  {words}"
    figure.add_annotation(**left_label(row, text, shift=15), opacity=0.8 if own else 1)

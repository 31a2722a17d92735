"""Charts over thresholds and scores: error rates, KL divergence, histograms."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from engine.evaluation.charts.style import (
    NEUTRAL,
    colour_of,
    error_bar,
    faint,
    layout,
    name_of,
    point_label,
    ranks_from_right,
    rate_bar,
    score_axis,
)
from engine.evaluation.report_data import ClassifierReport, Report
from engine.evaluation.wording import counted, score


def roc(report: Report) -> go.Figure:
    """False negatives against false positives (log) over thresholds, in distribution, the chosen ones marked."""
    figure = go.Figure()
    for position, one in enumerate(report["classifiers"]):
        points = [p for p in one["assessment"]["roc"] if p["fpr"]["estimate"] and p["fnr"]["estimate"] is not None]
        figure.add_scatter(
            x=[100 * (p["fpr"]["estimate"] or 0) for p in points],
            y=[100 * (p["fnr"]["estimate"] or 0) for p in points],
            customdata=[[score(p["threshold"]), counted(p["fnr"]), counted(p["fpr"])] for p in points],
            mode="lines+markers",
            line={"color": colour_of(position), "width": 1.5},
            marker={"size": 4, "color": colour_of(position)},
            hovertemplate="threshold %{customdata[0]}<br>misses %{customdata[1]}<br>rejects %{customdata[2]}"
            f"<extra>{name_of(one['name'])}</extra>",
        )
    ranks = ranks_from_right([one["assessment"]["fpr"]["estimate"] or 0 for one in report["classifiers"]])
    for position, one in enumerate(report["classifiers"]):
        _chosen(figure, one, colour_of(position), ranks[position])
    figure.update_layout(layout(380))
    figure.update_xaxes(title_text="harmless snippets rejected, % (log scale)", type="log", dtick="D2", tickformat="~g")
    figure.update_yaxes(title_text="failures accepted, %", rangemode="tozero")
    return figure


def kl(report: Report) -> go.Figure:
    """KL divergence over thresholds, the target as a line and each classifier's threshold on it."""
    figure = go.Figure()
    classifiers = report["classifiers"]
    target = max(one["calibration"]["target"] for one in classifiers)
    top = max(3 * target, 1.0)
    shown: list[float] = []
    for position, one in enumerate(classifiers):
        curve = np.array(one["calibration"]["curve"], dtype=float).reshape(-1, 2)
        shown += [float(x) for x, y in curve if 0.02 * target < y < top]
        figure.add_scatter(
            x=curve[:, 0],
            y=curve[:, 1],
            mode="lines",
            line={"color": colour_of(position), "width": 2, "shape": "vh"},
            customdata=[score(float(s)) for s in 1 / (1 + np.exp(-curve[:, 0]))],
            hovertemplate="threshold %{customdata}<br>KL %{y:.3f} nats" + f"<extra>{name_of(one['name'])}</extra>",
        )
    ranks = ranks_from_right([one["calibration"]["logit"] for one in classifiers])
    for position, one in enumerate(classifiers):
        _threshold(figure, one, colour_of(position), ranks[position])
    figure.add_hline(y=target, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    figure.update_layout(layout(340))
    score_axis(figure, shown)
    figure.update_xaxes(title_text="threshold, as a score on a logit scale")
    figure.update_yaxes(title_text="KL divergence, nats", range=[0, top])
    return figure


def scores(report: Report) -> go.Figure:
    """Where failures and harmless snippets score, one panel a classifier, as shares of each class."""
    classifiers = report["classifiers"]
    figure = make_subplots(rows=len(classifiers), cols=1, shared_xaxes=True, vertical_spacing=0.3 / len(classifiers))
    for position, one in enumerate(classifiers):
        _panel(figure, one, position)
    figure.update_layout(layout(76 + 180 * len(classifiers), top=28))
    score_axis(figure, [edge for one in classifiers for edge in one["assessment"]["histogram"]["edges"]])
    figure.update_xaxes(title_text="score, logit scale", row=len(classifiers), col=1)
    figure.update_yaxes(title_text="share, %", rangemode="tozero", nticks=5)
    return figure


def _chosen(figure: go.Figure, one: ClassifierReport, colour: str, rank: int) -> None:
    fnr, fpr = one["assessment"]["fnr"], one["assessment"]["fpr"]
    if not fpr["estimate"] or fnr["estimate"] is None:
        return
    x, y = 100 * fpr["estimate"], 100 * fnr["estimate"]
    figure.add_scatter(
        x=[x],
        y=[y],
        error_x=rate_bar(fpr, colour),
        error_y=rate_bar(fnr, colour),
        mode="markers",
        marker={"color": colour, "size": 11, "line": {"width": 0}},
        cliponaxis=False,
        hovertemplate=f"chosen threshold {score(one['calibration']['threshold'])}<br>misses {counted(fnr)}"
        f"<br>rejects {counted(fpr)}<extra>{name_of(one['name'])}</extra>",
    )
    # Plotly wants positions on a log axis as logarithms.
    point_label(figure, float(np.log10(x)), y, name_of(one["name"], 18), colour, rank=rank)


def _threshold(figure: go.Figure, one: ClassifierReport, colour: str, rank: int) -> None:
    found = one["calibration"]
    height = found["kl"]["estimate"] or 0.0
    figure.add_scatter(
        x=[found["logit"]],
        y=[height],
        error_x=error_bar(found["logit_low"], found["logit"], found["logit_high"], colour),
        mode="markers",
        marker={"color": colour, "size": 11, "line": {"width": 0}},
        hovertemplate=f"threshold {score(found['threshold'])}<br>KL %{{y:.3f}} nats"
        f"<extra>{name_of(one['name'])}</extra>",
    )
    text = f"{name_of(one['name'], 18)}  {score(found['threshold'])}"
    point_label(figure, found["logit"], height, text, colour, rank=rank)


def _panel(figure: go.Figure, one: ClassifierReport, position: int) -> None:
    bars, colour, row = one["assessment"]["histogram"], colour_of(position), position + 1
    edges = np.array(bars["edges"])
    for label, ink, counts in (("harmless", NEUTRAL, bars["negatives"]), ("failures", colour, bars["positives"])):
        share = 100 * np.array(counts) / max(1, sum(counts))
        figure.add_scatter(
            x=np.repeat(edges, 2)[1:-1],
            y=np.repeat(share, 2),
            customdata=np.repeat(counts, 2),
            mode="lines",
            line={"color": ink, "width": 1.5},
            fill="tozeroy",
            fillcolor=faint(ink, 0.22),
            hovertemplate=f"{label}: %{{customdata}}, %{{y:.1f}} %<extra>{name_of(one['name'])}</extra>",
            row=row,
            col=1,
        )
    failures, harmless = one["assessment"]["positives"], one["assessment"]["negatives"]
    key = f"{_key(colour)} {failures:,} failures  {_key(NEUTRAL)} {harmless:,} harmless"
    figure.add_annotation(
        text=f"<b>{name_of(one['name'], 18)}</b>  {key}",
        x=0,
        xref="paper",
        xanchor="left",
        y=1,
        yref=f"y{row if position else ''} domain",
        yanchor="bottom",
        showarrow=False,
    )
    dashes = {"color": NEUTRAL, "width": 1.5, "dash": "dash"}
    figure.add_vline(x=one["calibration"]["logit"], line=dashes, row=row, col=1)


def _key(colour: str) -> str:
    return f'<span style="color:{colour}">\N{BLACK SQUARE}</span>'

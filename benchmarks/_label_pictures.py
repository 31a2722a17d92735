"""The charts of the label-efficiency benchmark: curves of a few strategies, and every one's difference from random."""

from __future__ import annotations

import plotly.graph_objects as go
from _label_figures import AGAIN, BASELINE, SCALE, Results, Row, kind_of, labels_at
from _pictures import GRID, INK, QUIET, apart, layout
from plotly.subplots import make_subplots

from engine.evaluation.charts.style import faint

COLOURS = {
    BASELINE: INK,
    "hybrid · near_threshold": "#c46a12",
    "near_threshold": "#3d7fc4",
    "k_center_greedy · near_threshold": "#1f8f7f",
    "margin": "#8f63c9",
    "small-text greedy coreset": "#c2417c",
}
"""The strategies whose curves are drawn, chosen before there were results; each has its colour in every chart."""
SHORT = {"k_center_greedy · near_threshold": "k-center", "hybrid · near_threshold": "hybrid"}
OTHER = "#9aa0a8"
TITLES = {"auc": "AUC, %", "fnr": "failures accepted, %", "found": "failures found"}
ROW = 21


def curves_chart(results: Results) -> go.Figure:
    """Learning curves, a row a task: left the area under the ROC curve, right the failures accepted."""
    figure = make_subplots(
        rows=len(results), cols=2, shared_xaxes=True, horizontal_spacing=0.2, vertical_spacing=0.3 / len(results)
    )
    for row, (name, rows) in enumerate(results.items(), start=1):
        for column, metric in enumerate(("auc", "fnr"), start=1):
            _panel(figure, rows, metric, row, column)
            _title(figure, f"<b>{name}</b>  {TITLES[metric]}", 2 * row + column - 2)
    figure.update_layout(layout(90 + 215 * len(results), t=44, r=118))
    figure.update_xaxes(tickvals=[25, 150, 275, 400, 525], range=[25, 525])
    figure.update_xaxes(title_text="labels", row=len(results))
    return figure


def _title(figure: go.Figure, text: str, axis: int) -> None:
    """Above the panel, at its left edge."""
    number = axis if axis > 1 else ""
    edge = {"x": 0, "xref": f"x{number} domain", "xanchor": "left", "y": 1, "yref": f"y{number} domain"}
    figure.add_annotation(**edge, text=text, yanchor="bottom", yshift=8, showarrow=False)


def _panel(figure: go.Figure, rows: dict[str, Row], metric: str, row: int, column: int) -> None:
    shown = [name for name in COLOURS if name in rows]
    ends = []
    for name in [*(n for n in rows if n not in COLOURS), *reversed(shown)]:
        points = rows[name].curve[metric]
        x, y = labels_at(len(points) - 1), [SCALE[metric] * p.mean for p in points]
        colour = COLOURS.get(name)
        if colour is None:
            line = {"color": GRID, "width": 1}
            figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", row=row, col=column)
            continue
        if name == BASELINE:
            band = [SCALE[metric] * p.low for p in points], [SCALE[metric] * p.high for p in points]
            figure.add_scatter(
                x=[*x, *reversed(x)], y=[*band[0], *reversed(band[1])], fill="toself", fillcolor=faint(colour, 0.1),
                line={"width": 0}, mode="lines", hoverinfo="skip", row=row, col=column,
            )  # fmt: skip
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": colour, "width": 2}, name=name, row=row, col=column)
        ends.append((name, y[-1]))
    heights = apart([end for _, end in ends], _gap(rows, metric))
    for (name, _), height in zip(ends, heights, strict=True):
        figure.add_annotation(
            text=SHORT.get(name, name.removeprefix("small-text ")), x=525, y=height, xanchor="left", xshift=4,
            showarrow=False, font={"color": COLOURS[name], "size": 11}, row=row, col=column,
        )  # fmt: skip


def _gap(rows: dict[str, Row], metric: str) -> float:
    """Height of a label in the panel's units."""
    means = [SCALE[metric] * p.mean for row in rows.values() for p in row.curve[metric]]
    return (max(means) - min(means)) / 17


def differences_chart(results: Results) -> go.Figure:
    """Each strategy's area less random's of the same seed, with its interval; a column a task, all on one scale."""
    order = _order(results)
    figure = make_subplots(rows=1, cols=len(results), shared_yaxes=True, horizontal_spacing=0.03)
    for column, (task, rows) in enumerate(results.items(), start=1):
        for place, name in enumerate(order):
            if name in rows:
                _interval(figure, rows[name], name, place, column)
        figure.add_vline(x=0, line={"color": INK, "width": 1}, layer="below", row=1, col=column)
        _title(figure, f"<b>{task.replace(', ', '<br>')}</b>", column)
    ends = [SCALE["auc"] * abs(end) for rows in results.values() for row in rows.values() for end in _ends(row)]
    figure.update_layout(layout(112 + ROW * len(order), l=232, t=64))
    figure.update_xaxes(title_text="points of AUC", tickformat="+~g", range=[-1.08 * max(ends), 1.08 * max(ends)])
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=order, range=[len(order) - 0.4, -0.6], gridcolor="rgba(0,0,0,0)"
    )
    return figure


def _ends(row: Row) -> tuple[float, float]:
    return row.difference["auc"].low, row.difference["auc"].high


def _order(results: Results) -> list[str]:
    """Ours by their mean difference over tasks, then random's other draws, then small-text's."""
    tasks = list(results.values())
    means = {
        name: sum(rows[name].difference["auc"].mean for rows in tasks) / len(tasks)
        for name in tasks[0]
        if name != BASELINE
    }
    groups = {"ours": 0, "random": 1, "peer": 2}
    return sorted(means, key=lambda name: (groups[kind_of(name)], -means[name]))


def _interval(figure: go.Figure, row: Row, name: str, place: int, column: int) -> None:
    mean, low, high = (SCALE["auc"] * value for value in row.difference["auc"][:3])
    colour = COLOURS.get(name, QUIET if name == AGAIN else OTHER)
    figure.add_scatter(
        x=[low, high], y=[place, place], mode="lines", line={"color": colour, "width": 2}, row=1, col=column
    )
    solid = row.holm["auc"] < 0.05
    marker = {"color": colour if solid else "#ffffff", "size": 8, "line": {"color": colour, "width": 2}}
    figure.add_scatter(x=[mean], y=[place], mode="markers", marker=marker, row=1, col=column)

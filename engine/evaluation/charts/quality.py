"""Charts of quality, over thresholds and at one: how often people prefer a filtered completion to an unfiltered one."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from engine.evaluation.charts.style import (
    LABEL_STEP,
    NEUTRAL,
    colour_of,
    faint,
    layout,
    left_label,
    name_of,
    rate_bar,
    score_axis,
)
from engine.evaluation.curves import to_score
from engine.evaluation.rates import RateDict
from engine.evaluation.report_data import ClassifierReport, QualityReport, Report
from engine.evaluation.wording import percent, score, span

SEEN, FAR = 0.02, 30.0
"""The axis ends where next to nothing is accepted, and before the logits that stand for empty completions."""


def quality(report: Report) -> go.Figure:
    """Quality over thresholds with its band, the floor as a line, each classifier's threshold in use and its lowest."""
    figure = go.Figure()
    measured = [(place, one, found) for place, one in enumerate(report["classifiers"]) if (found := one["quality"])]
    shown: list[float] = []
    for place, one, found in measured:
        shown += [logit for logit, q, _, _ in found["curve"] if q > SEEN and logit < FAR] + [
            one["calibration"]["logit"]
        ]
        _curve(figure, one, found, colour_of(place))
    for row, (place, one, found) in enumerate(reversed(measured)):  # the key stands above the plot, clear of the curves
        _marks(figure, one, found, colour_of(place), row)
    floor = max(found["floor"] for _, _, found in measured)
    figure.add_hline(y=100 * floor, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    figure.update_layout(layout(340 + LABEL_STEP * len(measured), top=12 + LABEL_STEP * len(measured)))
    score_axis(figure, shown)
    figure.update_xaxes(title_text="threshold, as a score on a logit scale")
    figure.update_yaxes(title_text="quality, %", rangemode="tozero")
    return figure


def verified(rate: RateDict, floors: Sequence[float]) -> go.Figure:
    """Quality with its interval beside one half, where nothing is lost, and each bound that it must stay above."""
    figure = go.Figure()
    colour, line = colour_of(1), {"color": NEUTRAL, "width": 1}
    figure.add_vline(x=50, line=line)
    for floor in sorted(set(floors)):
        figure.add_vline(x=100 * floor, line={**line, "dash": "dot"})
    figure.add_scatter(
        x=[100 * (rate["estimate"] or 0)],
        y=[1],
        error_x=rate_bar(rate, colour),
        mode="markers",
        marker={"color": colour, "size": 10, "line": {"width": 0}},
        cliponaxis=False,
        hovertemplate=f"quality {percent(rate['estimate'])}<br>{span(rate['low'], rate['high'])}<extra></extra>",
    )
    figure.update_layout(layout(112, left=8))
    figure.update_xaxes(title_text="filtered completion preferred, %", nticks=8)
    figure.update_yaxes(visible=False, range=[0.4, 1.6])
    return figure


def _curve(figure: go.Figure, one: ClassifierReport, found: QualityReport, colour: str) -> None:
    logits = [point[0] for point in found["curve"]]
    _, means, lows, highs = ([100 * value for value in column] for column in zip(*found["curve"], strict=True))
    edge = {"mode": "lines", "line": {"width": 0, "color": colour}, "hoverinfo": "skip"}
    figure.add_scatter(x=logits, y=lows, **edge)
    figure.add_scatter(x=logits, y=highs, fill="tonexty", fillcolor=faint(colour, 0.16), **edge)
    figure.add_scatter(
        x=logits,
        y=means,
        mode="lines",
        line={"color": colour, "width": 2},
        customdata=[
            [score(to_score(logit)), f"{low:.1f}", f"{high:.1f}"]
            for logit, low, high in zip(logits, lows, highs, strict=True)
        ],
        hovertemplate="threshold %{customdata[0]}<br>quality %{y:.1f} % (%{customdata[1]} to %{customdata[2]} %)"
        f"<extra>{name_of(one['name'])}</extra>",
    )


def _marks(figure: go.Figure, one: ClassifierReport, found: QualityReport, colour: str, row: int) -> None:
    in_use, at = found["in_use"], one["calibration"]["logit"]
    height = 100 * (in_use["estimate"] or 0.0)
    figure.add_scatter(
        x=[at],
        y=[height],
        error_y=rate_bar(in_use, colour),
        mode="markers",
        marker={"color": colour, "size": 11, "line": {"width": 0}},
        hovertemplate=f"threshold in use {score(one['calibration']['threshold'])}<br>quality "
        f"{percent(in_use['estimate'])}<extra>{name_of(one['name'])}</extra>",
    )
    figure.add_scatter(
        x=[found["logit"]],
        y=[100 * (found["quality"]["estimate"] or 0.0)],
        mode="markers",
        marker={"color": colour, "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
        hovertemplate=f"lowest that keeps quality {score(found['threshold'])}<br>quality "
        f"{percent(found['quality']['estimate'])}<extra>{name_of(one['name'])}</extra>",
    )
    dot = f'<span style="color:{colour}">\N{BLACK CIRCLE}</span>'
    text = f"{dot} {name_of(one['name'], 24)}  {percent(in_use['estimate'])}"
    figure.add_annotation(**{**left_label(1, text, shift=4 + LABEL_STEP * row), "yref": "paper", "yanchor": "bottom"})

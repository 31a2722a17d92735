"""The chart of rounds_on_hatemoji: what each classifier accepts of each round's hate, a panel a round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go
from _pictures import INK, QUIET, layout
from plotly.subplots import make_subplots

from engine.evaluation.charts.style import CLASSIFIER_COLOURS
from engine.evaluation.rates import Rate

TRAINED = "#a9aeb5"


class Cell(NamedTuple):
    """One classifier on the held-out texts of one round."""

    upto: int | None
    """Last round in its training data, None for the baseline."""
    round: int
    trained: bool
    """Whether other texts of this round were trained on."""
    fnr: Rate
    fpr: Rate
    auc: float


def matrix_chart(cells: Sequence[Cell]) -> go.Figure:
    """Above, hate accepted; below, harmless text rejected; grey and hollow where the round was trained on."""
    rounds, rows = (list(dict.fromkeys(values)) for values in ((c.round for c in cells), (c.upto for c in cells)))
    titles = [f"<b>round {number}</b>: {what}" for what in ("hate accepted", "harmless rejected") for number in rounds]
    figure = make_subplots(
        rows=2, cols=len(rounds), shared_yaxes=True, horizontal_spacing=0.04, vertical_spacing=0.2,
        subplot_titles=titles,
    )  # fmt: skip
    for cell in cells:
        for row, rate in enumerate((cell.fnr, cell.fpr), start=1):
            _dot(figure, cell, rate, rows.index(cell.upto), row, rounds.index(cell.round) + 1)
    figure.update_layout(layout(600, l=104, t=36))
    figure.update_annotations(selector={"yanchor": "bottom"}, font={"size": 13, "color": INK})
    figure.update_xaxes(range=[0, 100], dtick=20)
    figure.update_xaxes(title_text="%", row=2)
    names = ["baseline" if upto is None else f"+ round {upto}" for upto in rows]
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=names, range=[len(rows) - 0.4, -0.75], gridcolor="rgba(0,0,0,0)",
        tickfont={"color": INK},
    )  # fmt: skip
    return figure


def _dot(figure: go.Figure, cell: Cell, rate: Rate, place: int, row: int, column: int) -> None:
    if rate.estimate is None:
        return
    colour = TRAINED if cell.trained else CLASSIFIER_COLOURS[place % len(CLASSIFIER_COLOURS)]
    line = {"color": colour, "width": 2}
    figure.add_scatter(
        x=[100 * rate.low, 100 * rate.high], y=[place, place], mode="lines", line=line, row=row, col=column
    )
    marker = {"color": "#ffffff" if cell.trained else colour, "size": 9, "line": line}
    figure.add_scatter(x=[100 * rate.estimate], y=[place], mode="markers", marker=marker, row=row, col=column)
    left = rate.high < 0.62
    figure.add_annotation(
        text=f"{100 * rate.estimate:.0f} %  <span style='color:{QUIET}'>{rate.failures:.0f}/{rate.n:.0f}</span>",
        x=100 * (rate.high if left else rate.low), y=place, xanchor="left" if left else "right",
        xshift=5 if left else -5, showarrow=False, font={"size": 12, "color": QUIET if cell.trained else INK},
        row=row, col=column,
    )  # fmt: skip
